//! A pipeline whose module fails again and again works behind the others.
//!
//! A call that runs into its deadline, a trap, a fresh instance: all of that is processor time
//! that brings nothing, and the other pipelines' threads, the store and the broker's connections
//! want the same cores. So for as long as calls fail, and ten seconds longer, the pipeline's work
//! is done at a low priority: it gets what the others leave.
//!
//! A thread may lower its priority, but only a privileged process may raise it again. So a second
//! thread, made by the first, does the work meanwhile, and the first waits for it.

use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use super::Thread;
use crate::telemetry::process;

/// Without a failure for so long, a pipeline is like any other.
const CALM: Duration = Duration::from_secs(10);

/// In which order pipelines get a processor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    Usual,
    Behind,
}

/// Failures of modules' calls in a pipeline.
#[derive(Default)]
pub(super) struct Failures {
    seen: u64,
    last: Option<Instant>,
}

impl Failures {
    /// Takes up how many there were so far, and says at which pace to go on.
    pub(super) fn judge(&mut self, count: u64, now: Instant) -> Pace {
        if count > self.seen {
            self.last = Some(now);
        }
        // Less: stages are gone, with theirs.
        self.seen = count;
        match self.last {
            Some(at) if now.duration_since(at) < CALM => Pace::Behind,
            _ => Pace::Usual,
        }
    }
}

/// Why a thread stops taking turns.
pub(super) enum Left {
    Ended,
    /// The next turn is for a thread of another pace.
    Pace,
}

impl Thread {
    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        self.begin();
        while let Left::Pace = self.turns(Pace::Usual) {
            let name = thread::current().name().unwrap_or_default().to_owned();
            let left = thread::scope(|scope| {
                let behind = thread::Builder::new().name(name).spawn_scoped(scope, || {
                    process::let_others_go_first();
                    self.turns(Pace::Behind)
                });
                let done = behind.map(thread::ScopedJoinHandle::join);
                done.map(|left| left.unwrap_or_else(|panic| resume_unwind(panic)))
            });
            match left {
                Ok(Left::Ended) => return,
                Ok(Left::Pace) => {}
                // Without a second thread it goes on as it is.
                Err(_) => {
                    if let Left::Ended = self.turns(Pace::Behind) {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_behind_the_others_while_calls_fail_and_ten_seconds_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut failures = Failures::default();
        assert!(failures.judge(0, at(0)) == Pace::Usual);
        assert!(failures.judge(1, at(1)) == Pace::Behind);
        assert!(failures.judge(1, at(9)) == Pace::Behind);
        assert!(failures.judge(3, at(10)) == Pace::Behind);
        assert!(failures.judge(3, at(19)) == Pace::Behind);
        assert!(failures.judge(3, at(20)) == Pace::Usual);
        assert!(failures.judge(0, at(21)) == Pace::Usual, "a stage is gone");
        assert!(failures.judge(1, at(22)) == Pace::Behind);
    }
}
