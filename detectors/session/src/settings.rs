//! What a site says about its machines: the settings as written, and the checked rules
//! that the rest of the module works with. Invariant: a [`Rules`] cannot contradict itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::{Choice, MOST_CHANNELS, Name};

/// When a machine's power makes a session, as a pipeline or a pushed `session_config` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whose power counts: `auto` (the only channel, else the total), a channel's name, or
    /// a list of names to add up.
    pub channel: Channel,
    /// From this power on the machine is on.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub standby_threshold_w: f64,
    /// From this power on the machine works.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub working_threshold_w: f64,
    /// How long the power must stay up before a session starts.
    #[schemars(range(min = 0.0, max = 31_536_000.0))]
    pub start_debounce_s: f64,
    /// How long the power must stay down before a session stops.
    #[schemars(range(min = 0.0, max = 31_536_000.0))]
    pub stop_debounce_s: f64,
    /// How long a device may say nothing in a session; while it is known to be online it is
    /// asked instead.
    #[schemars(range(min = 0.1, max = 31_536_000.0))]
    pub message_timeout_s: f64,
    /// How long a device that is known to be online may say nothing in a session. Where it
    /// is the shorter one, `message_timeout_s` takes its place.
    #[schemars(range(min = 0.1, max = 31_536_000.0))]
    pub max_silence_s: f64,
    /// Time between two heartbeats of a session; 0 for none, else at least 0.1.
    #[schemars(range(min = 0.0, max = 31_536_000.0))]
    pub heartbeat_interval_s: f64,
    /// Counts power by its size alone, for a meter that is wired the wrong way round.
    pub absolute: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            channel: Channel::One("auto".into()),
            standby_threshold_w: 5.0,
            working_threshold_w: 50.0,
            start_debounce_s: 3.0,
            stop_debounce_s: 15.0,
            message_timeout_s: 20.0,
            max_silence_s: 21_600.0,
            heartbeat_interval_s: 300.0,
            absolute: false,
        }
    }
}

/// One channel, or several whose power is added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Channel {
    /// `auto`, or a channel's name.
    One(#[schemars(length(min = 1))] String),
    /// Names of channels to add up; no total and its parts together.
    Several(#[schemars(length(min = 1, max = 4))] Vec<String>),
}

/// Settings that were checked; times in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub(crate) choice: Choice,
    pub(crate) standby_w: f64,
    pub(crate) working_w: f64,
    pub(crate) absolute: bool,
    pub(crate) start_ms: u64,
    pub(crate) stop_ms: u64,
    pub(crate) message_ms: u64,
    /// Never below `message_ms`.
    pub(crate) silence_ms: u64,
    pub(crate) heartbeat_ms: Option<u64>,
}

impl TryFrom<Settings> for Rules {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        for (name, watts) in [
            ("standby_threshold_w", settings.standby_threshold_w),
            ("working_threshold_w", settings.working_threshold_w),
        ] {
            if !(0.0..=1e9).contains(&watts) {
                return Err(format!("`{name}` is `{watts}`; it must lie between 0 and 1e9 W"));
            }
        }
        if settings.working_threshold_w < settings.standby_threshold_w {
            return Err(format!(
                "`working_threshold_w` is `{}`, below `standby_threshold_w` with `{}`; a machine \
                 that works is on, so it must be at least as high",
                settings.working_threshold_w, settings.standby_threshold_w
            ));
        }
        let message_ms = milliseconds("message_timeout_s", settings.message_timeout_s, SHORTEST_S)?;
        let silence_ms = milliseconds("max_silence_s", settings.max_silence_s, SHORTEST_S)?;
        let heartbeat_ms = match settings.heartbeat_interval_s {
            0.0 => None,
            seconds => Some(milliseconds("heartbeat_interval_s", seconds, SHORTEST_S)?),
        };
        Ok(Self {
            choice: choice(settings.channel)?,
            standby_w: settings.standby_threshold_w,
            working_w: settings.working_threshold_w,
            absolute: settings.absolute,
            start_ms: milliseconds("start_debounce_s", settings.start_debounce_s, 0.0)?,
            stop_ms: milliseconds("stop_debounce_s", settings.stop_debounce_s, 0.0)?,
            message_ms,
            silence_ms: silence_ms.max(message_ms),
            heartbeat_ms,
        })
    }
}

/// A shorter time-out would end each session between two messages; a shorter heartbeat
/// would flood the outbox.
const SHORTEST_S: f64 = 0.1;
/// A year.
const LONGEST_S: f64 = 31_536_000.0;

fn milliseconds(name: &str, seconds: f64, least: f64) -> Result<u64, String> {
    if (least..=LONGEST_S).contains(&seconds) {
        // In range, so the cast neither wraps nor saturates.
        Ok((seconds * 1000.0).round() as u64)
    } else {
        Err(format!("`{name}` is `{seconds}`; it must lie between {least} and {LONGEST_S} s"))
    }
}

fn choice(channel: Channel) -> Result<Choice, String> {
    let names = match channel {
        Channel::One(name) if name == "auto" => return Ok(Choice::Auto),
        Channel::One(name) => vec![name],
        Channel::Several(names) => names,
    };
    if names.is_empty() || names.len() > MOST_CHANNELS {
        return Err(format!(
            "`channel` lists {} names; it must list 1 to {MOST_CHANNELS}",
            names.len()
        ));
    }
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err("`channel` has an empty name; leave it out or say `auto`".into());
        }
        if name == "auto" {
            return Err("`channel` lists `auto` beside names; say `auto` alone".into());
        }
        if names[..index].contains(name) {
            return Err(format!("`channel` lists `{name}` twice; it would be counted double"));
        }
    }
    Ok(Choice::Named(names.iter().map(|name| Name::of(name)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<(), &str>) {
        let outcome = serde_json::from_str::<Settings>(json)
            .map_err(|error| error.to_string())
            .and_then(Rules::try_from);
        match (outcome, expected) {
            (Ok(_), Ok(())) => {}
            (Err(message), Err(part)) => assert!(message.contains(part), "{json}: {message}"),
            (outcome, expected) => panic!("{json}: {outcome:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn says_which_setting_is_wrong_and_why() {
        for (json, expected) in [
            ("{}", Ok(())),
            // All that the shipped pipeline and a pushed `session_config` say.
            (
                r#"{"channel": "auto", "standby_threshold_w": 5, "working_threshold_w": 50.0,
                    "start_debounce_s": 3, "stop_debounce_s": 15.0, "message_timeout_s": 20,
                    "max_silence_s": 21600, "heartbeat_interval_s": 300, "absolute": true}"#,
                Ok(()),
            ),
            (r#"{"standby_threshold_w": 50, "working_threshold_w": 50}"#, Ok(())),
            (r#"{"start_debounce_s": 0, "stop_debounce_s": 0}"#, Ok(())),
            (r#"{"heartbeat_interval_s": 0}"#, Ok(())),
            (r#"{"channel": "switch:0"}"#, Ok(())),
            (r#"{"channel": ["em:0.a", "em:0.b", "em:0.c"]}"#, Ok(())),
            (
                r#"{"standby_threshold_w": 60}"#,
                Err("`working_threshold_w` is `50`, below `standby_threshold_w` with `60`"),
            ),
            (r#"{"standby_threshold_w": -1}"#, Err("`standby_threshold_w` is `-1`")),
            (r#"{"working_threshold_w": 1e300}"#, Err("`working_threshold_w` is `1000")),
            (r#"{"stop_debounce_s": -0.5}"#, Err("`stop_debounce_s` is `-0.5`")),
            (r#"{"message_timeout_s": 0}"#, Err("`message_timeout_s` is `0`")),
            (r#"{"max_silence_s": 1e12}"#, Err("`max_silence_s` is `1000000000000`")),
            (r#"{"heartbeat_interval_s": 0.01}"#, Err("`heartbeat_interval_s` is `0.01`")),
            (r#"{"channel": []}"#, Err("lists 0 names")),
            (
                r#"{"channel": ["a", "b", "c", "d", "e"]}"#,
                Err("lists 5 names; it must list 1 to 4"),
            ),
            (r#"{"channel": ["a", "a"]}"#, Err("lists `a` twice")),
            (r#"{"channel": ["a", "auto"]}"#, Err("say `auto` alone")),
            (r#"{"channel": ""}"#, Err("empty name")),
            (r#"{"standby_w": 5}"#, Err("unknown field `standby_w`")),
        ] {
            check(json, expected);
        }
        let wild = Settings { stop_debounce_s: f64::NAN, ..Settings::default() };
        assert!(Rules::try_from(wild).is_err());
    }

    #[test]
    fn takes_the_longer_limit_where_silence_may_last_less_than_a_message_time_out() {
        let settings = Settings { message_timeout_s: 40_000.0, ..Settings::default() };
        let rules = Rules::try_from(settings).unwrap();
        assert_eq!((rules.message_ms, rules.silence_ms), (40_000_000, 40_000_000));
    }
}
