//! Tapline as a process of its own, so that killing it is real: started, asked, pushed to and
//! killed as an operator would, through its environment, its API and its log.
//!
//! Invariant: at most one process runs, and none outlives the demo's end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::tally::Seen;
use super::told::Teller;

/// How long an answer of the API may take; a push compiles nothing, but checks everything.
const ANSWER: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(1);
/// How long Tapline may take until its API is up. Compiling the modules for the first time
/// takes the most of it.
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// What the environment of the demo hands on; the rest would be a site of the user's own.
const HANDED_ON: [&str; 4] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"];

/// How the process is started.
pub(super) struct Options {
    pub(super) exe: PathBuf,
    /// The site directory; also the working directory, so that no `.env` of the user's counts.
    pub(super) site: PathBuf,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) api: SocketAddr,
    pub(super) token: String,
}

/// The process, or the place for it.
pub(super) struct Program {
    options: Options,
    client: reqwest::Client,
    teller: Teller,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Child,
    log: JoinHandle<()>,
}

impl Program {
    pub(super) fn new(options: Options, teller: Teller) -> anyhow::Result<Self> {
        let client = crate::delivery::http_client(None, CONNECT, ANSWER)
            .map_err(anyhow::Error::msg)
            .context("the demo cannot speak HTTP")?;
        Ok(Self { options, client, teller, running: Mutex::new(None) })
    }

    /// The file with its log.
    pub(super) fn log(&self) -> &Path {
        &self.options.log
    }

    /// Starts it and waits until its API answers.
    pub(super) async fn start(&self) -> anyhow::Result<()> {
        let options = &self.options;
        let mut child = Command::new(&options.exe)
            .args(["run", "--site"])
            .arg(&options.site)
            .arg("--data")
            .arg(&options.data)
            .current_dir(&options.site)
            .env_clear()
            .envs(HANDED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&options.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for the demo, which then ends it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{}` does not start", options.exe.display()))?;
        let stderr = child.stderr.take().context("Tapline has no log")?;
        let file = File::options().create(true).append(true).open(&options.log).await;
        let file =
            file.with_context(|| format!("`{}` cannot be written", options.log.display()))?;
        let log = tokio::spawn(follow(stderr, file, self.teller.clone()));
        *self.running.lock().await = Some(Running { child, log });
        let up = async {
            while self.health().await.is_err() {
                if let Some(status) = self.exited().await {
                    let words = self.last_words().await;
                    bail!("Tapline ended by itself ({status}){words}");
                }
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        match tokio::time::timeout(START, up).await {
            Ok(up) => up,
            Err(_) => bail!("Tapline does not answer within {START:?}{}", self.last_words().await),
        }
    }

    /// Ends it as a power cut would, and returns when it is gone. What it had written to its
    /// log until then is told.
    pub(super) async fn kill(&self) -> anyhow::Result<()> {
        let Some(mut running) = self.running.lock().await.take() else { return Ok(()) };
        running.child.kill().await.context("Tapline cannot be killed")?;
        // The log ends with the process.
        let _ = running.log.await;
        Ok(())
    }

    /// How it exited, if it did.
    pub(super) async fn exited(&self) -> Option<String> {
        let mut running = self.running.lock().await;
        let status = running.as_mut()?.child.try_wait().ok()??;
        Some(status.to_string())
    }

    /// What `/health` says.
    pub(super) async fn health(&self) -> anyhow::Result<Seen> {
        let url = format!("http://{}/health", self.options.api);
        let text = self.client.get(url).send().await?.text().await?;
        serde_json::from_str(&text).context("the answer of /health is not what it should be")
    }

    /// Pushes a configuration, as Odoo would.
    pub(super) async fn push(&self, document: &Value) -> anyhow::Result<()> {
        let url = format!("http://{}/config", self.options.api);
        let request = self.client.post(url).bearer_auth(&self.options.token).json(document);
        let answer = request.send().await.context("POST /config is not answered")?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.unwrap_or_default();
            bail!("POST /config answers {status}: {text}");
        }
        Ok(())
    }

    /// The end of the log, for an error message.
    async fn last_words(&self) -> String {
        let text = tokio::fs::read_to_string(&self.options.log).await.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
        format!("; the last lines of `{}`:\n  {last}", self.options.log.display())
    }
}

async fn follow(stderr: ChildStderr, mut file: File, teller: Teller) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        teller.log_line(&line);
        // A full disk takes the file away, not the screen.
        let _ = file.write_all(format!("{line}\n").as_bytes()).await;
    }
    let _ = file.flush().await;
}
