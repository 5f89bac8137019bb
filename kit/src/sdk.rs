//! The SDKs of Python and JavaScript and the contract, in a project.
//!
//! No registry has them, so a build writes them into the project, `.tapline/sdk` and
//! `.tapline/wit`, where editors find them, too. Invariant: what lies there is of the version
//! that builds, and a component is made anew only where something has changed that it is made of.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::embedded::{CONTRACT, JAVASCRIPT_SDK, PYTHON_SDK, refresh};
use crate::{Error, Language, Progress, Project, quantities};

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

/// What a component was made of, beside it: these compilers take seconds, and no two of their
/// components are equal, so that each would be compiled for the machine once more.
struct Ingredients {
    file: PathBuf,
    digest: String,
}

impl Ingredients {
    /// Of a project as it is now; `tool` is what compiles it, with its version.
    fn of(project: &Project, written: &Written, tool: &str) -> Result<Self, Error> {
        let mut files = BTreeSet::new();
        let sources = project.root.join("src");
        for folder in [&sources, &written.sdk, &written.wit] {
            files_below(folder, &mut files)?;
        }
        let mut sha = Sha256::new();
        let mut add = |bytes: &[u8]| {
            sha.update((bytes.len() as u64).to_le_bytes());
            sha.update(bytes);
        };
        add(format!("{tool} {} {}", project.role, project.name).as_bytes());
        for path in files {
            let name = path.strip_prefix(&project.root).unwrap_or(&path);
            add(name.as_os_str().as_encoded_bytes());
            add(&fs::read(&path).map_err(Error::file(&path, "read"))?);
        }
        let digest = sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { file: written.work.join("made-of"), digest })
    }

    /// Whether this component was made of them.
    fn made(&self, component: &Path) -> bool {
        component.is_file() && fs::read_to_string(&self.file).is_ok_and(|of| of == self.digest)
    }

    /// From now on nothing is known of the component, until it is whole.
    fn begin(&self) -> Result<(), Error> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::file(&self.file, "removed")(error))
            }
            _ => Ok(()),
        }
    }

    /// Remembers that the component was made of them.
    fn keep(&self) -> Result<(), Error> {
        fs::write(&self.file, &self.digest).map_err(Error::file(&self.file, "written"))
    }
}

/// Has a project compiled by `tool`, named with its version, if anything of it has changed since
/// it was the last time; where the component lies.
pub(crate) fn make(
    project: &Project,
    tool: &str,
    progress: &mut dyn Progress,
    compile: impl FnOnce(&Written, &Path, &mut dyn Progress) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let written = write(project)?;
    progress.begin(project.name.as_str());
    let file = written.work.join(format!("{}.wasm", project.name));
    let ingredients = Ingredients::of(project, &written, tool)?;
    if ingredients.made(&file) {
        progress.done("nothing has changed");
        return Ok(file);
    }
    ingredients.begin()?;
    compile(&written, &file, progress)?;
    ingredients.keep()?;
    progress.done("compiled");
    Ok(file)
}

fn files_below(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        // The language's own check says what is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::file(folder, "read"))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::file(folder, "read"))?.path();
        let name = path.file_name().unwrap_or_default();
        // Of no importance for what runs, or written by what checks the sources.
        if name == "__pycache__" || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            files_below(&path, found)?;
        } else if path.is_file() {
            found.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Language, Name, Role, create};

    #[test]
    fn a_component_is_of_its_sources_its_compiler_and_its_role() {
        let scratch = tempfile::tempdir().unwrap();
        let name = Name::new("my-meter").unwrap();
        let project = create(scratch.path(), name, Role::Parser, Language::Python, None).unwrap();
        let written = write(&project).unwrap();
        let component = written.work.join("my-meter.wasm");
        let of = |tool: &str| Ingredients::of(&project, &written, tool).unwrap();
        fs::write(&component, "component").unwrap();
        assert!(!of("one").made(&component), "nothing is known of it");
        of("one").keep().unwrap();
        assert!(of("one").made(&component));
        assert!(!of("two").made(&component), "another compiler");
        fs::write(project.root.join("samples/more.jsonl"), "").unwrap();
        fs::create_dir(project.root.join("src/__pycache__")).unwrap();
        fs::write(project.root.join("src/__pycache__/module.pyc"), "1").unwrap();
        assert!(of("one").made(&component), "no part of it");
        fs::write(project.root.join("src/more.py"), "1").unwrap();
        assert!(!of("one").made(&component), "another source");
        of("one").keep().unwrap();
        of("one").begin().unwrap();
        assert!(!of("one").made(&component), "it was never finished");
    }
}
