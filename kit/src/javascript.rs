//! Builds a JavaScript project with componentize-js.
//!
//! The tool is a package of npm, installed by a lock file into a folder below the person's
//! caches; `sdk-javascript/build.mjs` calls it, because its command cannot leave every part of
//! WASI out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::sdk::Written;
use crate::{Error, Progress, Project, sdk, tool};

const TOOL: &str = "componentize-js";
const VERSION: &str = "0.23.0";

/// The oldest Node with which the tool works.
const OLDEST: (u32, u32) = (20, 0);

/// What is installed: the tool and all that it needs, each by version and hash.
const PACKAGE: &str = include_str!("../../sdk-javascript/tool/package.json");
const LOCK: &str = include_str!("../../sdk-javascript/tool/package-lock.json");

/// Lines of npm's errors that say little to a person.
const TERSE: [&str; 4] = ["code ", "syscall ", "errno ", "network This"];

/// Makes a component of the project.
pub(crate) fn build(project: &Project, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    node(progress)?;
    let folder = installed(progress)?;
    sdk::make(project, &format!("{TOOL} {VERSION}"), progress, |written, file, progress| {
        compile(project, &folder, written, file, progress)
    })
}

fn compile(
    project: &Project,
    folder: &Path,
    written: &Written,
    file: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let wanted = json!({
        "project": project.root,
        "tool": folder,
        "sdk": written.sdk.join("tapline"),
        "wit": written.wit,
        "world": format!("{}-module", project.role),
        "role": project.role.to_string(),
        "work": written.work.join("js"),
        "output": file,
    });
    let mut make = Command::new("node");
    make.arg(written.sdk.join("build.mjs")).arg(wanted.to_string()).env_remove("NODE_OPTIONS");
    let made = tool::run(&mut make, tool::BUILDING, progress)?;
    if made.status.code() == Some(1) && !made.printed.trim().is_empty() && made.said.is_empty() {
        return Err(Error::Source { said: made.printed.trim_end().to_owned() });
    }
    if !made.status.success() {
        return Err(made.failed(&make));
    }
    Ok(())
}

fn node(progress: &mut dyn Progress) -> Result<(), Error> {
    let missing = || {
        Error::missing(
            "`node` is not there, and a module in JavaScript is built with it",
            "install Node.js 20 or later with npm: `apt install nodejs npm`",
        )
    };
    let version = tool::version("node", missing, progress)?;
    if tool::numbers(&version) < OLDEST {
        return Err(Error::missing(
            format!("`node` is {}", version.trim()),
            "install Node.js 20 or later",
        ));
    }
    Ok(())
}

/// The folder with the tool.
fn installed(progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    tool::folder(&format!("{TOOL}-{VERSION}"), progress, |folder, progress| {
        let missing = || {
            Error::missing(
                "`npm` is not there, and the compiler for JavaScript is installed with it",
                "install it: `apt install npm`",
            )
        };
        tool::version("npm", missing, progress)?;
        for (name, text) in [("package.json", PACKAGE), ("package-lock.json", LOCK)] {
            let path: &Path = &folder.join(name);
            fs::write(path, text).map_err(Error::file(path, "written"))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder);
        let installed = tool::run(&mut npm, tool::INSTALLING, progress)?;
        if !installed.status.success() {
            let mut errors =
                installed.said.lines().filter_map(|line| line.strip_prefix("npm error "));
            let why = errors.find(|line| !TERSE.iter().any(|word| line.starts_with(word)));
            let why = why.unwrap_or("npm says nothing");
            return Err(Error::missing(
                format!("{TOOL} {VERSION} cannot be installed: {why}"),
                "see that this machine reaches npm's registry, or name a mirror with \
                 `npm config set registry`",
            ));
        }
        Ok(())
    })
}
