//! Which modules are at hand: those that ship, and the site's own, which go first.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use super::accepted::Accepted;
use super::aside::{Aside, Versions};
use crate::config::regular;
use crate::module::{Engine, Hash, Module, shipped};
use crate::pipeline::ModuleSet;

/// A module, or why it could not be loaded.
type Loaded = Result<Arc<Module>, String>;

/// Loads every module once; one that `before` has already is taken from there. One that
/// cannot be loaded is in the set with the reason. What is loaded and does not ship is kept
/// in `accepted`, should its file become unusable. In place of a version that is put aside
/// there is the one before it; those come back, too.
pub(crate) fn load(
    options: &Options,
    engine: &Engine,
    before: Option<&ModuleSet>,
    accepted: Option<(&Accepted, &Versions)>,
) -> (ModuleSet, Vec<Aside>) {
    let mut bytes: BTreeMap<Arc<str>, Result<Vec<u8>, String>> = BTreeMap::new();
    for (name, module) in shipped::modules() {
        bytes.insert(name.as_str().into(), Ok(module.into_owned()));
    }
    let own = options.site.as_ref().map(|site| site.join("modules"));
    for folder in [own.as_deref(), options.modules.as_deref()].into_iter().flatten() {
        for (path, name) in files(folder) {
            let read = read(&path, options.site.as_deref(), engine.module_size());
            bytes.insert(name.into(), read.map_err(|error| format!("it cannot be read: {error}")));
        }
    }
    let at_hand = |name: &str, hash: Hash| {
        let module = before.and_then(|before| before.get(name)?.as_ref().ok());
        module.filter(|module| module.hash() == hash).cloned()
    };
    let load = |name: &Arc<str>, bytes: Vec<u8>| {
        if let Some(module) = at_hand(name, Hash::of(&bytes)) {
            return Ok(module);
        }
        let module = engine.load(&bytes).map_err(|error| crate::telemetry::words(&error))?;
        if let Some((accepted, _)) = accepted.filter(|_| !shipped::ships(module.hash()))
            && let Err(error) = accepted.put(&bytes)
        {
            tracing::warn!(
                event = "module_not_kept",
                module = &**name,
                error = &error as &dyn std::error::Error,
                "should its file become unusable, there is nothing to fall back to"
            );
        }
        Ok(module)
    };
    let mut in_force = Vec::new();
    let mut set = ModuleSet::new();
    for (name, bytes) in bytes {
        let put_aside =
            accepted.zip(bytes.as_ref().ok()).and_then(|((accepted, versions), bytes)| {
                let aside = versions.aside(&name, Hash::of(bytes))?;
                let module = match at_hand(&name, aside.instead) {
                    Some(module) => Ok(module),
                    None => version(aside.instead, engine, accepted),
                };
                let warn = |why: &String| {
                    tracing::error!(
                        event = "version_before_lost",
                        module = &*name,
                        why,
                        "a module that was put aside runs again"
                    );
                };
                Some((aside, module.inspect_err(warn).ok()?))
            });
        let module = match put_aside {
            Some((aside, module)) => {
                in_force.push(aside.clone());
                Ok(module)
            }
            None => bytes.and_then(|bytes| load(&name, bytes)),
        };
        set.insert(name, module);
    }
    (set, in_force)
}

/// A version of a module that ran once: one that ships, or that was kept.
pub(super) fn version(
    hash: Hash,
    engine: &Engine,
    accepted: &Accepted,
) -> Result<Arc<Module>, String> {
    let ships = shipped::modules().into_iter().map(|(_, bytes)| bytes);
    let bytes = match ships.into_iter().find(|bytes| Hash::of(bytes) == hash) {
        Some(bytes) => bytes.into_owned(),
        None => accepted.module(&hash).map_err(|error| crate::telemetry::words(&error))?,
    };
    engine.load(&bytes).map_err(|error| crate::telemetry::words(&error))
}

/// Whether two sets have the same under a name.
pub(super) fn is_same(one: Option<&Loaded>, other: Option<&Loaded>) -> bool {
    let hash = |module: Option<&Loaded>| Some(module?.as_ref().ok()?.hash());
    hash(one) == hash(other)
}

/// Modules by name as they were last accepted; those that `at_hand` has are not loaded again.
pub(super) fn accepted(
    hashes: &BTreeMap<String, Hash>,
    at_hand: &ModuleSet,
    engine: &Engine,
    accepted: &Accepted,
) -> ModuleSet {
    let loaded = at_hand.values().filter_map(|module| module.as_ref().ok());
    let loaded: BTreeMap<Hash, _> = loaded.map(|module| (module.hash(), module)).collect();
    let module = |hash: &Hash| match loaded.get(hash) {
        Some(module) => Ok((*module).clone()),
        None => version(*hash, engine, accepted),
    };
    hashes.iter().map(|(name, hash)| (name.as_str().into(), module(hash))).collect()
}

/// The modules in a folder, each with its name. A folder that is not there has none.
pub(super) fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let modules = paths.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?;
        // What is copied there may have a passing name first.
        let name = (!name.is_empty() && !name.starts_with('.')).then(|| name.to_owned())?;
        Some((path, name))
    });
    modules.collect()
}

/// The bytes of a module's file.
///
/// # Errors
/// If it is no file, too large, cannot be read, or leads elsewhere.
pub(super) fn read(path: &Path, site: Option<&Path>, limit: usize) -> io::Result<Vec<u8>> {
    regular::read(&place(path, site)?, limit as u64)
}

/// Where a module's file lies. A link may lead to anywhere in its folder or in the site
/// directory, as mounts of container platforms do; but whoever can make links there is not to
/// have other files read.
pub(super) fn place(path: &Path, site: Option<&Path>) -> io::Result<PathBuf> {
    let place = path.canonicalize()?;
    let folders = path.parent().into_iter().chain(site);
    let mut folders = folders.filter_map(|folder| folder.canonicalize().ok());
    if folders.any(|folder| place.starts_with(folder)) {
        return Ok(place);
    }
    Err(io::Error::other("it is a link to a file outside its folder; copy the module there"))
}
