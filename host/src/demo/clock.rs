//! The two times of the demo: since the program started, which the screen shows, and since
//! Tapline was ready, by which script and machines go.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Both of them.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    ready: OnceLock<Instant>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), ready: OnceLock::new() }
    }

    /// Time since the program started.
    pub(super) fn shown(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time since Tapline was ready; `None` before.
    pub(super) fn script(&self) -> Option<Duration> {
        self.ready.get().map(Instant::elapsed)
    }

    /// From now on the script runs.
    pub(super) fn is_ready_now(&self) {
        // A second call, after a restart, changes nothing: the machines went on meanwhile.
        let _ = self.ready.set(Instant::now());
    }
}
