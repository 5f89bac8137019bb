//! What the stand-in has been told: events, each once, and the sessions that follow.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event as it came.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct ReceivedEvent {
    pub event_uid: String,
    pub event_type: String,
    #[serde(default)]
    pub device_id: Option<String>,
    #[serde(default)]
    pub session_uid: Option<String>,
    pub seq: u64,
    pub timestamp: String,
    #[serde(default)]
    pub payload: Map<String, Value>,
    /// `mqtt`, `machine_name`, `labels` and whatever else came with it.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
    /// Set by the stand-in.
    #[serde(default)]
    pub bridge_id: String,
}

/// A machine session as Odoo would have it.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct SessionRecord {
    pub session_uid: String,
    pub device_id: String,
    pub machine: String,
    /// `working`, `standby`, … as the last event says it; `idle` once it has ended.
    pub state: String,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    /// `power`, `message_timeout`, …
    pub reason: Option<String>,
    pub energy_wh: Option<f64>,
    pub working_s: Option<f64>,
    pub standby_s: Option<f64>,
    pub events: u64,
}

#[derive(Default)]
pub(crate) struct Books {
    events: Vec<ReceivedEvent>,
    by_uid: HashMap<String, usize>,
    by_device: HashMap<String, Vec<usize>>,
    last_seq: HashMap<(String, String), u64>,
    sessions: Vec<SessionRecord>,
    by_session: HashMap<String, usize>,
    duplicates: u64,
    violations: Vec<String>,
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entered {
    Created,
    Duplicate,
}

impl Books {
    pub(crate) fn events(&self) -> &[ReceivedEvent] {
        &self.events
    }

    /// Events of one device.
    pub(crate) fn of(&self, device_id: &str) -> impl ExactSizeIterator<Item = &ReceivedEvent> {
        let of_device = self.by_device.get(device_id).map_or(&[][..], Vec::as_slice);
        of_device.iter().map(|index| &self.events[*index])
    }

    pub(crate) fn records(&self) -> Vec<SessionRecord> {
        self.sessions.clone()
    }

    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Takes an event in; what is wrong with it is noted, not refused.
    pub(crate) fn enter(&mut self, event: ReceivedEvent) -> Entered {
        let uid = &event.event_uid;
        if let Some(known) = self.by_uid.get(uid) {
            self.duplicates += 1;
            let known = &self.events[*known];
            if known.payload != event.payload || known.seq != event.seq {
                self.violations.push(format!("event `{uid}` came again with another content"));
            }
            return Entered::Duplicate;
        }
        let device = event.device_id.clone().unwrap_or_default();
        let last = self.last_seq.entry((event.bridge_id.clone(), device.clone())).or_insert(0);
        if event.seq <= *last {
            self.violations.push(format!(
                "event `{uid}` of device `{device}` has number {} after {last}",
                event.seq
            ));
        }
        *last = event.seq.max(*last);
        self.follow(&event, device);
        self.by_uid.insert(uid.clone(), self.events.len());
        if let Some(device) = &event.device_id {
            self.by_device.entry(device.clone()).or_default().push(self.events.len());
        }
        self.events.push(event);
        Entered::Created
    }

    /// Brings the event's session up to date.
    fn follow(&mut self, event: &ReceivedEvent, device: String) {
        let Some(uid) = &event.session_uid else { return };
        let index = *self.by_session.entry(uid.clone()).or_insert_with(|| {
            let machine = event.rest.get("machine_name").and_then(Value::as_str);
            self.sessions.push(SessionRecord {
                session_uid: uid.clone(),
                machine: machine.unwrap_or(&device).to_owned(),
                device_id: device,
                state: String::new(),
                started_at: None,
                ended_at: None,
                reason: None,
                energy_wh: None,
                working_s: None,
                standby_s: None,
                events: 0,
            });
            self.sessions.len() - 1
        });
        let session = &mut self.sessions[index];
        session.events += 1;
        let text = |name: &str| event.payload.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| event.payload.get(name).and_then(Value::as_f64);
        session.state = text("state").unwrap_or_else(|| std::mem::take(&mut session.state));
        session.started_at = text("started_at").or(session.started_at.take());
        session.ended_at = text("ended_at").or(session.ended_at.take());
        session.reason = text("reason").or(session.reason.take());
        session.energy_wh = number("energy_wh").or(session.energy_wh);
        session.working_s = number("working_s").or(session.working_s);
        session.standby_s = number("standby_s").or(session.standby_s);
    }
}
