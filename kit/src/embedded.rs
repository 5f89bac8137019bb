//! The files that the program carries for projects; `build.rs` of this crate gathers them.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::build::put;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Puts files below a folder; those that are there and equal are left alone, so that nothing
/// is compiled anew for them.
pub(crate) fn refresh(folder: &Path, files: &[(&str, &str)]) -> Result<(), Error> {
    for (name, text) in files {
        let file = folder.join(name);
        if fs::read(&file).is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        put(&file, text.as_bytes())?;
    }
    Ok(())
}
