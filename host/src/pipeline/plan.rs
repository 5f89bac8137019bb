//! A pipeline with its modules: checked, resolved and ready to run.
//!
//! Its stages as they run, and what the rest asks of them: who takes an item, whose device a
//! topic is, in which order. `build` makes it of a pipeline file, the loaded modules and the
//! devices. Invariant: what stands here has been checked, and nothing of it changes.

mod build;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use build::check_modules;

use super::directory::Directory;
use super::settings::SettingsSet;
use crate::config::Site;
use crate::config::pipeline::{
    Batch, KeyPart, OnReject, Pipeline, Publisher, StageTime, Take, UnknownDevices,
};
use crate::config::site::Endpoint;
use crate::config::topic::Pattern;
use crate::message::{DeviceId, Item, Quantity};
use crate::module::{Hash, Limits, Module};

/// The modules at hand, by name; the text says why one could not be loaded.
pub type ModuleSet = BTreeMap<Arc<str>, Result<Arc<Module>, String>>;

/// A pipeline that can run.
#[derive(Debug)]
pub struct Plan {
    pub file: Arc<Pipeline>,
    pub site: Arc<Site>,
    pub validators: Vec<ValidateStage>,
    pub parsers: Vec<ParseStage>,
    /// In an order in which each stage comes after those it takes from.
    pub detectors: Vec<DetectStage>,
    pub sinks: Vec<SinkStage>,
    pub publishers: Vec<PublishStage>,
    pub directory: Directory,
    /// Some stage takes messages as they are, so that one without items is not filtered.
    pub reads_messages: bool,
}

/// A module in its place.
#[derive(Debug)]
pub struct ModuleStage {
    pub name: Arc<str>,
    pub module: Arc<Module>,
    pub limits: Limits,
    pub on_reject: OnReject,
    /// As written in the file, for devices that override nothing.
    pub settings: Arc<SettingsSet>,
    /// Another version of it, to be compared.
    pub shadow: Option<Arc<ShadowStage>>,
}

/// Another version of a stage's module, which runs beside it.
#[derive(Debug)]
pub struct ShadowStage {
    /// Named for logs; the same limits and settings.
    pub stage: ModuleStage,
    /// The name of its module: of the file in `modules/`, without its ending.
    pub module: Arc<str>,
    /// The version that it is compared with.
    pub live: Hash,
}

#[derive(Debug)]
pub struct ValidateStage {
    pub name: Arc<str>,
    pub topics: Vec<Pattern>,
    pub on_reject: OnReject,
    pub check: ValidateCheck,
}

#[derive(Debug)]
pub enum ValidateCheck {
    Module(ModuleStage),
    Schema(Box<jsonschema::Validator>),
}

#[derive(Debug)]
pub struct ParseStage {
    pub stage: ModuleStage,
    pub topics: Vec<Pattern>,
    pub parser_types: Vec<Arc<str>>,
    pub time: StageTime,
}

#[derive(Debug)]
pub struct DetectStage {
    pub stage: ModuleStage,
    pub source: Source,
    pub labels: BTreeMap<String, String>,
    pub topics: Vec<Pattern>,
    pub key: Vec<KeyPart>,
    pub time: StageTime,
    pub takes_messages: bool,
}

#[derive(Debug)]
pub struct SinkStage {
    pub stage: ModuleStage,
    pub source: Source,
    pub labels: BTreeMap<String, String>,
    pub takes_messages: bool,
    pub endpoint: Arc<Endpoint>,
    pub batch: Batch,
    pub expire_ms: Option<u64>,
}

/// A sink that publishes without a module.
#[derive(Debug)]
pub struct PublishStage {
    pub publisher: Publisher,
    pub source: Source,
    pub takes_messages: bool,
    pub expire_ms: Option<u64>,
}

/// What every sink has, whatever it does with what it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker<'p> {
    pub(super) name: &'p Arc<str>,
    pub(super) source: &'p Source,
    pub(super) labels: &'p BTreeMap<String, String>,
    pub(super) takes_messages: bool,
    pub(super) expire_ms: Option<u64>,
}

/// Which items a stage takes.
#[derive(Debug, Default)]
pub struct Source {
    /// Names of stages; empty: any stage that may be taken from.
    pub from: Vec<Arc<str>>,
    pub takes: Vec<Taken>,
}

/// [`Take`] with names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Reading(Option<Quantity>),
    /// A `Take::Event`.
    Event(Take),
    Publication,
}

impl ValidateStage {
    /// Its module, unless the host applies a schema by itself.
    pub fn module(&self) -> Option<&ModuleStage> {
        match &self.check {
            ValidateCheck::Module(stage) => Some(stage),
            ValidateCheck::Schema(_) => None,
        }
    }
}

impl Plan {
    /// Every stage that runs a module instance of the pipeline's own thread.
    pub fn module_stages(&self) -> Vec<&ModuleStage> {
        let validators = self.validators.iter().filter_map(ValidateStage::module);
        validators
            .chain(self.parsers.iter().map(|p| &p.stage))
            .chain(self.detectors.iter().map(|d| &d.stage))
            .collect()
    }

    /// Stages that have a shadow, each with it.
    pub fn shadows(&self) -> impl Iterator<Item = (&ModuleStage, &Arc<ShadowStage>)> {
        let stages = self.module_stages().into_iter();
        stages.filter_map(|stage| Some((stage, stage.shadow.as_ref()?)))
    }

    /// The names of all stages, in the order in which a message meets them.
    pub fn stage_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let validators = self.validators.iter().map(|v| &v.name);
        let parsers = self.parsers.iter().map(|p| &p.stage.name);
        let detectors = self.detectors.iter().map(|d| &d.stage.name);
        let sinks = self.takers().map(|taker| taker.name);
        validators.chain(parsers).chain(detectors).chain(sinks)
    }

    /// All sinks, in an order that stays the same.
    pub(super) fn takers(&self) -> impl Iterator<Item = Taker<'_>> {
        let modules = self.sinks.iter().map(|sink| Taker {
            name: &sink.stage.name,
            source: &sink.source,
            labels: &sink.labels,
            takes_messages: sink.takes_messages,
            expire_ms: sink.expire_ms,
        });
        modules.chain(self.publishers.iter().map(|stage| Taker {
            name: &stage.publisher.name,
            source: &stage.source,
            labels: &stage.publisher.labels,
            takes_messages: stage.takes_messages,
            expire_ms: stage.expire_ms,
        }))
    }

    /// A stage's place in the order of outputs: parsers in file order, then detectors.
    pub fn rank(&self, stage: &str) -> usize {
        let parsers = self.parsers.iter().map(|p| &p.stage.name);
        let detectors = self.detectors.iter().map(|d| &d.stage.name);
        parsers.chain(detectors).position(|name| **name == *stage).unwrap_or(usize::MAX)
    }

    /// The rank from which on stages are detectors.
    pub fn first_detector_rank(&self) -> usize {
        self.parsers.len()
    }

    /// Whether a refusal may halt it.
    pub fn may_halt(&self) -> bool {
        let halts = |on_reject| on_reject == OnReject::Halt;
        self.validators.iter().any(|v| halts(v.on_reject))
            || self.parsers.iter().any(|p| halts(p.stage.on_reject))
            || self.detectors.iter().any(|d| halts(d.stage.on_reject))
    }

    /// Whether devices that nobody registered may have keys.
    pub fn accepts_unknown(&self) -> bool {
        self.file.sources.iter().any(|s| s.unknown_devices == UnknownDevices::Accept)
    }

    /// Whether a source of `broker` brings `topic` to this pipeline.
    pub fn wants(&self, broker: &str, topic: &str) -> bool {
        let mut sources = self.file.sources.iter().filter(|s| *s.broker == *broker);
        sources.any(|s| {
            s.topics.iter().any(|t| t.matches(topic))
                || s.devices && !self.directory.find(broker, topic).is_empty()
        })
    }

    /// Whether all brokers that may bring messages of a device are among `heard`.
    pub fn is_heard(&self, device: Option<&DeviceId>, heard: &BTreeSet<Arc<str>>) -> bool {
        match device.and_then(|d| self.directory.get(d)) {
            Some(bound) => bound.brokers.iter().all(|b| heard.contains(b)),
            None => self.file.sources.iter().all(|s| heard.contains(&s.broker)),
        }
    }

    /// Whether messages of a device come from `broker`; of a device that is not
    /// registered, from any broker of the pipeline.
    pub fn hears(&self, device: Option<&DeviceId>, broker: &str) -> bool {
        match device.and_then(|d| self.directory.get(d)) {
            Some(bound) => bound.brokers.iter().any(|b| **b == *broker),
            None => self.file.sources.iter().any(|s| *s.broker == *broker),
        }
    }
}

impl Source {
    /// Whether an item of stage `from` is taken.
    pub fn takes(&self, from: &str, item: &Item) -> bool {
        (self.from.is_empty() || self.from.iter().any(|f| &**f == from))
            && self.takes.iter().any(|take| match (take, item) {
                (Taken::Reading(None), Item::Reading(_))
                | (Taken::Publication, Item::Publication(_)) => true,
                (Taken::Reading(Some(quantity)), Item::Reading(reading)) => {
                    reading.measurements.iter().any(|m| m.quantity == *quantity)
                }
                (Taken::Event(take), Item::Event(event)) => take.takes_event(&event.kind),
                _ => false,
            })
    }
}
