//! From a project to a component in `dist`, whatever the language.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::samples::{self, Folder};
use crate::{Error, Language, Progress, Project, javascript, python, rust};

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The component.
    pub file: PathBuf,
    pub bytes: usize,
    /// What the compiler has to say about the source all the same; empty where nothing.
    pub warnings: String,
}

/// What the build of a language made.
#[derive(Debug)]
pub(crate) struct Made {
    /// A component, still without its samples.
    pub(crate) file: PathBuf,
    pub(crate) warnings: String,
}

impl Made {
    /// Where the language has no warnings.
    fn silent(file: PathBuf) -> Self {
        Self { file, warnings: String::new() }
    }
}

/// Builds a project's component and puts it into `dist`, as a whole or not at all.
///
/// # Errors
/// What is missing for the language, what its compiler says about the source, or what is wrong
/// with the samples.
pub fn build(project: &Project, progress: &mut dyn Progress) -> Result<Built, Error> {
    let Made { file: made, warnings } = match project.language {
        Language::Rust => rust::build(project, progress)?,
        Language::Python => Made::silent(python::build(project, progress)?),
        Language::JavaScript => Made::silent(javascript::build(project, progress)?),
    };
    let component = fs::read(&made).map_err(Error::file(&made, "read"))?;
    let samples = samples::read_folder(&project.root)?;
    let bytes = samples::attach(&component, &samples.text())?;
    let file = project.built();
    put(&file, &bytes)?;
    Ok(Built { file, bytes: bytes.len(), warnings })
}

/// Gives the component in `dist` these samples in place of those that it has.
///
/// # Errors
/// If it cannot be read or written.
pub fn carry(project: &Project, folder: &Folder) -> Result<(), Error> {
    let file = project.built();
    let before = fs::read(&file).map_err(Error::file(&file, "read"))?;
    let bytes = samples::attach(&before, &folder.text())?;
    if bytes == before { Ok(()) } else { put(&file, &bytes) }
}

/// Writes beside and renames into place: whoever watches the folder sees whole files only.
///
/// # Errors
/// That the file cannot be written.
pub fn put(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::file(folder, "made"))?;
    let written = tempfile::Builder::new().prefix(".").tempfile_in(folder).and_then(|fresh| {
        fs::write(fresh.path(), bytes)?;
        fs::set_permissions(fresh.path(), Permissions::from_mode(0o644))?;
        fresh.persist(file).map_err(|error| error.error)
    });
    written.map(drop).map_err(Error::file(file, "written"))
}
