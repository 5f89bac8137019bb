//! What flows, by pipeline and device: numbers, last values, what nobody understood. Feeds
//! `/health`, `/metrics` and the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::effects::Fate;
use super::flow::{Counts, Flow};
use super::plan::Plan;
use super::probation::Probation;
use super::shard::{Observed, Observer};
use crate::message::{DeviceId, Item, Timestamp};
use crate::quantity;

/// Unknown topics and notes that are kept; more are only counted.
const KEPT: usize = 200;
/// A device's messages are logged once in this time, with their count.
const LOG_EVERY_MS: u64 = 60_000;

/// What is known of one device.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct DeviceSight {
    pub last_seen: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_w: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip)]
    unlogged: u64,
    #[serde(skip)]
    logged_at: Timestamp,
}

/// Something a person should know of, with how often it happened.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Note {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    pub code: String,
    pub detail: String,
    pub count: u64,
}

#[derive(Default)]
struct Inner {
    devices: HashMap<DeviceId, DeviceSight>,
    unknown: BTreeMap<Arc<str>, u64>,
    notes: BTreeMap<(Arc<str>, Option<DeviceId>, String), Note>,
}

/// Watches all pipelines.
#[derive(Default)]
pub struct Activity {
    flows: Mutex<BTreeMap<Arc<str>, Arc<Flow>>>,
    probation: Arc<Probation>,
    inner: Mutex<Inner>,
}

impl Activity {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flows(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Flow>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of a pipeline. Ask once, and keep it.
    pub fn flow(&self, pipeline: &Arc<str>) -> Arc<Flow> {
        let new = || Arc::new(Flow::watched(self.probation.clone()));
        self.flows().entry(pipeline.clone()).or_insert_with(new).clone()
    }

    /// Where failures of modules are counted.
    pub fn probation(&self) -> &Arc<Probation> {
        &self.probation
    }

    /// The numbers of all pipelines.
    pub fn all_flows(&self) -> BTreeMap<Arc<str>, Arc<Flow>> {
        self.flows().clone()
    }

    /// Counts by pipeline.
    pub fn counts(&self) -> BTreeMap<Arc<str>, Counts> {
        self.flows().iter().map(|(name, flow)| (name.clone(), flow.counts())).collect()
    }

    /// Forgets the numbers of pipelines and stages that are gone.
    pub fn retain_plans<'a>(&self, plans: impl Iterator<Item = &'a Plan> + Clone) {
        self.flows().retain(|name, flow| {
            let Some(plan) = plans.clone().find(|plan| plan.file.name == *name) else {
                return false;
            };
            flow.retain_stages(&|stage| plan.stage_names().any(|name| **name == *stage));
            flow.retain_shadows(&|stage| plan.shadows().any(|(s, _)| *s.name == *stage));
            true
        });
    }

    /// Registered devices that were heard of.
    pub fn devices(&self) -> BTreeMap<DeviceId, DeviceSight> {
        self.lock().devices.iter().map(|(id, sight)| (id.clone(), sight.clone())).collect()
    }

    /// Topics of devices that nobody registered, with their number of messages.
    pub fn unknown(&self) -> BTreeMap<Arc<str>, u64> {
        self.lock().unknown.clone()
    }

    /// What detectors left aside.
    pub fn notes(&self) -> Vec<Note> {
        self.lock().notes.values().cloned().collect()
    }

    /// Forgets what concerns devices that are gone or were changed.
    pub fn retain_devices(&self, unchanged: &dyn Fn(&DeviceId) -> bool) {
        let mut inner = self.lock();
        inner.devices.retain(|id, _| unchanged(id));
        inner.notes.retain(|(_, device, _), _| device.as_ref().is_none_or(unchanged));
    }
}

impl Observer for Activity {
    fn observe(&self, observed: &Observed<'_>) {
        let effects = observed.effects;
        let pipeline = &observed.plan.file.name;
        let mut inner = self.lock();
        let inner = &mut *inner;
        for (fate, message) in effects.fates.iter().zip(observed.messages) {
            if let Fate::Filtered(by) = fate
                && (&**by == "unknown-device" || &**by == "unmatched")
            {
                note_unknown(&mut inner.unknown, &message.topic);
            }
        }
        for (stage, device, rejection) in &effects.ignored {
            let key = (stage.clone(), device.clone(), rejection.code.clone());
            if let Some(note) = inner.notes.get_mut(&key) {
                note.count += 1;
            } else if inner.notes.len() < KEPT {
                let note = Note {
                    pipeline: pipeline.clone(),
                    stage: stage.clone(),
                    device: device.clone(),
                    code: rejection.code.clone(),
                    detail: rejection.detail.clone(),
                    count: 1,
                };
                inner.notes.insert(key, note);
            }
        }
        for dead in &effects.dead {
            tracing::warn!(
                event = "dead_letter",
                pipeline = %dead.pipeline,
                stage = %dead.stage,
                code = dead.code,
                detail = dead.detail,
                topic = dead.message.as_ref().map(|m| &*m.topic),
                device_id = dead.device.as_ref().map(DeviceId::as_str),
                "message set aside"
            );
        }
        for (number, dead) in &effects.letters_again {
            tracing::warn!(
                event = "dead_letter_stays",
                number,
                pipeline = %dead.pipeline,
                stage = %dead.stage,
                code = dead.code,
                detail = dead.detail,
                attempts = dead.attempts,
                "a replay failed"
            );
        }
        for number in &effects.letters_gone {
            tracing::info!(event = "dead_letter_replayed", number, pipeline = %pipeline, "a dead letter went through");
        }
        observe_items(inner, observed);
    }
}

fn note_unknown(unknown: &mut BTreeMap<Arc<str>, u64>, topic: &Arc<str>) {
    if let Some(count) = unknown.get_mut(topic) {
        *count += 1;
    } else if unknown.len() < KEPT {
        unknown.insert(topic.clone(), 1);
    }
}

fn observe_items(inner: &mut Inner, observed: &Observed<'_>) {
    let power = quantity::by_name("power_w");
    let online = quantity::by_name("online");
    // A message counts once for each device, however many items it has.
    let mut counted: Option<(usize, DeviceId)> = None;
    for item in &observed.effects.items {
        let Some(device) = &item.device else { continue };
        let sight = inner.devices.entry(device.clone()).or_default();
        match &item.item {
            Item::Reading(reading) => {
                for m in &reading.measurements {
                    if Some(m.quantity) == power {
                        sight.power_w = Some(m.value);
                    } else if Some(m.quantity) == online {
                        sight.online = Some(m.value != 0.0);
                    }
                }
            }
            Item::Event(event) => {
                let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
                let state = data.get("state").and_then(|s| s.as_str());
                let before = sight.state.clone();
                if let Some(state) = state {
                    sight.state = Some(state.to_owned());
                }
                tracing::info!(
                    event = %event.kind,
                    pipeline = %observed.plan.file.name,
                    stage = %item.stage,
                    device_id = %device,
                    state,
                    before,
                    at = event.at.map(Timestamp::rfc3339),
                    session_id = data.get("session_id").and_then(|s| s.as_str()),
                    "event"
                );
            }
            Item::Publication(_) => {}
        }
        let Some(message) = item.message else { continue };
        let this = (message, device.clone());
        if counted.as_ref() == Some(&this) {
            continue;
        }
        counted = Some(this);
        if !item.retained {
            sight.last_seen = item.received_at;
        }
        sight.unlogged += 1;
        let topic = observed.messages.get(message).map(|m| &*m.topic);
        tracing::debug!(
            event = "mqtt_message_received",
            device_id = %device,
            topic,
            power_w = sight.power_w,
            state = sight.state,
            "message"
        );
        if observed.now.since(sight.logged_at) >= LOG_EVERY_MS {
            tracing::info!(
                event = "mqtt_message_received",
                device_id = %device,
                count = sight.unlogged,
                power_w = sight.power_w,
                state = sight.state,
                "messages since the last line"
            );
            sight.unlogged = 0;
            sight.logged_at = observed.now;
        }
    }
    for delivery in &observed.effects.outbox {
        tracing::debug!(
            event = "event_queue",
            sink = %delivery.sink.stage,
            key = %delivery.key,
            id = %delivery.id,
            message_id = delivery.message.as_ref().map(ToString::to_string),
            "delivery queued"
        );
    }
}
