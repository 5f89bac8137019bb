//! What a detector is told in one batch, and where each of it comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::detect::{Dating, StepInput, What};
use super::directory::Bound;
use super::effects::Effects;
use super::ingest;
use super::item::{Emitted, Routed, stated};
use super::plan::{DetectStage, Plan};
use super::settings::SettingsSet;
use crate::message::{DeviceId, Item, Timestamp};

/// The inputs of one detector; steps line up with origins.
pub(super) struct Inputs<'a> {
    plan: &'a Plan,
    detector: &'a DetectStage,
    index: usize,
    pub(super) origins: Vec<Origin<'a>>,
    pub(super) steps: Vec<StepInput<'a>>,
}

/// Where a detector's input comes from.
pub(super) struct Origin<'a> {
    /// Index in the batch; `None`: a wake-up or a change caused it.
    pub(super) message: Option<usize>,
    /// The key whose wake-up led here.
    pub(super) woken: Option<Arc<str>>,
    pub(super) routed: Option<&'a Routed>,
    pub(super) bound: Option<&'a Arc<Bound>>,
    pub(super) received_at: Option<Timestamp>,
    pub(super) qos: u8,
    /// For the order of outputs.
    pub(super) input: usize,
}

impl Origin<'_> {
    /// The wall clock's time to which a refusal belongs.
    pub(super) fn at(&self) -> Timestamp {
        self.received_at.unwrap_or_default()
    }
}

impl<'a> Inputs<'a> {
    /// None yet, for the detector at `index`.
    pub(super) fn new(plan: &'a Plan, index: usize) -> Self {
        let detector = &plan.detectors[index];
        Self { plan, detector, index, origins: Vec::new(), steps: Vec::new() }
    }

    /// Adds an item that an earlier stage emitted, if the detector takes it.
    pub(super) fn item(
        &mut self,
        item: &'a Emitted,
        routed: &'a [Option<Routed>],
        effects: &mut Effects,
    ) {
        let detector = self.detector;
        // Without `from`, a detector takes what parsers emit.
        let from_detector = self.plan.rank(&item.stage) >= self.plan.first_detector_rank();
        if detector.source.from.is_empty() && from_detector
            || !detector.source.takes(&item.stage, &item.item)
            || !carries(item.bound.as_ref(), &detector.labels)
        {
            return;
        }
        let r = item.message.and_then(|i| routed.get(i)).and_then(Option::as_ref);
        let channel = match &item.item {
            Item::Reading(r) => r.channel.as_str(),
            Item::Event(e) => e.channel.as_str(),
            Item::Publication(_) => "",
        };
        let captures = r.map_or(&[][..], |r| &r.captures);
        let key = match ingest::key(&detector.key, item.device.as_ref(), channel, captures) {
            Ok(key) => key,
            Err(missing) => return effects.unkeyed(&detector.stage.name, missing),
        };
        let time = self.plan.site.time;
        let dating = Dating {
            stated: stated(detector.time, time, item.stated, item.received_at),
            received_at: item.received_at,
            retained: item.retained,
            qos: item.qos,
        };
        self.origins.push(Origin {
            message: item.message,
            woken: item.woken.clone(),
            routed: r,
            bound: item.bound.as_ref(),
            received_at: Some(item.received_at),
            qos: item.qos,
            input: item.position.input,
        });
        self.steps.push(StepInput {
            key,
            device: item.device.clone(),
            settings: settings_of(detector, self.index, item.bound.as_ref()),
            what: What::Item { item: &item.item, dating },
        });
    }

    /// Keeps what a replay wants of these.
    pub(super) fn narrow(&mut self, wanted: impl Fn(&StepInput<'_>) -> bool) {
        let mut kept = self.steps.iter().map(&wanted).collect::<Vec<_>>().into_iter();
        self.origins.retain(|_| kept.next().unwrap_or(false));
        self.steps.retain(wanted);
    }

    /// Adds a message as it came, once for each of its devices, if the detector takes it.
    pub(super) fn message(&mut self, message: usize, routed: &'a Routed, effects: &mut Effects) {
        let detector = self.detector;
        let topic = &routed.message.topic;
        let Some(captures) = ingest::captures(&detector.topics, topic) else { return };
        let captured: Option<DeviceId> =
            captures.iter().find(|(name, _)| &**name == "device").map(|(_, v)| v.as_str().into());
        let targets: Vec<Option<&'a Arc<Bound>>> = if routed.bound.is_empty() {
            vec![None]
        } else {
            routed.bound.iter().map(Some).collect()
        };
        for bound in targets {
            if !carries(bound, &detector.labels) {
                continue;
            }
            let device = bound.map(|b| b.device.id.clone()).or_else(|| captured.clone());
            let key = match ingest::key(&detector.key, device.as_ref(), "", &captures) {
                Ok(key) => key,
                Err(missing) => {
                    effects.unkeyed(&detector.stage.name, missing);
                    continue;
                }
            };
            let message_in = &routed.message;
            let dating = Dating {
                stated: None,
                received_at: message_in.received_at,
                retained: message_in.retained,
                qos: message_in.qos,
            };
            self.origins.push(Origin {
                message: Some(message),
                woken: None,
                routed: Some(routed),
                bound,
                received_at: Some(message_in.received_at),
                qos: message_in.qos,
                input: message,
            });
            self.steps.push(StepInput {
                key,
                device,
                settings: settings_of(detector, self.index, bound),
                what: What::Message {
                    message: message_in,
                    device: bound.map(|b| &b.device.id),
                    dating,
                },
            });
        }
    }
}

/// The settings of a device at a detector, or the stage's own.
pub(super) fn settings_of(
    detector: &DetectStage,
    index: usize,
    bound: Option<&Arc<Bound>>,
) -> Arc<SettingsSet> {
    bound
        .and_then(|b| b.detect_settings.get(index).cloned())
        .unwrap_or_else(|| detector.stage.settings.clone())
}

/// Whether a device carries all of `labels`; where none are asked for, any or none will do.
pub(super) fn carries(bound: Option<&Arc<Bound>>, labels: &BTreeMap<String, String>) -> bool {
    labels.is_empty() || bound.is_some_and(|bound| labelled(bound, labels))
}

/// Whether a device carries all of `labels`.
pub(super) fn labelled(bound: &Bound, labels: &BTreeMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| bound.device.labels.get(key) == Some(value))
}
