//! How a broker can lose messages before Tapline sees them, in words and with what helps.
//!
//! Pure: `self_check` finds them, `/health`, `tapline status` and the metrics show them.

use std::fmt;
use std::time::Duration;

use crate::message::Timestamp;

/// What a broker does, or does not do, that messages can be lost by.
///
/// Its text is a clause about the broker, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Risk {
    /// The session ends sooner than it should (MQTT 5).
    ShortSession { asked: Duration, granted: Duration },
    /// Messages come with a lower QoS than was asked for.
    LowQos { filter: String, asked: u8, most: u8 },
    /// Retained messages are not kept (MQTT 5).
    NothingRetained,
    /// Packets are not taken that we would take (MQTT 5).
    SmallPackets { ours: u32, theirs: u32 },
    /// Filters that stand for many topics are not taken (MQTT 5).
    NoWildcards { filter: String, filters: usize },
    /// Filters that several clients share are not taken (MQTT 5).
    NoShared { filter: String, filters: usize },
    /// The session was gone when we came back.
    Forgotten {
        at: Timestamp,
        /// For how long we were away, if that is known.
        away: Option<Duration>,
        /// For how long the session should have been kept; `None` where it cannot be asked for
        /// (MQTT 3.1.1).
        asked: Option<Duration>,
    },
    /// The broker counts more messages that it dropped.
    Dropped { count: u64, from: Timestamp, to: Timestamp },
}

/// For how long something that has happened is told.
const TOLD: u64 = 24 * 3600 * 1000;

impl Risk {
    /// A word for each of them, for metrics.
    pub const KINDS: [&str; 8] = [
        "short-session",
        "low-qos",
        "nothing-retained",
        "small-packets",
        "no-wildcards",
        "no-shared",
        "forgotten",
        "dropped",
    ];

    /// Its word among [`KINDS`](Self::KINDS).
    pub fn kind(&self) -> &'static str {
        let place = match self {
            Self::ShortSession { .. } => 0,
            Self::LowQos { .. } => 1,
            Self::NothingRetained => 2,
            Self::SmallPackets { .. } => 3,
            Self::NoWildcards { .. } => 4,
            Self::NoShared { .. } => 5,
            Self::Forgotten { .. } => 6,
            Self::Dropped { .. } => 7,
        };
        Self::KINDS[place]
    }

    /// Whether it has happened long enough ago; a limit never is.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        match self {
            Self::Forgotten { at, .. } | Self::Dropped { to: at, .. } => now.since(*at) > TOLD,
            _ => false,
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortSession { asked, granted } => {
                let (asked, granted) = (lasting(*asked), lasting(*granted));
                write!(
                    f,
                    "keeps a session for {granted} instead of the {asked} of `session_expiry`: \
                     what comes while Tapline is away for longer is lost. Raise the broker's \
                     limit for the expiry of sessions, or lower `session_expiry`"
                )
            }
            Self::LowQos { filter, asked, most } => write!(
                f,
                "gives `{filter}` with QoS {most} instead of {asked}: what is under way when a \
                 connection breaks, and what comes while Tapline is away, is lost. Allow it QoS 1 \
                 (Mosquitto: `max_qos`)"
            ),
            Self::NothingRetained => f.write_str(
                "keeps no retained messages: after a start nothing is known of a device until it \
                 speaks. Allow them (Mosquitto: `retain_available true`)",
            ),
            Self::SmallPackets { ours, theirs } => write!(
                f,
                "takes packets of at most {theirs} bytes, `max_packet` is {ours}: what is larger \
                 never arrives. Raise the broker's limit (Mosquitto: `max_packet_size`), or lower \
                 `max_packet` if devices send nothing that large"
            ),
            Self::NoWildcards { filter, filters } => write!(
                f,
                "takes no wildcards, so {} not subscribed: allow them, or write the topics out",
                named(filter, *filters)
            ),
            Self::NoShared { filter, filters } => write!(
                f,
                "takes no shared subscriptions, so {} not subscribed: allow them, or write the \
                 filter without `$share/`",
                named(filter, *filters)
            ),
            Self::Forgotten { at, away, asked } => forgotten(f, *at, *away, *asked),
            Self::Dropped { count, from, to } => write!(
                f,
                "dropped {count} messages between {from} and {to}, of this bridge or of another \
                 of its clients. Let it queue more (Mosquitto: `max_queued_messages`, \
                 `max_queued_bytes`)"
            ),
        }
    }
}

fn forgotten(
    f: &mut fmt::Formatter<'_>,
    at: Timestamp,
    away: Option<Duration>,
    asked: Option<Duration>,
) -> fmt::Result {
    write!(f, "had forgotten the session at {at}, ")?;
    match away {
        Some(away) => {
            let away = lasting(away);
            write!(f, "after at most {away} without Tapline: what came in that time is lost. ")?;
        }
        None => f.write_str("and what came while Tapline was away with it. ")?,
    }
    match (away, asked) {
        (Some(away), Some(asked)) if away >= asked => {
            write!(f, "It was asked to keep it for {} only: raise `session_expiry`", lasting(asked))
        }
        _ => f.write_str(
            "Let it keep sessions on its disk and for longer (Mosquitto: `persistence true`, \
             `autosave_interval`, `persistent_client_expiration`)",
        ),
    }
}

/// The filters in words, with the verb that fits their number.
fn named(filter: &str, filters: usize) -> String {
    match filters {
        1 => format!("`{filter}` is"),
        filters => format!("`{filter}` and {} more are", filters - 1),
    }
}

/// To the second; who waits for a day does not care for milliseconds.
fn lasting(duration: Duration) -> humantime::FormattedDuration {
    let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
    humantime::format_duration(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn all() -> [Risk; 8] {
        let at = Timestamp(1_770_000_000_000);
        [
            Risk::ShortSession { asked: 24 * HOUR, granted: HOUR },
            Risk::LowQos { filter: "a/#".into(), asked: 1, most: 0 },
            Risk::NothingRetained,
            Risk::SmallPackets { ours: 1 << 20, theirs: 1 << 10 },
            Risk::NoWildcards { filter: "a/#".into(), filters: 3 },
            Risk::NoShared { filter: "$share/g/a".into(), filters: 1 },
            Risk::Forgotten { at, away: Some(HOUR), asked: Some(24 * HOUR) },
            Risk::Dropped { count: 7, from: at, to: at.plus_ms(1000) },
        ]
    }

    #[test]
    fn each_has_a_word_of_its_own_and_a_remedy() {
        let kinds = all().map(|risk| risk.kind());
        assert_eq!(kinds, Risk::KINDS);
        for risk in all() {
            let words = risk.to_string();
            let remedies = ["Raise", "Allow", "allow", "Let", "raise"];
            assert!(remedies.iter().any(|remedy| words.contains(remedy)), "{words}");
        }
    }

    #[test]
    fn says_how_long_it_was_alone_and_whose_setting_was_too_short() {
        let at = Timestamp(1_770_000_000_000);
        let words = |away, asked| Risk::Forgotten { at, away, asked }.to_string();
        let theirs = words(Some(HOUR), Some(24 * HOUR));
        assert!(theirs.contains("at most 1h without") && theirs.contains("persistence true"));
        let ours = words(Some(25 * HOUR), Some(24 * HOUR));
        assert!(ours.contains("asked to keep it for 1day only: raise `session_expiry`"), "{ours}");
        assert!(words(None, None).contains("while Tapline was away"));
    }

    #[test]
    fn what_has_happened_is_told_for_a_day_and_a_limit_for_as_long_as_it_holds() {
        let later = Timestamp(1_770_000_000_000 + TOLD + 1001);
        let over: Vec<_> = all().iter().map(|risk| risk.is_over(later)).collect();
        assert_eq!(over, [false, false, false, false, false, false, true, true]);
        assert!(all().iter().all(|risk| !risk.is_over(Timestamp(1_770_000_000_000))));
    }
}
