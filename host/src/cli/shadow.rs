//! `tapline shadow`: what came of comparing versions on live traffic, and the end of a shadow.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::remote::{RemoteError, Target, finish, query, say, segment};
use super::{FINDING, table};
use crate::reload::{Decided, ShadowView};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only the shadows of this pipeline
    pipeline: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let a shadow take the place of the live version
    Promote(Chosen),
    /// End a shadow
    Drop(Chosen),
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// As `tapline shadow` names it, `workshop.shelly` say
    #[arg(value_name = "PIPELINE.STAGE", value_parser = stage)]
    stage: (String, String),
    #[command(flatten)]
    target: Target,
}

fn stage(text: &str) -> Result<(String, String), String> {
    // Names hold neither of the two.
    match text.split_once(['.', '/']) {
        Some((pipeline, stage)) if !pipeline.is_empty() && !stage.is_empty() => {
            Ok((pipeline.to_owned(), stage.to_owned()))
        }
        _ => Err("name pipeline and stage: `workshop.shelly` say".to_owned()),
    }
}

#[derive(Deserialize)]
struct Answer {
    shadows: Vec<ShadowView>,
}

pub(super) fn shadow(args: &Args) -> anyhow::Result<ExitCode> {
    finish(match &args.command {
        None => list(args),
        Some(Command::Promote(chosen)) => decide(chosen, "promote"),
        Some(Command::Drop(chosen)) => decide(chosen, "drop"),
    })
}

/// A shadow that stopped, or that differs, is a finding.
fn list(args: &Args) -> Result<ExitCode, RemoteError> {
    let path = query("/api/v1/shadow", &[("pipeline", args.pipeline.clone())]);
    let Answer { shadows } = args.target.connect()?.get(&path)?;
    let is_fine = |view: &ShadowView| view.stopped.is_none() && view.last.is_empty();
    let code =
        if shadows.iter().all(is_fine) { ExitCode::SUCCESS } else { ExitCode::from(FINDING) };
    if args.json {
        for view in &shadows {
            if say(&json!(view).to_string()).is_break() {
                break;
            }
        }
        return Ok(code);
    }
    if shadows.is_empty() {
        eprintln!(
            "no stage has a shadow: `shadow = \"FILE.wasm\"` in a pipeline file gives it one"
        );
        return Ok(code);
    }
    let headers = [
        "stage",
        "live",
        "shadow",
        "same",
        "different",
        "only live",
        "only shadow",
        "refused",
        "failed",
        "not compared",
    ];
    let rows = shadows.iter().map(|view| {
        let counts = &view.counts;
        let numbers = counts.by_outcome().map(|(_, count)| count.to_string());
        let named = |version: &str, hash: &str| format!("{version} ({hash})");
        let both = [&view.live, &view.shadow].map(|one| named(&one.version, &one.hash));
        let stage = format!("{}.{}", view.pipeline, view.stage);
        [vec![stage], both.to_vec(), numbers.to_vec()].concat()
    });
    table::print(&headers, rows.collect()).map_err(RemoteError::Output)?;
    for view in &shadows {
        if differences(view).is_break() {
            break;
        }
    }
    Ok(code)
}

/// The last differences of one shadow, the newest first.
fn differences(view: &ShadowView) -> std::ops::ControlFlow<()> {
    let stage = format!("{}.{}", view.pipeline, view.stage);
    if let Some(why) = &view.stopped {
        say(&table::plain(&format!("\n{stage} has stopped: {why}")))?;
    }
    if let Some(afresh) = &view.afresh {
        say(&table::plain(&format!("\n{stage}: {afresh}")))?;
    }
    if !view.last.is_empty() {
        say(&format!(
            "\nlast differences of {stage}, {} beside {}",
            view.shadow.file, view.live.file
        ))?;
    }
    for one in &view.last {
        let device = one.device.as_ref().map(|device| format!(" ({device})")).unwrap_or_default();
        let outcome = json!(one.outcome);
        let outcome = outcome.as_str().unwrap_or_default();
        let key = one.key.as_ref().map(|key| format!("key {key}"));
        let place = one.topic.clone().or(key).unwrap_or_default();
        say(&table::plain(&format!("{} {outcome} {place}{device}", one.at)))?;
        for (side, lines) in [("live  ", &one.live), ("shadow", &one.shadow)] {
            if lines.is_empty() {
                say(&format!("  {side} nothing"))?;
            }
            for line in lines {
                say(&table::plain(&format!("  {side} {line}")))?;
            }
        }
    }
    std::ops::ControlFlow::Continue(())
}

fn decide(chosen: &Chosen, verdict: &str) -> Result<ExitCode, RemoteError> {
    let (pipeline, stage) = &chosen.stage;
    let path = format!("/api/v1/shadow/{}/{}/{verdict}", segment(pipeline), segment(stage));
    let decided: Decided = chosen.target.connect()?.post(&path, &json!({}))?;
    eprintln!("{}; {} was changed and taken up", decided.what, decided.file);
    Ok(ExitCode::SUCCESS)
}
