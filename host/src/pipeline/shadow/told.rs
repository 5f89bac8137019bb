//! What a detector's shadow is told: each step of the live version, with what that made of it,
//! and the live state of a key that the shadow does not follow yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::message::{DeviceId, Item, Message, Rejection, Timestamp};
use crate::pipeline::detect::{Dating, Outcome, StepInput, What};
use crate::pipeline::keys::StageKeys;
use crate::pipeline::plan::{DetectStage, ModuleStage};
use crate::pipeline::settings::SettingsSet;
use crate::store::KeyRow;

/// One input of a detector with a shadow, and what the live version made of it.
#[derive(Debug)]
pub(in crate::pipeline) struct Stepped {
    pub(in crate::pipeline) stage: Arc<str>,
    pub(in crate::pipeline) key: Arc<str>,
    pub(super) device: Option<DeviceId>,
    pub(super) settings: Arc<SettingsSet>,
    pub(super) told: Told,
    pub(super) seed: Seed,
    pub(super) live: Said,
}

/// Where the shadow's state of a key begins.
#[derive(Debug)]
pub(in crate::pipeline) enum Seed {
    /// It goes on from what it has.
    Own,
    /// From the live one as it was before this step, if the key had one.
    Live(Option<Box<KeyRow>>),
}

/// [`What`], to keep.
#[derive(Debug)]
pub(super) enum Told {
    Item { item: Item, dating: Dating },
    Message { message: Arc<Message>, device: Option<DeviceId>, dating: Dating },
    WakeUp { now: Timestamp, until: Timestamp },
    Deaf(Timestamp, Timestamp),
    Reconfigured(Option<Timestamp>),
    Removed(Option<Timestamp>),
}

/// What one version made of a step.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Items with the time of the step that gave them.
    pub(super) outputs: Vec<(Item, Timestamp)>,
    pub(super) refused: Vec<Rejection>,
    /// How it failed, if it could not bear what it was told.
    pub(super) failed: Option<String>,
    /// It asked the device to report.
    pub(super) ask: bool,
}

impl Stepped {
    pub(in crate::pipeline) fn new(
        stage: &Arc<str>,
        input: &StepInput<'_>,
        outcome: &Outcome,
        seed: Seed,
    ) -> Self {
        Self {
            stage: stage.clone(),
            key: input.key.clone(),
            device: input.device.clone(),
            settings: input.settings.clone(),
            told: Told::of(&input.what),
            seed,
            live: Said::of(outcome),
        }
    }

    /// A key that the live version had no state of, and that is gone.
    pub(in crate::pipeline) fn removed(
        detector: &DetectStage,
        key: Arc<str>,
        now: Option<Timestamp>,
    ) -> Self {
        Self {
            stage: detector.stage.name.clone(),
            key,
            device: None,
            settings: detector.stage.settings.clone(),
            told: Told::Removed(now),
            seed: Seed::Own,
            live: Said::default(),
        }
    }

    pub(super) fn lend(&self) -> StepInput<'_> {
        StepInput {
            key: self.key.clone(),
            device: self.device.clone(),
            settings: self.settings.clone(),
            what: self.told.lend(),
        }
    }

    /// What it takes while it waits, roughly.
    pub(super) fn bytes(&self) -> usize {
        let told = match &self.told {
            Told::Item { item, .. } => item.size(),
            Told::Message { message, .. } => message.size(),
            _ => 0,
        };
        let seed = match &self.seed {
            Seed::Live(Some(row)) => row.state.as_ref().map_or(0, Vec::len),
            _ => 0,
        };
        told + seed + self.live.outputs.iter().map(|(item, _)| item.size()).sum::<usize>()
    }
}

impl Told {
    fn of(what: &What<'_>) -> Self {
        match *what {
            What::Item { item, dating } => Self::Item { item: item.clone(), dating },
            What::Message { message, device, dating } => {
                Self::Message { message: message.clone(), device: device.cloned(), dating }
            }
            What::WakeUp { now, until } => Self::WakeUp { now, until },
            What::Deaf(from, until) => Self::Deaf(from, until),
            What::Reconfigured(now) => Self::Reconfigured(now),
            What::Removed(now) => Self::Removed(now),
        }
    }

    fn lend(&self) -> What<'_> {
        match self {
            Self::Item { item, dating } => What::Item { item, dating: *dating },
            Self::Message { message, device, dating } => {
                What::Message { message, device: device.as_ref(), dating: *dating }
            }
            &Self::WakeUp { now, until } => What::WakeUp { now, until },
            &Self::Deaf(from, until) => What::Deaf(from, until),
            &Self::Reconfigured(now) => What::Reconfigured(now),
            &Self::Removed(now) => What::Removed(now),
        }
    }

    /// When it was told, by the wall clock.
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Item { dating, .. } | Self::Message { dating, .. } => Some(dating.received_at),
            Self::WakeUp { now, .. } => Some(*now),
            Self::Deaf(_, until) => Some(*until),
            Self::Reconfigured(now) | Self::Removed(now) => *now,
        }
    }

    pub(super) fn topic(&self) -> Option<&Arc<str>> {
        match self {
            Self::Message { message, .. } => Some(&message.topic),
            _ => None,
        }
    }
}

impl Said {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let outputs = outcome.outputs.iter();
        Self {
            outputs: outputs.map(|output| (output.item.clone(), output.identity.at)).collect(),
            refused: outcome.rejections.iter().chain(&outcome.refused_wakes).cloned().collect(),
            failed: outcome.failed.clone(),
            ask: outcome.ask,
        }
    }

    /// The codes of what is refused, whatever their order.
    pub(super) fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<_> = self.refused.iter().map(|refused| refused.code.as_str()).collect();
        codes.sort_unstable();
        codes
    }
}

/// The keys of which shadows have a state that went along with the live one so far. A key that
/// is not among them gets the live state with its next step: so a shadow begins without any
/// stop, and goes on after inputs that it had no room for.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Followed(HashMap<Arc<str>, HashSet<Arc<str>>>);

impl Followed {
    /// Shadows of these stages have begun, and know nothing.
    pub(in crate::pipeline) fn begin(&mut self, stages: &[Arc<str>]) {
        stages.iter().for_each(|stage| {
            self.0.remove(stage);
        });
    }

    /// What the shadow needs to take these steps.
    pub(in crate::pipeline) fn seeds(
        &mut self,
        stage: &ModuleStage,
        inputs: &[StepInput<'_>],
        keys: Option<&StageKeys>,
    ) -> Vec<Seed> {
        let followed = self.0.entry(stage.name.clone()).or_default();
        let mut seed = |input: &StepInput<'_>| {
            let is_gone = matches!(input.what, What::Removed(_));
            let is_known = if is_gone {
                followed.remove(&input.key)
            } else {
                !followed.insert(input.key.clone())
            };
            if is_known {
                return Seed::Own;
            }
            let row = keys.and_then(|keys| keys.get(&input.key));
            Seed::Live(row.cloned().map(Box::new))
        };
        inputs.iter().map(&mut seed).collect()
    }

    /// The shadow's state of a key does not go along any more. Whether it did.
    pub(in crate::pipeline) fn loses(&mut self, stage: &Arc<str>, key: &Arc<str>) -> bool {
        self.0.get_mut(stage).is_some_and(|keys| keys.remove(key))
    }
}
