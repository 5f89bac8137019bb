//! `tapline run`: until a signal says stop.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::FINDING;
use crate::api::Server;
use crate::config::site::Log;
use crate::config::{Around, Look, Severity, Texts, check, render};
use crate::reload::{Options, StartError, Tapline};
use crate::telemetry::{clock, logs};

/// How long requests under way have when Tapline stops.
const API_STOP: Duration = Duration::from_secs(3);
/// How long stopping takes at most, whatever hangs: Docker kills after ten seconds.
const STOP: Duration = Duration::from_secs(9);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The site directory; without it, what ships runs with the broker and the Odoo that the
    /// environment names (MQTT_BROKER, ODOO_BASE_URL, …)
    #[arg(long, value_name = "DIR", env = "TAPLINE_SITE")]
    site: Option<PathBuf>,
    /// Where the database and the pushed configuration are kept
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA", default_value = "tapline-data")]
    data: PathBuf,
    /// A document of POST /config (JSON, YAML or TOML), used until one is pushed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A directory with modules (`*.wasm`) beside the site's own and those that ship
    #[arg(long, value_name = "DIR", env = "TAPLINE_MODULES")]
    modules: Option<PathBuf>,
}

/// The process environment, over a `.env` file in the working directory.
pub(super) fn environment() -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = match dotenvy::dotenv_iter() {
        Ok(lines) => lines.filter_map(Result::ok).collect(),
        // No file is the usual case.
        Err(_) => BTreeMap::new(),
    };
    all.extend(
        std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    );
    all
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = Options {
        site: args.site.clone(),
        data: args.data.clone(),
        env: environment(),
        config_file: args.config.clone(),
        modules: args.modules.clone(),
    };
    logs::start(&log_of(&options))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the async runtime does not start")?;
    let ended = runtime.block_on(serve(options));
    // What hangs after its time was up must not keep the process.
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options) -> anyhow::Result<ExitCode> {
    // A signal during the start counts: it stops what has just started, cleanly.
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let tapline = match Tapline::start(options).await {
        Ok(tapline) => tapline,
        Err(StartError::Config(problems)) => {
            let look = if std::io::stderr().is_terminal() { Look::Colour } else { Look::Plain };
            eprint!("{}", render(&problems, Severity::Error, look));
            tracing::error!(
                event = "start_failed",
                problems = problems.len(),
                "the configuration is wrong"
            );
            return Ok(ExitCode::from(FINDING));
        }
        Err(error) => return Err(error).context("Tapline does not start"),
    };
    let server = match Server::start(&tapline.config().site.http, tapline.clone()).await {
        Ok(server) => server,
        Err(error) => {
            tapline.stop(Instant::now() + STOP).await;
            return Err(error).context("Tapline does not start");
        }
    };
    let (why, code) = tokio::select! {
        _ = terminate.recv() => ("SIGTERM", ExitCode::SUCCESS),
        _ = interrupt.recv() => ("SIGINT", ExitCode::SUCCESS),
        () = tapline.ended() => ("the store has ended", ExitCode::FAILURE),
    };
    tracing::info!(event = "stopping", why, "stopping");
    let by = Instant::now() + STOP;
    // Intake ends at once; what is asked meanwhile finds everything in its place.
    tokio::join!(server.stop(API_STOP), tapline.settle(by));
    tapline.stop(by).await;
    Ok(code)
}

/// The log is wanted before anything is checked, so its settings are read ahead; what is
/// wrong with them is said by the check that follows.
fn log_of(options: &Options) -> Log {
    let texts = options.site.as_deref().map(Texts::read).unwrap_or_default();
    let around =
        Around { env: &options.env, pushed: None, generated_name: "tapline", now: clock::now() };
    match check(&texts, around).site {
        Ok(site) => site.log.clone(),
        Err(_) => Log {
            level: "info".to_owned(),
            format: crate::config::site::LogFormat::Text,
            file: None,
        },
    }
}
