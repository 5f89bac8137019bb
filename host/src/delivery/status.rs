//! How a sink is doing, for `/health`, metrics and `tapline status`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::message::Timestamp;
use crate::telemetry::metrics::{Histogram, Snapshot};

/// How a sink is doing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SinkStatus {
    /// Put into the outbox since the start, what was found there included.
    /// Queued = delivered + dead + waiting, at any moment: these four are the store's own.
    pub queued: u64,
    /// Accepted, those that the other side had already included.
    pub delivered: u64,
    /// Moved to the dead letters.
    pub dead: u64,
    /// Rows in the outbox, those in flight included.
    pub waiting: u64,
    /// Deliveries that are being sent at the moment.
    pub in_flight: usize,
    /// Why nothing is sent until a person acts.
    pub paused: Option<Paused>,
    /// What went wrong last; cleared by the next success.
    pub last_error: Option<String>,
    /// When the other side accepted something last.
    pub last_delivered_at: Option<Timestamp>,
    /// Accepted since the start, though the other side had them already.
    pub duplicates: u64,
    /// Requests or publications that have to be repeated, since the start.
    pub retries: u64,
}

/// Since when and why a sink is paused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paused {
    pub reason: String,
    pub since: Timestamp,
}

/// The status that a sink's task writes and others read.
pub(super) struct Board {
    status: Mutex<SinkStatus>,
    /// From an event, by its own date, until the other side accepted it.
    lag: Histogram,
}

impl Default for Board {
    fn default() -> Self {
        Self { status: Mutex::default(), lag: Histogram::of_lags() }
    }
}

impl Board {
    /// Changes the status.
    pub(super) fn edit<T>(&self, edit: impl FnOnce(&mut SinkStatus) -> T) -> T {
        edit(&mut self.lock())
    }

    pub(super) fn read(&self) -> SinkStatus {
        self.lock().clone()
    }

    /// Notes that the other side accepted at `at` what is dated `event`.
    pub(super) fn accepted(&self, event: Timestamp, at: Timestamp) {
        self.lag.lagged_ms(at.since(event));
    }

    pub(super) fn lag(&self) -> Snapshot {
        self.lag.snapshot()
    }

    fn lock(&self) -> MutexGuard<'_, SinkStatus> {
        // Counters and texts are whole at any time, whoever panicked.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
