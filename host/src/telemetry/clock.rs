//! The one place that reads the wall clock; everywhere else time is passed in.
//!
//! Invariant: within one run time never goes back by more than [`SET_BACK_MS`]. Keys count by
//! these times and never go back either, so a clock that is set back by a day would make
//! everything late for that day, and let every timer wait for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::failpoint;
use crate::message::Timestamp;

/// A clock that goes back by less is followed: inputs may be that much out of order anyway.
const SET_BACK_MS: u64 = 60_000;

/// The wall clock now, or, where it was set back, the time that has gone by since then; the
/// epoch itself on a machine whose clock stands before it.
#[allow(clippy::disallowed_methods)] // the one place
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let wall = failpoint::shifted(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let (now, change) = {
        let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
        steady.look(wall, Instant::now())
    };
    // Behind the lock: a line of the log asks for the time too.
    match change {
        Some(Change::SetBack) => tracing::warn!(
            event = "clock_set_back",
            by_s = (now - wall) / 1000,
            "the system's clock was set back: time runs on from where it was until the clock has \
             caught up"
        ),
        Some(Change::CaughtUp) => {
            tracing::info!(
                event = "clock_caught_up",
                "times are those of the system's clock again"
            );
        }
        None => {}
    }
    Timestamp(now)
}

/// By how many milliseconds time here is ahead of a wall clock that was set back.
pub fn ahead_ms() -> Option<u64> {
    let steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    (steady.ahead > 0).then_some(steady.ahead)
}

static STEADY: Mutex<Steady> = Mutex::new(Steady { last: None, ahead: 0 });

/// Time as it was last told.
struct Steady {
    /// The wall clock when it was last believed.
    last: Option<(u64, Instant)>,
    /// By how much it is behind.
    ahead: u64,
}

#[derive(PartialEq, Debug)]
enum Change {
    SetBack,
    CaughtUp,
}

impl Steady {
    fn look(&mut self, wall: u64, at: Instant) -> (u64, Option<Change>) {
        let was_ahead = self.ahead > 0;
        if let Some((last, then)) = self.last {
            let gone = u64::try_from(at.saturating_duration_since(then).as_millis());
            let runs_on = last.saturating_add(gone.unwrap_or(u64::MAX));
            let bearable = if was_ahead { 0 } else { SET_BACK_MS };
            if wall.saturating_add(bearable) < runs_on {
                self.ahead = runs_on - wall;
                return (runs_on, (!was_ahead).then_some(Change::SetBack));
            }
        }
        self.last = Some((wall, at));
        self.ahead = 0;
        (wall, was_ahead.then_some(Change::CaughtUp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_by_a_day_is_run_on_until_it_catches_up() {
        let day = 86_400_000;
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut steady = Steady { last: None, ahead: 0 };
        assert_eq!(steady.look(2 * day, begin), (2 * day, None));
        assert_eq!(steady.look(day + 10, at(10)), (2 * day + 10, Some(Change::SetBack)));
        for ms in 11..2000 {
            assert_eq!(steady.look(day + ms, at(ms)), (2 * day + ms, None));
        }
        assert_eq!(steady.ahead, day);
        let later = 2 * day + 5000;
        assert_eq!(steady.look(later, at(3000)), (later, Some(Change::CaughtUp)));
        assert_eq!(steady.look(3 * day, at(3001)), (3 * day, None), "forward is followed");
    }

    #[test]
    fn a_small_correction_is_followed() {
        let begin = Instant::now();
        let mut steady = Steady { last: None, ahead: 0 };
        steady.look(1_000_000, begin);
        assert_eq!(steady.look(950_000, begin), (950_000, None));
    }
}
