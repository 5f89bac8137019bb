//! Metrics: what counts, the one table of their names, and the page that Prometheus reads.
//!
//! Neighbours: every part keeps its own [`Counter`]s and [`Histogram`]s and knows them by
//! handle; `reload` gathers them into a [`Page`]. Invariant: nothing is exported that does
//! not stand in [`table`], and no label takes a value that a device chooses.

mod histogram;
mod page;
pub mod table;

use std::sync::atomic::{AtomicU64, Ordering};

pub use histogram::{Histogram, Snapshot};
pub use page::Page;
pub use table::{Kind, METRICS, Metric};

/// Counts up. A reader sees it at some moment; counters that have to fit each other lie
/// together under a lock of their owner instead.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
