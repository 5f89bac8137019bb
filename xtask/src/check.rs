//! `cargo xtask test`: all that CI asks for, in the order in which it fails fastest.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::Step;
use crate::workspace::{Workspace, cargo};
use crate::{deny, modules, mosquitto};

/// Runs every check and every test.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&workspace.root);
        command
    };
    let step = Step::begin("format");
    step.run(&mut cargo(&["fmt", "--all", "--check"]))?;
    step.done("as rustfmt has it");

    deny::check(workspace)?;
    modules::build(workspace, true)?;
    let mosquitto = mosquitto::find(workspace)?;

    let step = Step::begin("lints");
    step.run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step.done("none");

    let step = Step::begin("program");
    step.run(&mut cargo(&["build", "--workspace", "--bin", "tapline"]))?;
    step.done("built for the tests");

    // What tests print goes straight through: their closing lines are the result.
    let status = cargo(&["test", "--workspace"])
        // End-to-end tests mostly wait for brokers and processes: more of them at a time.
        .env("RUST_TEST_THREADS", std::env::var("RUST_TEST_THREADS").unwrap_or("8".into()))
        .env("MOSQUITTO", mosquitto)
        .env("TAPLINE_BIN", workspace.target.join("debug/tapline"))
        .env("TAPLINE_TEST_MODULES", workspace.modules())
        .env("TAPLINE_TEST_FIXTURES", workspace.fixtures())
        .status()
        .context("cannot run cargo test")?;
    if !status.success() {
        bail!("tests failed");
    }
    Ok(())
}
