//! The store through its own boundary: what was committed is there after reopening.

mod disk;
mod durability;
mod large;
mod opening;
mod ownership;
mod power_cuts;
mod revisions;
mod rows;
mod space;

use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::message::{
    Content, DeviceId, Event, Item, Message, MessageId, Origin, Properties, Timestamp,
};

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

/// Submits and waits until it is durable.
fn commit(store: &Store, commit: Commit) -> Committed {
    let (sender, receiver) = mpsc::sync_channel(1);
    store.submit(commit, Box::new(move |committed| sender.send(committed).unwrap())).unwrap();
    receiver.recv().unwrap()
}

fn sink() -> SinkId {
    SinkId::new("workshop", "odoo")
}

fn message() -> Message {
    Message {
        id: MessageId { source: "main".into(), epoch: 3, sequence: 41 },
        topic: "shelly/status/pm1:0".into(),
        payload: Bytes::from_static(b"\x00\xff{not json"),
        received_at: Timestamp(1_000),
        qos: 1,
        retained: true,
        properties: Arc::new(Properties {
            payload_is_text: Some(false),
            message_expiry: Some(30),
            content_type: Some("application/json".into()),
            response_topic: Some("answer".into()),
            correlation_data: Some(vec![0, 1, 255]),
            subscription_identifiers: vec![7, 268_435_455],
            user: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
        }),
    }
}

fn delivery(id: u128, key: &str) -> NewDelivery {
    NewDelivery {
        sink: sink(),
        id: Uuid::from_u128(id),
        key: key.into(),
        at: Timestamp(2_000),
        device: Some(DeviceId::from("mill")),
        content: Content::Item(Item::Event(Event {
            kind: "session_started".into(),
            device: None,
            channel: "switch:0".into(),
            at: Some(Timestamp(1_999)),
            data: r#"{"session_id":"x"}"#.into(),
        })),
        origin: Some(Origin::from(&message())),
        message: Some(message().id),
        expires_at: None,
        replayed: false,
    }
}

fn dead_letter(code: &str) -> DeadLetter {
    DeadLetter {
        pipeline: "workshop".into(),
        stage: "shelly".into(),
        code: code.into(),
        detail: "expected `{`".into(),
        at: Timestamp(5_000),
        device: Some(DeviceId::from("mill")),
        key: Some("mill/switch:0".into()),
        message: Some(message()),
        delivery: None,
        module: Some(ModuleTag { name: "shelly".into(), version: "0.1.0".into(), hash: [7; 32] }),
        attempts: 2,
        answer: Some("422 no such machine".into()),
        raw: None,
    }
}

fn heads(store: &Store) -> Vec<(i64, String)> {
    let heads = store.outbox_heads(&sink()).unwrap();
    heads.into_iter().map(|head| (head.row.0, head.key.to_string())).collect()
}
