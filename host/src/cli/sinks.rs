//! `tapline sinks`: what waits to be delivered, and the end of a pause.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::remote::{RemoteError, Target, finish, say};
use super::{FINDING, table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    target: Target,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// End a sink's pause, after what it names was mended
    Resume {
        /// As `tapline sinks` names it, `workshop/odoo` say
        #[arg(value_name = "PIPELINE/SINK")]
        sink: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Deserialize)]
struct Health {
    sinks: BTreeMap<String, Sink>,
}

#[derive(Deserialize, Serialize)]
struct Sink {
    #[serde(default)]
    sink: String,
    waiting: u64,
    delivered: u64,
    dead_lettered: u64,
    paused: Option<String>,
    last_error: Option<String>,
}

pub(super) fn sinks(args: &Args) -> anyhow::Result<ExitCode> {
    finish(match &args.command {
        None => list(&args.target, args.json),
        Some(Command::Resume { sink, target }) => resume(target, sink),
    })
}

/// A paused sink is a finding.
fn list(target: &Target, json: bool) -> Result<ExitCode, RemoteError> {
    let health: Health = target.connect()?.get("/health")?;
    let sinks: Vec<_> =
        health.sinks.into_iter().map(|(name, sink)| Sink { sink: name, ..sink }).collect();
    let paused = sinks.iter().any(|sink| sink.paused.is_some());
    if json {
        for sink in &sinks {
            if say(&json!(sink).to_string()).is_break() {
                break;
            }
        }
    } else {
        let rows = sinks.into_iter().map(|sink| {
            let trouble = match (sink.paused, sink.last_error) {
                (Some(why), _) => format!("paused: {why}"),
                (None, error) => error.unwrap_or_default(),
            };
            let counts = [sink.waiting, sink.delivered, sink.dead_lettered].map(|n| n.to_string());
            [vec![sink.sink], counts.to_vec(), vec![trouble]].concat()
        });
        let headers = ["sink", "waiting", "delivered", "dead letters", "trouble"];
        table::print(&headers, rows.collect()).map_err(RemoteError::Output)?;
    }
    Ok(if paused { ExitCode::from(FINDING) } else { ExitCode::SUCCESS })
}

fn resume(target: &Target, sink: &str) -> Result<ExitCode, RemoteError> {
    let _done: Value =
        target.connect()?.post(&format!("/api/v1/sinks/{sink}/resume"), &json!({}))?;
    eprintln!("`{sink}` goes on");
    Ok(ExitCode::SUCCESS)
}
