//! What loading modules costs, in numbers.

use crate::telemetry::metrics::{Counter, Histogram};

/// The numbers of one engine since it was started.
#[derive(Debug)]
pub struct LoadStats {
    /// Modules that were taken compiled from the cache.
    pub hits: Counter,
    /// Modules that the cache did not have.
    pub misses: Counter,
    /// Time to compile one.
    pub compile: Histogram,
}

impl Default for LoadStats {
    fn default() -> Self {
        Self { hits: Counter::default(), misses: Counter::default(), compile: Histogram::of_work() }
    }
}
