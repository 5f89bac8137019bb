//! `tapline tap`: what passes through a pipeline, while it passes.

use std::process::ExitCode;
use std::time::Duration;

use super::remote::{Target, finish, query, say};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline
    pipeline: String,
    /// Only what this stage emits or refuses
    stage: Option<String>,
    /// Only what concerns this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only this kind; messages come only when they are asked for
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only what follows from messages of these topics
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// End after so many lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// End after this time, `10s` say
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Message,
    Reading,
    Event,
    Publication,
    Rejection,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Reading => "reading",
            Self::Event => "event",
            Self::Publication => "publication",
            Self::Rejection => "rejection",
        }
    }
}

pub(super) fn tap(args: &Args) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/pipelines/{}/tap", super::remote::segment(&args.pipeline));
    let path = query(
        &path,
        &[
            ("stage", args.stage.clone()),
            ("device", args.device.clone()),
            ("kind", args.kind.map(|kind| kind.name().to_owned())),
            ("topic", args.topic.clone()),
            ("limit", args.limit.map(|limit| limit.to_string())),
            ("for", args.time.map(|time| time.as_secs_f64().to_string())),
        ],
    );
    let lines = args.target.connect().and_then(|remote| remote.lines(&path, say));
    finish(lines.map(|()| ExitCode::SUCCESS))
}
