//! What writing costs, in numbers.

use crate::telemetry::metrics::{Counter, Histogram};

/// The numbers of one store since it was opened.
#[derive(Debug)]
pub struct StoreStats {
    /// Commits that are on the disk.
    pub commits: Counter,
    /// Commits that shared a transaction.
    pub group: Histogram,
    /// Time to write a group and bring it to the disk.
    pub write: Histogram,
    /// The part of it that waits for the disk.
    pub sync: Histogram,
    /// Attempts at a group that were repeated.
    pub failures: Counter,
}

impl Default for StoreStats {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            group: Histogram::of_sizes(),
            write: Histogram::of_work(),
            sync: Histogram::of_work(),
            failures: Counter::default(),
        }
    }
}
