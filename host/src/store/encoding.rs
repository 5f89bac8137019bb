//! How a delivery and a dead letter are written into a row: a version byte, then postcard.
//!
//! The shapes here are apart from `message`'s because a row must be readable for years
//! while those types change: what stands here changes only together with [`VERSION`].

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::commit::{DeadDelivery, DeadLetter, ModuleTag, NewDelivery, SinkId};
use crate::message::{
    Content, DeviceId, Event, Item, Measurement, Message, MessageId, Origin, Properties,
    Publication, Quantity, Reading, Timestamp,
};

const VERSION: u8 = 1;

/// A row that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    #[error("the row is written in encoding {0}, this program reads {VERSION}")]
    Version(u8),
    #[error("the row is empty")]
    Empty,
    #[error("the row does not hold what it should")]
    Content(#[source] postcard::Error),
}

/// What of a [`NewDelivery`] has no column of its own.
#[derive(Serialize, Deserialize)]
struct DeliveryBody<'a> {
    #[serde(borrow)]
    content: WireContent<'a>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    #[serde(borrow)]
    origin: Option<WireOrigin<'a>>,
    #[serde(borrow)]
    message: Option<WireMessageId<'a>>,
    replayed: bool,
}

/// What of a [`DeadLetter`] has no column of its own.
#[derive(Serialize, Deserialize)]
struct DeadBody<'a> {
    #[serde(borrow)]
    message: Option<WireMessage<'a>>,
    #[serde(borrow)]
    delivery: Option<WireDeadDelivery<'a>>,
    #[serde(borrow)]
    module: Option<WireModule<'a>>,
    #[serde(borrow)]
    answer: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct WireDeadDelivery<'a> {
    #[serde(borrow)]
    pipeline: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
    id: [u8; 16],
    #[serde(borrow)]
    key: Cow<'a, str>,
    seq: u64,
    at: u64,
    expires_at: Option<u64>,
    #[serde(borrow)]
    body: DeliveryBody<'a>,
}

#[derive(Serialize, Deserialize)]
struct WireModule<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    hash: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct WireMessageId<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    epoch: u64,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct WireOrigin<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    received_at: u64,
    qos: u8,
    retained: bool,
}

#[derive(Serialize, Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    id: WireMessageId<'a>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    payload: Raw<'a>,
    received_at: u64,
    qos: u8,
    retained: bool,
    #[serde(borrow)]
    properties: WireProperties<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireProperties<'a> {
    payload_is_text: Option<bool>,
    message_expiry: Option<u32>,
    #[serde(borrow)]
    content_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response_topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    correlation_data: Option<Raw<'a>>,
    subscription_identifiers: Cow<'a, [u32]>,
    user: Cow<'a, [(String, String)]>,
}

#[derive(Serialize, Deserialize)]
enum WireContent<'a> {
    Reading {
        #[serde(borrow)]
        device: Option<Cow<'a, str>>,
        #[serde(borrow)]
        channel: Cow<'a, str>,
        at: Option<u64>,
        measurements: Vec<(u16, f64)>,
    },
    Event {
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        device: Option<Cow<'a, str>>,
        #[serde(borrow)]
        channel: Cow<'a, str>,
        at: Option<u64>,
        #[serde(borrow)]
        data: Cow<'a, str>,
    },
    Publication {
        #[serde(borrow)]
        broker: Option<Cow<'a, str>>,
        #[serde(borrow)]
        topic: Cow<'a, str>,
        #[serde(borrow)]
        payload: Raw<'a>,
        qos: u8,
        retain: bool,
        #[serde(borrow)]
        properties: WireProperties<'a>,
    },
    Message(#[serde(borrow)] WireMessage<'a>),
}

/// Bytes as one stretch; serde's own way for `[u8]` goes element by element.
pub(super) struct Raw<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Raw<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Raw(Cow::Borrowed(bytes)))
            }
        }
        deserializer.deserialize_bytes(Borrowed)
    }
}

/// The bytes of the `body` column of a row in `outbox`.
pub(super) fn encode_delivery(delivery: &NewDelivery) -> Result<Vec<u8>, EncodingError> {
    write(&delivery_body(delivery))
}

/// What stands in the other columns of a row in `outbox`.
pub(super) struct DeliveryColumns {
    pub(super) sink: SinkId,
    pub(super) id: [u8; 16],
    pub(super) key: std::sync::Arc<str>,
    pub(super) at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// The delivery of a row in `outbox`.
pub(super) fn decode_delivery(
    columns: DeliveryColumns,
    body: &[u8],
) -> Result<NewDelivery, EncodingError> {
    Ok(delivery(columns, read(body)?))
}

/// The bytes of the `body` column of a row in `dead_letters`.
pub(super) fn encode_dead(letter: &DeadLetter) -> Result<Vec<u8>, EncodingError> {
    write(&DeadBody {
        message: letter.message.as_ref().map(wire_message),
        delivery: letter.delivery.as_ref().map(|dead| WireDeadDelivery {
            pipeline: (&*dead.delivery.sink.pipeline).into(),
            stage: (&*dead.delivery.sink.stage).into(),
            id: dead.delivery.id.into_bytes(),
            key: (&*dead.delivery.key).into(),
            seq: dead.seq,
            at: dead.delivery.at.0,
            expires_at: dead.delivery.expires_at.map(|at| at.0),
            body: delivery_body(&dead.delivery),
        }),
        module: letter.module.as_ref().map(|module| WireModule {
            name: (&*module.name).into(),
            version: (&*module.version).into(),
            hash: module.hash,
        }),
        answer: letter.answer.as_deref().map(Into::into),
    })
}

/// Fills `letter` with what its `body` column holds.
pub(super) fn decode_dead(letter: &mut DeadLetter, body: &[u8]) -> Result<(), EncodingError> {
    let body: DeadBody<'_> = read(body)?;
    letter.message = body.message.map(message);
    letter.delivery = body.delivery.map(|dead| DeadDelivery {
        seq: dead.seq,
        delivery: delivery(
            DeliveryColumns {
                sink: SinkId::new(&*dead.pipeline, &*dead.stage),
                id: dead.id,
                key: (&*dead.key).into(),
                at: Timestamp(dead.at),
                expires_at: dead.expires_at.map(Timestamp),
            },
            dead.body,
        ),
    });
    letter.module = body.module.map(|module| ModuleTag {
        name: module.name.into_owned(),
        version: module.version.into_owned(),
        hash: module.hash,
    });
    letter.answer = body.answer.map(Cow::into_owned);
    Ok(())
}

pub(super) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodingError> {
    postcard::serialize_with_flavor(value, Stretch(vec![VERSION])).map_err(EncodingError::Content)
}

/// Takes a stretch of bytes as one; postcard's own way for a `Vec` goes byte by byte, which an
/// optimising compiler sees through and others do not.
struct Stretch(Vec<u8>);

impl postcard::ser_flavors::Flavor for Stretch {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, EncodingError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(EncodingError::Content),
        Some((&other, _)) => Err(EncodingError::Version(other)),
        None => Err(EncodingError::Empty),
    }
}

fn delivery_body(delivery: &NewDelivery) -> DeliveryBody<'_> {
    DeliveryBody {
        content: wire_content(&delivery.content),
        device: delivery.device.as_ref().map(|device| device.as_str().into()),
        origin: delivery.origin.as_ref().map(|origin| WireOrigin {
            source: (&*origin.source).into(),
            topic: (&*origin.topic).into(),
            received_at: origin.received_at.0,
            qos: origin.qos,
            retained: origin.retained,
        }),
        message: delivery.message.as_ref().map(wire_message_id),
        replayed: delivery.replayed,
    }
}

fn delivery(columns: DeliveryColumns, body: DeliveryBody<'_>) -> NewDelivery {
    NewDelivery {
        sink: columns.sink,
        id: uuid::Uuid::from_bytes(columns.id),
        key: columns.key,
        at: columns.at,
        device: body.device.map(device),
        content: content(body.content),
        origin: body.origin.map(|origin| Origin {
            source: (&*origin.source).into(),
            topic: (&*origin.topic).into(),
            received_at: Timestamp(origin.received_at),
            qos: origin.qos,
            retained: origin.retained,
        }),
        message: body.message.map(message_id),
        expires_at: columns.expires_at,
        replayed: body.replayed,
    }
}

fn wire_content(content: &Content) -> WireContent<'_> {
    match content {
        Content::Item(Item::Reading(reading)) => WireContent::Reading {
            device: reading.device.as_ref().map(|device| device.as_str().into()),
            channel: (&*reading.channel).into(),
            at: reading.at.map(|at| at.0),
            measurements: reading.measurements.iter().map(|m| (m.quantity.0, m.value)).collect(),
        },
        Content::Item(Item::Event(event)) => WireContent::Event {
            kind: (&*event.kind).into(),
            device: event.device.as_ref().map(|device| device.as_str().into()),
            channel: (&*event.channel).into(),
            at: event.at.map(|at| at.0),
            data: (&*event.data).into(),
        },
        Content::Item(Item::Publication(publication)) => WireContent::Publication {
            broker: publication.broker.as_deref().map(Into::into),
            topic: (&*publication.topic).into(),
            payload: Raw((&*publication.payload).into()),
            qos: publication.qos,
            retain: publication.retain,
            properties: wire_properties(&publication.properties),
        },
        Content::Message(message) => WireContent::Message(wire_message(message)),
    }
}

fn content(content: WireContent<'_>) -> Content {
    Content::Item(match content {
        WireContent::Reading { device: name, channel, at, measurements } => {
            Item::Reading(Reading {
                device: name.map(device),
                channel: channel.into_owned(),
                at: at.map(Timestamp),
                measurements: measurements
                    .into_iter()
                    .map(|(quantity, value)| Measurement { quantity: Quantity(quantity), value })
                    .collect(),
            })
        }
        WireContent::Event { kind, device: name, channel, at, data } => Item::Event(Event {
            kind: kind.into_owned(),
            device: name.map(device),
            channel: channel.into_owned(),
            at: at.map(Timestamp),
            data: data.into_owned(),
        }),
        WireContent::Publication { broker, topic, payload, qos, retain, properties: wire } => {
            Item::Publication(Publication {
                broker: broker.map(Cow::into_owned),
                topic: topic.into_owned(),
                payload: payload.0.into_owned(),
                qos,
                retain,
                properties: properties(wire),
            })
        }
        WireContent::Message(wire) => return Content::Message(message(wire)),
    })
}

fn wire_message(message: &Message) -> WireMessage<'_> {
    WireMessage {
        id: wire_message_id(&message.id),
        topic: (&*message.topic).into(),
        payload: Raw((&*message.payload).into()),
        received_at: message.received_at.0,
        qos: message.qos,
        retained: message.retained,
        properties: wire_properties(&message.properties),
    }
}

fn message(wire: WireMessage<'_>) -> Message {
    Message {
        id: message_id(wire.id),
        topic: (&*wire.topic).into(),
        payload: Bytes::from(wire.payload.0.into_owned()),
        received_at: Timestamp(wire.received_at),
        qos: wire.qos,
        retained: wire.retained,
        properties: properties(wire.properties).into(),
    }
}

fn wire_message_id(id: &MessageId) -> WireMessageId<'_> {
    WireMessageId { source: (&*id.source).into(), epoch: id.epoch, sequence: id.sequence }
}

fn message_id(wire: WireMessageId<'_>) -> MessageId {
    MessageId { source: (&*wire.source).into(), epoch: wire.epoch, sequence: wire.sequence }
}

pub(super) fn wire_properties(properties: &Properties) -> WireProperties<'_> {
    WireProperties {
        payload_is_text: properties.payload_is_text,
        message_expiry: properties.message_expiry,
        content_type: properties.content_type.as_deref().map(Into::into),
        response_topic: properties.response_topic.as_deref().map(Into::into),
        correlation_data: properties.correlation_data.as_deref().map(|data| Raw(data.into())),
        subscription_identifiers: (&*properties.subscription_identifiers).into(),
        user: (&*properties.user).into(),
    }
}

pub(super) fn properties(wire: WireProperties<'_>) -> Properties {
    Properties {
        payload_is_text: wire.payload_is_text,
        message_expiry: wire.message_expiry,
        content_type: wire.content_type.map(Cow::into_owned),
        response_topic: wire.response_topic.map(Cow::into_owned),
        correlation_data: wire.correlation_data.map(|data| data.0.into_owned()),
        subscription_identifiers: wire.subscription_identifiers.into_owned(),
        user: wire.user.into_owned(),
    }
}

fn device(name: Cow<'_, str>) -> DeviceId {
    DeviceId::from(&*name)
}
