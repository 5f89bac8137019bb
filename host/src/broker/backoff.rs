//! Pauses between attempts to connect: exponential with jitter, without end.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Another client uses our id: whoever comes back last wins, so coming back fast only flaps.
pub(super) const TAKEN_OVER: Duration = Duration::from_secs(60);
/// Who is thrown out again and again comes back ever more rarely, up to this.
const LONGEST_TAKEN_OVER: Duration = Duration::from_secs(3600);

/// The series of pauses of one connection.
pub(super) struct Backoff {
    pauses: ExponentialBackoff,
}

/// The series of pauses between one takeover and the next: it outlives single connections, as
/// each of a fight may hold for a while.
pub(super) struct Takeovers {
    last: Option<Duration>,
}

impl Takeovers {
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    /// The pause after another client took a connection over that had held for `held`: a minute
    /// at first, twice the last one while the fight goes on, an hour at most.
    pub(super) fn pause(&mut self, held: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if held < LONGEST_TAKEN_OVER => (last * 2).min(LONGEST_TAKEN_OVER),
            _ => TAKEN_OVER,
        };
        self.last = Some(pause);
        pause
    }
}

impl Backoff {
    pub(super) fn new() -> Self {
        // Without its std feature backon starts from a fixed seed, and a hundred bridges that
        // lost the same broker would come back in step.
        let seed = RandomState::new().hash_one(std::process::id());
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST / 2)
            .with_factor(2.0)
            .with_jitter()
            .with_jitter_seed(seed)
            .without_max_times()
            .build();
        Self { pauses }
    }

    /// The next pause: 1 s to 30 s.
    pub(super) fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(LONGEST).clamp(FIRST, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_thrown_out_again_and_again_comes_back_ever_more_rarely() {
        let mut takeovers = Takeovers::new();
        let minute = Duration::from_secs(60);
        assert_eq!(takeovers.pause(minute), minute);
        assert_eq!(takeovers.pause(minute), 2 * minute);
        assert_eq!((0..9).map(|_| takeovers.pause(minute)).max(), Some(60 * minute));
        assert_eq!(takeovers.pause(61 * minute), minute);
    }

    #[test]
    fn grows_to_half_a_minute_and_never_ends() {
        let mut backoff = Backoff::new();
        assert!(backoff.pause() <= FIRST * 2);
        let later: Vec<_> = (0..100).map(|_| backoff.pause()).collect();
        assert!(later.iter().all(|pause| (FIRST..=LONGEST).contains(pause)));
        assert!(later[50..].iter().all(|pause| *pause >= LONGEST / 2));
    }
}
