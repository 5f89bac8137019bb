//! Items on their way through a pipeline, with what the host knows of them.

use std::sync::Arc;

use uuid::Uuid;

use super::directory::Bound;
use crate::config::pipeline::StageTime;
use crate::config::site::TimeWindow;
use crate::message::{DeviceId, Item, Message, Timestamp};

/// An item that a stage emitted.
#[derive(Clone, Debug)]
pub struct Emitted {
    pub item: Item,
    /// The stage that emitted it.
    pub stage: Arc<str>,
    pub device: Option<DeviceId>,
    /// The device as the registry knows it.
    pub bound: Option<Arc<Bound>>,
    /// The time that it states itself, where that is sane.
    pub stated: Option<Timestamp>,
    pub received_at: Timestamp,
    pub qos: u8,
    /// Kept by the broker and undated: no sign of life.
    pub retained: bool,
    /// Index in the batch of the message it follows from; `None`: a wake-up.
    pub message: Option<usize>,
    /// The key whose wake-up it follows from, though that may have acted on the way to a message.
    pub woken: Option<Arc<str>>,
    pub position: Position,
    /// Fixed for what a detector emits; a parser's items get theirs when a sink takes them.
    pub identity: Option<Identity>,
    /// False for what had its effect before, and is only said again for a stage behind.
    pub counts: bool,
}

/// Order of items: input, stages in order, output index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub input: usize,
    pub stage: usize,
    pub output: usize,
}

/// Who an item is when it leaves, the same on every run.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: Uuid,
    pub key: Arc<str>,
    pub at: Timestamp,
}

/// The name space of delivery ids.
const DELIVERIES: Uuid = Uuid::from_u128(0x6a1f_3c52_7d0e_4b8a_9c41_2e5d_8f70_b364);

impl Identity {
    /// The id derives from where and when in the input's own time, never from batches,
    /// packets or processes, so that a repeat has the same.
    pub fn new(
        (bridge, pipeline, stage): (&str, &str, &str),
        key: &Arc<str>,
        at: Timestamp,
        ordinal: u32,
        output: usize,
    ) -> Self {
        // A unit separator: names cannot hold control characters.
        let name = format!(
            "{bridge}\u{1f}{pipeline}\u{1f}{stage}\u{1f}{key}\u{1f}{}\u{1f}{ordinal}\u{1f}{output}",
            at.0
        );
        Self { id: Uuid::new_v5(&DELIVERIES, name.as_bytes()), key: key.clone(), at }
    }
}

/// The time that the device states, if the stage and the window let it count.
pub(super) fn stated(
    time: StageTime,
    window: TimeWindow,
    stated: Option<Timestamp>,
    received_at: Timestamp,
) -> Option<Timestamp> {
    let stated = stated?;
    let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    match time {
        StageTime::Receipt => None,
        StageTime::Device => Some(stated),
        StageTime::Auto => {
            let sane = stated >= received_at.minus_ms(ms(window.past))
                && stated <= received_at.plus_ms(ms(window.future));
            sane.then_some(stated)
        }
    }
}

/// A message with what routing found out about it.
#[derive(Debug)]
pub(super) struct Routed {
    pub message: Arc<Message>,
    /// Devices whose topic this is; empty: none is registered.
    pub bound: Vec<Arc<Bound>>,
    /// What `{name}`s of the source's topics captured.
    pub captures: Vec<(Arc<str>, String)>,
    /// Index of the source.
    pub source: usize,
}

impl Routed {
    /// The device that a `{device}` in the source's topic names.
    pub(super) fn captured_device(&self) -> Option<DeviceId> {
        self.captures.iter().find(|(name, _)| &**name == "device").map(|(_, v)| v.as_str().into())
    }
}
