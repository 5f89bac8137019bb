//! The nouns that everything else speaks of: messages, items, rejections.
//!
//! Plain types without knowledge of brokers, modules or the store. Invariant: a value of
//! these types is always meaningful; what could be wrong is refused where it is made.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time later by `ms`, saturating.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The time earlier by `ms`, saturating at the epoch.
    pub fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to here, 0 if it is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// RFC 3339 in UTC with milliseconds: `2026-02-12T19:40:18.123Z`.
    pub fn rfc3339(self) -> String {
        let format = time::macros::format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|at| at.format(format).ok())
            .unwrap_or_else(|| format!("{}ms", self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// The registry's name of a device.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub Arc<str>);

impl DeviceId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for DeviceId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where one received message stands among all that this Tapline ever received: fixed at
/// first receipt and carried into outbox, dead letters and logs.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct MessageId {
    /// The broker, route or schedule it came from.
    pub source: Arc<str>,
    /// Number of the source's session; a lost session starts the next.
    pub epoch: u64,
    /// Counts up with each receipt, also across restarts.
    pub sequence: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.epoch, self.sequence)
    }
}

/// One message as it came in.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    pub id: MessageId,
    pub topic: Arc<str>,
    pub payload: Bytes,
    pub received_at: Timestamp,
    pub qos: u8,
    /// Kept by the broker and sent on subscribing, so possibly old.
    pub retained: bool,
    pub properties: Arc<Properties>,
}

/// MQTT 5 properties of a message; all empty on MQTT 3.1.1.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_is_text: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_expiry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_data: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscription_identifiers: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<(String, String)>,
}

/// A physical quantity with its unit, by its number in `wit/quantities.toml`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub u16);

/// One value of one quantity; finite.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measurement {
    pub quantity: Quantity,
    pub value: f64,
}

/// What one channel of one device measured at one time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// `None`: the device that the message is bound to.
    pub device: Option<DeviceId>,
    pub channel: String,
    pub at: Option<Timestamp>,
    pub measurements: Vec<Measurement>,
}

/// Something that happened, in words the business uses.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    pub kind: String,
    pub device: Option<DeviceId>,
    pub channel: String,
    pub at: Option<Timestamp>,
    /// A JSON object in RFC 8785 form.
    pub data: String,
}

/// A message to publish.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Publication {
    /// `None`: the broker that the input came from.
    pub broker: Option<String>,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

/// What a stage emits.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "lowercase")]
pub enum Item {
    Reading(Reading),
    Event(Event),
    Publication(Publication),
}

/// The message that a delivery follows from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    pub source: Arc<str>,
    pub topic: Arc<str>,
    pub received_at: Timestamp,
    pub qos: u8,
    pub retained: bool,
}

impl From<&Message> for Origin {
    fn from(message: &Message) -> Self {
        Self {
            source: message.id.source.clone(),
            topic: message.topic.clone(),
            received_at: message.received_at,
            qos: message.qos,
            retained: message.retained,
        }
    }
}

/// What is on its way to a sink.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    Item(Item),
    /// A message as it came, where the pipeline sends messages to the sink.
    Message(Message),
}

impl Message {
    /// Bytes of it that a device chose.
    pub fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

impl Item {
    /// Bytes of it that a module chose.
    pub fn size(&self) -> usize {
        match self {
            Self::Reading(reading) => reading.channel.len() + size_of_val(&*reading.measurements),
            Self::Event(event) => event.kind.len() + event.channel.len() + event.data.len(),
            Self::Publication(publication) => publication.topic.len() + publication.payload.len(),
        }
    }
}

impl Content {
    pub fn size(&self) -> usize {
        match self {
            Self::Item(item) => item.size(),
            Self::Message(message) => message.size(),
        }
    }
}

/// Why one input is refused for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rejection {
    /// A stable word to count by, e.g. `not-json`.
    pub code: String,
    /// One sentence for a person, with the offending value.
    pub detail: String,
}

impl Rejection {
    /// A rejection with `code` and `detail`.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}
