//! What the detector says: events with the names that Odoo reads.
//!
//! Invariant: every number is finite and at most six decimals long, because sums of
//! decimals in binary leave a tail of digits that nobody measured.

use serde::Serialize;
use tapline_sdk::time::rfc3339;
use uuid::Uuid;

use crate::run::Run;

/// Names of session ids; a fixed random UUID, part of the contract with Odoo: another one
/// would rename every session.
const SESSIONS: Uuid = Uuid::from_u128(0x5d0c_6f0e_8a3b_4d6e_9c57_2f1b_7e94_a6d3);

/// One event, at its own exact time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) kind: &'static str,
    pub(crate) at: u64,
    pub(crate) data: Data,
}

/// The `data` of an event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Data {
    pub(crate) session_id: String,
    pub(crate) started_at: String,
    pub(crate) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Reason>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) totals: Option<Totals>,
}

impl Report {
    pub(crate) fn new(kind: &'static str, at: u64, key: &str, started_at: u64) -> Self {
        let data = Data {
            session_id: session_id(key, started_at).to_string(),
            started_at: rfc3339(started_at),
            state: State::Idle,
            ended_at: None,
            reason: None,
            totals: None,
        };
        Self { kind, at, data }
    }

    /// Says the state of a session that goes on.
    pub(crate) fn state(mut self, state: State) -> Self {
        self.data.state = state;
        self
    }

    pub(crate) fn totals(mut self, totals: Totals) -> Self {
        self.data.totals = Some(totals);
        self
    }

    /// Says why the session ended, where its account ends.
    pub(crate) fn ended(mut self, reason: Reason, totals: Totals) -> Self {
        self.data.reason = Some(reason);
        self.data.ended_at = Some(rfc3339(totals.at));
        self.totals(totals)
    }
}

/// State of the machine after an event.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Idle,
    Standby,
    Working,
    Stopping,
}

impl State {
    /// Of a session whose power is up.
    pub(crate) fn of(run: &Run) -> Self {
        if run.at_work { Self::Working } else { Self::Standby }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    Power,
    MessageTimeout,
    MaxSilence,
    DeviceRemoved,
}

/// A session's account at one instant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Totals {
    /// The instant, for `ended_at`.
    #[serde(skip)]
    pub(crate) at: u64,
    pub(crate) working_s: f64,
    pub(crate) standby_s: f64,
    pub(crate) energy_wh: f64,
    pub(crate) energy_source: EnergySource,
    pub(crate) peak_w: f64,
    /// Mean of the held power over the session's time, whatever the counter says; of a
    /// session without length its peak.
    pub(crate) average_w: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EnergySource {
    Counter,
    Integral,
}

impl Totals {
    /// `integral` is in W·ms.
    pub(crate) fn new(
        started_at: u64,
        at: u64,
        working_ms: u64,
        integral: f64,
        counted_wh: Option<f64>,
        peak_w: f64,
    ) -> Self {
        let length = at.saturating_sub(started_at);
        let (energy_wh, energy_source) = match counted_wh {
            Some(counted) => (counted, EnergySource::Counter),
            None => (integral / 3_600_000.0, EnergySource::Integral),
        };
        let average_w = if length == 0 { peak_w } else { integral / length as f64 };
        Self {
            at,
            working_s: seconds(working_ms),
            standby_s: seconds(length.saturating_sub(working_ms)),
            energy_wh: tidy(energy_wh),
            energy_source,
            peak_w: tidy(peak_w),
            average_w: tidy(average_w),
        }
    }
}

/// The id of the session of `key` that started at `started_at`.
pub(crate) fn session_id(key: &str, started_at: u64) -> Uuid {
    // The time first: it has no space, so no key can be mistaken for another's time.
    Uuid::new_v5(&SESSIONS, format!("{started_at} {key}").as_bytes())
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn tidy(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    // Adding zero turns -0 into 0.
    if rounded.is_finite() { rounded + 0.0 } else { value.clamp(f64::MIN, f64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_numbers_without_a_tail_of_digits() {
        for (value, expected) in
            [(0.1 + 0.2, "0.3"), (1234.7 - 1230.4, "4.3"), (-0.0, "0.0"), (1e300, "1e+300")]
        {
            assert_eq!(serde_json::to_string(&tidy(value)).unwrap(), expected);
        }
        assert!(tidy(f64::INFINITY).is_finite());
    }

    #[test]
    fn names_a_session_by_key_and_start_for_ever() {
        let id = session_id("lathe", 1_770_925_218_007);
        assert_eq!(id.to_string(), "211b3c49-7778-5e8f-af0e-b5ec7ae47f96");
        assert_ne!(id, session_id("lathe", 1_770_925_218_008));
        assert_ne!(id, session_id("mill", 1_770_925_218_007));
    }
}
