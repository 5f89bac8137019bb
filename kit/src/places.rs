//! Where fetched compilers and tools lie.

use std::env;
use std::path::PathBuf;

use etcetera::BaseStrategy as _;

use crate::Error;

/// The folder of compilers and tools, which can be thrown away at any time: what the
/// environment names, else one in the person's caches.
///
/// # Errors
/// That the person has no home.
pub fn cache() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os("TAPLINE_CACHE").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let places = etcetera::choose_base_strategy().map_err(|_| {
        Error::missing(
            "there is no folder for the tools of the build: no home directory is known",
            "set TAPLINE_CACHE to a folder",
        )
    })?;
    Ok(places.cache_dir().join("tapline"))
}
