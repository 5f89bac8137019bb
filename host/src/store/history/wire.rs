//! A block as bytes. Names that come again stand once.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::read::Entry;
use super::{Direction, Record};
use crate::message::{DeviceId, MessageId, Timestamp};
use crate::store::encoding::{
    self, EncodingError, Raw, WireProperties, properties, wire_properties,
};

#[derive(Serialize, Deserialize)]
struct WireBlock<'a> {
    #[serde(borrow)]
    names: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    entries: Vec<WireEntry<'a>>,
}

/// Numbers are places in `names`.
#[derive(Serialize, Deserialize)]
struct WireEntry<'a> {
    sent: bool,
    at: u64,
    broker: u32,
    pipeline: u32,
    subscription: Option<u32>,
    topic: u32,
    device: Option<u32>,
    #[serde(borrow)]
    payload: Raw<'a>,
    qos: u8,
    retain: bool,
    /// `None`: all are absent.
    #[serde(borrow)]
    properties: Option<WireProperties<'a>>,
    message: Option<(u32, u64, u64)>,
    delivery: Option<[u8; 16]>,
    fate: u32,
}

#[derive(Default)]
struct Names<'a> {
    all: Vec<Cow<'a, str>>,
    places: HashMap<&'a str, u32>,
}

impl<'a> Names<'a> {
    fn place(&mut self, name: &'a str) -> u32 {
        *self.places.entry(name).or_insert_with(|| {
            self.all.push(name.into());
            // A block has some thousands of entries at most.
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

pub(super) fn encode(records: &[Record<'_>]) -> Result<Vec<u8>, EncodingError> {
    let mut names = Names::default();
    let entries = records
        .iter()
        .map(|record| WireEntry {
            sent: record.direction == Direction::Sent,
            at: record.at.0,
            broker: names.place(record.broker),
            pipeline: names.place(record.pipeline),
            subscription: record.subscription.map(|filter| names.place(filter)),
            topic: names.place(record.topic),
            device: record.device.map(|device| names.place(device.as_str())),
            payload: Raw(record.payload.into()),
            qos: record.qos,
            retain: record.retain,
            properties: (*record.properties != Default::default())
                .then(|| wire_properties(record.properties)),
            message: record.message.map(|id| (names.place(&id.source), id.epoch, id.sequence)),
            delivery: record.delivery.map(Uuid::into_bytes),
            fate: names.place(record.fate),
        })
        .collect();
    encoding::write(&WireBlock { names: names.all, entries })
}

/// Entries without their numbers, in the order in which they were written.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Entry>, EncodingError> {
    let block: WireBlock<'_> = encoding::read(body)?;
    let name = |place: u32| block.names.get(place as usize).map_or("", |name| name);
    Ok(block
        .entries
        .into_iter()
        .map(|entry| Entry {
            number: 0,
            direction: if entry.sent { Direction::Sent } else { Direction::Received },
            at: Timestamp(entry.at),
            broker: name(entry.broker).to_owned(),
            pipeline: name(entry.pipeline).to_owned(),
            subscription: entry.subscription.map(|place| name(place).to_owned()),
            topic: name(entry.topic).to_owned(),
            device: entry.device.map(|place| DeviceId::from(name(place))),
            payload: entry.payload.0.into_owned(),
            qos: entry.qos,
            retain: entry.retain,
            properties: entry.properties.map(properties).unwrap_or_default(),
            message: entry.message.map(|(source, epoch, sequence)| MessageId {
                source: name(source).into(),
                epoch,
                sequence,
            }),
            delivery: entry.delivery.map(Uuid::from_bytes),
            fate: name(entry.fate).to_owned(),
        })
        .collect())
}
