//! Which modules are at hand: those that ship, and the site's own, which go first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use super::accepted::Accepted;
use crate::module::{Engine, Hash, Module, shipped};
use crate::pipeline::ModuleSet;

/// A module, or why it could not be loaded.
type Loaded = Result<Arc<Module>, String>;

/// Loads every module once; one that `before` has already is taken from there. One that
/// cannot be loaded is in the set with the reason. What is loaded and does not ship is kept
/// in `accepted`, should its file become unusable.
pub(crate) fn load(
    options: &Options,
    engine: &Engine,
    before: Option<&ModuleSet>,
    accepted: Option<&Accepted>,
) -> ModuleSet {
    let mut bytes: BTreeMap<Arc<str>, Result<Vec<u8>, String>> = BTreeMap::new();
    for (name, module) in shipped::modules() {
        bytes.insert(name.as_str().into(), Ok(module.into_owned()));
    }
    let own = options.site.as_ref().map(|site| site.join("modules"));
    for folder in [own.as_deref(), options.modules.as_deref()].into_iter().flatten() {
        for (path, name) in files(folder) {
            let read = read(&path, engine.module_size());
            bytes.insert(name.into(), read.map_err(|error| format!("it cannot be read: {error}")));
        }
    }
    let load = |name: &Arc<str>, bytes: Vec<u8>| {
        let loaded = before.and_then(|before| before.get(name)?.as_ref().ok());
        match loaded {
            Some(module) if module.hash() == Hash::of(&bytes) => Ok(module.clone()),
            _ => {
                let module =
                    engine.load(&bytes).map_err(|error| crate::telemetry::words(&error))?;
                if let Some(accepted) = accepted.filter(|_| !shipped::ships(module.hash()))
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
            }
        }
    };
    bytes
        .into_iter()
        .map(|(name, bytes)| {
            let module = bytes.and_then(|bytes| load(&name, bytes));
            (name, module)
        })
        .collect()
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
        None => {
            let bytes = accepted.module(hash).map_err(|error| crate::telemetry::words(&error))?;
            engine.load(&bytes).map_err(|error| crate::telemetry::words(&error))
        }
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

/// One byte more than may be is enough to see that it is too large.
fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
