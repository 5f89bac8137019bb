//! What the screen shows, put together once for each picture: plain texts and numbers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::machines::MACHINES;
use super::stage::{Stage, Standing};
use super::tally::{Arrivals, arrivals};
use super::told::{Session, Told};
use crate::config::push::parse_time;
use crate::message::Timestamp;
use crate::stand_in::SessionRecord;

/// One picture.
#[derive(Debug)]
pub(super) struct View {
    /// Since the program started.
    pub(super) at: Duration,
    pub(super) is_ready: bool,
    pub(super) machines: Vec<MachineView>,
    /// The newest first.
    pub(super) records: Vec<RecordView>,
    pub(super) arrivals: Arrivals,
    pub(super) standing: Standing,
    pub(super) broker_is_up: bool,
    pub(super) odoo_is_there: bool,
    /// What was set aside last, and why.
    pub(super) last_dead: Option<String>,
    /// The newest last.
    pub(super) told: Vec<Told>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct MachineView {
    pub(super) name: &'static str,
    pub(super) model: &'static str,
    pub(super) watts: f64,
    pub(super) scale_w: f64,
    /// By the session detector: `idle`, `starting`, `standby`, `working` or `stopping`.
    pub(super) state: String,
    /// Since the session started.
    pub(super) clock: Option<Duration>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct RecordView {
    pub(super) machine: String,
    pub(super) state: String,
    /// Hours, minutes and seconds, UTC.
    pub(super) started: String,
    pub(super) duration: Option<Duration>,
    pub(super) energy_wh: Option<f64>,
}

/// What is remembered from picture to picture.
#[derive(Default)]
pub(super) struct Memory {
    told: VecDeque<Told>,
    sessions: BTreeMap<String, Session>,
    states: BTreeMap<String, String>,
    last_dead: Option<String>,
}

/// More than the largest screen shows.
const KEPT: usize = 200;

impl Memory {
    /// Takes in what happened.
    pub(super) fn take(&mut self, told: Told) {
        if let Some(session) = &told.session {
            self.note(session.clone());
        }
        if let Some(state) = &told.state {
            self.states.insert(state.device.clone(), state.name.clone());
            // The machines' own side of the screen shows it.
            return;
        }
        if told.kind == "dead_letter" {
            self.last_dead = Some(told.text.clone());
        }
        if self.told.len() == KEPT {
            self.told.pop_front();
        }
        self.told.push_back(told);
    }

    /// Odoo's word counts too: a killed Tapline may have delivered what its log never said.
    fn note(&mut self, session: Session) {
        let known = self.sessions.get(&session.device);
        // The times are of one format, so that their texts sort as they do.
        let is_older = known.is_some_and(|known| {
            session.at < known.at || known.id == session.id && !known.is_open && session.is_open
        });
        if !is_older {
            self.sessions.insert(session.device.clone(), session);
        }
    }

    /// Puts a picture together.
    pub(super) fn view(&mut self, stage: &Stage, now: Timestamp) -> View {
        let records = stage.odoo.records();
        for record in &records {
            let at = record.ended_at.as_ref().or(record.started_at.as_ref());
            let session = Session {
                device: record.device_id.clone(),
                id: record.session_uid.clone(),
                at: at.cloned().unwrap_or_default(),
                is_open: record.ended_at.is_none(),
            };
            let known = self.sessions.get(&session.device);
            if known.is_none_or(|known| known.id != session.id || known.is_open) {
                self.note(session);
            }
        }
        let script = stage.clock.script();
        let standing = stage.standing();
        let machines = MACHINES
            .iter()
            .map(|machine| {
                let state = self.states.get(machine.id).map_or("idle", String::as_str);
                let session = self.sessions.get(machine.id).filter(|session| session.is_open);
                MachineView {
                    name: machine.name,
                    model: machine.model.name(),
                    watts: machine.watts(script.unwrap_or_default()),
                    scale_w: machine.scale_w,
                    state: state.to_owned(),
                    clock: session.and_then(|session| {
                        let record = records.iter().find(|r| r.session_uid == session.id);
                        let started = record.and_then(|record| record.started_at.as_deref());
                        since(started.unwrap_or(&session.at), now)
                    }),
                }
            })
            .collect();
        View {
            at: stage.clock.shown(),
            is_ready: script.is_some(),
            machines,
            records: records.iter().rev().map(|r| record_view(r, now)).collect(),
            arrivals: arrivals(&stage.odoo.events()),
            standing,
            broker_is_up: stage.broker.is_up(),
            odoo_is_there: stage.odoo.is_there(),
            last_dead: self.last_dead.clone(),
            told: self.told.iter().cloned().collect(),
        }
    }
}

fn record_view(record: &SessionRecord, now: Timestamp) -> RecordView {
    let started = record.started_at.as_deref();
    let end = record.ended_at.as_deref().and_then(parse_time).unwrap_or(now);
    RecordView {
        machine: record.machine.clone(),
        state: match (&record.ended_at, record.reason.as_deref()) {
            (None, _) => record.state.clone(),
            (Some(_), Some("power") | None) => "done".to_owned(),
            (Some(_), Some(reason)) => reason.replace('_', " "),
        },
        started: started.and_then(|at| at.get(11..19)).unwrap_or_default().to_owned(),
        duration: started.and_then(|at| since(at, end)),
        energy_wh: record.energy_wh,
    }
}

fn since(at: &str, now: Timestamp) -> Option<Duration> {
    Some(Duration::from_millis(now.since(parse_time(at)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, at: &str, is_open: bool) -> Session {
        Session { device: "saw-1".into(), id: id.into(), at: at.into(), is_open }
    }

    #[test]
    fn an_old_word_does_not_open_a_session_again() {
        let mut memory = Memory::default();
        let mut open_after = |session| {
            memory.note(session);
            memory.sessions["saw-1"].is_open
        };
        assert!(open_after(session("a", "2026-01-01T00:00:02.000Z", true)));
        assert!(!open_after(session("a", "2026-01-01T00:00:09.000Z", false)));
        assert!(!open_after(session("a", "2026-01-01T00:00:02.000Z", true)));
        assert!(open_after(session("b", "2026-01-01T00:00:12.000Z", true)));
    }
}
