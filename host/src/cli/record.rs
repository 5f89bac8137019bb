//! `tapline record`: writes down what makes a running pipeline act, or what a broker sends.

mod topic;

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use super::FINDING;
use super::remote::{RemoteError, Target, finish};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline of a running Tapline, as `tapline status` names it
    #[arg(required_unless_present = "topic", conflicts_with = "topic")]
    pipeline: Option<String>,
    /// Where to write; default: stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    broker: topic::Args,
    #[command(flatten)]
    target: Target,
}

pub(super) fn record(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.pipeline {
        Some(pipeline) => finish(stream(args, pipeline)),
        None => topic::capture(&args.broker, args.output.as_deref()),
    }
}

fn stream(args: &Args, pipeline: &str) -> Result<ExitCode, RemoteError> {
    let remote = args.target.connect()?;
    let mut output: Box<dyn Write> = match &args.output {
        // Whole lines, so that an interrupted recording ends with one.
        Some(file) => Box::new(LineWriter::with_capacity(
            1 << 16,
            File::create(file).map_err(RemoteError::Output)?,
        )),
        None => Box::new(io::stdout().lock()),
    };
    let mut failed = None;
    let mut last = String::new();
    // Names of pipelines are lower-case words.
    let path = format!("/api/v1/pipelines/{pipeline}/record");
    remote.lines(&path, |line| {
        if let Err(error) = writeln!(output, "{line}") {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        if line.starts_with("{\"end\"") {
            last.push_str(line);
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(RemoteError::Output(error));
    }
    output.flush().map_err(RemoteError::Output)?;
    if last.is_empty() {
        eprintln!("note: Tapline has stopped, and so the recording ends");
        return Ok(ExitCode::SUCCESS);
    }
    let detail = serde_json::from_str::<serde_json::Value>(&last)
        .ok()
        .and_then(|line| line["end"]["detail"].as_str().map(str::to_owned))
        .unwrap_or(last);
    eprintln!("error: the recording has ended: {detail}");
    Ok(ExitCode::from(FINDING))
}
