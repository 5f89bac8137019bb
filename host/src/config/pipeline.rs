//! A pipeline file, checked: sources, validators, parsers, detectors and sinks in file order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::document::Anchor;
use super::problem::{Place, Problem};
use super::schema;
use super::template::Template;
use super::topic::Pattern;

mod build;
mod edit;
mod file;
mod loops;
mod publisher;
mod references;
mod stage;
mod take;

pub(super) use build::SHAPE;
pub use build::{Context, Loaded, draft, load};
pub use edit::{EditError, ShadowEdit, edit_shadow};
pub(super) use loops::circles;
pub(super) use take::check as check_take;

/// A checked pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Identity of its state; default: the file's name without `.toml`.
    pub name: Arc<str>,
    pub file: Arc<str>,
    /// The name under which its stages' state is taken over, once.
    pub state_from: Option<Arc<str>>,
    /// The file as it is written, to compare it with another version of it.
    pub written: Arc<Value>,
    /// Content hash of the text, so that an unchanged pipeline is not touched.
    pub hash: [u8; 32],
    /// Parallel copies, by device, else topic.
    pub shards: usize,
    /// Topics that may leave it (`[publish] allow`), captures resolved.
    pub publish: Vec<Pattern>,
    pub sources: Vec<Source>,
    pub validate: Vec<Validate>,
    pub parse: Vec<Parse>,
    pub detect: Vec<Detect>,
    pub sinks: Vec<Sink>,
    /// Sinks that publish to a broker, without a module.
    pub publishers: Vec<Publisher>,
}

/// A stage that may publish, and where to.
#[derive(Clone, Debug)]
pub struct Outflow<'p> {
    /// `None`: any stage whose module publishes.
    pub stage: Option<&'p Arc<str>>,
    /// `None`: the broker that the input came from, or one that the module names.
    pub broker: Option<&'p Arc<str>>,
    pub filter: &'p Pattern,
    /// Where it is written; `None`: in `[publish] allow`.
    pub place: Option<&'p Place>,
}

impl Pipeline {
    /// Every topic to which something may leave this pipeline.
    pub fn outflows(&self) -> impl Iterator<Item = Outflow<'_>> {
        let allowed = self.publish.iter().map(|filter| Outflow {
            stage: None,
            broker: None,
            filter,
            place: None,
        });
        allowed.chain(self.publishers.iter().map(|publisher| Outflow {
            stage: Some(&publisher.name),
            broker: Some(&publisher.broker),
            filter: &publisher.filter,
            place: Some(&publisher.topic_place),
        }))
    }
}

/// Where messages come from. Only brokers in this version.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: Arc<str>,
    pub place: Place,
    /// Where its table is written.
    pub anchor: Anchor,
    pub broker: Arc<str>,
    /// Subscribe to each registered device whose `parser_type` a parse stage names.
    pub devices: bool,
    pub topics: Vec<Pattern>,
    pub except: Vec<Pattern>,
    pub qos: u8,
    pub retained: Retained,
    pub unknown_devices: UnknownDevices,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retained {
    /// Like any other message.
    Accept,
    /// Only flags (`online`, `output_on`) count.
    Flags,
    Ignore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownDevices {
    Accept,
    /// Filtered, counted and listed.
    Report,
    DeadLetter,
}

/// What every stage that runs a module has.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub name: Arc<str>,
    pub place: Place,
    /// Name of the module; its file is `modules/<module>.wasm`.
    pub module: Arc<str>,
    pub module_place: Place,
    pub settings: Settings,
    pub limits: Limits,
    pub on_reject: OnReject,
    /// The version that is compared with it.
    pub shadow: Option<Shadow>,
}

/// Another version of a stage's module, which runs beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Name of the module; its file is `modules/<module>.wasm`.
    pub module: Arc<str>,
    pub place: Place,
}

/// A stage's settings, `@name` topics filled in; the host substitutes nothing else.
#[derive(Clone, Debug)]
pub struct Settings {
    pub value: Map<String, Value>,
    /// Where they are written.
    pub anchor: Anchor,
}

impl Pipeline {
    /// Every stage that runs a module.
    pub fn stages(&self) -> impl Iterator<Item = &Stage> {
        let validate = self.validate.iter().filter_map(|validate| match &validate.check {
            Check::Module(stage) => Some(&**stage),
            Check::Schema { .. } => None,
        });
        let parse = self.parse.iter().map(|parse| &parse.stage);
        let detect = self.detect.iter().map(|detect| &detect.stage);
        validate.chain(parse).chain(detect).chain(self.sinks.iter().map(|sink| &sink.stage))
    }
}

impl Pipeline {
    /// Every stage whose module works on a pipeline's own thread: all but sinks.
    pub fn module_stages_mut(&mut self) -> impl Iterator<Item = &mut Stage> {
        let validate = self.validate.iter_mut().filter_map(|validate| match &mut validate.check {
            Check::Module(stage) => Some(&mut **stage),
            Check::Schema { .. } => None,
        });
        let parse = self.parse.iter_mut().map(|parse| &mut parse.stage);
        validate.chain(parse).chain(self.detect.iter_mut().map(|detect| &mut detect.stage))
    }
}

/// Where they are written changes nothing.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Stage {
    /// The problem with a module that is not there.
    pub fn missing_module(&self, known: &[&str]) -> Problem {
        let name = &self.module;
        let remedy = match schema::nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!(
                "put modules/{name}.wasm into the site directory; this program was built without \
                 modules, which `cargo xtask modules` makes"
            ),
            None => format!(
                "put modules/{name}.wasm into the site directory, or name one of {}",
                schema::ticked(known)
            ),
        };
        Problem::at(self.module_place.clone(), format!("no module is called `{name}`"), remedy)
    }
}

impl Settings {
    /// The place of the value at a JSON pointer (`/channel`); `""` is the table itself.
    pub fn place(&self, pointer: &str) -> Place {
        self.anchor.place(pointer)
    }

    /// Everything in the settings that a module's schema refuses.
    pub fn check_against(&self, schema: &Value) -> Vec<Problem> {
        schema::check_against(schema, &Value::Object(self.value.clone()), &self.anchor)
    }
}

/// Absent values are the engine's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory: Option<u64>,
    /// CPU time for one batch.
    pub time: Option<Duration>,
    /// Bytes that one batch may return.
    pub output: Option<u64>,
    /// Bytes of one key's state.
    pub state: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    DeadLetter,
    Pass,
    Halt,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Validate {
    pub name: Arc<str>,
    pub place: Place,
    /// Where its table is written.
    pub anchor: Anchor,
    /// Empty: every message.
    pub topics: Vec<Pattern>,
    pub check: Check,
    pub on_reject: OnReject,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    Module(Box<Stage>),
    /// A JSON Schema that the host applies; the text of the file, already known to be JSON.
    Schema {
        file: Arc<str>,
        schema: Arc<Value>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Parse {
    pub stage: Stage,
    /// Where its table is written.
    pub anchor: Anchor,
    /// For messages bound to no device.
    pub topics: Vec<Pattern>,
    /// The `parser_type`s of devices that this stage reads; the module's name if none is written.
    pub parser_types: Vec<Arc<str>>,
    pub time: StageTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageTime {
    /// The device's if it is sane, else the receipt.
    Auto,
    Device,
    Receipt,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Detect {
    pub stage: Stage,
    /// Where its table is written.
    pub anchor: Anchor,
    /// The name of the stage whose state it takes over, once.
    pub state_from: Option<Arc<str>>,
    /// Names of earlier stages; empty: all parse stages.
    pub from: Vec<Arc<str>>,
    pub take: Vec<Take>,
    /// Only devices that carry all of these labels.
    pub labels: BTreeMap<String, String>,
    /// For `take = ["message"]`.
    pub topics: Vec<Pattern>,
    pub key: Vec<KeyPart>,
    /// The field of a device that overrides settings key by key (`session_config`).
    pub device_settings: Option<Arc<str>>,
    pub time: StageTime,
}

/// What a stage takes of what others emit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    Message,
    /// `None`: every reading; else one that measures this quantity (by name).
    Reading(Option<Arc<str>>),
    /// A kind with `*` for any run of characters; `None`: every event.
    Event(Option<Arc<str>>),
    Publication,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    Device,
    Channel,
    /// A capture of the topic.
    Capture(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    pub stage: Stage,
    /// Where its table is written.
    pub anchor: Anchor,
    /// Names of earlier stages; empty: all.
    pub from: Vec<Arc<str>>,
    /// Never empty.
    pub take: Vec<Take>,
    pub labels: BTreeMap<String, String>,
    pub endpoint: Arc<str>,
    pub endpoint_place: Place,
    pub batch: Batch,
    /// After this, a delivery is a dead letter with code `expired`.
    pub expire: Option<Duration>,
}

/// A sink that publishes what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    pub name: Arc<str>,
    pub place: Place,
    /// Where its table is written.
    pub anchor: Anchor,
    /// Names of earlier stages; empty: all.
    pub from: Vec<Arc<str>>,
    /// Never empty, never a publication.
    pub take: Vec<Take>,
    pub labels: BTreeMap<String, String>,
    pub broker: Arc<str>,
    pub broker_place: Place,
    pub topic: Template,
    pub topic_place: Place,
    /// Every topic that the template can become.
    pub filter: Pattern,
    /// `None`: the item as JSON, a message as it came.
    pub payload: Option<Template>,
    pub qos: u8,
    pub retain: bool,
    /// After this, a publication is a dead letter with code `expired`.
    pub expire: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub max: usize,
    pub wait: Duration,
}
