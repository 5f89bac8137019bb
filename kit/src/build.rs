//! From a project to a component in `dist`, whatever the language.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Language, Progress, Project, javascript, python, rust};

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The component.
    pub file: PathBuf,
    pub bytes: usize,
}

/// Builds a project's component and puts it into `dist`, as a whole or not at all.
///
/// # Errors
/// What is missing for the language, or what its compiler says about the source.
pub fn build(project: &Project, progress: &mut dyn Progress) -> Result<Built, Error> {
    let made = match project.language {
        Language::Rust => rust::build(project, progress)?,
        Language::Python => python::build(project, progress)?,
        Language::JavaScript => javascript::build(project, progress)?,
    };
    let bytes = fs::read(&made).map_err(Error::file(&made, "read"))?;
    let file = project.built();
    put(&file, &bytes)?;
    Ok(Built { file, bytes: bytes.len() })
}

/// Writes beside and renames into place: whoever watches the folder sees whole files only.
pub(crate) fn put(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::file(folder, "made"))?;
    let written = tempfile::Builder::new().prefix(".").tempfile_in(folder).and_then(|fresh| {
        fs::write(fresh.path(), bytes)?;
        fs::set_permissions(fresh.path(), Permissions::from_mode(0o644))?;
        fresh.persist(file).map_err(|error| error.error)
    });
    written.map(drop).map_err(Error::file(file, "written"))
}
