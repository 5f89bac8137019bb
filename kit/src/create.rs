//! A new project from a template.
//!
//! A template is a project whose module is called `my-module`: it reads as what comes of it.
//! Invariant: nothing that exists is overwritten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::build::put;
use crate::embedded::{LOCKED, TEMPLATES};
use crate::project::FILE;
use crate::{Capture, Error, Language, Name, Project, Role};

/// Writes the project of a new module into a folder of its name below `parent`.
///
/// With a capture, its messages are the first samples, in place of the template's.
///
/// # Errors
/// That the folder exists already, or cannot be written.
pub fn create(
    parent: &Path,
    name: Name,
    role: Role,
    language: Language,
    capture: Option<&Capture>,
) -> Result<Project, Error> {
    let root = parent.join(name.as_str());
    let project = Project { root, name, role, language };
    let from = format!("{language}/{role}/");
    let files: Vec<_> = TEMPLATES
        .iter()
        .filter_map(|(file, text)| Some((file.strip_prefix(&from)?, *text)))
        .collect();
    if files.is_empty() {
        return Err(Error::missing(
            format!("this version has no template for a {role} in {language}"),
            "take another language: `--language rust`",
        ));
    }
    // Whoever made the folder a moment ago keeps it.
    fs::create_dir_all(parent).map_err(Error::file(parent, "made"))?;
    match fs::create_dir(&project.root) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Taken { path: project.root });
        }
        Err(source) => return Err(Error::file(&project.root, "made")(source)),
    }
    let write = |file: &str, text: &str| put(&project.root.join(file), text.as_bytes());
    write(FILE, &project.manifest())?;
    for (file, text) in files {
        let is_samples = file.starts_with("samples/");
        if is_samples && capture.is_some() {
            continue;
        }
        write(&file_name(file, &project.name), &named(text, &project.name))?;
    }
    if let Some(capture) = capture {
        write(&format!("samples/{}.jsonl", project.name), &capture.samples())?;
    }
    if language == Language::Rust {
        write("Cargo.lock", LOCKED)?;
    }
    Ok(project)
}

/// A `.gitignore` among the templates would act on them.
fn file_name(file: &str, name: &Name) -> String {
    let file = if file == "gitignore" { ".gitignore" } else { file };
    named(file, name)
}

fn named(text: &str, name: &Name) -> String {
    text.replace("my-module", name.as_str())
        .replace("my_module", &name.snake())
        .replace("MyModule", &name.camel())
}

/// The folder that a path names and the module's name in it.
///
/// # Errors
/// What is wrong with the name.
pub fn place(path: &Path) -> Result<(PathBuf, Name), Error> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    Ok((path.parent().unwrap_or(Path::new("")).to_owned(), Name::new(&name)?))
}
