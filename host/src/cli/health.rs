//! `tapline health`: asks `/health`, so that an image needs no curl.

use std::process::ExitCode;
use std::time::Duration;

use super::{FINDING, NOT_REACHABLE};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the API is; the port is BRIDGE_PORT or PORT where one is set
    #[arg(long, default_value_t = default_url())]
    url: String,
    /// Trust only this authority for an API served over HTTPS
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// Print nothing, only set the exit code
    #[arg(long, short)]
    quiet: bool,
}

fn default_url() -> String {
    // Compose files pass empty variables; those count as unset, as everywhere.
    let port = ["BRIDGE_PORT", "PORT"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|port| !port.is_empty()));
    format!("http://127.0.0.1:{}", port.as_deref().unwrap_or("8080"))
}

pub(super) fn health(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = format!("{}/health", args.url.trim_end_matches('/'));
    let client = crate::delivery::http_client(
        args.ca.as_deref(),
        Duration::from_secs(2),
        Duration::from_secs(5),
    )
    .map_err(anyhow::Error::msg)?;
    let answer = runtime.block_on(async {
        let answer = client.get(&url).send().await?;
        let fine = answer.status().is_success();
        Ok::<_, reqwest::Error>((fine, answer.text().await?))
    });
    match answer {
        Ok((fine, text)) => {
            if !args.quiet {
                println!("{text}");
            }
            Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
        }
        Err(error) => {
            eprintln!("error: `{url}` does not answer: {}", error.without_url());
            eprintln!("help: is `tapline run` up? name another place with --url");
            Ok(ExitCode::from(NOT_REACHABLE))
        }
    }
}
