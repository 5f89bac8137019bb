//! Builds a Python project.

use std::path::PathBuf;

use crate::{Error, Progress, Project};

/// Makes a component of the project with componentize-py.
pub(crate) fn build(project: &Project, _progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    Err(Error::missing(
        format!("`{}`: this version cannot build Python", project.name),
        "write the module in Rust",
    ))
}
