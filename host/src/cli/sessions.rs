//! `tapline sessions`: which run, and which ended lately.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::remote::{RemoteError, Target, finish, query, say};
use super::table;
use crate::pipeline::Session;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those of this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Also those that ended lately
    #[arg(long)]
    ended: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Deserialize)]
struct Page {
    sessions: Vec<Session>,
    ended: Vec<Session>,
    next: Option<String>,
}

pub(super) fn sessions(args: &Args) -> anyhow::Result<ExitCode> {
    finish(list(args))
}

fn list(args: &Args) -> Result<ExitCode, RemoteError> {
    let remote = args.target.connect()?;
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let parameters =
            [("limit", Some("1000".to_owned())), ("device", args.device.clone()), ("next", next)];
        let page: Page = remote.get(&query("/api/v1/sessions", &parameters))?;
        all.extend(page.sessions);
        if args.ended {
            all.extend(page.ended);
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    all.sort_by_key(|session| session.told.ended_at.is_some());
    if args.json {
        let _all = all.iter().try_for_each(|session| say(&json!(session).to_string()));
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        eprintln!("no session runs");
    }
    let number = |value: Option<f64>, unit: &str| {
        value.map_or_else(String::new, |value| format!("{value:.0} {unit}"))
    };
    let rows = all.into_iter().map(|session| {
        let device = session.device.map_or_else(|| session.key.to_string(), |d| d.to_string());
        let told = session.told;
        let state = match (told.ended_at, told.state) {
            (Some(at), _) => format!("ended {at}"),
            (None, state) => state.unwrap_or_default(),
        };
        vec![
            device,
            state,
            told.started_at.unwrap_or_default(),
            number(told.working_s, "s"),
            number(told.standby_s, "s"),
            number(told.energy_wh, "Wh"),
            session.at,
            format!("{}/{}", session.pipeline, session.stage),
        ]
    });
    let headers =
        ["device", "state", "started at", "working", "standby", "energy", "as of", "detector"];
    table::print(&headers, rows.collect()).map_err(RemoteError::Output)?;
    Ok(ExitCode::SUCCESS)
}
