//! `tapline simulate`: real devices' messages without the devices.

use std::process::ExitCode;
use std::sync::Arc;

use super::NOT_REACHABLE;
use crate::simulate::{Args, run};
use crate::telemetry::{clock, words};

pub(super) fn simulate(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(run(args, Arc::new(clock::now))) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("error: {}", words(&error));
            eprintln!("help: `tapline simulate --help` names every option");
            Ok(ExitCode::from(NOT_REACHABLE))
        }
    }
}
