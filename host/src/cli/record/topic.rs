//! `tapline record --topic`: writes down what a broker sends, beside whatever runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use crate::broker::{Clock, Heard, ListenError, Listener};
use crate::cli::{FINDING, NOT_REACHABLE, REFUSED};
use crate::config::site::Broker;
use crate::config::topic::Pattern;
use crate::config::{Around, Look, Problem, Severity, Texts, check, parse_duration, render};
use crate::replay::{Looked, Redaction, Redactor, write_captured, write_deaf};
use crate::telemetry::clock;

#[derive(Debug, clap::Args)]
#[group(id = "of_a_broker")]
pub(super) struct Args {
    /// Write down what the broker sends on this topic filter; may come more than once
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    topic: Vec<String>,
    /// For so long, `10m` say; default: until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", requires = "topic", value_parser = length)]
    length: Option<Duration>,
    /// The broker: its name in the site's tapline.toml, or `mqtt://host:1883`; default: the
    /// site's only one
    #[arg(long, value_name = "NAME|URL", requires = "topic")]
    broker: Option<String>,
    /// The site directory, whose tapline.toml knows the brokers
    #[arg(long, value_name = "DIR", env = "TAPLINE_SITE")]
    site: Option<PathBuf>,
    /// Take these out: keys of JSON payloads (`ssid`), JSON pointers (`/wifi/ssid`), levels of
    /// the topic (`topic:1`)
    #[arg(long, value_name = "WHAT", requires = "topic", value_delimiter = ',')]
    redact: Vec<Redaction>,
    /// The same key gives the same pseudonyms in every capture; default: a new one each time
    #[arg(
        long,
        value_name = "TEXT",
        requires = "redact",
        env = "TAPLINE_REDACT_KEY",
        hide_env_values = true
    )]
    redact_key: Option<String>,
    /// Stop when the capture is as large as this
    #[arg(long, value_name = "SIZE", requires = "topic", default_value = "1 GiB",
          value_parser = size)]
    max_size: bytesize::ByteSize,
}

fn size(text: &str) -> Result<bytesize::ByteSize, &'static str> {
    text.parse().map_err(|_| "write it as `64 MiB` or `1 GiB`")
}

fn filter(text: &str) -> Result<String, String> {
    if text.starts_with("$share/") {
        let why = "a shared subscription takes messages from those who share it: leave out \
                   `$share/GROUP/`";
        return Err(why.to_owned());
    }
    match Pattern::parse(text) {
        Ok(pattern) => Ok(pattern.filter()),
        Err(error) => Err(format!("{error}: {}", error.remedy())),
    }
}

fn length(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "write it as `10m` or `1h 30m`".to_owned())
}

/// Writes down what comes until it is enough.
pub(super) fn capture(args: &Args, output: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (broker, several) = match broker(args) {
        Ok(found) => found,
        Err(problems) => {
            let look = if io::stderr().is_terminal() { Look::Colour } else { Look::Plain };
            eprint!("{}", render(&problems, Severity::Error, look));
            return Ok(ExitCode::from(FINDING));
        }
    };
    let key = args.redact_key.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the async runtime does not start")?;
    let result = runtime.block_on(async {
        // Of its own, and a new one each time: the same would end the other's connection.
        let client_id =
            format!("tapline-record-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let clock: Clock = Arc::new(clock::now);
        let listener = Listener::start(broker.clone(), client_id, args.topic.clone(), clock).await;
        let mut listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                let code = match error {
                    ListenError::Refused { .. } => REFUSED,
                    _ => NOT_REACHABLE,
                };
                eprintln!("error: the broker cannot be heard: {error}");
                eprintln!(
                    "help: name it with --broker mqtt://HOST:1883, or its site with --site DIR"
                );
                return Ok(ExitCode::from(code));
            }
        };
        // Only now, so that a broker that is not there leaves the last capture as it is.
        let file: Box<dyn Write> = match output {
            Some(path) => Box::new(
                File::create(path)
                    .with_context(|| format!("`{}` cannot be written", path.display()))?,
            ),
            None => Box::new(io::stdout().lock()),
        };
        let capture = Capture {
            out: file,
            redactor: Redactor::new(args.redact.clone(), &key),
            several,
            name: broker.name.clone(),
            limit: args.max_size.0,
            line: Vec::new(),
            tally: Tally::default(),
        };
        capture.run(&mut listener, args.length).await
    });
    runtime.shutdown_background();
    result
}

/// The broker that is meant, and whether the site has several.
fn broker(args: &Args) -> Result<(Arc<Broker>, bool), Vec<Problem>> {
    let mut texts = args.site.as_deref().map(Texts::read).unwrap_or_default();
    let url = args.broker.as_deref().filter(|broker| broker.contains("://"));
    if let Some(url) = url {
        // The URL is read as in a file, user and password come from the environment as ever.
        let text = format!("[broker.main]\nurl = {}\n", serde_json::Value::from(url));
        texts = Texts { site: Some(text.into()), ..Texts::default() };
    }
    let env: BTreeMap<String, String> = crate::cli::run::environment();
    let around = Around { env: &env, pushed: None, generated_name: "tapline", now: clock::now() };
    let site = match check(&texts, around).site {
        Ok(site) => site,
        Err(problems) if url.is_none() => return Err(problems),
        Err(problems) => {
            let what: Vec<_> = problems.iter().map(|problem| problem.what.clone()).collect();
            let remedy = "write mqtt://host:1883, mqtts://host:8883, ws://… or wss://…";
            return Err(vec![Problem::of("--broker", what.join("; "), remedy)]);
        }
    };
    let brokers = &site.brokers;
    let names = || brokers.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let problem = |what: String, remedy: String| vec![Problem::of("--broker", what, remedy)];
    match args.broker.as_deref().filter(|_| url.is_none()) {
        Some(name) => match brokers.get(name) {
            Some(broker) => Ok((broker.clone(), brokers.len() > 1)),
            None => Err(problem(
                format!("there is no broker `{name}`"),
                format!("name one of {}, or give its URL", names()),
            )),
        },
        None => match brokers.values().collect::<Vec<_>>()[..] {
            [only] => Ok((only.clone(), false)),
            _ => Err(problem(
                "the site has several brokers".to_owned(),
                format!("name one of {}", names()),
            )),
        },
    }
}

/// A capture that is being written.
struct Capture {
    out: Box<dyn Write>,
    redactor: Redactor,
    several: bool,
    name: String,
    limit: u64,
    line: Vec<u8>,
    tally: Tally,
}

/// What was written so far.
#[derive(Default)]
struct Tally {
    messages: u64,
    bytes: u64,
    /// Payloads in which no key could be looked for.
    opaque: u64,
    gaps: u64,
}

/// Why a capture ends.
enum End {
    Wished,
    Full,
    ReaderGone,
}

impl Capture {
    async fn run(
        mut self,
        listener: &mut Listener,
        length: Option<Duration>,
    ) -> anyhow::Result<ExitCode> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let begun = Instant::now();
        // Where nothing is said, a time that never comes.
        let until = begun + length.unwrap_or(Duration::from_secs(100 * 365 * 86_400));
        let bar = bar(length);
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let end = loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => break End::Wished,
                _ = interrupt.recv() => break End::Wished,
                () = tokio::time::sleep_until(until) => break End::Wished,
                _ = ticks.tick() => {
                    bar.set_position(begun.elapsed().as_secs());
                    bar.set_message(self.tally.words());
                    // Whoever follows the file sees what came.
                    self.out.flush().context("the capture cannot be written")?;
                }
                heard = listener.next() => match heard {
                    Some(heard) => match self.take(heard, &bar) {
                        Ok(None) => {}
                        Ok(Some(end)) => break end,
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            break End::ReaderGone;
                        }
                        Err(error) => return Err(error).context("the capture cannot be written"),
                    },
                    None => anyhow::bail!("the connection to the broker broke down"),
                },
            }
        };
        bar.finish_and_clear();
        if !matches!(end, End::ReaderGone) {
            self.out.flush().context("the capture cannot be written")?;
        }
        self.sum_up();
        if matches!(end, End::Full) {
            let limit = HumanBytes(self.limit);
            eprintln!("error: the capture is full at {limit}\nhelp: allow more with --max-size");
            return Ok(ExitCode::from(FINDING));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Writes down one thing, always a whole line.
    fn take(&mut self, heard: Heard, bar: &ProgressBar) -> io::Result<Option<End>> {
        self.line.clear();
        match heard {
            Heard::Message(mut message) => {
                if self.redactor.apply(&mut message) == Looked::NotJson {
                    self.tally.opaque += 1;
                }
                write_captured(&mut self.line, &message, self.several);
                if self.tally.bytes + self.line.len() as u64 > self.limit {
                    return Ok(Some(End::Full));
                }
                self.tally.messages += 1;
            }
            Heard::Lost(why) => {
                bar.suspend(|| eprintln!("warning: the broker is not heard: {why}"));
                return Ok(None);
            }
            Heard::Back { from, until } => {
                bar.suspend(|| eprintln!("note: the broker is heard again"));
                let name = self.several.then_some(&*self.name);
                write_deaf(&mut self.line, name, from, until);
                self.tally.gaps += 1;
            }
        }
        self.tally.bytes += self.line.len() as u64;
        self.out.write_all(&self.line)?;
        Ok(None)
    }

    fn sum_up(&self) {
        let Tally { messages, opaque, gaps, .. } = self.tally;
        if gaps > 0 {
            eprintln!("note: the broker was not heard {gaps} time(s); the capture says when");
        }
        if opaque > 0 {
            eprintln!(
                "warning: {opaque} of {messages} payloads are no JSON, and no key was looked for in \
                 them: read them before you share the capture"
            );
        }
        if messages > 0 && !self.redactor.is_idle() {
            eprintln!("note: read the capture before you share it");
        }
        eprintln!("{}", self.tally.words());
    }
}

impl Tally {
    fn words(&self) -> String {
        format!("{} messages, {}", self.messages, HumanBytes(self.bytes))
    }
}

/// How far it is, where somebody looks at it.
fn bar(length: Option<Duration>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match length {
        Some(length) => (ProgressBar::new(length.as_secs().max(1)), "{bar:30} {eta} left  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}  Ctrl-C ends it"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
