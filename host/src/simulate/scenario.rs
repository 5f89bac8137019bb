//! What happens to a simulated machine: its power over time, and when it is away.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

/// Power drawn where the machine stands by, above S3's 5 W.
const STANDBY_W: f64 = 20.0;
/// Power drawn at work, above S3's 50 W.
const WORKING_W: f64 = 120.0;
/// Off before the first load, so that the start is seen as one.
const LEAD: Duration = Duration::from_secs(3);
/// Off at the end: longer than S3's 15 s of stop_debounce.
const TAIL: Duration = Duration::from_secs(20);

/// Power over the time since the start.
#[derive(Clone)]
pub struct Profile(Arc<dyn Fn(Duration) -> f64 + Send + Sync>);

impl Profile {
    /// Any function of time.
    pub fn new(power_w: impl Fn(Duration) -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(power_w))
    }

    /// Constant power.
    pub fn constant(power_w: f64) -> Self {
        Self::new(move |_| power_w)
    }

    /// Each power for its time, one after the other, then off; `repeat` begins anew instead.
    pub fn phases(phases: Vec<(Duration, f64)>, repeat: Repeat) -> Self {
        let whole: Duration = phases.iter().map(|phase| phase.0).sum();
        Self::new(move |at| {
            let mut left = match repeat {
                Repeat::Never => at,
                Repeat::Forever if whole.is_zero() => return 0.0,
                Repeat::Forever => Duration::from_secs_f64(at.as_secs_f64() % whole.as_secs_f64()),
            };
            for (length, power_w) in &phases {
                if left < *length {
                    return *power_w;
                }
                left -= *length;
            }
            0.0
        })
    }

    /// Watts at a time since the start.
    pub fn power_w(&self, at: Duration) -> f64 {
        (self.0)(at)
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Profile").finish_non_exhaustive()
    }
}

/// What follows the last phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Never,
    Forever,
}

/// A machine's day in short.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub profile: Profile,
    pub length: Duration,
    /// Vanished: no farewell, so that the broker publishes the will.
    pub away: Option<Range<Duration>>,
}

/// The scenarios of S3's simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ScenarioName {
    /// Off, standby, working, standby, off: one whole session.
    FullSession,
    /// On and idle.
    Standby,
    /// Under load.
    Working,
    /// Comes online and stays switched off.
    OnlineTest,
    /// Vanishes at work and comes back.
    OfflineTest,
}

impl ScenarioName {
    /// The scenario in `length`, `offline` of which `offline_test` is away.
    pub fn scenario(self, length: Duration, offline: Duration) -> Scenario {
        let always = |power_w| {
            Profile::phases(vec![(LEAD, 0.0), (Duration::MAX / 4, power_w)], Repeat::Never)
        };
        let (profile, length, away) = match self {
            Self::FullSession => {
                let tail = TAIL.min(length / 3);
                let lead = LEAD.min(length / 10);
                let on = length.saturating_sub(tail + lead);
                let phases = vec![
                    (lead, 0.0),
                    (on / 4, STANDBY_W),
                    (on / 2, WORKING_W),
                    (on / 4, STANDBY_W),
                ];
                (Profile::phases(phases, Repeat::Never), length, None)
            }
            Self::Standby => (always(STANDBY_W), length, None),
            Self::Working => (always(WORKING_W), length, None),
            Self::OnlineTest => (Profile::constant(0.0), length, None),
            // What it does before and after it is away is `length` together.
            Self::OfflineTest => {
                (always(WORKING_W), length + offline, Some(length / 2..length / 2 + offline))
            }
        };
        Scenario { profile, length, away }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_full_session_starts_works_and_stops_for_long_enough() {
        let scenario = ScenarioName::FullSession.scenario(90 * SECOND, Duration::ZERO);
        let power: Vec<_> = (0..90).map(|at| scenario.profile.power_w(at * SECOND)).collect();
        let mut seen = power.clone();
        seen.dedup();
        assert_eq!(seen, [0.0, STANDBY_W, WORKING_W, STANDBY_W, 0.0]);
        assert!(power.iter().rev().take_while(|power_w| **power_w == 0.0).count() > 15);
    }

    #[test]
    fn offline_test_is_away_in_the_middle() {
        let scenario = ScenarioName::OfflineTest.scenario(60 * SECOND, 30 * SECOND);
        assert_eq!(scenario.length, 90 * SECOND);
        assert_eq!(scenario.away, Some(30 * SECOND..60 * SECOND));
    }

    #[test]
    fn a_repeated_profile_begins_anew() {
        let profile = Profile::phases(vec![(SECOND, 1.0), (SECOND, 2.0)], Repeat::Forever);
        assert_eq!([0, 1, 2, 3].map(|at| profile.power_w(at * SECOND)), [1.0, 2.0, 1.0, 2.0]);
        assert_eq!(Profile::phases(Vec::new(), Repeat::Forever).power_w(SECOND), 0.0);
    }
}
