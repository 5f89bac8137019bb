//! The one function that modules can call: a line for the operator.
//!
//! Invariant: a module cannot flood the log. Lines are limited in rate (by stage) and length, and
//! what was left out is counted.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::bindings::tapline::host::log::{Host as WriteLog, Level};
use super::host::{Host, LogContext};

/// Lines at once, where nothing came for a while: one for each input of a full batch.
const BURST: f64 = 256.0;

/// Lines a second in the long run, of a stage. A hall of machines that change their state
/// stays below.
const RATE: f64 = 50.0;

/// Bytes of one line.
const LENGTH: usize = 2048;

/// The log of one instance.
pub(super) struct Log {
    context: LogContext,
    module: Arc<str>,
    /// The last error line of the call under way: a panic's words.
    last_words: Option<String>,
}

/// How many lines a stage may still write.
#[derive(Debug)]
pub(super) struct Allowance {
    lines: f64,
    refilled: Instant,
    left_out: u64,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { lines: BURST, refilled: Instant::now(), left_out: 0 }
    }

    /// Whether one more line may be written and, if so, how many were left out before it.
    fn take(&mut self) -> Option<u64> {
        let now = Instant::now();
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.lines = (self.lines + passed * RATE).min(BURST);
        if self.lines < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Log {
    pub(super) fn new(context: LogContext, module: Arc<str>) -> Self {
        Self { context, module, last_words: None }
    }

    pub(super) fn begin_call(&mut self) {
        self.last_words = None;
    }

    /// What the module said last before it failed.
    pub(super) fn take_last_words(&mut self) -> Option<String> {
        self.last_words.take()
    }
}

/// A module's line as the log has it. One that begins with a word in `snake_case`, followed
/// by `key=value` pairs, is an event of that name; any other text is a `module_log`.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    event: &'a str,
    device_id: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    message: &'a str,
}

impl<'a> Line<'a> {
    fn of(text: &'a str) -> Self {
        let plain =
            Line { event: "module_log", device_id: None, from: None, to: None, message: text };
        let Some((event, pairs)) = text.split_once(' ') else { return plain };
        let snake = event.contains('_')
            && event.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !snake || !pairs.split(' ').all(|pair| pair.contains('=')) {
            return plain;
        }
        let value = |name: &str| {
            let pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        let (device_id, from, to) = (value("device_id"), value("from"), value("to"));
        Line { event, device_id, from, to, message: pairs }
    }
}

impl WriteLog for Host {
    fn write(&mut self, level: Level, text: String) {
        let log = &mut self.log;
        let text = one_line(text);
        // A poisoned lock only means that a thread ended here; the count is still sound.
        let allowance = || log.context.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left_out) = is_wanted(level).then(|| allowance().take()).flatten() {
            let (pipeline, stage) = (&*log.context.pipeline, &*log.context.stage);
            let module = &*log.module;
            if left_out > 0 {
                tracing::warn!(
                    event = "module_log_suppressed",
                    pipeline,
                    stage,
                    module,
                    lines = left_out,
                    "too many lines from a module"
                );
            }
            let line = Line::of(&text);
            let Line { event, device_id, from, to, message } = line;
            macro_rules! write {
                ($level:ident) => {
                    tracing::$level!(
                        event,
                        pipeline,
                        stage,
                        module,
                        device_id,
                        from,
                        to,
                        "{message}"
                    )
                };
            }
            match level {
                Level::Trace => write!(trace),
                Level::Debug => write!(debug),
                Level::Info => write!(info),
                Level::Warn => write!(warn),
                Level::Error => write!(error),
            }
        }
        if matches!(level, Level::Error) {
            log.last_words = Some(text);
        }
    }
}

/// Whether the log takes lines of this level; those that it does not take cost nothing.
fn is_wanted(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(tracing::Level::INFO),
        Level::Warn => tracing::enabled!(tracing::Level::WARN),
        Level::Error => tracing::enabled!(tracing::Level::ERROR),
    }
}

impl super::bindings::tapline::module::types::Host for Host {}

/// Cuts to length and takes line breaks and other control characters out, so that no
/// line can pass for two.
fn one_line(mut text: String) -> String {
    truncate(&mut text, LENGTH);
    if text.chars().any(char::is_control) {
        text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    text
}

/// Cuts to at most `length` bytes, between two characters.
pub(super) fn truncate(text: &mut String, length: usize) {
    if text.len() > length {
        let end = (0..=length).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_names_an_event_is_logged_under_its_name() {
        let line = Line::of("state_transition device_id=cnc from=idle to=starting");
        assert_eq!(line.event, "state_transition");
        assert_eq!(
            (line.device_id, line.from, line.to),
            (Some("cnc"), Some("idle"), Some("starting"))
        );
        for text in ["no unit in `x`", "state_transition happened", "word", "a=b c=d"] {
            assert_eq!(Line::of(text).event, "module_log", "{text}");
        }
    }
}
