//! Whether everything that the broker had kept for us has come.
//!
//! After all SUBACKs a marker is published to a topic of our own; the broker hands it over
//! behind what it had kept. Where it refuses that, two seconds without a message count.

use std::time::Duration;

use tokio::time::Instant;

const QUIET: Duration = Duration::from_secs(2);
/// Brokers of 3.1.1 confirm a publication that their access list then drops.
const MARKER_OVERDUE: Duration = Duration::from_secs(10);

/// One connection's way to being drained.
#[derive(Debug)]
pub(super) enum Drain {
    /// SUBACKs are missing.
    Subscribing,
    /// The marker is on its way.
    Marked {
        nonce: String,
        since: Instant,
    },
    /// No marker will come.
    Quiet {
        since: Instant,
    },
    Done,
}

impl Drain {
    /// All SUBACKs are in and the marker `nonce` was queued.
    pub(super) fn marked(&mut self, nonce: String, now: Instant) {
        *self = Self::Marked { nonce, since: now };
    }

    /// The broker takes no marker, or does not let us hear it.
    pub(super) fn refused(&mut self, now: Instant) {
        if matches!(self, Self::Subscribing | Self::Marked { .. }) {
            *self = Self::Quiet { since: now };
        }
    }

    /// The marker is on its way.
    pub(super) fn awaits_marker(&self) -> bool {
        matches!(self, Self::Marked { .. })
    }

    /// A message came on the marker's topic; whether this ends the wait. One of an earlier
    /// connection does not.
    pub(super) fn arrived(&mut self, payload: &[u8]) -> bool {
        let ours = matches!(self, Self::Marked { nonce, .. } if nonce.as_bytes() == payload);
        if ours {
            *self = Self::Done;
        }
        ours
    }

    /// Another message came.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Self::Quiet { since } = self {
            *since = now;
        }
    }

    /// When to call [`tick`](Self::tick).
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Marked { since, .. } => Some(*since + MARKER_OVERDUE),
            Self::Quiet { since } => Some(*since + QUIET),
            Self::Subscribing | Self::Done => None,
        }
    }

    /// Time passed; whether this ends the wait.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        match self {
            Self::Marked { since, .. } if now >= *since + MARKER_OVERDUE => {
                self.refused(now);
                false
            }
            Self::Quiet { since } if now >= *since + QUIET => {
                *self = Self::Done;
                true
            }
            _ => false,
        }
    }
}

/// The topic of the marker. Site and client id are one level each, whatever they contain.
pub(super) fn topic(site: &str, client_id: &str) -> String {
    let level = |text: &str| text.replace(['/', '+', '#', '\0'], "_");
    format!("tapline/{}/drain/{}", level(site), level(client_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_the_marker_of_this_connection_counts() {
        let mut drain = Drain::Subscribing;
        assert!(!drain.arrived(b"n"));
        drain.marked("n".into(), Instant::now());
        assert!(!drain.arrived(b"old"));
        assert!(drain.arrived(b"n"));
        assert!(!drain.arrived(b"n"));
    }

    #[test]
    fn without_a_marker_two_quiet_seconds_count() {
        let begun = Instant::now();
        let mut drain = Drain::Subscribing;
        drain.refused(begun);
        drain.heard(begun + SECOND);
        assert!(!drain.tick(begun + 2 * SECOND));
        assert!(drain.tick(begun + 3 * SECOND));
        assert_eq!(drain.due(), None);
    }

    #[test]
    fn a_marker_that_never_comes_is_not_waited_for_for_ever() {
        let begun = Instant::now();
        let mut drain = Drain::Subscribing;
        drain.marked("n".into(), begun);
        assert!(!drain.tick(begun + MARKER_OVERDUE));
        assert!(drain.tick(begun + MARKER_OVERDUE + QUIET));
    }

    #[test]
    fn a_site_name_cannot_become_a_wildcard() {
        assert_eq!(topic("a/b+#", "c"), "tapline/a_b__/drain/c");
    }
}
