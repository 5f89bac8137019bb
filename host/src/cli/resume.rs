//! `tapline resume`: a pipeline that halts goes on.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::FINDING;
use super::remote::{RemoteError, Target, finish};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline's name
    pipeline: String,
    /// Let what it halted on go to the dead letters
    #[arg(long)]
    set_aside: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Deserialize)]
struct Resumed {
    halted: Option<String>,
}

/// A pipeline that halts again is a finding.
pub(super) fn resume(args: &Args) -> anyhow::Result<ExitCode> {
    finish(go_on(args))
}

fn go_on(args: &Args) -> Result<ExitCode, RemoteError> {
    let path = format!("/api/v1/pipelines/{}/resume", args.pipeline);
    let body = json!({"set_aside": args.set_aside});
    let resumed: Resumed = args.target.connect()?.post(&path, &body)?;
    Ok(match resumed.halted {
        None => {
            eprintln!("`{}` goes on", args.pipeline);
            ExitCode::SUCCESS
        }
        Some(why) => {
            eprintln!("error: `{}` halts again: {why}", args.pipeline);
            eprintln!("help: mend it, or let it go to the dead letters with --set-aside");
            ExitCode::from(FINDING)
        }
    })
}
