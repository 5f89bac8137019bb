//! How long a call may take: processor time of its thread, and wall time as a backstop.
//!
//! On a busy machine a thread may stand still for long through no fault of the module,
//! so only what it computes counts. The epoch's tick looks at the clock; between two
//! ticks a call cannot be stopped.

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

use super::error::{CallError, Clock};

/// When the call under way must end.
#[derive(Debug)]
pub(super) struct Deadline {
    time: Duration,
    wall: Duration,
    cpu_from: Duration,
    wall_from: Instant,
}

/// A call went on for too long; travels through wasmtime as an error.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Overdue {
    #[error("the call's processor time is used up")]
    Time(Duration),
    #[error("the call's wall time is used up")]
    Wall(Duration),
}

impl Deadline {
    pub(super) fn new(time: Duration, wall: Duration) -> Self {
        Self { time, wall, cpu_from: cpu(), wall_from: Instant::now() }
    }

    /// Starts anew, on the thread that makes the call.
    pub(super) fn arm(&mut self) {
        self.cpu_from = cpu();
        self.wall_from = Instant::now();
    }

    /// Whether the call may go on.
    pub(super) fn check(&self) -> Result<(), Overdue> {
        if cpu().saturating_sub(self.cpu_from) >= self.time {
            return Err(Overdue::Time(self.time));
        }
        if self.wall_from.elapsed() >= self.wall {
            return Err(Overdue::Wall(self.wall));
        }
        Ok(())
    }
}

impl From<Overdue> for CallError {
    fn from(overdue: Overdue) -> Self {
        match overdue {
            Overdue::Time(limit) => Self::Timeout { limit, clock: Clock::Processor },
            Overdue::Wall(limit) => Self::Timeout { limit, clock: Clock::Wall },
        }
    }
}

/// Processor time of this thread.
fn cpu() -> Duration {
    ThreadTime::now().as_duration()
}
