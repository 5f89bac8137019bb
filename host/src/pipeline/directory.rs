//! Which devices a pipeline serves, and what belongs to each: its parser, its settings at
//! every stage, the topics on which it speaks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::plan::{DetectStage, ModuleStage, ParseStage};
use super::settings::{CheckedSets, SettingsSet};
use super::trie::Trie;
use crate::config::device::Device;
use crate::config::patch::merge;
use crate::config::pipeline::Pipeline;
use crate::config::topic::Pattern;
use crate::config::{Devices, Problem};
use crate::message::{DeviceId, Publication};
use crate::module::{Instance, LogContext, SettingsId};

/// The devices of one pipeline.
#[derive(Debug, Default)]
pub struct Directory {
    pub bound: Vec<Arc<Bound>>,
    by_id: HashMap<DeviceId, u32>,
    topics: Trie<u32>,
}

/// A device in a pipeline.
#[derive(Debug)]
pub struct Bound {
    pub device: Arc<Device>,
    /// Index of its parse stage.
    pub parser: usize,
    pub parse_settings: Arc<SettingsSet>,
    /// By detect stage, in the plan's order.
    pub detect_settings: Vec<Arc<SettingsSet>>,
    /// Topic filters to subscribe to: its own, then those of its companions.
    pub filters: Vec<String>,
    /// The question that makes it report now.
    pub ask: Option<Publication>,
    /// Brokers on which it is heard.
    pub brokers: Vec<Arc<str>>,
}

impl Directory {
    pub(super) fn build(
        file: &Pipeline,
        devices: &Devices,
        parsers: &[ParseStage],
        detectors: &[DetectStage],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut binder = Binder {
            file,
            parsers: parsers.iter().map(|p| ParserSide::new(&file.name, p)).collect(),
            detectors: detectors.iter().map(|d| (d, CheckedSets::new(&d.stage))).collect(),
        };
        let mut directory = Self::default();
        for device in devices.by_id.values() {
            let Some(parser) =
                parsers.iter().position(|p| p.parser_types.contains(&device.parser_type))
            else {
                continue;
            };
            match binder.bind(device, parser) {
                Ok(bound) => directory.insert(bound),
                Err(found) => problems.extend(found),
            }
        }
        directory
    }

    fn insert(&mut self, bound: Bound) {
        let index = u32::try_from(self.bound.len()).expect("fewer than 4 billion devices");
        for filter in &bound.filters {
            self.topics.insert(without_share(filter), index);
        }
        self.by_id.insert(bound.device.id.clone(), index);
        self.bound.push(Arc::new(bound));
    }

    /// The devices that a topic of `broker` belongs to.
    pub fn find(&self, broker: &str, topic: &str) -> Vec<&Arc<Bound>> {
        let mut found: Vec<_> =
            self.topics.find(topic).into_iter().map(|i| &self.bound[i as usize]).collect();
        found.retain(|bound| bound.brokers.iter().any(|b| &**b == broker));
        found
    }

    /// The device of this id.
    pub fn get(&self, id: &DeviceId) -> Option<&Arc<Bound>> {
        self.by_id.get(id).map(|&i| &self.bound[i as usize])
    }
}

/// The filter as it matches: without `$share/<group>/`.
fn without_share(filter: &str) -> &str {
    filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
        .map_or(filter, |(_, filter)| filter)
}

struct Binder<'a> {
    file: &'a Pipeline,
    parsers: Vec<ParserSide<'a>>,
    detectors: Vec<(&'a DetectStage, CheckedSets<'a>)>,
}

/// A parse stage with an instance that answers for its devices' companions.
struct ParserSide<'a> {
    stage: &'a ModuleStage,
    sets: CheckedSets<'a>,
    instance: Result<Instance, String>,
    configured: HashMap<[u8; 16], SettingsId>,
}

impl<'a> ParserSide<'a> {
    fn new(pipeline: &Arc<str>, parse: &'a ParseStage) -> Self {
        let stage = &parse.stage;
        let instance = stage
            .module
            .instantiate(stage.limits, LogContext::new(pipeline, &stage.name))
            .map_err(|e| e.to_string());
        Self { stage, sets: CheckedSets::new(stage), instance, configured: HashMap::new() }
    }

    fn companions(
        &mut self,
        settings: &SettingsSet,
        filter: &str,
    ) -> Result<crate::module::Companions, String> {
        let instance = self.instance.as_mut().map_err(|e| e.clone())?;
        let next = SettingsId(u32::try_from(self.configured.len()).unwrap_or(u32::MAX));
        let id = match self.configured.get(&settings.hash) {
            Some(&id) => id,
            None => {
                instance.configure(next, &settings.json).map_err(|e| e.to_string())??;
                self.configured.insert(settings.hash, next);
                next
            }
        };
        instance.companions_of(id, filter).map_err(|e| e.to_string())
    }
}

impl Binder<'_> {
    fn bind(&mut self, device: &Arc<Device>, parser: usize) -> Result<Bound, Vec<Problem>> {
        let stage_values: BTreeMap<_, _> = self
            .file
            .parse
            .iter()
            .map(|p| &p.stage)
            .chain(self.file.detect.iter().map(|d| &d.stage))
            .map(|stage| (stage.name.clone(), &stage.settings.value))
            .collect();
        let base = |name: &Arc<str>| -> Map<String, Value> {
            stage_values.get(name).map(|&v| v.clone()).unwrap_or_default()
        };

        let side = &mut self.parsers[parser];
        let mut value = base(&side.stage.name);
        if let Some(patch) = device.settings.get(&*side.stage.name) {
            merge(&mut value, patch);
        }
        let anchor = device.anchor.below(&format!("/settings/{}", side.stage.name));
        let parse_settings = side.sets.check(value, &anchor)?;
        let own = device.topic.filter();
        let unfit = |why: String| {
            let remedy = "correct the module, or take another parser_type";
            vec![Problem::at(device.place("/parser_type"), why, remedy)]
        };
        let companions = side.companions(&parse_settings, &own).map_err(unfit)?;
        let mut filters = vec![own];
        for also in companions.also {
            Pattern::parse(&also).map_err(|e| {
                let name = side.stage.module.name();
                unfit(format!("module `{name}` names a bad companion topic `{also}`: {e}"))
            })?;
            if !filters.contains(&also) {
                filters.push(also);
            }
        }

        let mut detect_settings = Vec::with_capacity(self.detectors.len());
        for (stage, sets) in &mut self.detectors {
            let field = self
                .file
                .detect
                .iter()
                .find(|d| d.stage.name == stage.stage.name)
                .and_then(|d| d.device_settings.clone());
            let mut value = base(&stage.stage.name);
            let mut patch = Map::new();
            let mut written = format!("/settings/{}", stage.stage.name);
            if let Some(field) = field
                && let Some(Value::Object(fields)) = device.fields.get(&*field)
            {
                merge(&mut patch, fields);
                written = format!("/{field}");
            }
            if let Some(own) = device.settings.get(&*stage.stage.name) {
                merge(&mut patch, own);
            }
            merge(&mut value, &patch);
            if declares_channel(stage) && !patch.contains_key("channel") {
                bind_channel(&mut value, device, companions.channel.as_deref());
            }
            detect_settings.push(sets.check(value, &device.anchor.below(&written))?);
        }

        let brokers = self
            .file
            .sources
            .iter()
            .filter(|s| s.devices || s.topics.iter().any(|t| t.overlaps(&device.topic)))
            .map(|s| s.broker.clone())
            .collect();
        Ok(Bound {
            device: device.clone(),
            parser,
            parse_settings,
            detect_settings,
            filters,
            ask: companions.ask,
            brokers,
        })
    }
}

/// Whether the stage's module has a setting `channel`.
fn declares_channel(stage: &DetectStage) -> bool {
    stage.stage.module.settings_schema().pointer("/properties/channel").is_some()
}

/// The device's own channel beats the stage's setting; the channel that its topic names
/// stands in only where the stage leaves the choice open.
fn bind_channel(value: &mut Map<String, Value>, device: &Device, named: Option<&str>) {
    match device.channel.as_slice() {
        [] => {
            let open = value.get("channel").is_none_or(|v| v == "auto");
            if let (true, Some(channel)) = (open, named) {
                value.insert("channel".to_owned(), channel.into());
            }
        }
        [one] => {
            value.insert("channel".to_owned(), one.as_str().into());
        }
        several => {
            let several = several.iter().map(|c| Value::from(c.as_str())).collect();
            value.insert("channel".to_owned(), Value::Array(several));
        }
    }
}
