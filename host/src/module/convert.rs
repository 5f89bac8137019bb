//! Host types to those of `wit/` and back: the only place where they meet.
//!
//! Towards the module everything is lent; wasmtime copies it once, into the module's
//! memory. What comes back is checked: a measurement is finite and of a known quantity,
//! an event's data is a JSON object in RFC 8785 form, a publication can be published.

pub(super) mod sink;

use serde_json::Value;

use super::bindings::tapline::module::types as wit;
use super::description::OwnQuantity;
use super::log::truncate;
use crate::message::{
    DeviceId, Event, Item, Measurement, Message, Properties, Publication, Quantity, Reading,
    Rejection, Timestamp,
};
use crate::quantity;

/// Bytes of a rejection's code and detail; they end in the dead letters.
const CODE_LENGTH: usize = 64;
const DETAIL_LENGTH: usize = 2048;

/// MQTT's own limit.
const TOPIC_LENGTH: usize = 65_535;

/// Bytes of a device's id, of a channel and of an event's kind: they become keys of states
/// and labels of counts.
const NAME_LENGTH: usize = 256;

/// What an input needs in another shape while it is lent. Empty for most.
#[derive(Default)]
pub(super) struct Shaped<'a> {
    user: Vec<(&'a str, &'a str)>,
    measurements: Vec<wit::Measurement>,
}

impl<'a> Shaped<'a> {
    pub(super) fn message(message: &'a Message) -> Self {
        Self { user: pairs(&message.properties.user), measurements: Vec::new() }
    }

    pub(super) fn item(item: &'a Item) -> Self {
        match item {
            Item::Reading(reading) => Self {
                user: Vec::new(),
                measurements: reading
                    .measurements
                    .iter()
                    .map(|m| wit::Measurement { quantity: m.quantity.0, value: m.value })
                    .collect(),
            },
            Item::Event(_) => Self::default(),
            Item::Publication(publication) => {
                Self { user: pairs(&publication.properties.user), measurements: Vec::new() }
            }
        }
    }

    pub(super) fn lend_message(
        &'a self,
        message: &'a Message,
        device: Option<&'a DeviceId>,
    ) -> wit::Message<'a> {
        wit::Message {
            source: &message.id.source,
            topic: &message.topic,
            payload: &message.payload,
            received_at: message.received_at.0,
            qos: message.qos,
            retained: message.retained,
            device: device.map(DeviceId::as_str),
            properties: self.lend_properties(&message.properties),
        }
    }

    pub(super) fn lend_item(&'a self, item: &'a Item) -> wit::ItemParam<'a> {
        match item {
            Item::Reading(reading) => wit::ItemParam::Reading(wit::ReadingParam {
                device: reading.device.as_ref().map(DeviceId::as_str),
                channel: &reading.channel,
                at: reading.at.map(|at| at.0),
                measurements: &self.measurements,
            }),
            Item::Event(event) => wit::ItemParam::Event(wit::EventParam {
                kind: &event.kind,
                device: event.device.as_ref().map(DeviceId::as_str),
                channel: &event.channel,
                at: event.at.map(|at| at.0),
                data: &event.data,
            }),
            Item::Publication(publication) => wit::ItemParam::Publication(wit::PublicationParam {
                broker: publication.broker.as_deref(),
                topic: &publication.topic,
                payload: &publication.payload,
                qos: publication.qos,
                retain: publication.retain,
                properties: self.lend_properties(&publication.properties),
            }),
        }
    }

    fn lend_properties(&'a self, properties: &'a Properties) -> wit::PropertiesParam<'a> {
        wit::PropertiesParam {
            payload_is_text: properties.payload_is_text,
            message_expiry: properties.message_expiry,
            content_type: properties.content_type.as_deref(),
            response_topic: properties.response_topic.as_deref(),
            correlation_data: properties.correlation_data.as_deref(),
            subscription_identifiers: &properties.subscription_identifiers,
            user: &self.user,
        }
    }
}

/// Lends pairs of texts.
pub(super) fn pairs(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// All items of one input, or why the input is refused for one of them.
pub(super) fn items(
    items: Vec<wit::ItemResult>,
    own: &[OwnQuantity],
) -> Result<Vec<Item>, Rejection> {
    items.into_iter().map(|given| item(given, own)).collect()
}

/// Takes and checks one item.
pub(super) fn item(item: wit::ItemResult, own: &[OwnQuantity]) -> Result<Item, Rejection> {
    match item {
        wit::ItemResult::Reading(given) => {
            let device = given.device.as_deref().unwrap_or("");
            short_enough("bad-reading", &[("device", device), ("channel", &given.channel)])?;
            reading(given, own).map(Item::Reading)
        }
        wit::ItemResult::Event(given) => {
            let device = given.device.as_deref().unwrap_or("");
            let names = [("kind", &*given.kind), ("device", device), ("channel", &given.channel)];
            short_enough("bad-event", &names)?;
            event(given).map(Item::Event)
        }
        wit::ItemResult::Publication(given) => publication(given).map(Item::Publication),
    }
}

fn short_enough(code: &str, names: &[(&str, &str)]) -> Result<(), Rejection> {
    match names.iter().find(|(_, name)| name.len() > NAME_LENGTH) {
        None => Ok(()),
        Some((what, name)) => Err(Rejection::new(
            code,
            format!("the {what} has {} bytes, more than {NAME_LENGTH}", name.len()),
        )),
    }
}

fn reading(given: wit::ReadingResult, own: &[OwnQuantity]) -> Result<Reading, Rejection> {
    let mut measurements = Vec::with_capacity(given.measurements.len());
    for wit::Measurement { quantity: number, value } in given.measurements {
        let known = quantity::entry(Quantity(number))
            .map(|entry| entry.name.as_str())
            .or_else(|| own.iter().find(|own| own.number == number).map(|own| own.name.as_str()));
        let Some(name) = known else {
            return Err(Rejection::new(
                "unknown-quantity",
                format!(
                    "channel `{}` measures quantity {number}, which nobody declares",
                    given.channel
                ),
            ));
        };
        if !value.is_finite() {
            return Err(Rejection::new(
                "not-finite",
                format!("channel `{}` measures a {name} of {value}", given.channel),
            ));
        }
        measurements.push(Measurement { quantity: Quantity(number), value });
    }
    Ok(Reading {
        device: given.device.map(device),
        channel: given.channel,
        at: given.at.map(Timestamp),
        measurements,
    })
}

fn event(given: wit::EventResult) -> Result<Event, Rejection> {
    let refused = |what: String| {
        Rejection::new("bad-event", format!("the data of event `{}` {what}", given.kind))
    };
    let data: Value = serde_json::from_str(&given.data)
        .map_err(|error| refused(format!("is no JSON: {error}")))?;
    if !data.is_object() {
        return Err(refused("is no JSON object".to_owned()));
    }
    let data = serde_json_canonicalizer::to_string(&data)
        .map_err(|error| refused(format!("has no canonical form: {error}")))?;
    Ok(Event {
        device: given.device.map(device),
        channel: given.channel,
        at: given.at.map(Timestamp),
        data,
        kind: given.kind,
    })
}

/// Takes and checks one publication.
pub(super) fn publication(given: wit::PublicationResult) -> Result<Publication, Rejection> {
    let topic = &given.topic;
    let what = if topic.is_empty() {
        Some("an empty topic".to_owned())
    } else if topic.len() > TOPIC_LENGTH {
        Some(format!("a topic of {} bytes", topic.len()))
    } else if topic.contains(['+', '#', '\0']) {
        Some(format!("the topic `{topic}`, which holds a wildcard or a zero"))
    } else if given.qos > 2 {
        Some(format!("QoS {}", given.qos))
    } else {
        None
    };
    if let Some(what) = what {
        let mut detail = format!("a publication with {what}");
        truncate(&mut detail, DETAIL_LENGTH);
        return Err(Rejection::new("bad-publication", detail));
    }
    Ok(Publication {
        broker: given.broker,
        topic: given.topic,
        payload: given.payload,
        qos: given.qos,
        retain: given.retain,
        properties: properties(given.properties),
    })
}

fn properties(given: wit::PropertiesResult) -> Properties {
    Properties {
        payload_is_text: given.payload_is_text,
        message_expiry: given.message_expiry,
        content_type: given.content_type,
        response_topic: given.response_topic,
        correlation_data: given.correlation_data,
        subscription_identifiers: given.subscription_identifiers,
        user: given.user,
    }
}

fn device(name: String) -> DeviceId {
    DeviceId(name.into())
}

/// Takes a rejection, cut to a length that is fit to keep.
pub(super) fn rejection(mut given: wit::Rejection) -> Rejection {
    truncate(&mut given.code, CODE_LENGTH);
    truncate(&mut given.detail, DETAIL_LENGTH);
    if given.code.is_empty() {
        given.code = "refused".to_owned();
    }
    Rejection { code: given.code, detail: given.detail }
}
