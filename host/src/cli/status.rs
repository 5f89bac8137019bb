//! `tapline status`: what runs, how it is, and why if it is not well.

mod text;

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use super::FINDING;
use super::remote::{RemoteError, Target, finish, say};
use crate::reload::Status;
use crate::telemetry::clock;

/// Between two looks with --watch.
const AGAIN: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first place.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Print one JSON object, with the names of `GET /api/v1/status`
    #[arg(long)]
    json: bool,
    /// Look again every two seconds, until it is interrupted
    #[arg(long, short)]
    watch: bool,
}

pub(super) fn status(args: &Args) -> anyhow::Result<ExitCode> {
    if args.watch {
        return finish(watch(args).map(|()| ExitCode::SUCCESS));
    }
    finish(once(args))
}

fn ask(args: &Args) -> Result<Status, RemoteError> {
    args.target.connect()?.get("/api/v1/status")
}

/// Degraded is a finding.
fn once(args: &Args) -> Result<ExitCode, RemoteError> {
    let status = ask(args)?;
    let text = rendered(args, &status)?;
    // A reader that has gone has seen enough.
    let _read = say(text.trim_end());
    Ok(if status.status == "ok" { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// Ends only when nobody reads; what cannot be reached now may come back.
fn watch(args: &Args) -> Result<(), RemoteError> {
    let clear = if stdout().is_terminal() && !args.json { CLEAR } else { "" };
    loop {
        let text = match ask(args) {
            Ok(status) => rendered(args, &status)?,
            Err(error @ RemoteError::NotReachable { .. }) => not_reachable(args, &error),
            Err(error) => return Err(error),
        };
        let mut out = stdout().lock();
        writeln!(out, "{clear}{}", text.trim_end())
            .and_then(|()| out.flush())
            .map_err(RemoteError::Output)?;
        drop(out);
        std::thread::sleep(AGAIN);
    }
}

fn rendered(args: &Args, status: &Status) -> Result<String, RemoteError> {
    if args.json {
        let broken = |error: serde_json::Error| RemoteError::Output(error.into());
        return serde_json::to_string(status).map_err(broken);
    }
    Ok(text::of(status, clock::now()))
}

fn not_reachable(args: &Args, error: &RemoteError) -> String {
    if args.json {
        let line = serde_json::json!({"status": "not reachable", "problems": [error.to_string()]});
        return line.to_string();
    }
    format!("not reachable: {error}")
}
