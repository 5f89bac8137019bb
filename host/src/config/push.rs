//! The document of `POST /config`, which `--config FILE` reads too: S3's exact shape.
//!
//! Invariant: the document that is kept and given back holds no password.

use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::device::{self, Device, DeviceFile, Owner};
use super::document::Format;
use super::environment::check_host;
use super::formats;
use super::problem::Problem;
use super::reader::Reader;
use super::schema::Shape;
use super::secret::Secret;
use crate::message::Timestamp;

pub(super) static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::with_null::<DocumentFile>);

/// What stands for a password in answers, and keeps the old one when posted.
pub const HIDDEN: &str = "***";

/// A configuration as Odoo pushes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read section by section; the whole gives the schema")]
struct DocumentFile {
    /// The broker; absent: unchanged.
    mqtt: Option<MqttFile>,
    /// All devices; one that is missing is removed.
    devices: Vec<DeviceFile>,
    /// When it was sent.
    #[schemars(extend("format" = formats::TIME))]
    timestamp: Option<String>,
    /// Version of this document's shape.
    version: Option<String>,
}

/// The broker; what is absent stays as file and environment have it.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct MqttFile {
    /// Host name or address.
    broker: Option<String>,
    /// Port.
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// User name; empty: none.
    username: Option<String>,
    /// Password; empty: none, `***` or absent: as it was.
    password: Option<String>,
    /// Client id.
    #[schemars(length(min = 1, max = 256))]
    client_id: Option<String>,
    /// Seconds.
    keepalive: Option<u16>,
    /// TLS to the broker.
    use_tls: Option<bool>,
}

/// The pushed broker; `None` leaves a field to file and environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mqtt {
    pub broker: Option<String>,
    pub port: Option<u16>,
    /// Empty: none, whatever the file says.
    pub username: Option<String>,
    pub password: Password,
    pub client_id: Option<String>,
    /// Seconds.
    pub keepalive: Option<u16>,
    pub use_tls: Option<bool>,
}

/// What a push says of the password.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Password {
    /// Nothing, or `***`: the one before, else that of file and environment.
    #[default]
    Unsaid,
    /// There is none.
    Empty,
    Is(Secret),
}

/// A checked document.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// As JSON: of very many devices a text takes a tenth of what a tree does.
    document: Arc<str>,
    mqtt: Option<Mqtt>,
    devices: Vec<Arc<Device>>,
}

/// What was sent, a password as `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// In full; of very many devices this takes its time.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).expect("it was written from a value")
    }
}

/// A document as it is kept; the password is kept apart.
#[derive(Serialize, Deserialize)]
struct Stored {
    document: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mqtt: Option<StoredMqtt>,
}

#[derive(Serialize, Deserialize)]
struct StoredMqtt {
    broker: Option<String>,
    port: Option<u16>,
    username: Option<String>,
    /// `empty`, `set` or absent.
    password: Option<String>,
    client_id: Option<String>,
    keepalive: Option<u16>,
    use_tls: Option<bool>,
}

impl Pushed {
    /// Reads a document; `name` is what problems call it: `POST /config`, or a file.
    pub fn parse(name: &str, text: &str, format: Format) -> Result<Self, Vec<Problem>> {
        let (pushed, problems) = Self::read(name, text, format)?;
        if problems.is_empty() { Ok(pushed) } else { Err(problems) }
    }

    /// As [`parse`](Self::parse), but what can be read in spite of problems comes beside them,
    /// so that it can be checked further.
    ///
    /// # Errors
    /// If nothing can be read at all.
    pub fn read(
        name: &str,
        text: &str,
        format: Format,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut reader = Reader::open(name, text, format, &SHAPE)?;
        let mqtt = match reader.value.get("mqtt") {
            None | Some(Value::Null) => None,
            Some(_) => reader.read::<MqttFile>("/mqtt").map(|file| mqtt(&mut reader, file)),
        };
        let devices = device::read_list(&mut reader, "/devices", Owner::Push);
        let devices = devices.into_iter().map(Arc::new).collect();
        let mut document = reader.value.take();
        let problems = reader.into_problems();
        let is_said = |password: &&mut Value| password.as_str().is_some_and(|p| !p.is_empty());
        if let Some(password) = document.pointer_mut("/mqtt/password").filter(is_said) {
            *password = HIDDEN.into();
        }
        Ok((Self { document: document.to_string().into(), mqtt, devices }, problems))
    }

    /// This document in force after `previous`: an absent `mqtt`, and a password that is not
    /// said, stay as they were.
    #[must_use]
    pub fn after(mut self, previous: Option<&Self>) -> Self {
        let previous = previous.and_then(|previous| previous.mqtt.as_ref());
        match (&mut self.mqtt, previous) {
            (None, previous) => self.mqtt = previous.cloned(),
            (Some(mqtt), Some(previous)) if mqtt.password == Password::Unsaid => {
                mqtt.password = previous.password.clone();
            }
            (Some(_), _) => {}
        }
        self
    }

    /// As it was sent, a password as `***`.
    pub fn document(&self) -> Document {
        Document(self.document.clone())
    }

    /// The broker in force.
    pub fn mqtt(&self) -> Option<&Mqtt> {
        self.mqtt.as_ref()
    }

    /// In the order of the document.
    pub fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    /// What to keep of it, without the password.
    pub fn stored(&self) -> Value {
        let mqtt = self.mqtt.clone().map(|mqtt| StoredMqtt {
            broker: mqtt.broker,
            port: mqtt.port,
            username: mqtt.username,
            password: match mqtt.password {
                Password::Unsaid => None,
                Password::Empty => Some("empty".to_owned()),
                Password::Is(_) => Some("set".to_owned()),
            },
            client_id: mqtt.client_id,
            keepalive: mqtt.keepalive,
            use_tls: mqtt.use_tls,
        });
        json!(Stored { document: self.document().value(), mqtt })
    }

    /// The password to keep beside it, in a file of its own.
    pub fn password(&self) -> Option<&Secret> {
        match self.mqtt.as_ref().map(|mqtt| &mqtt.password) {
            Some(Password::Is(secret)) => Some(secret),
            _ => None,
        }
    }

    /// What [`stored`](Self::stored) kept, with its password.
    pub fn restore(stored: &Value, password: Option<Secret>) -> Result<Self, Vec<Problem>> {
        const NAME: &str = "persisted configuration";
        let stored = Stored::deserialize(stored).map_err(|error| {
            let what = format!("cannot be read: {error}");
            vec![Problem::of(NAME, what, "push the configuration again")]
        })?;
        let mut pushed = Self::parse(NAME, &pretty(&stored.document), Format::Json)?;
        pushed.mqtt = stored.mqtt.map(|mqtt| Mqtt {
            broker: mqtt.broker,
            port: mqtt.port,
            username: mqtt.username,
            password: match (mqtt.password.as_deref(), password) {
                (Some("set"), Some(secret)) => Password::Is(secret),
                (Some("empty"), _) => Password::Empty,
                _ => Password::Unsaid,
            },
            client_id: mqtt.client_id,
            keepalive: mqtt.keepalive,
            use_tls: mqtt.use_tls,
        });
        Ok(pushed)
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

fn mqtt(reader: &mut Reader, file: MqttFile) -> Mqtt {
    if let Some(Err((what, remedy))) = file.broker.as_deref().map(check_host) {
        reader.problem("/mqtt/broker", what, remedy);
    }
    Mqtt {
        broker: file.broker,
        port: file.port,
        username: file.username,
        password: match file.password.as_deref() {
            None | Some(HIDDEN) => Password::Unsaid,
            Some("") => Password::Empty,
            Some(password) => Password::Is(Secret::new(password)),
        },
        client_id: file.client_id,
        keepalive: file.keepalive,
        use_tls: file.use_tls,
    }
}

/// A time as S3's sides write it: with or without zone (then UTC), with or without
/// fractions of a second.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    use time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| time::OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp)
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
