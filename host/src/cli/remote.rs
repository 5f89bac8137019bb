//! The running Tapline that a command speaks to: over the socket in its data directory, or by
//! an address.

use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{NOT_REACHABLE, REFUSED};
use crate::api::SOCKET;

/// Which Tapline is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// The data directory of the running Tapline; its socket lies there
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA", default_value = "tapline-data")]
    pub(super) data: PathBuf,
    /// Ask over the network instead, `http://host:8080` say
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The API's token, with --url
    #[arg(long, value_name = "TOKEN", env = "BRIDGE_API_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Trust only this authority, with an https --url
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
}

/// How long an answer may take. A change that switches brokers waits for both.
const ANSWER: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(5);
/// A line of a stream: a message with its payload, or a key's whole state.
const LINE: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error("{place} does not answer: {why}")]
    NotReachable { place: String, why: String },
    #[error("{message}")]
    Refused { status: u16, message: String, problems: Vec<Value> },
    #[error("{place} sent what is no answer: {why}")]
    Garbled { place: String, why: String },
    #[error("output cannot be written")]
    Output(#[source] std::io::Error),
}

/// A connection to a running Tapline.
pub(super) struct Remote {
    runtime: Runtime,
    client: Client,
    base: String,
    place: String,
    token: Option<String>,
}

impl Target {
    /// Gets ready to ask; nothing is sent yet.
    ///
    /// # Errors
    /// If there is no socket, or the authority cannot be read.
    pub(super) fn connect(&self) -> Result<Remote, RemoteError> {
        let place = match &self.url {
            Some(url) => format!("`{url}`"),
            None => format!("the socket `{}`", self.data.join(SOCKET).display()),
        };
        let failed = |why: String| RemoteError::NotReachable { place: place.clone(), why };
        let client = match &self.url {
            Some(_) => crate::delivery::http_client(self.ca.as_deref(), CONNECT, NO_LIMIT),
            None => {
                let socket = self.data.join(SOCKET);
                if !socket.exists() {
                    return Err(failed("it is not there".to_owned()));
                }
                crate::delivery::socket_client(&socket, NO_LIMIT)
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Remote {
            runtime: runtime.map_err(|error| failed(error.to_string()))?,
            client: client.map_err(failed)?,
            base: match &self.url {
                Some(url) => url.trim_end_matches('/').to_owned(),
                None => "http://tapline".to_owned(),
            },
            place,
            token: self.token.clone(),
        })
    }
}

/// A stream has no end; other requests get their limit one by one.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Remote {
    /// Reads `path`, with its query.
    ///
    /// # Errors
    /// If nobody answers, the answer is a refusal, or it has another shape.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RemoteError> {
        self.ask(self.client.get(self.address(path)))
    }

    /// Reads `path` as it is.
    ///
    /// # Errors
    /// If nobody answers, or the answer is a refusal.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, RemoteError> {
        self.runtime.block_on(async {
            let request = self.client.get(self.address(path));
            let sent = self.authorized(request).timeout(ANSWER).send().await;
            let response = self.accepted(sent).await?;
            let bytes = response.bytes().await.map_err(|error| self.not_reachable(error))?;
            Ok(bytes.to_vec())
        })
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, RemoteError> {
        self.ask(self.client.post(self.address(path)).json(body))
    }

    /// Reads a stream line by line, until it ends or `each` has enough.
    ///
    /// # Errors
    /// As [`Remote::get`], and if the stream breaks off.
    pub(super) fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), RemoteError> {
        self.runtime.block_on(async {
            let request = self.authorized(self.client.get(self.address(path)));
            let mut response = self.accepted(request.send().await).await?;
            let mut rest = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| self.not_reachable(e))? {
                rest.extend_from_slice(&chunk);
                let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                    if rest.len() > LINE {
                        return Err(self.garbled(format!("a line of more than {LINE} bytes")));
                    }
                    continue;
                };
                for line in rest[..end].lines() {
                    let line = line.map_err(|error| self.garbled(error.to_string()))?;
                    // The server's sign of life.
                    if !line.is_empty() && each(&line).is_break() {
                        return Ok(());
                    }
                }
                rest.drain(..=end);
            }
            Ok(())
        })
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, RemoteError> {
        self.runtime.block_on(async {
            let sent = self.authorized(request).timeout(ANSWER).send().await;
            let response = self.accepted(sent).await?;
            let bytes = response.bytes().await.map_err(|error| self.not_reachable(error))?;
            serde_json::from_slice(&bytes).map_err(|error| self.garbled(error.to_string()))
        })
    }

    async fn accepted(&self, response: reqwest::Result<Response>) -> Result<Response, RemoteError> {
        let response = response.map_err(|error| self.not_reachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let message = body["message"].as_str().map_or_else(
            || format!("{} answered {status}", self.place),
            |message| message.to_owned(),
        );
        if status == StatusCode::BAD_GATEWAY || status == StatusCode::GATEWAY_TIMEOUT {
            return Err(RemoteError::NotReachable { place: self.place.clone(), why: message });
        }
        let problems = body["errors"].as_array().cloned().unwrap_or_default();
        Err(RemoteError::Refused { status: status.as_u16(), message, problems })
    }

    fn not_reachable(&self, error: reqwest::Error) -> RemoteError {
        let why = crate::telemetry::words(&error.without_url());
        RemoteError::NotReachable { place: self.place.clone(), why }
    }

    fn garbled(&self, why: String) -> RemoteError {
        RemoteError::Garbled { place: self.place.clone(), why }
    }
}

/// A path with those of the parameters that are given.
pub(super) fn query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    // A form writes a blank as `+`, which a path takes as it stands.
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Prints a line of results on stdout. A reader that has gone ends the command quietly.
pub(super) fn say(line: &str) -> ControlFlow<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// Ends a command: its own exit code, or what kept it from an answer, said once.
///
/// # Errors
/// Those that are not about the other side.
pub(super) fn finish(result: Result<ExitCode, RemoteError>) -> anyhow::Result<ExitCode> {
    let error = match result {
        Ok(code) => return Ok(code),
        // `tapline … | head` has seen enough.
        Err(RemoteError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => error,
    };
    let (help, code) = match &error {
        RemoteError::NotReachable { .. } => (
            Some(
                "is `tapline run` up? name its data directory with --data, or its address with --url",
            ),
            NOT_REACHABLE,
        ),
        RemoteError::Refused { status: 401, .. } => {
            (Some("pass the token with --token or BRIDGE_API_TOKEN"), REFUSED)
        }
        RemoteError::Refused { .. } => (None, REFUSED),
        RemoteError::Garbled { .. } => {
            (Some("is it the same version? `tapline --version` tells this one's"), NOT_REACHABLE)
        }
        RemoteError::Output(_) => return Err(error.into()),
    };
    let mut text = format!("error: {error}\n");
    if let RemoteError::Refused { problems, .. } = &error {
        for problem in problems {
            let word = |name: &str| problem[name].as_str().unwrap_or_default();
            let _always =
                writeln!(text, "  {}: {}; {}", word("path"), word("problem"), word("remedy"));
        }
    }
    if let Some(help) = help {
        let _always = writeln!(text, "help: {help}");
    }
    eprint!("{text}");
    Ok(ExitCode::from(code))
}
