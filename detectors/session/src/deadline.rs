//! What time alone does to a machine: debounces end, silence lasts too long, heartbeats.
//!
//! At one instant: start, stop, time-out, heartbeat. Invariant: acting on deadlines one by
//! one, or all at once later, gives the same events.
//!
//! Where the rules leave room:
//! - An event's `at` is what its formula gives, also where the machine learns of it later: a
//!   device that says after an hour of silence that it is gone timed out at its last sign of
//!   life plus the limit. Only, no time-out is before its session's own start.
//! - A silent device that is online is asked after `message_timeout`, then after twice that,
//!   four times that …: one that does not know the question is not pestered.
//! - `max_silence` bounds every session, also one that could not be heard.

use crate::machine::{Machine, Phase, Turn};
use crate::report::{Reason, Report, State};
use crate::run::Run;
use crate::settings::Rules;

/// Heartbeats that one step may make up for. The host wakes the machine for each of them;
/// only a step that comes out of nowhere days later gets here, and must not flood.
const MOST_REPORTS: usize = 1000;

/// In the order in which they act at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    Start,
    Stop,
    MessageTimeout,
    MaxSilence,
    Ask,
    Heartbeat,
}

/// Whether the device could be heard: if not, its silence says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearing {
    Open,
    Deaf,
}

impl Machine {
    /// When something is due next.
    pub(crate) fn wake_at(&self, rules: &Rules) -> Option<u64> {
        self.next(rules, Hearing::Open).map(|(due, _)| due)
    }

    /// Acts on every deadline up to `until`, in order.
    pub(crate) fn advance(&mut self, turn: &mut Turn<'_>, until: u64, hearing: Hearing) {
        while let Some((due, deadline)) = self.next(turn.rules, hearing)
            && due <= until
        {
            self.now = self.now.max(due);
            let phase = std::mem::take(&mut self.phase);
            self.phase = match (phase, deadline) {
                (Phase::Starting(run), _) => self.start(turn, run, due),
                (Phase::Stopping(run, fall), Deadline::Stop) => {
                    let report = Report::new("session_stopped", due, turn.key, run.started_at)
                        .ended(Reason::Power, run.totals_at_fall(&fall));
                    turn.reports.push(report);
                    Phase::Idle
                }
                (Phase::On(run) | Phase::Stopping(run, _), Deadline::MessageTimeout) => {
                    self.time_out(turn, &run, due, Reason::MessageTimeout)
                }
                (Phase::On(run) | Phase::Stopping(run, _), Deadline::MaxSilence) => {
                    self.time_out(turn, &run, due, Reason::MaxSilence)
                }
                (phase, Deadline::Ask) => {
                    turn.ask = true;
                    self.asks = self.asks.saturating_add(1);
                    phase
                }
                (Phase::On(run), Deadline::Heartbeat) => {
                    let state = State::of(&run);
                    Phase::On(self.beat(turn, run, state, due, until))
                }
                (Phase::Stopping(run, fall), Deadline::Heartbeat) => {
                    let run = self.beat(turn, run, State::Stopping, due, until);
                    Phase::Stopping(run, fall)
                }
                // `next` offers no other pair.
                (phase, _) => phase,
            };
        }
        self.now = self.now.max(until);
    }

    fn next(&self, rules: &Rules, hearing: Hearing) -> Option<(u64, Deadline)> {
        let (run, stop) = match &self.phase {
            Phase::Idle => return None,
            Phase::Starting(run) => {
                return Some((run.started_at.saturating_add(rules.start_ms), Deadline::Start));
            }
            Phase::On(run) => (run, None),
            Phase::Stopping(run, fall) => (run, Some(fall.at.saturating_add(rules.stop_ms))),
        };
        let silent = |since: u64, limit: u64| since.saturating_add(limit).max(run.opened_at);
        let message = match (hearing, self.online) {
            (Hearing::Deaf, _) => None,
            (Hearing::Open, Some(true)) => {
                // By the 40th doubling `max_silence` has long ended the session.
                let patience = rules.message_ms.saturating_mul(1 << self.asks.min(40));
                Some((silent(self.silent_from, patience), Deadline::Ask))
            }
            (Hearing::Open, _) => {
                Some((silent(self.silent_from, rules.message_ms), Deadline::MessageTimeout))
            }
        };
        let heartbeat = rules.heartbeat_ms.map(|interval| {
            let number = run.beat.saturating_sub(run.opened_at) / interval + 1;
            (run.opened_at.saturating_add(number.saturating_mul(interval)), Deadline::Heartbeat)
        });
        [
            stop.map(|due| (due, Deadline::Stop)),
            message,
            Some((silent(self.last_sign, rules.silence_ms), Deadline::MaxSilence)),
            heartbeat,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn start(&self, turn: &mut Turn<'_>, mut run: Run, due: u64) -> Phase {
        run.opened_at = due;
        // Where a shorter debounce starts a session in the past, its heartbeats stay ahead.
        run.beat = self.now;
        let report =
            Report::new("session_started", due, turn.key, run.started_at).state(State::of(&run));
        turn.reports.push(report);
        Phase::On(run)
    }

    fn time_out(&mut self, turn: &mut Turn<'_>, run: &Run, due: u64, reason: Reason) -> Phase {
        let report = Report::new("session_timeout", due, turn.key, run.started_at)
            .ended(reason, run.totals_settled(self.last_sign));
        turn.reports.push(report);
        self.forget_power();
        Phase::Idle
    }

    fn beat(&self, turn: &mut Turn<'_>, mut run: Run, state: State, due: u64, until: u64) -> Run {
        run.beat = if turn.reports.len() < MOST_REPORTS { due } else { until };
        let power_w = self.power_w(turn.rules).unwrap_or_default();
        let report = Report::new("session_heartbeat", due, turn.key, run.started_at)
            .state(state)
            .totals(run.totals_at(self.last_sign, due, power_w));
        turn.reports.push(report);
        run
    }
}
