//! Site directories.

use std::path::Path;

use crate::places::project;

/// Writes a file of a site, with the folders that it needs.
///
/// # Panics
/// If it cannot be written.
pub fn write(site: &Path, file: &str, text: impl AsRef<[u8]>) {
    let path = site.join(file);
    let folder = path.parent().expect("a file lies in a folder");
    std::fs::create_dir_all(folder).expect("scratch is writable");
    std::fs::write(path, text).expect("scratch is writable");
}

/// The text of a pipeline that ships.
///
/// # Panics
/// If it is not there.
pub fn copy_of_shipped(name: &str) -> String {
    let path = project().join("pipelines").join(name).with_extension("toml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
