//! `tapline history`: messages that came and went.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::remote::{RemoteError, Target, finish, query, say};
use super::table;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this topic, or of those that a filter with `+` and `#` matches
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only of this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only from or to this broker
    #[arg(long, value_name = "BROKER")]
    broker: Option<String>,
    /// Only those that came, or those that went
    #[arg(long, value_parser = ["received", "sent"])]
    direction: Option<String>,
    /// Only the message with this id, and what was sent in consequence
    #[arg(long, value_name = "ID")]
    message: Option<String>,
    /// Only since a time (`2026-02-12T19:40:18Z`) or for so long (`2h`)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only up to a time, or up to so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print one JSON object a line, with payloads and properties
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Deserialize)]
struct Page {
    history: Vec<Value>,
    next: Option<u64>,
    kept: bool,
}

/// Messages that one request asks for.
const PAGE: usize = 1_000;

/// Characters of a payload in the table.
const SHOWN: usize = 60;

pub(super) fn history(args: &Args) -> anyhow::Result<ExitCode> {
    finish(list(args))
}

fn list(args: &Args) -> Result<ExitCode, RemoteError> {
    let remote = args.target.connect()?;
    let (mut all, mut next) = (Vec::new(), None);
    let mut kept = true;
    while all.len() < args.limit {
        let parameters = [
            ("topic", args.topic.clone()),
            ("device", args.device.clone()),
            ("broker", args.broker.clone()),
            ("direction", args.direction.clone()),
            ("message", args.message.clone()),
            ("from", args.from.clone()),
            ("until", args.until.clone()),
            ("limit", Some((args.limit - all.len()).min(PAGE).to_string())),
            ("cursor", next.map(|next: u64| next.to_string())),
        ];
        let page: Page = remote.get(&query("/api/v1/history", &parameters))?;
        (kept, next) = (page.kept, page.next);
        if args.json {
            let gone = page.history.iter().try_for_each(|entry| say(&entry.to_string()));
            if gone.is_break() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        all.extend(page.history);
        if next.is_none() {
            break;
        }
    }
    if all.is_empty() {
        eprintln!(
            "{}",
            match kept {
                true => "no message of the history matches",
                false => "no history is kept: `[store] history` of the site file says how much",
            }
        );
    }
    if args.json {
        return Ok(ExitCode::SUCCESS);
    }
    let word = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let rows = all.iter().map(|entry| {
        let payload = entry["payload"].as_str().or(entry["payload_base64"].as_str());
        vec![
            entry["id"].to_string(),
            word(entry, "at"),
            word(entry, "direction"),
            word(entry, "broker"),
            word(entry, "topic"),
            word(entry, "device"),
            word(entry, "fate"),
            payload.unwrap_or_default().chars().take(SHOWN).collect(),
        ]
    });
    let headers = ["id", "at", "direction", "broker", "topic", "device", "fate", "payload"];
    table::print(&headers, rows.collect()).map_err(RemoteError::Output)?;
    Ok(ExitCode::SUCCESS)
}
