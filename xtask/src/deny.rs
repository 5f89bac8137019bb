//! Bans, licences and sources of all dependencies, always; advisories where the database can
//! be reached. cargo-deny checks; `deny.toml` says what is allowed.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::step::Step;
use crate::workspace::{Workspace, cargo};

/// The version that is built where the machine has none.
const VERSION: &str = "0.20.2";

/// Checks everything that `deny.toml` names.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let program = find(workspace)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&workspace.root);
        command
    };
    let step = Step::begin("dependencies");
    step.run(&mut deny(&["--offline", "check", "bans", "licenses", "sources"]))?;
    step.done("bans, licences and sources are fine");

    let step = Step::begin("advisories");
    // Reaching the database is asked for apart from checking: only the first may fail.
    let reached = deny(&["fetch", "db"]).output().is_ok_and(|output| output.status.success());
    if reached {
        step.run(&mut deny(&["check", "--hide-inclusion-graph", "advisories"]))?;
        step.done("none against any dependency");
    } else {
        step.done("NOT CHECKED, the advisory database cannot be reached from here");
    }
    Ok(())
}

fn find(workspace: &Workspace) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path).map(|p| p.join("cargo-deny")).find(|p| p.is_file())
    {
        return Ok(found);
    }
    let built = workspace.tools().join("bin/cargo-deny");
    if !built.is_file() {
        let step = Step::begin("cargo-deny");
        step.run(
            Command::new(cargo())
                .args(["install", "--locked", "--version", VERSION, "cargo-deny", "--root"])
                .arg(workspace.tools())
                .arg("--target-dir")
                .arg(workspace.target.join("cargo-deny"))
                .current_dir(&workspace.target),
        )?;
        step.done("built");
    }
    Ok(built)
}
