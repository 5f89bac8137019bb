//! `tapline devices`: what was last heard of each, and topics that belong to none.

use std::process::ExitCode;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::remote::{Remote, RemoteError, Target, finish, query, say, segment};
use super::table;

/// Of one request.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this device, with all that is known of it
    #[arg(conflicts_with = "unknown")]
    device: Option<String>,
    /// Topics that belong to no device, and the device that is missing for each
    #[arg(long)]
    unknown: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "1000")]
    limit: usize,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn devices(args: &Args) -> anyhow::Result<ExitCode> {
    finish(args.target.connect().and_then(|remote| match &args.device {
        Some(id) => one(&remote, id, args.json),
        None if args.unknown => unknown(&remote, args),
        None => list(&remote, args),
    }))
}

/// Pages of a list, until there are enough.
fn pages(
    remote: &Remote,
    path: &str,
    noun: &str,
    limit: usize,
) -> Result<(Vec<Value>, bool), RemoteError> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let count = PAGE.min(limit - all.len());
        let path = query(path, &[("limit", Some(count.to_string())), ("next", next)]);
        let mut page: Value = remote.get(&path)?;
        let mut entries = taken::<Vec<Value>>(&mut page, noun);
        // Devices that were only heard come with the first page.
        entries.extend(taken::<Vec<Value>>(&mut page, "unregistered"));
        all.extend(entries);
        next = taken(&mut page, "next");
        if next.is_none() || all.len() >= limit {
            return Ok((all, next.is_some()));
        }
    }
}

fn taken<T: DeserializeOwned + Default>(page: &mut Value, name: &str) -> T {
    serde_json::from_value(page[name].take()).unwrap_or_default()
}

fn say_more(more: bool) {
    if more {
        eprintln!("there are more: raise --limit");
    }
}

fn list(remote: &Remote, args: &Args) -> Result<ExitCode, RemoteError> {
    let (devices, more) = pages(remote, "/api/v1/devices", "devices", args.limit)?;
    if args.json {
        let _all = devices.iter().try_for_each(|device| say(&device.to_string()));
    } else if devices.is_empty() {
        eprintln!("no device is registered");
    } else {
        let rows = devices.iter().map(|device| {
            let problem = match device["pipelines"].as_array() {
                Some(none) if none.is_empty() && device["registered"] == true => {
                    "no pipeline serves it: `tapline explain` says why".to_owned()
                }
                _ => text(&device["last_problem"]["detail"]),
            };
            let columns = [
                text(&device["device_id"]),
                seen(device),
                yes_or_no(&device["online"]),
                text(&device["state"]),
                session(&device["session"]),
                power(device),
            ];
            [columns.to_vec(), vec![names(&device["pipelines"]), problem]].concat()
        });
        let headers =
            ["device", "last seen", "online", "state", "session", "power", "pipeline", "problem"];
        table::print(&headers, rows.collect()).map_err(RemoteError::Output)?;
    }
    say_more(more);
    Ok(ExitCode::SUCCESS)
}

fn one(remote: &Remote, id: &str, json: bool) -> Result<ExitCode, RemoteError> {
    let device: Value = remote.get(&format!("/api/v1/devices/{}", segment(id)))?;
    if json {
        let _reader_gone = say(&device.to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![
        ["device".to_owned(), text(&device["device_id"])],
        ["name".to_owned(), text(&device["machine_name"])],
        ["written in".to_owned(), text(&device["place"])],
        ["mqtt_topic".to_owned(), text(&device["mqtt_topic"])],
        ["parser_type".to_owned(), text(&device["parser_type"])],
        ["pipelines".to_owned(), names(&device["pipelines"])],
        ["last seen".to_owned(), seen(&device)],
        ["on topic".to_owned(), text(&device["last_topic"])],
        ["online".to_owned(), yes_or_no(&device["online"])],
        ["state".to_owned(), text(&device["state"])],
    ];
    for (channel, values) in device["values"].as_object().into_iter().flatten() {
        for (quantity, value) in values.as_object().into_iter().flatten() {
            rows.push([format!("{channel} {quantity}"), value.to_string()]);
        }
    }
    for (name, value) in device["session"].as_object().into_iter().flatten() {
        rows.push([format!("session {name}"), text(value)]);
    }
    for (name, value) in device["last_problem"].as_object().into_iter().flatten() {
        rows.push([format!("last problem {name}"), text(value)]);
    }
    rows.retain(|[_, value]| !value.is_empty());
    let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or(0);
    let mut lines = rows.iter().map(|[name, value]| format!("{name:width$}  {value}"));
    let _all = lines.try_for_each(|line| say(&line));
    Ok(ExitCode::SUCCESS)
}

fn unknown(remote: &Remote, args: &Args) -> Result<ExitCode, RemoteError> {
    let (topics, more) = pages(remote, "/api/v1/devices/unknown", "topics", args.limit)?;
    for topic in &topics {
        let shown = if args.json { say(&topic.to_string()) } else { say(&stranger(topic)) };
        if shown.is_break() {
            break;
        }
    }
    if topics.is_empty() && !args.json {
        eprintln!("no message came that belongs to no device");
    }
    say_more(more);
    Ok(ExitCode::SUCCESS)
}

/// A topic that belongs to no device, and the device that is missing.
fn stranger(topic: &Value) -> String {
    let messages = match topic["count"].as_u64() {
        Some(1) => "1 message".to_owned(),
        count => format!("{} messages", count.unwrap_or_default()),
    };
    let mut said = format!(
        "# {} ({messages}, the last at {}; broker {}, pipeline {}: {})\n",
        text(&topic["topic"]),
        text(&topic["last_seen"]),
        text(&topic["broker"]),
        text(&topic["pipeline"]),
        text(&topic["why"]),
    );
    for parser in topic["parsers"].as_array().into_iter().flatten() {
        let finds = names(&parser["finds"]);
        let module = text(&parser["module"]);
        said.push_str(&format!("# parser {module} understands it: {finds}\n"));
        if parser["parser_type"].is_null() {
            said.push_str(&format!("# but no running pipeline has a parse stage for {module}\n"));
        }
    }
    match topic["toml"].as_str() {
        Some(block) => said.push_str(block),
        None => said.push_str("# no parser at hand understands its last payload\n"),
    }
    said
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn names(value: &Value) -> String {
    let names = value.as_array().into_iter().flatten().map(text);
    names.collect::<Vec<_>>().join(", ")
}

fn yes_or_no(value: &Value) -> String {
    value.as_bool().map_or("", |is| if is { "yes" } else { "no" }).to_owned()
}

fn seen(device: &Value) -> String {
    match (device["last_seen"].as_str(), device["heard_since_start"].as_bool()) {
        (Some(at), Some(true)) => at.to_owned(),
        (Some(at), _) => format!("{at} (not since the start)"),
        (None, _) => "not heard since the start".to_owned(),
    }
}

fn session(session: &Value) -> String {
    match session["started_at"].as_str() {
        Some(at) => format!("since {at}"),
        None => String::new(),
    }
}

/// Of each channel that has one.
fn power(device: &Value) -> String {
    let channels = device["values"].as_object().into_iter().flatten();
    let powers = channels.filter_map(|(_, values)| values["power_w"].as_f64());
    powers.map(|power| format!("{power} W")).collect::<Vec<_>>().join(", ")
}
