//! The one function that modules can call: a line for the operator.
//!
//! Invariant: a module cannot flood the log. Lines are limited in rate and length, and
//! what was left out is counted.

use std::sync::Arc;
use std::time::Instant;

use super::bindings::tapline::host::log::{Host as WriteLog, Level};
use super::host::{Host, LogContext};

/// Lines at once, where nothing came for a while.
const BURST: f64 = 20.0;

/// Lines a second in the long run.
const RATE: f64 = 5.0;

/// Bytes of one line.
const LENGTH: usize = 2048;

/// The log of one instance.
pub(super) struct Log {
    context: LogContext,
    module: Arc<str>,
    allowance: f64,
    refilled: Instant,
    left_out: u64,
    /// The last error line of the call under way: a panic's words.
    last_words: Option<String>,
}

impl Log {
    pub(super) fn new(context: LogContext, module: Arc<str>) -> Self {
        Self {
            context,
            module,
            allowance: BURST,
            refilled: Instant::now(),
            left_out: 0,
            last_words: None,
        }
    }

    pub(super) fn begin_call(&mut self) {
        self.last_words = None;
    }

    /// What the module said last before it failed.
    pub(super) fn take_last_words(&mut self) -> Option<String> {
        self.last_words.take()
    }

    fn may_write(&mut self) -> bool {
        let now = Instant::now();
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.allowance = (self.allowance + passed * RATE).min(BURST);
        if self.allowance < 1.0 {
            self.left_out += 1;
            return false;
        }
        self.allowance -= 1.0;
        true
    }
}

impl WriteLog for Host {
    fn write(&mut self, level: Level, text: String) {
        let log = &mut self.log;
        let text = one_line(text);
        let may_write = log.may_write();
        if may_write {
            let (pipeline, stage) = (&*log.context.pipeline, &*log.context.stage);
            let module = &*log.module;
            if log.left_out > 0 {
                let lines = std::mem::take(&mut log.left_out);
                tracing::warn!(pipeline, stage, module, lines, "module_log_suppressed");
            }
            match level {
                Level::Trace => tracing::trace!(pipeline, stage, module, text, "module_log"),
                Level::Debug => tracing::debug!(pipeline, stage, module, text, "module_log"),
                Level::Info => tracing::info!(pipeline, stage, module, text, "module_log"),
                Level::Warn => tracing::warn!(pipeline, stage, module, text, "module_log"),
                Level::Error => tracing::error!(pipeline, stage, module, text, "module_log"),
            }
        }
        if matches!(level, Level::Error) {
            log.last_words = Some(text);
        }
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
