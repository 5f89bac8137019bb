//! What was last seen of each device; `sessions` knows which of them are in a session, `unknown`
//! what nobody takes.
//!
//! Neighbours: watches all pipelines beside `activity`, which counts; `reload` answers from
//! here. Invariant: everything that a device or a module can make more of has a bound.

mod sessions;
mod unknown;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub(super) use sessions::said;
pub use sessions::{Session, Told};
pub use unknown::UnknownTopic;

use super::effects::Fate;
use super::item::Emitted;
use super::plan::Plan;
use super::shard::{Observed, Observer};
use crate::message::{DeviceId, Event, Item, Quantity, Reading, Timestamp};
use crate::quantity;
use crate::store::Said;
use sessions::Sessions;
use unknown::Unknown;

/// Devices that are followed though nobody registered them (`unknown_devices = "accept"`).
const STRANGERS: usize = 10_000;
/// Channels of a device, and quantities of a channel.
const CHANNELS: usize = 32;
const QUANTITIES: usize = 32;

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

#[derive(Default)]
struct Inner {
    devices: HashMap<DeviceId, Sight>,
    strangers: usize,
    sessions: Sessions,
    unknown: Unknown,
}

/// Watches all pipelines.
#[derive(Default)]
pub struct Sights {
    inner: Mutex<Inner>,
}

impl Sights {
    /// Knows the sessions that the store remembers.
    pub fn remembering(said: Vec<Said>) -> Self {
        let inner = Inner { sessions: Sessions::remembering(said), ..Inner::default() };
        Self { inner: Mutex::new(inner) }
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
        for session in inner.sessions.running.values() {
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
        self.lock().sessions.running()
    }

    /// Those that ended lately, the last one first.
    pub fn ended(&self) -> Vec<Session> {
        self.lock().sessions.ended()
    }

    /// Topics that nobody knows, by name, and how many messages came on others beyond those.
    pub fn unknown(&self) -> (Vec<UnknownTopic>, u64) {
        self.lock().unknown.list()
    }

    /// Forgets devices and sessions that are gone.
    pub fn retain(&self, plans: &[Arc<Plan>]) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let known = |id: &DeviceId| plans.iter().any(|plan| plan.directory.get(id).is_some());
        let accepting = plans.iter().any(|plan| plan.accepts_unknown());
        inner.devices.retain(|id, _| accepting || known(id));
        inner.strangers = inner.devices.keys().filter(|id| !known(id)).count();
        inner.sessions.running.retain(|id, _| {
            let plan = plans.iter().find(|plan| plan.file.name == id.pipeline);
            plan.is_some_and(|plan| plan.stage_names().any(|stage| *stage == id.stage))
        });
    }
}

impl Observer for Sights {
    fn observe(&self, observed: &Observed<'_>) {
        let effects = observed.effects;
        let mut inner = self.lock();
        for (fate, message) in effects.fates.iter().zip(observed.messages) {
            if let Fate::Filtered(by) = fate
                && matches!(&**by, "unknown-device" | "unmatched")
            {
                inner.unknown.note(observed, by, message);
            }
        }
        for item in &effects.items {
            inner.see(observed, item);
        }
        for said in said(observed.plan, &effects.items) {
            inner.sessions.hear(said);
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
