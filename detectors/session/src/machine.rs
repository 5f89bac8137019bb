//! The states of one device and how readings and settings move it through them; what time
//! does is next door, in `deadline`.
//!
//! Each step first acts on every deadline up to its time, in order, so a wake-up that comes
//! late or not at all changes nothing. Invariant: what comes out depends on the times that
//! steps carry, never on when they are made.

use serde::{Deserialize, Serialize};

use crate::channel::{Place, Source};
use crate::deadline::Hearing;
use crate::report::{Reason, Report};
use crate::run::{Fall, Run};
use crate::settings::Rules;

/// What is known of one device. At most 200 bytes when written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The time of the last step.
    pub(crate) now: u64,
    pub(crate) last_sign: u64,
    /// From when on silence counts: the last sign of life, or later the end of a deaf time.
    pub(crate) silent_from: u64,
    /// Questions asked in this silence.
    pub(crate) asks: u8,
    pub(crate) online: Option<bool>,
    /// As measured; `None` before the first reading and after a time-out.
    power_w: Option<f64>,
    source: Source,
    pub(crate) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Starting(Run),
    /// Standby or working, as the run says.
    On(Run),
    Stopping(Run, Fall),
}

impl Phase {
    fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Idle => None,
            Self::Starting(run) | Self::On(run) | Self::Stopping(run, _) => Some(run),
        }
    }
}

/// What a live reading says about sessions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Heard<'a> {
    pub(crate) channel: &'a str,
    pub(crate) power_w: Option<f64>,
    pub(crate) energy_wh: Option<f64>,
    pub(crate) online: Option<bool>,
    /// Says more than that the device is gone.
    pub(crate) alive: bool,
}

/// One step in the making: by which rules, for which key, and what comes of it.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) key: &'a str,
    pub(crate) reports: Vec<Report>,
    pub(crate) ask: bool,
    /// The channel that counts, where the reading was of another without a rule.
    pub(crate) second: Option<String>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(rules: &'a Rules, key: &'a str) -> Self {
        Self { rules, key, reports: Vec::new(), ask: false, second: None }
    }
}

impl Machine {
    /// The state's name, as events and logs have it.
    pub(crate) fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Idle => "idle",
            Phase::Starting(_) => "starting",
            Phase::On(run) if run.at_work => "working",
            Phase::On(_) => "standby",
            Phase::Stopping(..) => "stopping",
        }
    }

    /// Acts on what was due up to `at`.
    pub(crate) fn pass(&mut self, turn: &mut Turn<'_>, at: u64) {
        self.advance(turn, at, Hearing::Open);
    }

    /// Takes a live reading.
    pub(crate) fn hear(&mut self, turn: &mut Turn<'_>, at: u64, heard: Heard<'_>) {
        self.pass(turn, at);
        let at = self.now;
        if heard.alive {
            self.sign_of_life(turn.rules, at);
        }
        self.online = heard.online.or(self.online);
        let has_power = heard.power_w.is_some();
        let index = match self.source.place(&turn.rules.choice, heard.channel, has_power) {
            Place::Part(index) => Some(index),
            Place::New(index) => {
                if let Some(run) = self.phase.run_mut() {
                    run.lose_counters();
                }
                Some(index)
            }
            Place::Aside => None,
            Place::Second(adopted) => {
                turn.second = Some(adopted.as_str().to_owned());
                None
            }
        };
        if let Some(index) = index {
            // The counter first: a value that comes with the power that starts or ends a
            // session belongs to that instant.
            if let Some(energy_wh) = heard.energy_wh {
                self.count(at, index, energy_wh);
            }
            if let Some(power_w) = heard.power_w {
                self.source.parts[index].power_w = Some(power_w);
                self.power_w = self.source.power_w().or(self.power_w);
                self.judge(turn.rules, at);
            }
        }
        // What the reading itself made due: a debounce of no length, or the time-out of a
        // device that was kept for being online.
        self.pass(turn, at);
    }

    /// Takes a retained `online`, which may be of any age: it moves no time.
    pub(crate) fn remember_online(&mut self, online: Option<bool>) {
        self.online = online.or(self.online);
    }

    /// Nothing could be heard between `from` and `until`.
    pub(crate) fn deaf(&mut self, turn: &mut Turn<'_>, from: u64, until: u64) {
        self.pass(turn, from.min(until));
        self.advance(turn, until, Hearing::Deaf);
        self.silent_from = self.silent_from.max(self.now);
        self.asks = 0;
    }

    /// Acts on rules that changed at `at`.
    pub(crate) fn reconfigure(&mut self, turn: &mut Turn<'_>, at: u64) {
        // No deadline before the judgement: those of the old rules had their wake-ups, and by
        // the new ones the machine may have been in another state since.
        self.now = self.now.max(at);
        let (at, last_sign) = (self.now, self.last_sign);
        if let Some(run) = self.phase.run_mut() {
            run.change(last_sign, at);
        }
        self.judge(turn.rules, at);
        self.pass(turn, at);
    }

    /// The device is gone.
    pub(crate) fn remove(&mut self, turn: &mut Turn<'_>, at: u64) {
        self.pass(turn, at);
        if let Phase::On(run) | Phase::Stopping(run, _) = &self.phase {
            let totals = run.totals_settled(self.last_sign);
            let report = Report::new("session_stopped", self.now, turn.key, run.started_at)
                .ended(Reason::DeviceRemoved, totals);
            turn.reports.push(report);
        }
        self.phase = Phase::Idle;
    }

    /// The channel that counts; empty where several do.
    pub(crate) fn channel(&self) -> &str {
        self.source.channel()
    }

    /// Power as the thresholds see it. `absolute` is about how a meter is wired, so a change of
    /// it holds for all of the time since the last reading.
    pub(crate) fn power_w(&self, rules: &Rules) -> Option<f64> {
        self.power_w.map(|power_w| if rules.absolute { power_w.abs() } else { power_w })
    }

    /// A silent device's power means nothing any more: only a new reading starts a session.
    pub(crate) fn forget_power(&mut self) {
        self.power_w = None;
    }

    fn sign_of_life(&mut self, rules: &Rules, at: u64) {
        let (last_sign, power_w) = (self.last_sign, self.power_w(rules));
        if let Some(run) = self.phase.run_mut() {
            run.settle(last_sign, at, power_w.unwrap_or_default());
        }
        self.last_sign = at;
        self.silent_from = at;
        self.asks = 0;
    }

    fn count(&mut self, at: u64, index: usize, energy_wh: f64) {
        let before = self.source.parts[index].energy_wh.replace(energy_wh);
        let all_known = self.source.counts_energy();
        if let Some(run) = self.phase.run_mut() {
            run.count(at, before, energy_wh, all_known);
        }
        if let Phase::Stopping(run, fall) = &mut self.phase
            && at <= fall.at
        {
            run.recount(fall);
        }
    }

    /// Compares the power with the thresholds.
    fn judge(&mut self, rules: &Rules, at: u64) {
        let Some(power_w) = self.power_w(rules) else { return };
        let on = power_w >= rules.standby_w;
        let at_work = power_w >= rules.working_w;
        self.phase = match (std::mem::take(&mut self.phase), on) {
            (Phase::Idle, true) => {
                let counts_energy = self.source.counts_energy();
                Phase::Starting(Run::begin(at, power_w, at_work, counts_energy))
            }
            (Phase::Idle | Phase::Starting(_), false) => Phase::Idle,
            (Phase::Starting(mut run), true) => {
                run.up(power_w, at_work);
                Phase::Starting(run)
            }
            (Phase::On(mut run) | Phase::Stopping(mut run, _), true) => {
                run.up(power_w, at_work);
                Phase::On(run)
            }
            (Phase::On(mut run), false) => {
                let fall = run.down(self.last_sign, at, power_w);
                Phase::Stopping(run, fall)
            }
            (stopping @ Phase::Stopping(..), false) => stopping,
        };
    }
}
