//! Which modules are at hand: those that ship, and the site's own, which go first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Options;
use crate::module::{Engine, Hash, shipped};
use crate::pipeline::ModuleSet;

/// Loads every module once; one that `before` has already is taken from there. One that
/// cannot be loaded is in the set with the reason.
pub(crate) fn load(options: &Options, engine: &Engine, before: Option<&ModuleSet>) -> ModuleSet {
    let mut bytes: BTreeMap<Arc<str>, Result<Vec<u8>, String>> = BTreeMap::new();
    for (name, module) in shipped::modules() {
        bytes.insert(name.as_str().into(), Ok(module.into_owned()));
    }
    let own = options.site.as_ref().map(|site| site.join("modules"));
    for folder in [own.as_deref(), options.modules.as_deref()].into_iter().flatten() {
        read_folder(folder, &mut bytes);
    }
    bytes
        .into_iter()
        .map(|(name, bytes)| {
            let loaded = before.and_then(|before| before.get(&name)?.as_ref().ok());
            let module = bytes.and_then(|bytes| match loaded {
                Some(module) if module.hash() == Hash::of(&bytes) => Ok(module.clone()),
                _ => engine.load(&bytes).map_err(|error| crate::telemetry::words(&error)),
            });
            (name, module)
        })
        .collect()
}

fn read_folder(folder: &Path, bytes: &mut BTreeMap<Arc<str>, Result<Vec<u8>, String>>) {
    // A folder that is not there has no modules.
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().and_then(|e| e.to_str()) != Some("wasm") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|n| n.to_str()) else { continue };
        let read = std::fs::read(&path).map_err(|error| format!("it cannot be read: {error}"));
        bytes.insert(name.into(), read);
    }
}
