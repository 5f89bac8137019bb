//! `tapline support`: what helps to find out what is wrong, in one file that can be sent away.
//!
//! It asks the running Tapline over its API, which shows no secrets; what does not answer is
//! named in the archive. Invariant: payloads only where they are asked for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::backup::{refused, write_file};
use super::remote::{Remote, Target, query};
use crate::backup::{BackupError, open_texts};
use crate::reload::{self, Options};
use crate::telemetry::{clock, words};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The archive to write, a tar file; compressed if its name ends in `.gz` or `.tgz`.
    /// `-`: standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    target: Target,
    /// The site directory, whose files go in without their secrets
    #[arg(long, value_name = "DIR", env = "TAPLINE_SITE")]
    site: Option<PathBuf>,
    /// Take along what devices sent: dead letters with their payloads
    #[arg(long)]
    with_payloads: bool,
}

/// Changes, audit entries and dead letters to take along.
const LAST: &str = "200";

/// What is asked of a running Tapline, by the name of the file that keeps the answer.
const ANSWERS: [(&str, &str); 7] = [
    ("health.json", "/health"),
    ("status.json", "/api/v1/status"),
    ("metrics.txt", "/metrics"),
    ("config.json", "/api/v1/config"),
    ("plan.json", "/api/v1/reload"),
    ("config-log.json", "/api/v1/config/revisions"),
    ("audit.json", "/api/v1/audit"),
];

/// Files of the archive, and what could not be had.
#[derive(Default)]
struct Bundle {
    files: Vec<(String, Vec<u8>)>,
    missing: Vec<Value>,
}

pub(super) fn support(args: &Args) -> anyhow::Result<ExitCode> {
    let bundle = gather(args);
    let done = if args.output.as_os_str() == "-" {
        bundle.write(std::io::stdout().lock())
    } else {
        write_file(&args.output, |out| bundle.write(out))
    };
    if let Err(error) = done {
        return Ok(refused(&error));
    }
    for (name, bytes) in &bundle.files {
        eprintln!("{name}: {}", bytesize::ByteSize(bytes.len() as u64));
    }
    for missing in &bundle.missing {
        let word = |name: &str| missing[name].as_str().unwrap_or_default().to_owned();
        eprintln!("not in it: {} ({})", word("file"), word("why"));
    }
    Ok(ExitCode::SUCCESS)
}

fn gather(args: &Args) -> Bundle {
    let mut bundle = Bundle::default();
    bundle.json("platform.json", &platform());
    match args.target.connect() {
        Ok(remote) => bundle.ask(&remote, args.with_payloads),
        Err(error) => {
            let why = words(&error);
            let all = ANSWERS.iter().map(|(name, _)| *name).chain(["log.txt"]);
            for name in all {
                bundle.lack(name, &why);
            }
        }
    }
    if let Some(site) = &args.site {
        bundle.site(site);
    }
    let about = json!({
        "kind": "tapline-support",
        "version": env!("CARGO_PKG_VERSION"),
        "made_at": clock::now().rfc3339(),
        "with_payloads": args.with_payloads,
        "missing": bundle.missing,
    });
    bundle.json("about.json", &about);
    bundle
}

impl Bundle {
    fn json(&mut self, name: &str, value: &Value) {
        let text = serde_json::to_vec_pretty(value).unwrap_or_default();
        self.files.push((name.to_owned(), text));
    }

    fn lack(&mut self, name: &str, why: &str) {
        self.missing.push(json!({ "file": name, "why": why }));
    }

    fn ask(&mut self, remote: &Remote, with_payloads: bool) {
        for (name, path) in ANSWERS {
            let is_list = name == "config-log.json" || name == "audit.json";
            let path = match is_list {
                true => query(path, &[("limit", Some(LAST.to_owned()))]),
                false => path.to_owned(),
            };
            match remote.bytes(&path) {
                Ok(bytes) => self.files.push((name.to_owned(), readable(bytes, with_payloads))),
                Err(error) => self.lack(name, &words(&error)),
            }
        }
        match remote.get::<Value>("/api/v1/logs") {
            Ok(answer) => {
                let lines = answer["lines"].as_array().into_iter().flatten();
                let lines = lines.filter_map(Value::as_str).map(|line| match with_payloads {
                    true => line.to_owned(),
                    false => log_line(line),
                });
                let lines: Vec<String> = lines.collect();
                self.files.push(("log.txt".to_owned(), (lines.join("\n") + "\n").into_bytes()));
            }
            Err(error) => self.lack("log.txt", &words(&error)),
        }
        if with_payloads {
            self.letters(remote);
        }
    }

    fn letters(&mut self, remote: &Remote) {
        let path = query("/api/v1/dead-letters", &[("limit", Some(LAST.to_owned()))]);
        let list = match remote.get::<Value>(&path) {
            Ok(list) => list,
            Err(error) => return self.lack("dead-letters.json", &words(&error)),
        };
        let letters = list["dead_letters"].as_array().cloned().unwrap_or_default();
        let whole: Vec<Value> = letters
            .into_iter()
            .map(|letter| match letter["id"].as_u64() {
                // One that was discarded meanwhile stays as it was listed.
                Some(id) => remote.get(&format!("/api/v1/dead-letters/{id}")).unwrap_or(letter),
                None => letter,
            })
            .collect();
        self.json("dead-letters.json", &json!(whole));
    }

    /// The files without their secrets, and what is wrong with them.
    fn site(&mut self, site: &Path) {
        match open_texts(site) {
            Ok(files) => {
                self.files.extend(files.into_iter().map(|(n, b)| (format!("site/{n}"), b)))
            }
            Err(error) => self.lack("site", &words(&error)),
        }
        let Ok(scratch) = tempfile::tempdir() else { return };
        let found = reload::check(&Options {
            site: Some(site.to_owned()),
            data: scratch.path().to_owned(),
            env: super::run::environment(),
            config_file: None,
            modules: std::env::var_os("TAPLINE_MODULES").map(PathBuf::from),
        });
        let texts = |problems: &[crate::config::Problem]| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        };
        let check = json!({
            "summary": found.summary,
            "problems": texts(&found.problems),
            "warnings": texts(&found.warnings),
        });
        self.json("check.json", &check);
    }

    fn write(&self, out: impl Write) -> Result<(), BackupError> {
        let mut archive = tar::Builder::new(out);
        let write = || {
            for (name, bytes) in &self.files {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                header.set_mtime(clock::now().0 / 1000);
                archive.append_data(&mut header, format!("tapline-support/{name}"), &**bytes)?;
            }
            archive.into_inner()?.flush()
        };
        write().map_err(BackupError::Write)
    }
}

/// JSON in lines; anything else as it is.
fn readable(bytes: Vec<u8>, with_payloads: bool) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) => {
            if !with_payloads {
                without_quotes(&mut value);
            }
            serde_json::to_vec_pretty(&value).unwrap_or(bytes)
        }
        Err(_) => bytes,
    }
}

/// How a parser's words begin to quote what it could not read; they end with it.
const QUOTE: &str = ", near `";

fn without_quotes(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_quote(text).to_owned(),
        Value::Array(items) => items.iter_mut().for_each(without_quotes),
        Value::Object(fields) => fields.values_mut().for_each(without_quotes),
        _ => {}
    }
}

fn without_quote(text: &str) -> &str {
    text.find(QUOTE).map_or(text, |at| &text[..at])
}

/// A line of the log, as JSON or as text.
fn log_line(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(mut value) => {
            without_quotes(&mut value);
            value.to_string()
        }
        Err(_) => without_quote(line).to_owned(),
    }
}

fn platform() -> Value {
    let line = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .find_map(|line| Some(line.strip_prefix(name)?.trim().trim_matches('"').to_owned()))
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "distribution": line("/etc/os-release", "PRETTY_NAME="),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|t| t.trim().to_owned()),
        "processors": std::thread::available_parallelism().ok().map(usize::from),
        "memory": line("/proc/meminfo", "MemTotal:"),
        "memory_available": line("/proc/meminfo", "MemAvailable:"),
        "container": Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
    })
}
