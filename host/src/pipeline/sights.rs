//! What was last seen of each device, which sessions run, and what nobody knows.
//!
//! Neighbours: watches all pipelines beside `activity`, which counts; `reload` answers from
//! here. Invariant: everything that a device or a module can make more of has a bound.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::effects::Fate;
use super::item::Emitted;
use super::plan::Plan;
use super::shard::{Observed, Observer};
use crate::message::{DeviceId, Event, Item, Message, Quantity, Reading, Timestamp};
use crate::quantity;
use crate::store::{KeyId, Said};

/// Devices that are followed though nobody registered them (`unknown_devices = "accept"`).
const STRANGERS: usize = 10_000;
/// Channels of a device, and quantities of a channel.
const CHANNELS: usize = 32;
const QUANTITIES: usize = 32;
/// Topics that nobody knows.
const UNKNOWN: usize = 1_000;
/// The largest payload that is kept to try parsers on.
const SAMPLE: usize = 8 << 10;
/// A topic's sample is renewed no more often than this.
const SAMPLE_EVERY_MS: u64 = 10_000;
/// Sessions that ended lately.
const ENDED: usize = 500;
/// Data of an event that is kept of a session; ours have some 400 bytes.
const SAID: usize = 4 << 10;

/// What was last seen of one device.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// `None`: nothing but problems so far.
    pub last_seen: Option<Timestamp>,
    pub topic: Option<Arc<str>>,
    pub channels: Vec<ChannelSight>,
    /// The last state that an event named.
    pub state: Option<String>,
    pub problem: Option<Trouble>,
}

/// What was last measured on one channel.
#[derive(Clone, Debug)]
pub struct ChannelSight {
    pub name: String,
    pub values: Vec<(Quantity, f64)>,
}

/// Why something of a device was refused or left aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    pub at: String,
    pub stage: Arc<str>,
    pub code: String,
    pub detail: String,
}

/// A session, as its last event told it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    pub device: Option<DeviceId>,
    pub key: Arc<str>,
    /// The event, and its time: everything here is as of then.
    pub event: String,
    pub at: String,
    #[serde(flatten)]
    pub told: Told,
}

/// What the events of a session tell, by their own names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    pub session_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_wh: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_w: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_w: Option<f64>,
}

/// A topic whose messages nobody takes for a device's.
#[derive(Clone, Debug)]
pub struct UnknownTopic {
    pub pipeline: Arc<str>,
    pub broker: Arc<str>,
    pub topic: Arc<str>,
    /// The device that topic or payload name, where they do.
    pub device: Option<DeviceId>,
    /// `unmatched`: no parser was asked; `unknown-device`: nobody registered it.
    pub why: Arc<str>,
    pub count: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// A payload of it, if one was small enough.
    pub sample: Option<Bytes>,
    sampled_at: Timestamp,
}

impl UnknownTopic {
    /// Nothing of it yet.
    #[cfg(test)]
    pub(crate) fn new(topic: &str, now: Timestamp) -> Self {
        Self {
            pipeline: "workshop".into(),
            broker: "main".into(),
            topic: topic.into(),
            device: None,
            why: "unmatched".into(),
            count: 0,
            first_seen: now,
            last_seen: now,
            sample: None,
            sampled_at: Timestamp(0),
        }
    }
}

#[derive(Default)]
struct Inner {
    devices: HashMap<DeviceId, Sight>,
    strangers: usize,
    sessions: HashMap<KeyId, Session>,
    ended: VecDeque<Session>,
    unknown: HashMap<(Arc<str>, Arc<str>), UnknownTopic>,
    /// Messages of unknown topics beyond those that are followed.
    unfollowed: u64,
    made_room_at: Timestamp,
}

/// Watches all pipelines.
#[derive(Default)]
pub struct Sights {
    inner: Mutex<Inner>,
}

impl Sights {
    /// Knows the sessions that the store remembers.
    pub fn remembering(said: Vec<Said>) -> Self {
        let sights = Self::default();
        let mut inner = sights.lock();
        let mut ended = Vec::new();
        for said in said {
            let Some(session) = session(&said) else { continue };
            if session.told.ended_at.is_some() {
                ended.push(session);
            } else {
                inner.sessions.insert(said.id, session);
            }
        }
        ended.sort_by(|a, b| b.at.cmp(&a.at));
        ended.truncate(ENDED);
        inner.ended = ended.into();
        drop(inner);
        sights
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of these devices since the start, and their running sessions.
    pub fn devices(&self, ids: &[DeviceId]) -> Vec<(Option<Sight>, Vec<Session>)> {
        let inner = self.lock();
        let wanted: HashMap<&DeviceId, usize> = ids.iter().zip(0..).collect();
        let mut seen: Vec<_> =
            ids.iter().map(|id| (inner.devices.get(id).cloned(), Vec::new())).collect();
        for session in inner.sessions.values() {
            if let Some(&index) = session.device.as_ref().and_then(|id| wanted.get(id)) {
                seen[index].1.push(session.clone());
            }
        }
        seen
    }

    /// Devices that were heard though nobody registered them.
    pub fn strangers(&self, is_registered: &dyn Fn(&DeviceId) -> bool) -> Vec<DeviceId> {
        let inner = self.lock();
        let mut strangers: Vec<_> =
            inner.devices.keys().filter(|id| !is_registered(id)).cloned().collect();
        strangers.sort();
        strangers
    }

    /// Sessions that run, by pipeline, stage and key.
    pub fn running(&self) -> Vec<Session> {
        let mut sessions: Vec<_> = self.lock().sessions.values().cloned().collect();
        sessions
            .sort_by(|a, b| (&a.pipeline, &a.stage, &a.key).cmp(&(&b.pipeline, &b.stage, &b.key)));
        sessions
    }

    /// Those that ended lately, the last one first.
    pub fn ended(&self) -> Vec<Session> {
        self.lock().ended.iter().cloned().collect()
    }

    /// Topics that nobody knows, by name, and how many messages came on others beyond those.
    pub fn unknown(&self) -> (Vec<UnknownTopic>, u64) {
        let inner = self.lock();
        let mut topics: Vec<_> = inner.unknown.values().cloned().collect();
        topics.sort_by(|a, b| (&a.topic, &a.broker).cmp(&(&b.topic, &b.broker)));
        (topics, inner.unfollowed)
    }

    /// Forgets devices and sessions that are gone.
    pub fn retain(&self, plans: &[Arc<Plan>]) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let known = |id: &DeviceId| plans.iter().any(|plan| plan.directory.get(id).is_some());
        let accepting = plans.iter().any(|plan| plan.accepts_unknown());
        inner.devices.retain(|id, _| accepting || known(id));
        inner.strangers = inner.devices.keys().filter(|id| !known(id)).count();
        inner.sessions.retain(|id, _| {
            let plan = plans.iter().find(|plan| plan.file.name == id.pipeline);
            plan.is_some_and(|plan| plan.stage_names().any(|stage| *stage == id.stage))
        });
    }
}

/// What is to be remembered of a batch: the last that was said of each key's session.
pub(super) fn said(plan: &Plan, items: &[Emitted]) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    for item in items.iter().filter(|item| item.counts) {
        let Item::Event(event) = &item.item else { continue };
        let Some(identity) = &item.identity else { continue };
        // Only detectors have keys, and only sessions are looked for later.
        if !event.data.contains("\"session_id\"")
            || event.data.len() > SAID
            || plan.rank(&item.stage) < plan.first_detector_rank()
        {
            continue;
        }
        let said = Said {
            id: KeyId {
                pipeline: plan.file.name.clone(),
                stage: item.stage.clone(),
                key: identity.key.clone(),
            },
            device: item.device.clone(),
            kind: event.kind.clone(),
            at: event.at.unwrap_or(identity.at),
            data: event.data.clone(),
        };
        match all.iter_mut().find(|other| other.id == said.id) {
            Some(other) => *other = said,
            None => all.push(said),
        }
    }
    all
}

fn session(said: &Said) -> Option<Session> {
    // An event that has the name and another shape is no session of ours.
    let told: Told = serde_json::from_str(&said.data).ok()?;
    Some(Session {
        pipeline: said.id.pipeline.clone(),
        stage: said.id.stage.clone(),
        key: said.id.key.clone(),
        device: said.device.clone(),
        event: said.kind.clone(),
        at: said.at.rfc3339(),
        told,
    })
}

impl Observer for Sights {
    fn observe(&self, observed: &Observed<'_>) {
        let effects = observed.effects;
        let mut inner = self.lock();
        for (fate, message) in effects.fates.iter().zip(observed.messages) {
            if let Fate::Filtered(by) = fate
                && matches!(&**by, "unknown-device" | "unmatched")
            {
                inner.note_unknown(observed, by, message);
            }
        }
        for item in &effects.items {
            inner.see(observed, item);
        }
        for said in said(observed.plan, &effects.items) {
            inner.hear(said);
        }
        let at = || observed.now.rfc3339();
        for (stage, device, why) in &effects.ignored {
            if let Some(sight) = device.as_ref().and_then(|d| inner.sight(d, observed.plan)) {
                let (code, detail) = (why.code.clone(), why.detail.clone());
                sight.problem = Some(Trouble { at: at(), stage: stage.clone(), code, detail });
            }
        }
        for letter in &effects.dead {
            let device = letter.device.as_ref();
            if let Some(sight) = device.and_then(|d| inner.sight(d, observed.plan)) {
                let (code, detail) = (letter.code.clone(), letter.detail.clone());
                let stage = letter.stage.clone();
                sight.problem = Some(Trouble { at: at(), stage, code, detail });
            }
        }
    }
}

impl Inner {
    /// `None`: a stranger too many.
    fn sight(&mut self, device: &DeviceId, plan: &Plan) -> Option<&mut Sight> {
        if !self.devices.contains_key(device) {
            if plan.directory.get(device).is_none() {
                if self.strangers >= STRANGERS {
                    return None;
                }
                self.strangers += 1;
            }
            self.devices.insert(device.clone(), Sight::default());
        }
        self.devices.get_mut(device)
    }

    fn see(&mut self, observed: &Observed<'_>, item: &Emitted) {
        let Some(device) = &item.device else { return };
        let Some(sight) = self.sight(device, observed.plan) else { return };
        if let Some(message) = item.message.and_then(|i| observed.messages.get(i))
            && !item.retained
            && sight.last_seen.is_none_or(|last| last < item.received_at)
        {
            sight.last_seen = Some(item.received_at);
            if sight.topic.as_deref() != Some(&*message.topic) {
                sight.topic = Some(message.topic.clone());
            }
        }
        match &item.item {
            Item::Reading(reading) => sight.read(reading),
            Item::Event(event) => {
                if let Some(state) = state_of(event) {
                    sight.state = Some(state);
                }
            }
            Item::Publication(_) => {}
        }
    }

    fn hear(&mut self, said: Said) {
        let Some(session) = session(&said) else { return };
        if session.told.ended_at.is_none() {
            self.sessions.insert(said.id, session);
            return;
        }
        self.sessions.remove(&said.id);
        if self.ended.len() >= ENDED {
            self.ended.pop_back();
        }
        self.ended.push_front(session);
    }

    fn note_unknown(&mut self, observed: &Observed<'_>, why: &Arc<str>, message: &Message) {
        let id = (message.id.source.clone(), message.topic.clone());
        let now = message.received_at;
        if !self.unknown.contains_key(&id) && !self.has_room(observed.now) {
            self.unfollowed += 1;
            return;
        }
        let named = || {
            let unknown = observed.effects.unknown.iter();
            unknown.rev().find(|(topic, _)| *topic == message.topic).and_then(|(_, d)| d.clone())
        };
        let known = self.unknown.entry(id).or_insert_with(|| UnknownTopic {
            pipeline: observed.plan.file.name.clone(),
            broker: message.id.source.clone(),
            topic: message.topic.clone(),
            device: named(),
            why: why.clone(),
            count: 0,
            first_seen: now,
            last_seen: now,
            sample: None,
            sampled_at: Timestamp(0),
        });
        known.count += 1;
        known.last_seen = now;
        if message.payload.len() <= SAMPLE && now.since(known.sampled_at) >= SAMPLE_EVERY_MS {
            // A copy: the payload is a part of a larger buffer, which must not stay for it.
            known.sample = Some(Bytes::copy_from_slice(&message.payload));
            known.sampled_at = now;
        }
    }

    /// Whether one more unknown topic may come in: for the one that was silent the longest,
    /// but no more often than once a second, for that costs a look at all.
    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.unknown.len() < UNKNOWN {
            return true;
        }
        if now.since(self.made_room_at) < 1_000 {
            return false;
        }
        self.made_room_at = now;
        let oldest = self.unknown.iter().min_by_key(|(_, topic)| topic.last_seen);
        let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return true };
        if let Some(gone) = self.unknown.remove(&oldest) {
            self.unfollowed += gone.count;
        }
        true
    }
}

impl Sight {
    fn read(&mut self, reading: &Reading) {
        let known = self.channels.iter().position(|channel| channel.name == reading.channel);
        let index = match known {
            Some(index) => index,
            None if self.channels.len() < CHANNELS => {
                let name = reading.channel.clone();
                self.channels.push(ChannelSight { name, values: Vec::new() });
                self.channels.len() - 1
            }
            None => return,
        };
        let values = &mut self.channels[index].values;
        for measurement in &reading.measurements {
            match values.iter().position(|(quantity, _)| *quantity == measurement.quantity) {
                Some(known) => values[known].1 = measurement.value,
                None if values.len() < QUANTITIES => {
                    values.push((measurement.quantity, measurement.value));
                }
                None => {}
            }
        }
    }

    /// The last value of a quantity, of the first channel that has it.
    pub fn value(&self, name: &str) -> Option<f64> {
        let wanted = quantity::by_name(name)?;
        let mut all = self.channels.iter().flat_map(|channel| &channel.values);
        all.find(|(quantity, _)| *quantity == wanted).map(|(_, value)| *value)
    }
}

fn state_of(event: &Event) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        state: String,
    }
    // Events that name no state are most of those of other detectors.
    event
        .data
        .contains("\"state\"")
        .then(|| serde_json::from_str::<Named>(&event.data).ok())?
        .map(|named| named.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, at: u64, data: &str) -> Said {
        let id = KeyId { pipeline: "workshop".into(), stage: "session".into(), key: key.into() };
        let device = Some(DeviceId::from(key));
        Said { id, device, kind: "k".to_owned(), at: Timestamp(at), data: data.to_owned() }
    }

    #[test]
    fn sessions_that_ran_before_the_start_run_still() {
        let sights = Sights::remembering(vec![
            said("a", 5, r#"{"session_id":"1","state":"working","started_at":"t"}"#),
            said("b", 6, r#"{"session_id":"2","ended_at":"t","reason":"power"}"#),
            said("c", 9, r#"{"session_id":"3","ended_at":"t","working_s":7.5}"#),
            said("d", 7, r#"{"session_id":4}"#),
        ]);
        let keys = |sessions: Vec<Session>| -> Vec<_> {
            sessions.into_iter().map(|session| session.key.to_string()).collect()
        };
        assert_eq!(keys(sights.running()), ["a"]);
        assert_eq!(keys(sights.ended()), ["c", "b"]);
        sights.lock().hear(said("a", 10, r#"{"session_id":"1","ended_at":"t"}"#));
        assert_eq!(keys(sights.running()), [""; 0]);
        assert_eq!(keys(sights.ended()), ["a", "c", "b"]);
    }

    #[test]
    fn what_a_device_invents_has_a_bound() {
        let mut sight = Sight::default();
        let power = quantity::by_name("power_w").unwrap();
        for channel in 0..100 {
            sight.read(&Reading {
                device: None,
                channel: channel.to_string(),
                at: None,
                measurements: vec![crate::message::Measurement { quantity: power, value: 1.0 }],
            });
        }
        assert_eq!(sight.channels.len(), CHANNELS);
        assert_eq!(sight.value("power_w"), Some(1.0));
    }
}
