//! The project's own commands: `cargo xtask modules | test | demo | bench | fuzz`.
//!
//! Whatever they need and the machine lacks (a WebAssembly target, Mosquitto) is fetched
//! below the target directory; nothing is installed into the system.

mod bench;
mod check;
mod demo;
mod deny;
mod fuzz;
mod modules;
mod mosquitto;
mod step;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds, tests and shows Tapline"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the modules that ship, as components, into target/modules
    Modules {
        /// Builds the misbehaving modules of the tests too, into target/fixtures
        #[arg(long)]
        fixtures: bool,
    },
    /// Checks format, lints and dependencies and runs every test
    Test,
    /// Measures an optimised program, and prints what was measured
    Bench {
        /// Only this; default: all, one after the other
        #[arg(value_enum)]
        subject: Option<bench::Subject>,
    },
    /// Throws nonsense at what reads files, pushes, messages and modules (needs a nightly Rust)
    Fuzz {
        /// Only this; default: all, one after the other
        #[arg(value_enum)]
        target: Option<fuzz::Target>,
        /// For how long, each
        #[arg(long, default_value_t = 600)]
        seconds: u32,
    },
    /// Builds everything and shows it at work
    Demo {
        /// Passed on to `tapline demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let workspace = Workspace::find()?;
    match Cli::parse().task {
        Task::Modules { fixtures } => modules::build(&workspace, fixtures),
        Task::Bench { subject } => bench::run(&workspace, subject),
        Task::Fuzz { target, seconds } => fuzz::run(&workspace, target, seconds),
        Task::Test => check::run(&workspace),
        Task::Demo { arguments } => demo::run(&workspace, &arguments),
    }
}
