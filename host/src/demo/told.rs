//! What happens, in order: told by Tapline's own log, by the stand-in and by the demo itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::clock::Clock;
use super::machines;

/// One line of what happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    /// Since the program started.
    pub(super) at: Duration,
    /// Its name, such as `session_stopped`.
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) tone: Tone,
    /// What follows for the machines on the screen.
    pub(super) session: Option<Session>,
    pub(super) state: Option<State>,
}

/// How it is to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

/// A session began or ended, by Tapline's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Session {
    pub(super) device: String,
    pub(super) id: String,
    /// RFC 3339.
    pub(super) at: String,
    pub(super) is_open: bool,
}

/// A machine's state, by the session detector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) device: String,
    pub(super) name: String,
}

/// Takes what happened; cheap to clone.
#[derive(Clone)]
pub(super) struct Teller {
    clock: Arc<Clock>,
    lines: mpsc::Sender<Told>,
}

/// Lines that may wait for the screen. Nobody is held up by a screen that is slow.
const WAITING: usize = 512;

impl Teller {
    pub(super) fn new(clock: Arc<Clock>) -> (Self, mpsc::Receiver<Told>) {
        let (lines, told) = mpsc::channel(WAITING);
        (Self { clock, lines }, told)
    }

    pub(super) fn tell(&self, kind: &str, tone: Tone, text: impl Into<String>) {
        let (kind, text) = (kind.to_owned(), text.into());
        self.pass(Line { kind, text, tone, session: None, state: None });
    }

    /// Passes on a line of Tapline's log, if it is one for the screen.
    pub(super) fn log_line(&self, line: &str) {
        if let Some(line) = read(line) {
            self.pass(line);
        }
    }

    fn pass(&self, Line { kind, text, tone, session, state }: Line) {
        let told = Told { at: self.clock.shown(), kind, text, tone, session, state };
        // Full only if the screen has stood still for minutes; then its newest lines are old.
        let _ = self.lines.try_send(told);
    }
}

#[derive(PartialEq, Eq, Debug)]
struct Line {
    kind: String,
    text: String,
    tone: Tone,
    session: Option<Session>,
    state: Option<State>,
}

/// Reads a JSON line of Tapline's log; `None` for what the screen does not show.
fn read(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
    let device = text("device_id");
    let machine = machines::by_id(device).map_or(device, |machine| machine.name);
    let event = text("event");
    let mut state = None;
    let (tone, words, session) = match event {
        kind if kind.starts_with("session_") && !text("session_id").is_empty() => {
            let is_open = !matches!(kind, "session_stopped" | "session_timeout");
            let session = Session {
                device: device.to_owned(),
                id: text("session_id").to_owned(),
                at: text("at").to_owned(),
                is_open,
            };
            let words = format!("{machine}: now {}", text("state"));
            (Tone::Good, words, (kind != "session_heartbeat").then_some(session))
        }
        "state_transition" => {
            state = Some(State { device: device.to_owned(), name: text("to").to_owned() });
            let words = format!("{machine}: {} → {}", text("from"), text("to"));
            (Tone::Plain, words, None)
        }
        "dead_letter" => {
            let words = format!(
                "{} {}: {} ({})",
                if machine.is_empty() { text("topic") } else { machine },
                text("code"),
                text("detail"),
                text("topic"),
            );
            (Tone::Bad, words, None)
        }
        "config_applied" => {
            let words = format!(
                "revision {}: {} devices, {} added, {} updated, in {} ms",
                number("revision"),
                number("devices"),
                number("added"),
                number("updated"),
                number("took_ms"),
            );
            (Tone::Plain, words, None)
        }
        "config_rejected" | "config_problem" | "start_failed" => {
            let words = format!("{}{}", text("error"), text("problem"));
            (Tone::Bad, words, None)
        }
        "started" => (Tone::Plain, format!("Tapline {} runs", text("version")), None),
        _ => return None,
    };
    Some(Line { kind: event.to_owned(), text: words, tone, session, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, &str, Tone)>) {
        let read = read(line);
        let seen = read.as_ref().map(|l| (l.kind.as_str(), l.text.as_str(), l.tone));
        assert_eq!(seen, expected, "{line}");
    }

    #[test]
    fn lines_of_the_log_become_what_a_person_reads() {
        check(
            r#"{"event":"session_stopped","device_id":"saw-1","state":"idle","session_id":"u","at":"2026-01-01T00:00:00.000Z"}"#,
            Some(("session_stopped", "Band saw: now idle", Tone::Good)),
        );
        check(
            r#"{"event":"dead_letter","device_id":"saw-1","code":"not-json","detail":"EOF","topic":"a/b"}"#,
            Some(("dead_letter", "Band saw not-json: EOF (a/b)", Tone::Bad)),
        );
        check(
            r#"{"event":"state_transition","device_id":"kiln-1","from":"idle","to":"starting"}"#,
            Some(("state_transition", "Kiln: idle → starting", Tone::Plain)),
        );
        check(r#"{"event":"mqtt_message_received","device_id":"saw-1"}"#, None);
        check("thread 'main' panicked", None);
        check("{}", None);
    }

    #[test]
    fn a_session_is_open_until_it_stops() {
        for (kind, is_open) in [("session_started", true), ("session_timeout", false)] {
            let line =
                format!(r#"{{"event":"{kind}","device_id":"saw-1","session_id":"u","at":"x"}}"#);
            assert_eq!(read(&line).unwrap().session.unwrap().is_open, is_open);
        }
    }
}
