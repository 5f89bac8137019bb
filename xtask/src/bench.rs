//! `cargo xtask bench`: measures an optimised program on this machine and prints what was
//! measured, and how. Figures of one run may be compared with each other, not with another
//! machine's.

use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, cargo};
use crate::{demo, modules, mosquitto};

/// What is measured.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Subject {
    /// Messages a second that wait at the broker, with 1, 100 and 1000 devices
    Throughput,
    /// The longest gap while files are replaced every 100 ms
    Reload,
    /// Messages a second of `tapline replay`
    Replay,
    /// A hundred power cuts at random
    Kills,
    /// How long messages take beside a pipeline whose module attacks the host
    Isolation,
    /// Size, compiling, instantiating and messages of a parser in each language
    Languages,
    /// The samples of the modules that ship, as a first start runs them
    Samples,
}

impl Subject {
    const ALL: [Self; 7] = [
        Self::Throughput,
        Self::Reload,
        Self::Replay,
        Self::Kills,
        Self::Isolation,
        Self::Languages,
        Self::Samples,
    ];

    fn test(self) -> &'static str {
        match self {
            Self::Throughput => "speed::throughput",
            Self::Reload => "speed::reload",
            Self::Replay => "speed::replay",
            Self::Isolation => "isolation::isolation",
            Self::Languages => "languages::cost",
            Self::Samples => "samples::cost_of_the_gate",
            Self::Kills => {
                "kills::power_cuts_at_random_lose_nothing_double_nothing_and_change_no_session"
            }
        }
    }
}

/// Measures one subject, or all.
pub(crate) fn run(workspace: &Workspace, subject: Option<Subject>) -> Result<()> {
    let program = demo::build(workspace)?;
    modules::build(workspace, true)?;
    let mosquitto = mosquitto::find(workspace)?;
    let cores = available_parallelism().map_or(0, usize::from);
    println!("{cores} cores; {} (release); Mosquitto {}", program.display(), mosquitto.display());
    let subjects = subject.map_or(Subject::ALL.to_vec(), |subject| vec![subject]);
    for subject in subjects {
        let mut test = Command::new(cargo());
        test.args(["test", "--quiet", "--package", "tapline-tests", "--test", "e2e"]);
        if matches!(subject, Subject::Languages | Subject::Samples) {
            // It measures the host's runtime within the test itself.
            test.arg("--release");
        }
        let status = test
            .args(["--", "--include-ignored", "--nocapture", "--exact", subject.test()])
            .current_dir(&workspace.root)
            .env("TAPLINE_BIN", &program)
            .env("MOSQUITTO", &mosquitto)
            .env("TAPLINE_TEST_MODULES", workspace.modules())
            .env("TAPLINE_TEST_FIXTURES", workspace.fixtures())
            .status()
            .context("cannot run cargo test")?;
        if !status.success() {
            bail!("{} did not do its work", subject.test());
        }
    }
    Ok(())
}
