//! The account of one stretch of power: times, energy, peak, from the start of the debounce
//! on, so that a session that comes of it is complete.
//!
//! Power is held between readings, so the account is settled only when a reading arrives and
//! worked out for any later instant from there. That makes the values at the last sign of
//! life, where a time-out ends a session, the settled ones. Invariant: working and standby
//! time are whole milliseconds that add up to the session's length.

use serde::{Deserialize, Serialize};

use crate::report::Totals;

/// Power that went up at `started_at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) started_at: u64,
    /// When the debounce was over; 0 before.
    pub(crate) opened_at: u64,
    /// Heartbeats up to here are settled.
    pub(crate) beat: u64,
    /// Whether the power has been at the working threshold since the last change.
    pub(crate) at_work: bool,
    /// All below up to the last sign of life.
    working_ms: u64,
    /// W·ms
    integral: f64,
    /// Growth of the counters; `None` where one of them was unknown at the start.
    counted_wh: Option<f64>,
    /// Of power at or above the standby threshold.
    peak_w: f64,
    /// Where thresholds changed since the last sign of life: time at work up to there by the
    /// thresholds of before.
    changed: Option<Changed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Changed {
    at: u64,
    working_ms: u64,
}

/// Where the power went below the standby threshold, with the account as it was there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fall {
    pub(crate) at: u64,
    integral: f64,
    counted_wh: Option<f64>,
}

impl Run {
    pub(crate) fn begin(at: u64, power_w: f64, at_work: bool, counts_energy: bool) -> Self {
        Self {
            started_at: at,
            opened_at: 0,
            beat: 0,
            at_work,
            working_ms: 0,
            integral: 0.0,
            counted_wh: counts_energy.then_some(0.0),
            peak_w: power_w,
            changed: None,
        }
    }

    /// How far the account is settled.
    pub(crate) fn settled(&self, last_sign: u64) -> u64 {
        last_sign.max(self.started_at)
    }

    /// Settles up to a sign of life at `at`; `power_w` was held since the one before.
    pub(crate) fn settle(&mut self, last_sign: u64, at: u64, power_w: f64) {
        self.integral = self.integral_at(last_sign, at, power_w);
        self.working_ms = self.working_at(last_sign, at);
        self.changed = None;
    }

    /// Keeps the time at work up to `at`, because the rules change there. A heartbeat that a
    /// shorter interval would put in the past is left out.
    pub(crate) fn change(&mut self, last_sign: u64, at: u64) {
        self.beat = self.beat.max(at);
        let working_ms = self.working_at(last_sign, at) - self.working_ms;
        self.changed = Some(Changed { at, working_ms });
    }

    /// Takes note of power at or above the standby threshold.
    pub(crate) fn up(&mut self, power_w: f64, at_work: bool) {
        self.at_work = at_work;
        self.peak_w = self.peak_w.max(power_w);
    }

    /// Takes note of power that went below the standby threshold at `at`; `power_w` was held
    /// since the last sign of life.
    pub(crate) fn down(&mut self, last_sign: u64, at: u64, power_w: f64) -> Fall {
        self.at_work = false;
        let integral = self.integral_at(last_sign, at, power_w);
        Fall { at, integral, counted_wh: self.counted_wh }
    }

    /// Adds what a counter grew from `before` to `now`, read at `at`.
    pub(crate) fn count(&mut self, at: u64, before: Option<f64>, now: f64, all_known: bool) {
        if at <= self.started_at {
            // A value at the very start is the one that the session is counted from.
            self.counted_wh = all_known.then_some(0.0);
        } else if let (Some(counted), Some(before)) = (&mut self.counted_wh, before) {
            // A counter that fell began again at zero.
            *counted += if now >= before { now - before } else { now.max(0.0) };
        }
    }

    /// The counters are others from here on.
    pub(crate) fn lose_counters(&mut self) {
        self.counted_wh = None;
    }

    /// A counter was read in the very instant of the fall.
    pub(crate) fn recount(&self, fall: &mut Fall) {
        fall.counted_wh = self.counted_wh;
    }

    /// The account at `at`, with `power_w` held since the last sign of life.
    pub(crate) fn totals_at(&self, last_sign: u64, at: u64, power_w: f64) -> Totals {
        let integral = self.integral_at(last_sign, at, power_w);
        self.totals(at, self.working_at(last_sign, at), integral, self.counted_wh)
    }

    /// The account at the last sign of life.
    pub(crate) fn totals_settled(&self, last_sign: u64) -> Totals {
        self.totals(self.settled(last_sign), self.working_ms, self.integral, self.counted_wh)
    }

    /// The account at a fall from which the power did not come back.
    pub(crate) fn totals_at_fall(&self, fall: &Fall) -> Totals {
        // Below the standby threshold nothing works, so what was added since is nothing.
        let working_ms = self.working_ms + self.changed.map_or(0, |changed| changed.working_ms);
        self.totals(fall.at, working_ms, fall.integral, fall.counted_wh)
    }

    fn integral_at(&self, last_sign: u64, at: u64, power_w: f64) -> f64 {
        let held = at.saturating_sub(self.settled(last_sign));
        (self.integral + power_w * held as f64).clamp(f64::MIN, f64::MAX)
    }

    fn working_at(&self, last_sign: u64, at: u64) -> u64 {
        let (from, changed) = match self.changed {
            Some(changed) => (changed.at, changed.working_ms),
            None => (self.settled(last_sign), 0),
        };
        let held = if self.at_work { at.saturating_sub(from) } else { 0 };
        self.working_ms.saturating_add(changed).saturating_add(held)
    }

    fn totals(&self, at: u64, working_ms: u64, integral: f64, counted_wh: Option<f64>) -> Totals {
        Totals::new(self.started_at, at, working_ms, integral, counted_wh, self.peak_w)
    }
}
