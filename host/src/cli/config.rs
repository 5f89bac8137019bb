//! `tapline config`: what is configured and why, what was configured before, and the way back.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use super::remote::{RemoteError, Target, finish, say};
use super::table;
use crate::reload::{Changes, Entry, InForce, render};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the values in force of brokers, endpoints and the site
    Show {
        /// Show also where each comes from: a push, a line of the file, the environment, default
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        look: Look,
    },
    /// List what was changed, when and by whom, the newest first
    Log {
        /// How many changes to list
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20,
              value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        look: Look,
    },
    /// Show what one revision changed, or what differs between two
    Diff {
        /// From this revision; alone: what differs between it and the one in force
        #[arg(value_name = "REV")]
        from: Option<u64>,
        /// To this revision
        #[arg(value_name = "REV")]
        to: Option<u64>,
        #[command(flatten)]
        look: Look,
    },
    /// Bring the pushed configuration of an older revision into force again
    ///
    /// It becomes a new revision and takes the way of any push: checked, tried, verified. The
    /// broker's password stays the one of today. Files are not touched.
    Rollback {
        /// As `tapline config log` names it
        #[arg(value_name = "REV")]
        revision: u64,
        #[command(flatten)]
        target: Target,
    },
}

/// Whom to ask, and for whom the answer is.
#[derive(Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn config(args: &Args) -> anyhow::Result<ExitCode> {
    finish(match &args.command {
        Command::Show { origin, look } => show(look, *origin),
        Command::Log { limit, look } => log(look, *limit),
        Command::Diff { from, to, look } => diff(look, *from, *to),
        Command::Rollback { revision, target } => roll_back(target, *revision),
    })
}

#[derive(Deserialize)]
struct Values {
    revision: u64,
    devices: usize,
    values: Vec<InForce>,
}

fn show(look: &Look, origin: bool) -> Result<ExitCode, RemoteError> {
    let answer: Values = look.target.connect()?.get("/api/v1/config")?;
    if look.json {
        for value in &answer.values {
            if say(&json!(value).to_string()).is_break() {
                break;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows = answer.values.into_iter().map(|value| {
        let text = match &value.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let row = vec![value.path, text];
        if origin { [row, vec![value.origin]].concat() } else { row }
    });
    let headers: &[&str] = if origin { &["value of", "is", "from"] } else { &["value of", "is"] };
    table::print(headers, rows.collect()).map_err(RemoteError::Output)?;
    let pushed = match answer.revision {
        0 => "nothing was pushed yet".to_owned(),
        revision => format!("pushed revision {revision}"),
    };
    eprintln!("{pushed}, {} device(s)", answer.devices);
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct Journal {
    revisions: Vec<Entry>,
}

fn log(look: &Look, limit: u16) -> Result<ExitCode, RemoteError> {
    let path = format!("/api/v1/config/revisions?limit={limit}");
    let answer: Journal = look.target.connect()?.get(&path)?;
    if look.json {
        for entry in &answer.revisions {
            if say(&json!(entry).to_string()).is_break() {
                break;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if answer.revisions.is_empty() {
        eprintln!("nothing was changed yet");
    }
    let rows = answer.revisions.into_iter().map(|entry| {
        let revision = entry.revision.map_or("-".to_owned(), |revision| revision.to_string());
        vec![revision, entry.at, entry.author, entry.devices.to_string(), entry.what]
    });
    table::print(&["revision", "at", "by", "devices", "what"], rows.collect())
        .map_err(RemoteError::Output)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct Diff {
    from: u64,
    to: u64,
    changes: Changes,
}

fn diff(look: &Look, from: Option<u64>, to: Option<u64>) -> Result<ExitCode, RemoteError> {
    let said = |name: &str, value: Option<u64>| value.map(|value| format!("{name}={value}"));
    let query: Vec<_> = [said("from", from), said("to", to)].into_iter().flatten().collect();
    let path = format!("/api/v1/config/diff?{}", query.join("&"));
    if look.json {
        let answer: Value = look.target.connect()?.get(&path)?;
        let _reader_gone = say(&answer.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Diff = look.target.connect()?.get(&path)?;
    let (from, to) = (answer.from, answer.to);
    match render(&answer.changes) {
        text if text.is_empty() => eprintln!("revisions {from} and {to} are the same"),
        text => {
            eprintln!("from revision {from} to {to}:");
            let _reader_gone = say(text.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn roll_back(target: &Target, revision: u64) -> Result<ExitCode, RemoteError> {
    let body = json!({"revision": revision});
    let answer: Value = target.connect()?.post("/api/v1/config/rollback", &body)?;
    let count = |name: &str| answer[name].as_u64().unwrap_or(0);
    println!(
        "revision {} is in force, with the document of {revision}: {} device(s), {} added, {} \
         updated, {} removed",
        count("revision"),
        count("devices_configured"),
        count("added"),
        count("updated"),
        count("removed"),
    );
    Ok(ExitCode::SUCCESS)
}
