//! Pauses between attempts to connect: exponential with jitter, without end.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Another client uses our id: whoever comes back last wins, so coming back fast only flaps.
const TAKEN_OVER: Duration = Duration::from_secs(60);

/// The series of pauses of one connection.
pub(super) struct Backoff {
    pauses: ExponentialBackoff,
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

    /// The pause after another client took the session over: 60 s to 90 s.
    pub(super) fn pause_after_takeover(&mut self) -> Duration {
        TAKEN_OVER + self.pause()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_half_a_minute_and_never_ends() {
        let mut backoff = Backoff::new();
        assert!(backoff.pause() <= FIRST * 2);
        let later: Vec<_> = (0..100).map(|_| backoff.pause()).collect();
        assert!(later.iter().all(|pause| (FIRST..=LONGEST).contains(pause)));
        assert!(later[50..].iter().all(|pause| *pause >= LONGEST / 2));
    }
}
