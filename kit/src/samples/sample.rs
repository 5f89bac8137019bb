//! What a sample is: what is done with a module, and what comes out.
//!
//! `line` reads and writes it; here are the nouns that everybody else speaks of.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::line::MessageLine;

/// What goes in, what comes out, and where that is from.
#[derive(Clone, Debug)]
pub struct Sample {
    /// File and line: `samples/meter.jsonl:3`.
    pub place: String,
    /// What its author calls it.
    pub id: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    pub settings: Map<String, Value>,
    pub script: Script,
}

/// What is done with the module.
#[derive(Clone, Debug)]
pub enum Script {
    /// A parser or validator gets a message.
    Message(Box<Message>, Option<Outcome>),
    /// A detector follows one key.
    Steps { key: String, steps: Vec<(Step, Option<Outcome>)> },
    /// A sink says how to send deliveries.
    Encode(Vec<Delivery>, Option<String>, Option<Outcome>),
    /// A sink reads an answer about deliveries.
    Conclude(Vec<Delivery>, Option<String>, Box<Response>, Option<Outcome>),
}

/// A message, as in captures.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    /// RFC 3339, or milliseconds since the epoch.
    pub received_at: Option<Value>,
    pub qos: Option<u8>,
    pub retained: bool,
    pub device: Option<String>,
    pub broker: Option<String>,
    pub properties: Option<Value>,
}

/// One step of a key.
#[derive(Clone, Debug)]
pub struct Step {
    /// RFC 3339, or milliseconds since the epoch.
    pub at: Value,
    pub retained: bool,
    pub input: StepInput,
}

/// Why there is a step.
#[derive(Clone, Debug)]
pub enum StepInput {
    Item(Map<String, Value>),
    Message(Box<Message>),
    Timer,
    DeafSince(Value),
    Reconfigured(Map<String, Value>),
    Removed,
}

/// Something on its way out. What is not said has a value of no importance.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageLine>,
    /// Where it came from: a message without its payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<MessageLine>,
}

/// A device as sinks see it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// The other side's answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Response {
    pub status: u16,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub headers: std::collections::BTreeMap<String, String>,
    /// Text as it is; anything else as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// What comes out, or is to come out. What is not there is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Items, or what a sink says.
    pub expect: Option<Value>,
    pub refused: Option<Refusal>,
    pub wake_at: Option<Value>,
    pub ask: bool,
    pub ignored: Option<Refusal>,
}

/// Why an input is refused or left aside.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Refusal {
    Code(String),
    Whole { code: String, detail: String },
}

impl Sample {
    /// Whether it does not say everywhere what is to come out.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.script {
            Script::Message(_, outcome)
            | Script::Encode(_, _, outcome)
            | Script::Conclude(_, _, _, outcome) => outcome.is_none(),
            Script::Steps { steps, .. } => steps.iter().any(|(_, outcome)| outcome.is_none()),
        }
    }
}

impl Refusal {
    /// The word that it is counted by.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Code(code) | Self::Whole { code, .. } => code,
        }
    }
}
