//! What can go wrong with a project, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::samples::SampleError;

/// Why a project was not written, read or built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{}` cannot be {doing}", path.display())]
    File { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("`{}` is no module's project: it has no `module.toml`", path.display())]
    NoProject { path: PathBuf },
    #[error("`{}`, line {line}, column {column}: {what}", path.display())]
    Manifest { path: PathBuf, line: usize, column: usize, what: String, remedy: String },
    #[error("`{name}` cannot be a module's name: {why}")]
    Name { name: String, why: &'static str },
    #[error("`{}` is there already", path.display())]
    Taken { path: PathBuf },
    #[error("`{program}` cannot be run")]
    Run { program: String, source: io::Error },
    /// What the program said stands apart, in [`Error::said`].
    #[error("`{program}` failed with {status}")]
    Failed { program: String, status: ExitStatus, said: String },
    /// What is wrong stands apart, in [`Error::said`], with its lines.
    #[error("the module's source has a mistake")]
    Source { said: String },
    #[error("{what}")]
    Missing { what: String, remedy: String },
    #[error(transparent)]
    Samples(#[from] SampleError),
    #[error("`{}` cannot be made a component: {why}", path.display())]
    Component { path: PathBuf, why: String },
}

impl Error {
    /// For `map_err` of what is done to a file.
    pub(crate) fn file(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, doing, source }
    }

    pub(crate) fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), remedy: remedy.into() }
    }

    /// What to do about it, where that is not plain from the error itself.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Manifest { remedy, .. } | Self::Missing { remedy, .. } => Some(remedy.clone()),
            Self::NoProject { .. } => Some(
                "name the folder of a project; `tapline new parser my-meter` writes one".into(),
            ),
            Self::Name { .. } => Some("take lower-case words with hyphens: `my-meter`".into()),
            Self::Samples(error) => Some(error.remedy().to_owned()),
            Self::Taken { .. } => {
                Some("take another name, or remove the folder: nothing is overwritten".into())
            }
            Self::File { .. }
            | Self::Run { .. }
            | Self::Failed { .. }
            | Self::Source { .. }
            | Self::Component { .. } => None,
        }
    }

    /// What the failed program said: its errors, to be shown as they are.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::Failed { said, .. } | Self::Source { said } => Some(said),
            _ => None,
        }
    }
}
