//! Builds a Python project with componentize-py.
//!
//! The tool is a package of Python's own, in a virtual environment of its own below the
//! person's caches. What is wrong with the author's code is found by the machine's Python
//! before a component is made of it, and said with its line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sdk::Written;
use crate::{Error, Progress, Project, sdk, tool};

const TOOL: &str = "componentize-py";
const VERSION: &str = "0.25.1";

/// The oldest Python with which the SDK can be checked.
const OLDEST: (u32, u32) = (3, 11);

/// What componentize-py is given: it looks for classes named after the interfaces.
fn entry(project: &Project) -> String {
    format!(
        "from tapline import bounds\n\nbounds.set_up()\n\nimport module\n\
         from tapline.component import exports\n\n\
         globals().update(exports(module, \"{}\"))\n",
        project.role
    )
}

/// Makes a component of the project.
pub(crate) fn build(project: &Project, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    let programs = installed(progress)?.join("bin");
    sdk::make(project, &format!("{TOOL} {VERSION}"), progress, |written, file, progress| {
        check(project, &programs, written, progress)?;
        compile(project, &programs, written, file, progress)
    })
}

/// What the SDK finds wrong with the source before anything is compiled.
fn check(
    project: &Project,
    programs: &Path,
    written: &Written,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut check = Command::new(programs.join("python"));
    // It finds the SDK where it runs, and nothing that the machine has installed or set.
    check
        .args(["-B", "-m", "tapline.check"])
        .arg(&project.root)
        .arg(project.role.to_string())
        .env_remove("PYTHONPATH")
        .env("PYTHONUTF8", "1")
        .current_dir(&written.sdk);
    let checked = tool::run(&mut check, tool::BUILDING, progress)?;
    if checked.status.code() == Some(1) && !checked.printed.trim().is_empty() {
        return Err(Error::Source { said: checked.printed.trim_end().to_owned() });
    }
    if !checked.status.success() {
        return Err(checked.failed(&check));
    }
    Ok(())
}

fn compile(
    project: &Project,
    programs: &Path,
    written: &Written,
    file: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let entry_file = written.work.join("tapline_entry.py");
    fs::write(&entry_file, entry(project)).map_err(Error::file(&entry_file, "written"))?;
    let mut make = Command::new(programs.join("componentize-py"));
    make.arg("--wit-path")
        .arg(&written.wit)
        .args(["--world", &format!("{}-module", project.role), "componentize", "--stub-wasi"])
        .arg("--python-path")
        .arg(&written.work)
        .arg("--python-path")
        .arg(&written.sdk)
        .arg("--python-path")
        .arg(project.root.join("src"))
        .arg("--output")
        .arg(file)
        .arg("tapline_entry")
        // Else it would look for packages where the person's own Python has them.
        .env("VIRTUAL_ENV", programs.parent().unwrap_or(Path::new(".")))
        .env_remove("PYTHONPATH")
        .current_dir(&written.work);
    let made = tool::run(&mut make, tool::BUILDING, progress)?;
    if !made.status.success() {
        return Err(made.failed(&make));
    }
    Ok(())
}

/// The virtual environment with the tool.
fn installed(progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    tool::folder(&format!("{TOOL}-{VERSION}"), progress, |folder, progress| {
        let missing = || {
            Error::missing(
                "`python3` is not there, and a module in Python is built with it",
                "install Python 3.11 or later, with venv: `apt install python3 python3-venv`",
            )
        };
        let version = tool::version("python3", missing, progress)?;
        if tool::numbers(&version) < OLDEST {
            return Err(Error::missing(
                format!("`python3` is {}", version.trim()),
                "install Python 3.11 or later",
            ));
        }
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(folder);
        let made = tool::run(&mut venv, tool::INSTALLING, progress)?;
        if !made.status.success() {
            return Err(Error::missing(
                format!("`python3 -m venv` makes no virtual environment: {}", last(&made)),
                "install venv for your Python: `apt install python3-venv`",
            ));
        }
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]).args([
            "--only-binary",
            ":all:",
            &format!("{TOOL}=={VERSION}"),
        ]);
        let installed = tool::run(&mut pip, tool::INSTALLING, progress)?;
        if !installed.status.success() {
            return Err(Error::missing(
                format!("{TOOL} {VERSION} cannot be installed: {}", last(&installed)),
                "see that this machine reaches Python's package index, or name a mirror in \
                 PIP_INDEX_URL",
            ));
        }
        Ok(())
    })
}

/// The last line that a program said: where most say what is wrong.
fn last(ended: &tool::Ended) -> &str {
    let lines = ended.said.lines().rev().chain(ended.printed.lines().rev());
    lines.map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing")
}
