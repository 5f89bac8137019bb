//! Core modules to components.

use std::fs;
use std::path::Path;

use wit_component::ComponentEncoder;

use crate::Error;

/// Makes a component of a core module that carries its world as metadata.
///
/// # Errors
/// That the file cannot be read, or what it lacks.
pub fn wrap(core: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(core).map_err(Error::file(core, "read"))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|mut encoder| encoder.encode());
    component.map_err(|why| Error::Component { path: core.to_owned(), why: format!("{why:#}") })
}
