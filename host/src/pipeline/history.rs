//! A batch's messages as the history keeps them: whose they are, by which subscription they
//! came, and what became of each.

use std::borrow::Cow;
use std::sync::Arc;

use super::effects::{Effects, Fate};
use super::plan::Plan;
use crate::message::{DeviceId, Message, Timestamp};
use crate::store::{Block, Direction, Record};

/// Messages of a batch, and questions that follow from it, sent at `now`.
pub(super) fn blocks(
    plan: &Plan,
    effects: &Effects,
    messages: &[Arc<Message>],
    now: Timestamp,
) -> Vec<Block> {
    let mut devices: Vec<Option<&DeviceId>> = vec![None; messages.len()];
    for item in &effects.items {
        let place = item.message.and_then(|message| devices.get_mut(message));
        if let (Some(place @ None), Some(device)) = (place, &item.device) {
            *place = Some(device);
        }
    }
    let fates: Vec<Cow<'_, str>> = effects.fates.iter().map(word).collect();
    let filters: Vec<_> = messages.iter().map(|message| subscription(plan, message)).collect();
    let received = messages.iter().zip(devices).enumerate().map(|(n, (message, device))| {
        let bound = plan.directory.find(&message.id.source, &message.topic);
        Record {
            direction: Direction::Received,
            at: message.received_at,
            broker: &message.id.source,
            pipeline: &plan.file.name,
            subscription: filters[n].as_deref(),
            topic: &message.topic,
            device: device.or_else(|| bound.first().map(|bound| &bound.device.id)),
            payload: &message.payload,
            qos: message.qos,
            retain: message.retained,
            properties: &message.properties,
            message: Some(&message.id),
            delivery: None,
            fate: fates.get(n).map_or("committed", |fate| fate),
        }
    });
    let asked = effects.asks.iter().filter_map(|(broker, question)| {
        Some(Record {
            direction: Direction::Sent,
            at: now,
            broker: broker.as_deref()?,
            pipeline: &plan.file.name,
            subscription: None,
            topic: &question.topic,
            device: None,
            payload: &question.payload,
            qos: question.qos,
            retain: question.retain,
            properties: &question.properties,
            message: None,
            delivery: None,
            fate: "asked",
        })
    });
    let records: Vec<_> = received.chain(asked).collect();
    Block::pack(&records)
}

fn word(fate: &Fate) -> Cow<'_, str> {
    match fate {
        Fate::Committed => "committed".into(),
        Fate::Filtered(by) => format!("filtered: {by}").into(),
        Fate::DeadLettered => "dead-lettered".into(),
    }
}

/// The first filter of the pipeline's sources by which the message came.
fn subscription<'a>(plan: &'a Plan, message: &Message) -> Option<Cow<'a, str>> {
    let broker = &*message.id.source;
    plan.file.sources.iter().filter(|source| *source.broker == *broker).find_map(|source| {
        if let Some(pattern) = source.topics.iter().find(|p| p.matches(&message.topic)) {
            return Some(pattern.filter().into());
        }
        let bound = source.devices.then(|| plan.directory.find(broker, &message.topic));
        let filters = &bound?.into_iter().next()?.filters;
        let own = filters.iter().find(|filter| **filter == *message.topic);
        own.or(filters.first()).map(|filter| filter.as_str().into())
    })
}
