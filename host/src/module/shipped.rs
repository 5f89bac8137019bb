//! Modules that ship with the program.
//!
//! They are embedded when it is built after `cargo xtask modules`. A program that was
//! built before looks into `target/modules` of the folder it runs in.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use super::loaded::Hash;

include!(concat!(env!("OUT_DIR"), "/shipped_modules.rs"));

/// Where `cargo xtask modules` puts them, seen from the project's folder.
const BUILT: &str = "target/modules";

/// Every module that ships, by name and in its order, as bytes for `Engine::load`.
pub fn modules() -> Vec<(String, Cow<'static, [u8]>)> {
    if EMBEDDED.is_empty() {
        return built(Path::new(BUILT));
    }
    EMBEDDED.iter().map(|&(name, bytes)| (name.to_owned(), Cow::Borrowed(bytes))).collect()
}

/// The bytes of one that ships.
pub fn module(name: &str) -> Option<Cow<'static, [u8]>> {
    modules().into_iter().find_map(|(shipped, bytes)| (shipped == name).then_some(bytes))
}

/// Whether a module with this hash ships, whatever its file is called.
pub fn ships(hash: Hash) -> bool {
    static HASHES: OnceLock<BTreeSet<Hash>> = OnceLock::new();
    let hashes =
        HASHES.get_or_init(|| modules().into_iter().map(|(_, bytes)| Hash::of(&bytes)).collect());
    hashes.contains(&hash)
}

/// What cannot be read is as good as not built: the pipeline that needs it says so.
fn built(folder: &Path) -> Vec<(String, Cow<'static, [u8]>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut modules: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?.to_owned();
            Some((name, Cow::Owned(std::fs::read(&path).ok()?)))
        })
        .collect();
    modules.sort_by(|(a, _), (b, _)| a.cmp(b));
    modules
}
