//! `tapline reload`: what changed files would change, and taking them up.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use super::remote::{RemoteError, Target, finish, say};
use super::{FINDING, REFUSED};
use crate::reload::{Changes, ReloadPlan, Reloaded, render};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only show what would change; the exit code is 1 if something would
    #[arg(long)]
    plan: bool,
    /// Agree that state of stages that are gone is set aside: it can be found again for 7 days
    #[arg(long, conflicts_with = "plan")]
    drop_state: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn reload(args: &Args) -> anyhow::Result<ExitCode> {
    finish(if args.plan { plan(args) } else { apply(args) })
}

fn plan(args: &Args) -> Result<ExitCode, RemoteError> {
    let answer: Value = args.target.connect()?.get("/api/v1/reload")?;
    let ReloadPlan { changes, .. } = read(&answer)?;
    if args.json {
        let _reader_gone = say(&answer.to_string());
    } else {
        show(&changes);
    }
    let is_fine = changes.is_empty() && changes.problems.is_empty();
    if is_fine && !args.json {
        eprintln!("nothing would change");
    }
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// What waits all the same, for state that would lose its owner, is refused.
fn apply(args: &Args) -> Result<ExitCode, RemoteError> {
    let body = json!({"drop_state": args.drop_state});
    let answer: Value = args.target.connect()?.post("/api/v1/reload", &body)?;
    let Reloaded { changes, waiting, broken } = read(&answer)?;
    if args.json {
        let _reader_gone = say(&answer.to_string());
    } else {
        show(&changes);
    }
    if changes.is_empty() && !args.json {
        eprintln!("nothing was changed");
    }
    for problem in &broken {
        eprintln!("error: {problem}");
    }
    for one in &waiting {
        eprintln!("refused: {}", one.what);
    }
    Ok(match (waiting.is_empty(), broken.is_empty()) {
        (false, _) => ExitCode::from(REFUSED),
        (true, false) => ExitCode::from(FINDING),
        (true, true) => ExitCode::SUCCESS,
    })
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Value) -> Result<T, RemoteError> {
    T::deserialize(answer).map_err(|error| RemoteError::Garbled {
        place: "Tapline".to_owned(),
        why: error.to_string(),
    })
}

fn show(changes: &Changes) {
    let text = render(changes);
    if !text.is_empty() {
        let _reader_gone = say(text.trim_end());
    }
}
