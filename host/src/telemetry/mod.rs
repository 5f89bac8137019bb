//! What the operator sees: logs, metrics and the names of both; and the one clock.
//!
//! Neighbours: everything above `config` may use it. Invariant: nothing here waits.

pub mod clock;
pub mod failpoint;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod recent;

/// An error with its causes, for the one place that shows it.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
