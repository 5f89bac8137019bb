//! `cargo xtask demo`: builds everything and hands over to `tapline demo`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::modules;
use crate::step::Step;
use crate::workspace::{Workspace, cargo};

/// Crates that a build from nothing compiles, for the progress bar.
const CRATES: u64 = 420;

/// Builds modules and the optimised program.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    modules::build(workspace, false)?;
    let step = Step::begin_counted("program", CRATES);
    step.run(
        Command::new(cargo())
            .args(["build", "--release", "--package", "tapline", "--bin", "tapline"])
            .current_dir(&workspace.root),
    )?;
    let program = workspace.target.join("release/tapline");
    step.done(&format!("built, {}", program.display()));
    Ok(program)
}

/// Builds modules and program, then becomes the demo with `arguments`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let program = build(workspace)?;
    let error = Command::new(&program).arg("demo").args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
