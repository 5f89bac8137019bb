//! How captures and recordings are written: one JSON object a line.
//!
//! A capture holds messages and, if somebody wrote them down, deaf periods. A recording
//! begins with `recording` and holds everything that made the pipeline act, so that it
//! replays to the same bytes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Fault;
use crate::config::device::Device;
use crate::message::{DeviceId, Message, Properties, Timestamp};
use crate::store::{DeadLetter, KeyRow, StoredKey};

/// The version of recordings that this program writes and reads.
pub(super) const FORMAT: u32 = 1;

/// The reason of an end that somebody wished.
pub(super) const STOPPED: &str = "stopped";

/// Any line. A message has `topic`; anything else has exactly the key that names it.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Line<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) payload_base64: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) qos: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retained: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) broker: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) properties: Option<Arc<Properties>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) letter: Option<Box<Letter>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recording: Option<Box<Start>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) registered: Option<Box<Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Box<Key>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wake: Option<Box<Wake>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deaf: Option<Box<Deaf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<Box<End>>,
}

/// The first line of a recording.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    pub(super) format: u32,
    pub(super) pipeline: String,
    pub(super) at: Time,
    /// Of each stage: its module with version and hash.
    pub(super) modules: std::collections::BTreeMap<String, String>,
}

/// What a stage remembered of a key when the recording began.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    stage: Arc<str>,
    key: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Bytes>,
    #[serde(default)]
    state_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Time>,
    #[serde(default)]
    ordinal: u32,
    #[serde(default)]
    late: u32,
    #[serde(default)]
    lag_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wake_at: Option<Time>,
    settings: Bytes,
    #[serde(default)]
    undated_or_qos0: bool,
}

/// Beside a message: it was a dead letter, and went through once more for what was refused.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letter {
    stage: Arc<str>,
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Arc<str>>,
}

/// The clock made wake-ups act, of devices whose brokers were heard.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wake {
    pub(super) now: Time,
    pub(super) heard: Vec<Arc<str>>,
}

/// A broker was not heard from a time until another.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deaf {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) broker: Option<Arc<str>>,
    pub(super) from: Time,
    pub(super) until: Time,
    #[serde(default)]
    pub(super) resumed: bool,
}

/// The recording ends here, and why.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) reason: String,
    pub(super) detail: String,
}

/// Text that is borrowed where it holds no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Borrowed)
    }
}

/// Written as RFC 3339, read as that or as milliseconds since the epoch.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in RFC 3339 (`2026-02-12T19:40:18.123Z`) or in milliseconds")
            }
            fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Time, E> {
                // The last millisecond that RFC 3339 can write, in the year 9999.
                if ms > 253_402_300_799_999 {
                    return Err(E::custom(format!("`{ms}` ms is beyond the year 9999")));
                }
                Ok(Time(Timestamp(ms)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                crate::config::push::parse_time(text)
                    .map(Time)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Bytes in base64.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(de::Error::custom)
    }
}

/// What a line says.
#[allow(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub(super) enum Said<'a> {
    Message(Line<'a>),
    Start(Box<Start>),
    Registered(Box<Map<String, Value>>),
    Key(Box<Key>),
    Wake(Box<Wake>),
    Deaf(Box<Deaf>),
    End(Box<End>),
}

impl<'a> Line<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(number: u64, bytes: &'a [u8]) -> Result<Said<'a>, Fault> {
        let fault = |what: String, remedy| Fault { line: number, what, remedy };
        let line: Line<'a> = serde_json::from_slice(bytes).map_err(|error| {
            let remedy = match error.classify() {
                serde_json::error::Category::Eof => "the line is cut off: remove it",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                    "write one JSON object a line"
                }
                serde_json::error::Category::Data => {
                    "docs/guides/replay.md names the keys of a line"
                }
            };
            // The parser counts lines of its own, always 1.
            let what = error.to_string().replace(" at line 1 column ", " at column ");
            fault(what, remedy)
        })?;
        let others = [
            line.recording.is_some(),
            line.registered.is_some(),
            line.key.is_some(),
            line.wake.is_some(),
            line.deaf.is_some(),
            line.end.is_some(),
        ];
        let kinds = others.into_iter().filter(|is| *is).count();
        match (line.topic.is_some(), kinds) {
            (true, 0) => Ok(Said::Message(line)),
            (false, 1) => Ok(line.other()),
            (false, 0) => {
                Err(fault("`topic` is missing".to_owned(), "say on which topic the message came"))
            }
            _ => Err(fault(
                "the line says two things at once".to_owned(),
                "write each on a line of its own",
            )),
        }
    }

    fn other(self) -> Said<'a> {
        let Line { recording, registered, key, wake, deaf, end, .. } = self;
        None.or(recording.map(Said::Start))
            .or(registered.map(Said::Registered))
            .or(key.map(Said::Key))
            .or(wake.map(Said::Wake))
            .or(deaf.map(Said::Deaf))
            .or(end.map(Said::End))
            .expect("called where one of them is there")
    }

    /// The payload's bytes.
    ///
    /// # Errors
    /// If there is none, there are two, or it is no base64.
    pub(super) fn bytes(&mut self, number: u64) -> Result<bytes::Bytes, Fault> {
        let fault = |what: String, remedy| Fault { line: number, what, remedy };
        match (self.payload.take(), self.payload_base64.take()) {
            (Some(text), None) => Ok(text.0.into_owned().into_bytes().into()),
            (None, Some(text)) => match BASE64.decode(text.0.as_bytes()) {
                Ok(bytes) => Ok(bytes.into()),
                Err(error) => Err(fault(
                    format!("`payload_base64` is no base64: {error}"),
                    "write it in the standard alphabet, with padding",
                )),
            },
            (None, None) => Err(fault(
                "`payload` is missing".to_owned(),
                "give `payload` or `payload_base64`; an empty one is \"\"",
            )),
            (Some(_), Some(_)) => Err(fault(
                "`payload` and `payload_base64` are both there".to_owned(),
                "keep the one that is right",
            )),
        }
    }
}

impl Key {
    pub(super) fn new((stage, key, row): StoredKey) -> Self {
        Self {
            stage,
            key,
            device: row.device,
            state: row.state.map(Bytes),
            state_version: row.state_version,
            at: row.at.map(Time),
            ordinal: row.ordinal,
            late: row.late,
            lag_ms: row.lag_ms,
            wake_at: row.wake_at.map(Time),
            settings: Bytes(row.settings.to_vec()),
            undated_or_qos0: row.undated_or_qos0,
        }
    }

    /// The row as the worker keeps it; `None`: its settings are no hash.
    pub(super) fn row(self) -> Option<StoredKey> {
        let row = KeyRow {
            device: self.device,
            state: self.state.map(|state| state.0),
            state_version: self.state_version,
            at: self.at.map(|at| at.0),
            ordinal: self.ordinal,
            late: self.late,
            lag_ms: self.lag_ms,
            wake_at: self.wake_at.map(|at| at.0),
            settings: self.settings.0.try_into().ok()?,
            undated_or_qos0: self.undated_or_qos0,
        };
        Some((self.stage, self.key, row))
    }
}

impl Letter {
    pub(super) fn new(letter: &DeadLetter) -> Self {
        Self {
            stage: letter.stage.clone(),
            code: letter.code.clone(),
            device: letter.device.clone(),
            key: letter.key.clone(),
        }
    }

    /// A letter of `pipeline` that a replay treats as the one that was.
    pub(super) fn letter(self, pipeline: Arc<str>, at: Timestamp) -> DeadLetter {
        DeadLetter {
            pipeline,
            stage: self.stage,
            code: self.code,
            detail: String::new(),
            at,
            device: self.device,
            key: self.key,
            message: None,
            delivery: None,
            module: None,
            attempts: 0,
            answer: None,
            raw: None,
        }
    }
}

/// Adds a line to `buffer`.
pub(super) fn write(buffer: &mut Vec<u8>, line: &Line<'_>) {
    serde_json::to_writer(&mut *buffer, line).expect("plain values are written into memory");
    buffer.push(b'\n');
}

/// Adds a message's line to `buffer`; `letter` is what it is the message of.
pub(super) fn write_message(buffer: &mut Vec<u8>, message: &Message, letter: Option<&DeadLetter>) {
    let letter = letter.map(|letter| Box::new(Letter::new(letter)));
    write(buffer, &Line { letter, ..line_of(message) });
}

/// Adds a message's line to `buffer`, without its broker where there is only one: whoever
/// replays it may call theirs otherwise.
pub(super) fn write_captured(buffer: &mut Vec<u8>, message: &Message, several: bool) {
    let mut line = line_of(message);
    if !several {
        line.broker = None;
    }
    write(buffer, &line);
}

/// Adds to `buffer` that a broker was not heard.
pub(super) fn write_deaf(
    buffer: &mut Vec<u8>,
    broker: Option<&str>,
    from: Timestamp,
    until: Timestamp,
) {
    let broker = broker.map(Arc::from);
    let deaf = Deaf { broker, from: Time(from), until: Time(until), resumed: false };
    write(buffer, &Line { deaf: Some(Box::new(deaf)), ..Line::default() });
}

fn line_of(message: &Message) -> Line<'_> {
    let mut line = Line {
        topic: Some(Text(Cow::Borrowed(&message.topic))),
        received_at: Some(Time(message.received_at)),
        qos: Some(message.qos),
        retained: message.retained.then_some(true),
        broker: Some(Text(Cow::Borrowed(&message.id.source))),
        properties: (*message.properties != Properties::default())
            .then(|| message.properties.clone()),
        ..Line::default()
    };
    match std::str::from_utf8(&message.payload) {
        Ok(text) => line.payload = Some(Text(Cow::Borrowed(text))),
        Err(_) => line.payload_base64 = Some(Text(Cow::Owned(BASE64.encode(&message.payload)))),
    }
    line
}

/// A device as `devices` of the pushed document has it.
pub(super) fn device(device: &Device) -> Map<String, Value> {
    let mut entry = (*device.fields).clone();
    entry.insert("device_id".to_owned(), device.id.as_str().into());
    entry.insert("machine_name".to_owned(), device.machine_name.as_str().into());
    entry.insert("mqtt_topic".to_owned(), device.topic.as_str().into());
    entry.insert("parser_type".to_owned(), (&*device.parser_type).into());
    if !device.channel.is_empty() {
        entry.insert("channel".to_owned(), device.channel.clone().into());
    }
    if !device.labels.is_empty() {
        let labels = device.labels.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        entry.insert("labels".to_owned(), Value::Object(labels.collect()));
    }
    if !device.settings.is_empty() {
        let stages = device.settings.iter();
        let stages = stages.map(|(stage, patch)| (stage.clone(), Value::Object(patch.clone())));
        entry.insert("settings".to_owned(), Value::Object(stages.collect()));
    }
    entry
}
