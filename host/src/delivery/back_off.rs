//! How long to wait before the next attempt: doubled each time, with jitter, without end.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The shortest and the longest wait; jitter adds up to as much again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waits {
    pub shortest: Duration,
    pub longest: Duration,
}

/// A run of failures.
pub(super) struct BackOff {
    waits: Waits,
    run: Option<ExponentialBackoff>,
}

impl BackOff {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, run: None }
    }

    /// How long to wait after one more failure.
    pub(super) fn fail(&mut self) -> Duration {
        let waits = self.waits;
        let run = self.run.get_or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(waits.shortest)
                .with_max_delay(waits.longest)
                .with_factor(2.0)
                .without_max_times()
                .with_jitter()
                // The library's own seed would be the same in every box.
                .with_jitter_seed(uuid::Uuid::new_v4().as_u64_pair().0)
                .build()
        });
        run.next().unwrap_or(waits.longest)
    }

    /// A success: the next failure is the first.
    pub(super) fn reset(&mut self) {
        self.run = None;
    }
}
