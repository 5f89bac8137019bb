//! `tapline explain`: why a topic reaches a sink, or at which rule it ends.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::json;

use super::FINDING;
use super::remote::{Target, finish, say};
use crate::config::{Look, Severity, render};
use crate::pipeline::{Explanation, Question};
use crate::reload::{self, Options};
use crate::telemetry::clock;

/// A message is not larger.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The topic of a message
    topic: String,
    /// Its payload, which is then really run through the stages; `-` is stdin
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Only this pipeline
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// As it comes from this broker
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
    /// As a message that the broker had kept
    #[arg(long)]
    retained: bool,
    /// Ask these files instead of a running Tapline
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    site: Option<PathBuf>,
    /// With --site: a document of POST /config
    #[arg(long, value_name = "FILE", requires = "site")]
    config: Option<PathBuf>,
    /// With --site: a directory with modules beside the site's own and those that ship
    #[arg(long, value_name = "DIR", env = "TAPLINE_MODULES")]
    modules: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn explain(args: &Args) -> anyhow::Result<ExitCode> {
    let payload = args.payload.as_deref().map(read).transpose()?;
    let explanation = match &args.site {
        Some(site) => match offline(args, site, payload)? {
            Some(explanation) => explanation,
            None => return Ok(ExitCode::from(FINDING)),
        },
        None => {
            let question = json!({
                "topic": args.topic,
                "payload_base64": payload.map(|payload| BASE64.encode(payload)),
                "pipeline": args.pipeline,
                "broker": args.broker,
                "retained": args.retained,
            });
            let asked = args.target.connect();
            match asked.and_then(|remote| remote.post("/api/v1/explain", &question)) {
                Ok(explanation) => explanation,
                Err(error) => return finish(Err(error)),
            }
        }
    };
    let fine: Explanation = explanation;
    let text = if args.json { json!(fine).to_string() } else { fine.to_string() };
    let _reader_gone = say(text.trim_end());
    Ok(if fine.is_fine() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut payload = Vec::new();
    let place = || format!("the payload cannot be read from `{}`", file.display());
    if file == Path::new("-") {
        std::io::stdin().take(LARGEST + 1).read_to_end(&mut payload).with_context(place)?;
    } else {
        let file = std::fs::File::open(file).with_context(place)?;
        file.take(LARGEST + 1).read_to_end(&mut payload).with_context(place)?;
    }
    anyhow::ensure!(payload.len() as u64 <= LARGEST, "the payload is larger than {LARGEST} bytes");
    Ok(payload)
}

/// `None`: the files are wrong, and it is said how.
fn offline(
    args: &Args,
    site: &Path,
    payload: Option<Vec<u8>>,
) -> anyhow::Result<Option<Explanation>> {
    anyhow::ensure!(site.is_dir(), "`{}` is no directory", site.display());
    let scratch = tempfile::tempdir()?;
    let options = Options {
        site: Some(site.to_owned()),
        data: scratch.path().to_owned(),
        env: super::run::environment(),
        config_file: args.config.clone(),
        modules: args.modules.clone(),
    };
    let question = Question {
        topic: args.topic.as_str().into(),
        payload: payload.map(Bytes::from),
        broker: args.broker.as_deref().map(Into::into),
        pipeline: args.pipeline.as_deref().map(Into::into),
        retained: args.retained,
        received_at: clock::now(),
    };
    match reload::explain(&options, &question) {
        Ok(Ok(explanation)) => Ok(Some(explanation)),
        Ok(Err(why)) => anyhow::bail!(why),
        Err(problems) => {
            eprint!("{}", render(&problems, Severity::Error, Look::Plain));
            Ok(None)
        }
    }
}
