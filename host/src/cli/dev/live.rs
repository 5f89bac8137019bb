//! What live messages become, in lines for a person.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::remote::{Target, query, say, segment};

/// Messages a second that are shown: nobody reads more.
const RATE: u32 = 20;
const AGAIN: Duration = Duration::from_secs(2);
/// Letters of a payload that are shown.
const SHOWN: usize = 120;

/// The stages that are shown, and since when a first message is awaited.
pub(super) struct Live {
    module: String,
    topic: Option<String>,
    shown: Mutex<BTreeSet<(String, String)>>,
    since: Mutex<Option<Instant>>,
}

impl Live {
    pub(super) fn new(module: String, topic: Option<String>) -> Self {
        Self { module, topic, shown: Mutex::default(), since: Mutex::default() }
    }

    /// The next message is the first since this save.
    pub(super) fn expect_since(&self, saved: Instant) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
    }

    /// Shows what a stage makes of messages, on a thread that ends with the command.
    pub(super) fn show(self: &Arc<Self>, pipeline: &str, stage: &str, target: &Target) {
        let key = (pipeline.to_owned(), stage.to_owned());
        if !self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return;
        }
        eprintln!("dev: showing what `{stage}` of `{pipeline}` makes of messages");
        let path = query(
            &format!("/api/v1/pipelines/{}/tap", segment(pipeline)),
            &[
                ("stage", Some(stage.to_owned())),
                ("messages", Some("true".to_owned())),
                ("topic", self.topic.clone()),
            ],
        );
        let (live, target) = (self.clone(), target.clone());
        let watch = move || {
            let mut last = String::new();
            loop {
                let mut lines = Lines::default();
                let read = target
                    .connect()
                    .and_then(|remote| remote.lines(&path, |line| live.line(&mut lines, line)));
                // Said once, not every time that it is tried.
                let why = read.err().map_or_else(|| "it ended".to_owned(), |e| e.to_string());
                if why != last {
                    eprintln!("dev: live messages stop: {why}; trying again");
                    last = why;
                }
                thread::sleep(AGAIN);
            }
        };
        thread::spawn(watch);
    }

    fn line(&self, lines: &mut Lines, line: &str) -> ControlFlow<()> {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            return ControlFlow::Continue(());
        };
        if let Some(missed) = line["missed"].as_u64() {
            return say(&format!("… {missed} more that came too quickly"));
        }
        if line["item"] != "message" {
            if !lines.hidden {
                say(&format!("  {}", told(&line)))?;
                self.first();
            }
            return ControlFlow::Continue(());
        }
        let left = lines.next();
        if let Some(left) = left {
            say(&format!("… {left} messages more, at most {RATE} a second are shown"))?;
        }
        if lines.hidden {
            return ControlFlow::Continue(());
        }
        let topic = line["topic"].as_str().unwrap_or_default();
        let payload = line["payload"].as_str().or(line["payload_base64"].as_str());
        say(&format!("{topic}  {}", short(payload.unwrap_or_default())))
    }

    /// Says how long the first result of what was saved took.
    fn first(&self) {
        let saved = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(saved) = saved {
            let seconds = saved.elapsed().as_secs_f64();
            eprintln!("dev: first live result of {} {seconds:.1} s after the save", self.module);
        }
    }
}

/// How many messages were shown in the present second.
#[derive(Default)]
struct Lines {
    second: Option<Instant>,
    shown: u32,
    left_out: u64,
    hidden: bool,
}

impl Lines {
    /// Counts a message; how many were left out where a new second begins.
    fn next(&mut self) -> Option<u64> {
        let mut left = None;
        if self.second.is_none_or(|began| began.elapsed() >= Duration::from_secs(1)) {
            let out = std::mem::take(&mut self.left_out);
            left = (out > 0).then_some(out);
            (self.second, self.shown) = (Some(Instant::now()), 0);
        }
        self.hidden = self.shown >= RATE;
        if self.hidden {
            self.left_out += 1;
        } else {
            self.shown += 1;
        }
        left
    }
}

/// One thing that a stage made of a message.
fn told(line: &Value) -> String {
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let pairs = |value: &Value| match value {
        Value::Object(all) => {
            all.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>()
        }
        _ => String::new(),
    };
    let named = |what: &str, name: &str| match name {
        "" => String::new(),
        name => format!(" {what} {name}"),
    };
    let whose = format!("{}{}", named("of", text("device")), named("channel", text("channel")));
    match text("item") {
        "reading" => format!("→ reading{whose}:{}", pairs(&line["measurements"])),
        "event" => format!("→ event {}{whose}:{}", text("kind"), pairs(&line["data"])),
        "publication" => format!("→ publication on {}: {}", text("topic"), short(text("payload"))),
        "rejection" => format!("✗ refused, {}: {}", text("code"), text("detail")),
        _ => format!("→ {line}"),
    }
}

fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readings_events_and_refusals_read_as_lines() {
        let check = |line: Value, expected: &str| assert_eq!(told(&line), expected);
        check(
            json!({"item": "reading", "stage": "s", "device": "saw", "channel": "",
                   "measurements": {"power_w": 12.5}}),
            "→ reading of saw: power_w=12.5",
        );
        check(
            json!({"item": "event", "stage": "s", "kind": "overload", "channel": "pm1:0",
                   "data": {"for_ms": 5}}),
            "→ event overload channel pm1:0: for_ms=5",
        );
        check(
            json!({"item": "rejection", "stage": "s", "code": "not-json", "detail": "EOF"}),
            "✗ refused, not-json: EOF",
        );
    }
}
