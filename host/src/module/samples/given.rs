//! What a sample gives to the module, as the host's types.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use tapline_kit::samples as kit;

use super::super::description::OwnQuantity;
use super::super::sink;
use crate::config::push::parse_time;
use crate::message::{
    Content, DeviceId, Event, Item, Measurement, Message, MessageId, Origin, Properties,
    Publication, Quantity, Reading, Timestamp,
};
use crate::quantity;

/// When a sample that says nothing is received, as in the SDK: 2026-02-12T19:40:18.123Z.
const RECEIVED_AT: Timestamp = Timestamp(1_770_925_218_123);

/// What a sample that says nothing comes from.
const NOWHERE: &str = "sample";

pub(super) fn time(value: &Value) -> Result<Timestamp, String> {
    let at = match value {
        Value::String(text) => parse_time(text),
        Value::Number(number) => number.as_u64().map(Timestamp),
        _ => None,
    };
    at.ok_or_else(|| {
        format!("{value} is no time in RFC 3339 (`2026-02-12T19:40:18.123Z`) or in milliseconds")
    })
}

fn time_or(value: Option<&Value>) -> Result<Timestamp, String> {
    value.map_or(Ok(RECEIVED_AT), time)
}

pub(super) fn message(given: &kit::Message) -> Result<Message, String> {
    let source: Arc<str> = given.broker.as_deref().unwrap_or(NOWHERE).into();
    Ok(Message {
        id: MessageId { source, epoch: 1, sequence: 1 },
        topic: given.topic.as_str().into(),
        payload: Bytes::copy_from_slice(&given.payload),
        received_at: time_or(given.received_at.as_ref())?,
        qos: given.qos.unwrap_or(1),
        retained: given.retained,
        properties: Arc::new(properties(given.properties.as_ref())?),
    })
}

fn properties(given: Option<&Value>) -> Result<Properties, String> {
    let given = given.cloned().unwrap_or_else(|| Value::Object(Map::new()));
    serde_json::from_value(given).map_err(|error| format!("`properties`: {error}"))
}

pub(super) fn item(given: &Map<String, Value>, own: &[OwnQuantity]) -> Result<Item, String> {
    let text = |key: &str| match given.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("`{key}` is no text: {other}")),
    };
    let at = given.get("at").filter(|at| !at.is_null()).map(time).transpose()?;
    let device = text("device")?.map(|device| DeviceId(device.into()));
    let channel = text("channel")?.unwrap_or_default();
    if let Some(topic) = text("topic")? {
        return publication(given, topic, text("broker")?, text("payload")?);
    }
    if let Some(kind) = text("kind")? {
        only(given, &["kind", "device", "channel", "at", "data"])?;
        let data = given.get("data").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let data = serde_json_canonicalizer::to_string(&data)
            .map_err(|error| format!("the data of event `{kind}`: {error}"))?;
        return Ok(Item::Event(Event { kind, device, channel, at, data }));
    }
    let mut measurements = Vec::new();
    for (name, value) in given {
        if ["device", "channel", "at"].contains(&name.as_str()) {
            continue;
        }
        let quantity = named(name, own)?;
        let value = match value {
            Value::Bool(flag) => Some(f64::from(*flag)),
            other => other.as_f64(),
        };
        let value = value.ok_or_else(|| format!("`{name}` is no number"))?;
        measurements.push(Measurement { quantity, value });
    }
    Ok(Item::Reading(Reading { device, channel, at, measurements }))
}

fn publication(
    given: &Map<String, Value>,
    topic: String,
    broker: Option<String>,
    payload: Option<String>,
) -> Result<Item, String> {
    only(given, &["broker", "topic", "payload", "qos", "retain", "properties"])?;
    let number = given.get("qos").map_or(Some(1), Value::as_u64);
    let qos = number.and_then(|qos| u8::try_from(qos).ok()).filter(|qos| *qos <= 2);
    Ok(Item::Publication(Publication {
        broker,
        topic,
        payload: payload.unwrap_or_default().into_bytes(),
        qos: qos.ok_or("`qos` is 0, 1 or 2")?,
        retain: given.get("retain").and_then(Value::as_bool).unwrap_or(false),
        properties: properties(given.get("properties"))?,
    }))
}

fn only(given: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match given.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(format!("`{key}` is none of `{}`", known.join("`, `"))),
    }
}

/// A quantity by its name, or by the number of one of the module's own.
fn named(name: &str, own: &[OwnQuantity]) -> Result<Quantity, String> {
    let of_module = || {
        let is = |own: &&OwnQuantity| own.name == name || own.number.to_string() == name;
        own.iter().find(is).map(|own| Quantity(own.number))
    };
    quantity::by_name(name)
        .or_else(of_module)
        .ok_or_else(|| format!("`{name}` is no quantity of `wit/quantities.toml` or the module's"))
}

pub(super) fn deliveries(
    given: &[kit::Delivery],
    own: &[OwnQuantity],
) -> Result<Vec<sink::Delivery>, String> {
    let one = |(index, given)| {
        delivery(index, given, own).map_err(|why| format!("delivery {index}: {why}"))
    };
    given.iter().enumerate().map(one).collect()
}

fn delivery(
    index: usize,
    given: &kit::Delivery,
    own: &[OwnQuantity],
) -> Result<sink::Delivery, String> {
    let kit_message = |line: &kit::MessageLine| line.message().map_err(|(what, _)| what);
    let content = match (&given.item, &given.message) {
        (_, Some(line)) => Content::Message(message(&kit_message(line)?)?),
        (Some(fields), None) => Content::Item(item(fields, own)?),
        (None, None) => return Err("it carries nothing".to_owned()),
    };
    let seq = given.seq.unwrap_or(index as u64 + 1);
    let origin = given.origin.as_ref().map(|line| message(&kit_message(line)?)).transpose()?;
    Ok(sink::Delivery {
        id: given.id.clone().unwrap_or_else(|| format!("00000000-0000-5000-8000-{seq:012x}")),
        bridge: given.bridge.as_deref().unwrap_or(NOWHERE).into(),
        replayed: given.replayed,
        key: given.key.as_deref().unwrap_or(NOWHERE).into(),
        seq,
        at: time_or(given.at.as_ref())?,
        device: given.device.as_ref().map(|device| {
            let labels = device.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
            Arc::new(sink::Device {
                id: device.id.clone(),
                name: device.name.clone().unwrap_or_else(|| device.id.clone()),
                labels: labels.collect(),
            })
        }),
        content,
        origin: origin.as_ref().map(Origin::from),
    })
}

pub(super) fn response(given: &kit::Response) -> sink::Response {
    let headers = given.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
    let body = match &given.body {
        None => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(json) => json.to_string().into_bytes(),
    };
    sink::Response { status: given.status, headers: headers.collect(), body }
}
