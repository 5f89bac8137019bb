//! The shape of a pipeline file. What each key means stands here and nowhere else: the
//! descriptions go into the JSON Schema and into the remedies of problems.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::units::{DurationText, FilterText, ModuleFile, Name, SizeText, TakeText};

/// A Tapline pipeline: where messages come from, what reads and judges them, where results go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct PipelineFile {
    /// Version of this file language; 1.
    #[schemars(range(min = 1, max = 1))]
    pub(super) format: Option<u32>,
    /// Identity of its state and history; default: the file's name.
    pub(super) name: Option<Name>,
    /// The name that it had before: what its stages remember under that name goes on here.
    pub(super) state_from: Option<Name>,
    /// Parallel copies of the pipeline, by device, else by topic; default 1.
    #[schemars(range(min = 1, max = 64))]
    pub(super) shards: Option<u32>,
    /// Names for topics, to be used as `@name` below; one place to rename.
    pub(super) topics: BTreeMap<String, FilterText>,
    /// What may leave this pipeline towards devices.
    pub(super) publish: Option<PublishFile>,
    /// Where messages come from.
    pub(super) source: Vec<SourceFile>,
    /// What is refused before anything reads it.
    pub(super) validate: Vec<ValidateFile>,
    /// What turns messages into readings and events.
    pub(super) parse: Vec<ParseFile>,
    /// What watches readings over time.
    pub(super) detect: Vec<DetectFile>,
    /// Where results go.
    pub(super) sink: Vec<SinkFile>,
}

/// What may be published.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishFile {
    /// Topics that this pipeline may publish to; nothing else leaves it.
    pub(super) allow: Vec<FilterText>,
}

/// A source of messages: an MQTT broker.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceFile {
    /// A name for logs and counters.
    pub(super) name: Name,
    /// A `[broker.NAME]` of tapline.toml.
    pub(super) broker: Option<Name>,
    /// Subscribe to the `mqtt_topic` of each registered device that a parse stage reads.
    #[serde(default)]
    pub(super) devices: bool,
    /// Topic filters besides; `{name}` captures one level, `{name...}` one or more.
    #[serde(default)]
    pub(super) topics: Vec<FilterText>,
    /// Topic filters of what to leave out.
    #[serde(default)]
    pub(super) except: Vec<FilterText>,
    /// 0, 1 or 2; default 1.
    #[schemars(range(max = 2))]
    pub(super) qos: Option<u8>,
    /// What counts of a message that the broker kept: `accept` all, only `flags` (online,
    /// output_on), or `ignore`; default `flags`.
    pub(super) retained: Option<RetainedText>,
    /// What happens to messages of a device that is not registered: `accept`, `report`
    /// (filtered, counted, listed) or `dead-letter`; default `report`.
    pub(super) unknown_devices: Option<UnknownDevicesText>,
    /// MQTT 5: not what this client published itself.
    #[serde(default)]
    pub(super) no_local: bool,
    /// MQTT 5: keep the retain flag of messages as their sender set it.
    #[serde(default)]
    pub(super) retain_as_published: bool,
    /// MQTT 5: kept messages on subscribing: 0 always, 1 on a new subscription, 2 never.
    #[schemars(range(max = 2))]
    pub(super) retain_handling: Option<u8>,
    /// Reserved: a route of the HTTP API, `POST /api/v1/command/send`.
    pub(super) http: Option<String>,
    /// Reserved: a schedule.
    pub(super) every: Option<DurationText>,
    /// Reserved: what became of own publications.
    pub(super) outcome: Option<Vec<String>>,
    /// Reserved, for `http`, `every` and `outcome`: the topic under which it travels.
    pub(super) topic: Option<String>,
    /// Reserved, for `http`: JSON Schema of the body.
    pub(super) schema: Option<String>,
    /// Reserved, for `http`: role of the token.
    pub(super) access: Option<String>,
    /// Reserved, for `http`: most calls in a time.
    pub(super) rate: Option<String>,
    /// Reserved, for `http`: `accepted`, or a table with `reply_within`.
    pub(super) answer: Option<Value>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RetainedText {
    Accept,
    Flags,
    Ignore,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum UnknownDevicesText {
    Accept,
    Report,
    DeadLetter,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnRejectText {
    DeadLetter,
    Pass,
    Halt,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TimeText {
    Device,
    Receipt,
}

/// What a module may use up; default: the engine's limits.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    /// Memory of one instance; default "16 MiB", or three times what it begins with.
    pub(super) memory: Option<SizeText>,
    /// CPU time for one batch; default "50ms".
    pub(super) time: Option<DurationText>,
    /// What one batch may return; default "4 MiB".
    pub(super) output: Option<SizeText>,
    /// State of one key; default "4 KiB".
    pub(super) state: Option<SizeText>,
}

/// A check before anything is read: a module, or a JSON Schema that the host applies.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValidateFile {
    /// A name for logs, counters and dead letters.
    pub(super) name: Name,
    /// A module: modules/NAME.wasm.
    pub(super) module: Option<Name>,
    /// A JSON Schema file, relative to the site directory.
    pub(super) schema: Option<String>,
    /// Another version of the module, a file of modules/: it gets the same inputs, and what it
    /// makes of them is compared and counted, never delivered.
    pub(super) shadow: Option<ModuleFile>,
    /// Topic filters of what to check; default: everything.
    #[serde(default)]
    pub(super) topics: Vec<FilterText>,
    /// The module's settings, in its own names.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// What happens to a refused message: `dead-letter`, `pass` or `halt`.
    pub(super) on_reject: Option<OnRejectText>,
    /// What the module may use up.
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

/// A stage that turns messages into readings and events.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ParseFile {
    /// The stage's name, by which others take `from` it.
    pub(super) name: Name,
    /// A module: modules/NAME.wasm.
    pub(super) module: Name,
    /// Another version of the module, a file of modules/: it gets the same inputs, and what it
    /// makes of them is compared and counted, never delivered.
    pub(super) shadow: Option<ModuleFile>,
    /// The `parser_type`s of devices that it reads; default: the module's name.
    pub(super) parser_types: Option<Vec<String>>,
    /// Topic filters of what it reads besides, of no registered device.
    #[serde(default)]
    pub(super) topics: Vec<FilterText>,
    /// Whose time counts: the `device`'s or the `receipt`; default: the device's if sane.
    pub(super) time: Option<TimeText>,
    /// The module's settings, in its own names.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// What happens to a refused message: `dead-letter`, `pass` or `halt`.
    pub(super) on_reject: Option<OnRejectText>,
    /// What the module may use up.
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

/// A stage that watches readings, events or messages over time and keeps state per key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DetectFile {
    /// The stage's name: identity of its state.
    pub(super) name: Name,
    /// The name that it had before: what it remembers under that name goes on here.
    pub(super) state_from: Option<Name>,
    /// A module: modules/NAME.wasm.
    pub(super) module: Name,
    /// Another version of the module, a file of modules/: it gets the same inputs with a state of
    /// its own, and what it makes of them is compared and counted, never delivered.
    pub(super) shadow: Option<ModuleFile>,
    /// Stages that it takes from, further up in the file; default: all parse stages.
    #[serde(default)]
    pub(super) from: Vec<String>,
    /// What it takes: `message`, `reading[:QUANTITY]`, `event[:GLOB]`; default: every reading.
    #[schemars(length(min = 1), extend("examples" = ["reading:power_w"]))]
    pub(super) take: Option<Vec<TakeText>>,
    /// Only devices that carry all of these labels.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Topic filters, for `take = ["message"]`.
    #[serde(default)]
    pub(super) topics: Vec<FilterText>,
    /// What its state belongs to: `device`, `channel`, or a capture of the topic; default:
    /// the device.
    #[schemars(length(min = 1), extend("examples" = [["device", "channel"]]))]
    pub(super) key: Option<Vec<String>>,
    /// A field of devices that overrides the settings key by key.
    pub(super) device_settings: Option<String>,
    /// Whose time counts: the `device`'s or the `receipt`; default: the device's if sane.
    pub(super) time: Option<TimeText>,
    /// The module's settings, in its own names.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// What happens to a refused input: `dead-letter`, `pass` or `halt`.
    pub(super) on_reject: Option<OnRejectText>,
    /// What the module may use up.
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

/// A stage that hands results to an outside system.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkFile {
    /// The stage's name: identity of its queue.
    pub(super) name: Name,
    /// A module: modules/NAME.wasm.
    pub(super) module: Option<Name>,
    /// Reserved: a sink has no shadow, since what it sends cannot be sent twice.
    pub(super) shadow: Option<ModuleFile>,
    /// An `[endpoint.NAME]` of tapline.toml.
    pub(super) endpoint: Option<Name>,
    /// Publish to a broker, in place of `module` and `endpoint`.
    pub(super) publish: Option<PublishTargetFile>,
    /// Stages that it takes from; default: all.
    #[serde(default)]
    pub(super) from: Vec<String>,
    /// What it takes: `message`, `reading[:QUANTITY]`, `event[:GLOB]` or `publication`.
    #[schemars(length(min = 1), extend("examples" = [["event:session_*"]]))]
    pub(super) take: Vec<TakeText>,
    /// Only devices that carry all of these labels.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// How much goes out at once.
    #[serde(default)]
    pub(super) batch: BatchFile,
    /// After this time a delivery is a dead letter with the code `expired`.
    pub(super) expire: Option<DurationText>,
    /// The module's settings, in its own names.
    #[serde(default)]
    pub(super) settings: Map<String, Value>,
    /// What the module may use up.
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

/// A publication that a sink makes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishTargetFile {
    /// A `[broker.NAME]` of tapline.toml.
    pub(super) broker: Name,
    /// The topic, or `@name` of `[topics]`; `{device}` and fields of the event are filled in.
    pub(super) topic: String,
    /// The payload; `{device}`, `{data.level}` and such are filled in. Default: what is taken,
    /// as JSON.
    pub(super) payload: Option<String>,
    /// 0, 1 or 2; default 1.
    #[schemars(range(max = 2))]
    pub(super) qos: Option<u8>,
    /// Whether the broker keeps it.
    #[serde(default)]
    pub(super) retain: bool,
}

/// How much goes out at once.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BatchFile {
    /// Most deliveries in one request; default 100.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) max: Option<u32>,
    /// How long to wait for more; default "1s".
    pub(super) wait: Option<DurationText>,
}
