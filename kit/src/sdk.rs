//! The SDKs of Python and JavaScript and the contract, in a project.
//!
//! No registry has them, so a build writes them into the project, `.tapline/sdk` and
//! `.tapline/wit`, where editors find them, too. Invariant: what lies there is of the version
//! that builds.

use std::fs;
use std::path::PathBuf;

use crate::embedded::{CONTRACT, JAVASCRIPT_SDK, PYTHON_SDK, refresh};
use crate::{Error, Language, Project, quantities};

/// What installs the compiler for JavaScript; it is no part of a project.
const TOOL: &str = "sdk/tool/";

/// Where a project's SDK, contract and intermediate files lie.
pub(crate) struct Written {
    pub(crate) sdk: PathBuf,
    pub(crate) wit: PathBuf,
    pub(crate) work: PathBuf,
}

/// Writes what a build of the project needs.
pub(crate) fn write(project: &Project) -> Result<Written, Error> {
    let own = project.root.join(".tapline");
    let (files, quantities) = match project.language {
        Language::JavaScript => {
            (JAVASCRIPT_SDK, ("sdk/tapline/quantities.js", quantities::javascript()))
        }
        _ => (PYTHON_SDK, ("sdk/tapline/quantities.py", quantities::python())),
    };
    let files: Vec<_> = files.iter().filter(|(name, _)| !name.starts_with(TOOL)).copied().collect();
    refresh(&own, &files)?;
    refresh(&own, &[(quantities.0, &quantities.1)])?;
    refresh(&own, CONTRACT)?;
    let work = own.join("work");
    fs::create_dir_all(&work).map_err(Error::file(&work, "made"))?;
    Ok(Written { sdk: own.join("sdk"), wit: own.join("wit"), work })
}
