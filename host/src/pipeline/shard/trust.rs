//! Whether the wall clock may be believed.
//!
//! By it alone, a silent device ends its session. A clock that was not set yet, or was set
//! forward, says nothing about silence: what it would do waits, so that devices can report
//! first, by which it is known how far their own clocks are behind.

use std::time::{Duration, Instant};

use crate::message::Timestamp;

/// For how long it is not believed.
const WAIT: Duration = Duration::from_secs(300);

/// How much faster than time itself the clock may go before it counts as set forward.
const SET_FORWARD: Duration = Duration::from_secs(60);

/// What is thought of the clock.
pub(super) struct Trust {
    /// The last commit of the run before, before which no clock that is set can stand.
    last: Option<Timestamp>,
    doubt: Option<Doubt>,
    /// The clock at the last look.
    looked: (Timestamp, Instant),
}

#[derive(Clone, Copy)]
struct Doubt {
    until: Instant,
    /// It jumped, so that what it shows now tells nothing; else it is believed once it shows
    /// a time that can be.
    jumped: bool,
}

impl Trust {
    pub(super) fn new(last: Option<Timestamp>, now: Timestamp, at: Instant) -> Self {
        let is_behind = is_behind(last, now);
        let doubt = is_behind.then_some(Doubt { until: at + WAIT, jumped: false });
        Self { last, doubt, looked: (now, at) }
    }

    /// Looks at the clock, which shows `now`; whether it may act.
    pub(super) fn look(&mut self, now: Timestamp, at: Instant, pipeline: &str) -> bool {
        let (then, before) = std::mem::replace(&mut self.looked, (now, at));
        let by_clock = Duration::from_millis(now.since(then));
        if by_clock > at.saturating_duration_since(before) + SET_FORWARD {
            tracing::warn!(
                event = "clock_set_forward",
                pipeline,
                by_s = by_clock.as_secs(),
                "the clock went forward at once: what it alone would do waits, so that devices \
                 can report first"
            );
            self.doubt = Some(Doubt { until: at + WAIT, jumped: true });
        }
        let is_over =
            |doubt: Doubt| at >= doubt.until || !doubt.jumped && !is_behind(self.last, now);
        self.doubt = self.doubt.filter(|doubt| !is_over(*doubt));
        self.doubt.is_none()
    }
}

/// The clock stands before what is known to have been: no battery, not yet set.
fn is_behind(last: Option<Timestamp>, now: Timestamp) -> bool {
    let built = Timestamp(env!("TAPLINE_BUILD_MS").parse().unwrap_or(0));
    now < built || last.is_some_and(|last| now < last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_goes_as_time_does_acts_at_once() {
        let (now, at) = (clock::now(), Instant::now());
        let mut trust = Trust::new(Some(now), now, at);
        assert!(trust.look(now, at, "p"));
        assert!(trust.look(now.plus_ms(1_000), at + SECOND, "p"));
        // Set back: nothing is due earlier by it.
        assert!(trust.look(now, at + 2 * SECOND, "p"));
    }

    #[test]
    fn a_clock_behind_the_last_commit_acts_once_it_is_set_or_after_the_wait() {
        let (now, at) = (clock::now(), Instant::now());
        let start = || Trust::new(Some(now.plus_ms(30_000)), now, at);
        let mut trust = start();
        assert!(!trust.look(now, at, "p"));
        assert!(trust.look(now.plus_ms(30_000), at + SECOND, "p"));
        let mut trust = start();
        assert!(!trust.look(now, at + WAIT - SECOND, "p"));
        assert!(trust.look(now, at + WAIT, "p"));
    }

    #[test]
    fn a_clock_that_was_set_forward_acts_after_the_wait_alone() {
        let (now, at) = (clock::now(), Instant::now());
        let mut trust = Trust::new(Some(now), now, at);
        let later = now.plus_ms(86_400_000);
        assert!(!trust.look(later, at + SECOND, "p"));
        assert!(!trust.look(later.plus_ms(298_000), at + WAIT - SECOND, "p"));
        assert!(trust.look(later.plus_ms(301_000), at + WAIT + 2 * SECOND, "p"));
    }
}
