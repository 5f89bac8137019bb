//! The real program, as a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tapline::stand_in::StandIn;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::machine::{Machine, document};
use crate::mosquitto::{Mosquitto, terminate};
use crate::places::{free_port, program, shared, shipped_modules};
use crate::wait::{PATIENCE, eventually};

/// How Tapline is started.
pub struct Setup {
    env: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// Below `data/` and `site/`.
    files: Vec<(String, Vec<u8>)>,
}

/// A running Tapline; it ends when this is dropped, and shows its log if the test fails.
pub struct Tapline {
    setup: Setup,
    dir: Arc<TempDir>,
    port: u16,
    pub(crate) child: Option<Child>,
    /// What the program is started by, where not directly.
    wrapper: Vec<String>,
    http: reqwest::Client,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Setup {
    /// Nothing but what every start here has: modules, a log in JSON, loopback.
    pub fn new() -> Self {
        let fixed = [
            ("HOST", "127.0.0.1".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("LOG_LEVEL", "debug".to_owned()),
            ("TAPLINE_MODULES", shipped_modules().display().to_string()),
        ];
        let env = fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { env, arguments: Vec::new(), files: Vec::new() }
    }

    /// S3's variables for this broker and this Odoo.
    pub fn s3(broker: &Mosquitto, odoo: &StandIn) -> Self {
        Self::new().port(broker.port()).odoo(odoo)
    }

    /// A broker on this port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.env("MQTT_BROKER", "127.0.0.1").env("MQTT_PORT", &port.to_string())
    }

    #[must_use]
    pub fn odoo(self, odoo: &StandIn) -> Self {
        self.env("ODOO_BASE_URL", &odoo.url())
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One more argument of `tapline run`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A file in the data directory before the first start.
    #[must_use]
    pub fn kept(mut self, name: &str, text: &str) -> Self {
        self.files.push((format!("data/{name}"), text.into()));
        self
    }

    /// A file of a site directory, in which Tapline then runs.
    #[must_use]
    pub fn site(self, name: &str, text: &str) -> Self {
        self.site_bytes(name, text.into())
    }

    /// A file of the site that is no text.
    #[must_use]
    pub fn site_bytes(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.files.push((format!("site/{name}"), bytes));
        self.env("TAPLINE_SITE", "site")
    }

    /// Starts it and waits until its API answers.
    pub async fn start(self) -> Tapline {
        let mut tapline = self.prepare();
        tapline.start_again().await;
        tapline
    }

    /// Everything but the start.
    pub fn prepare(self) -> Tapline {
        let dir = tempfile::tempdir().expect("a scratch directory can be made");
        for (name, bytes) in &self.files {
            crate::site::write(dir.path(), name, bytes);
        }
        // Compiling the same modules again for each test would take most of the time.
        let compiled = shared("compiled");
        let data = dir.path().join("data");
        std::fs::create_dir_all(&data).expect("scratch is writable");
        std::os::unix::fs::symlink(compiled, data.join("compiled")).expect("scratch is writable");
        let limit = PATIENCE;
        let http = tapline::delivery::http_client(None, limit, limit)
            .unwrap_or_else(|error| panic!("no HTTP client: {error}"));
        Tapline {
            setup: self,
            dir: Arc::new(dir),
            port: free_port(),
            child: None,
            wrapper: Vec::new(),
            http,
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Tapline {
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The directory that it is started in, with `data/` and, where there is one, `site/`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The API's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The API's base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it by these words from now on, which run what follows them.
    pub fn start_by(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// Changes the environment of the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.setup.env.insert(name.to_owned(), value.to_owned());
    }

    /// The program with this start's environment, in a directory without a `.env`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words: Vec<std::ffi::OsString> = self.wrapper.iter().map(Into::into).collect();
        words.push(program().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(arguments)
            .env_clear()
            .envs(&self.setup.env)
            .env("BRIDGE_PORT", self.port.to_string())
            .env("TAPLINE_DATA", self.data())
            .env("LOG_FILE", self.dir.path().join("log"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs another command of the program to its end.
    pub async fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.expect("the program can be run")
    }

    /// Starts it with the same data and waits until its API answers.
    pub async fn start_again(&mut self) {
        self.spawn();
        let mut child = self.child.take().expect("it was just started");
        eventually("Tapline's API answers", || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("Tapline ended at once, with {status}:\n{}{}", self.stderr(), self.log());
            }
            self.try_health()
        })
        .await;
        self.child = Some(child);
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut arguments = vec!["run"];
        arguments.extend(self.setup.arguments.iter().map(String::as_str));
        let stderr = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("stderr"))
            .expect("scratch is writable");
        let mut command = self.command(&arguments);
        command.stdout(Stdio::null()).stderr(stderr);
        self.child = Some(command.spawn().expect("the program can be run"));
    }

    /// The process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The most memory that the process has held so far, in bytes; where the system tells.
    pub fn memory_peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Ends it without a warning, as a power cut does.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.expect("a child can be killed");
    }

    /// Ends it with SIGTERM.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        terminate(child.id().expect("it runs")).await;
        tokio::time::timeout(PATIENCE, child.wait())
            .await
            .expect("Tapline ends when it is told to")
            .expect("a child can be waited for")
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it was started");
        tokio::time::timeout(PATIENCE, child.wait())
            .await
            .expect("Tapline ends by itself")
            .expect("a child can be waited for")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What it said beside the log.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// The log's lines of one event.
    pub fn logged(&self, event: &str) -> Vec<Value> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == event).collect()
    }

    /// How often it was connected to receive, by its log.
    pub fn connects(&self) -> usize {
        let all = self.logged("mqtt_connected");
        all.iter().filter(|line| !line["session_present"].is_null()).count()
    }

    async fn try_health(&self) -> Result<Value, String> {
        let answer = self.call("GET", "/health", None).send().await?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("{status}: {}", answer.body)),
        }
    }

    /// `GET /health`.
    pub async fn health(&self) -> Value {
        self.try_health().await.unwrap_or_else(|error| panic!("no health: {error}"))
    }

    /// Waits until `/health` says so.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async {
            let health = self.try_health().await?;
            if holds(&health) { Ok(health) } else { Err(health.to_string()) }
        })
        .await
    }

    /// Waits until the broker is connected and has granted `filters`.
    pub async fn subscribed(&self, filters: u64) -> Value {
        self.until(&format!("{filters} filters are subscribed"), |health| {
            let brokers = health["brokers"].as_object();
            let connected =
                brokers.is_some_and(|all| all.values().all(|broker| broker["connected"] == true));
            connected && health["subscriptions"] == filters
        })
        .await
    }

    /// A request to the API, to be sent.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Call {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.url()));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Call(request)
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> Answer {
        let answer = self.call("GET", path, None).send().await;
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `POST /config`, whatever the answer.
    pub async fn try_push(&self, document: &Value) -> Answer {
        let answer = self.call("POST", "/config", Some(document)).send().await;
        answer.unwrap_or_else(|error| panic!("POST /config: {error}"))
    }

    /// `POST /config`, which must be taken up.
    pub async fn push(&self, document: &Value) -> Value {
        let answer = self.try_push(document).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Pushes these machines and waits until their topics are subscribed.
    pub async fn take(&self, machines: &[&Machine]) -> Value {
        let answer = self.push(&document(machines)).await;
        // Its own topic, and the one of its last will.
        self.subscribed(2 * machines.len() as u64).await;
        answer
    }
}

/// A request that is being made.
pub struct Call(reqwest::RequestBuilder);

impl Call {
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    /// # Errors
    /// If nobody answers.
    pub async fn send(self) -> Result<Answer, String> {
        let words = |error: reqwest::Error| format!("{error:?}");
        let answer = self.0.send().await.map_err(words)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(words)?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }
}

impl Drop for Tapline {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(120)..].join("\n");
            eprintln!("---- tapline on {}\n{}{last}", self.port, self.stderr());
        }
    }
}
