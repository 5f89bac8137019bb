//! Topics whose messages nobody takes for a device's.
//!
//! So many of them are followed by name, with a payload of each to try parsers on; the rest is
//! counted. Invariant: however many topics somebody makes up, what is kept of them has a bound.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::{DeviceId, Message, Timestamp};
use crate::pipeline::shard::Observed;

/// Topics that nobody knows.
const UNKNOWN: usize = 1_000;
/// The largest payload that is kept to try parsers on.
const SAMPLE: usize = 8 << 10;
/// A topic's sample is renewed no more often than this.
const SAMPLE_EVERY_MS: u64 = 10_000;

/// A topic whose messages nobody takes for a device's.
#[derive(Clone, Debug)]
pub struct UnknownTopic {
    pub pipeline: Arc<str>,
    pub broker: Arc<str>,
    pub topic: Arc<str>,
    /// The device that topic or payload name, where they do.
    pub device: Option<DeviceId>,
    /// `unmatched`: no parser was asked; `unknown-device`: nobody registered it.
    pub why: Arc<str>,
    pub count: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// A payload of it, if one was small enough.
    pub sample: Option<Bytes>,
    sampled_at: Timestamp,
}

impl UnknownTopic {
    /// Nothing of it yet.
    #[cfg(test)]
    pub(crate) fn new(topic: &str, now: Timestamp) -> Self {
        Self {
            pipeline: "workshop".into(),
            broker: "main".into(),
            topic: topic.into(),
            device: None,
            why: "unmatched".into(),
            count: 0,
            first_seen: now,
            last_seen: now,
            sample: None,
            sampled_at: Timestamp(0),
        }
    }
}

/// All of them, by broker and topic.
#[derive(Default)]
pub(super) struct Unknown {
    topics: HashMap<(Arc<str>, Arc<str>), UnknownTopic>,
    /// Messages of topics beyond those that are followed.
    unfollowed: u64,
    made_room_at: Timestamp,
}

impl Unknown {
    /// The topics by name, and how many messages came on others beyond those.
    pub(super) fn list(&self) -> (Vec<UnknownTopic>, u64) {
        let mut topics: Vec<_> = self.topics.values().cloned().collect();
        topics.sort_by(|a, b| (&a.topic, &a.broker).cmp(&(&b.topic, &b.broker)));
        (topics, self.unfollowed)
    }

    /// Counts a message that nobody takes.
    pub(super) fn note(&mut self, observed: &Observed<'_>, why: &Arc<str>, message: &Message) {
        let id = (message.id.source.clone(), message.topic.clone());
        let now = message.received_at;
        if !self.topics.contains_key(&id) && !self.has_room(observed.now) {
            self.unfollowed += 1;
            return;
        }
        let named = || {
            let unknown = observed.effects.unknown.iter();
            unknown.rev().find(|(topic, _)| *topic == message.topic).and_then(|(_, d)| d.clone())
        };
        let known = self.topics.entry(id).or_insert_with(|| UnknownTopic {
            pipeline: observed.plan.file.name.clone(),
            broker: message.id.source.clone(),
            topic: message.topic.clone(),
            device: named(),
            why: why.clone(),
            count: 0,
            first_seen: now,
            last_seen: now,
            sample: None,
            sampled_at: Timestamp(0),
        });
        known.count += 1;
        known.last_seen = now;
        if message.payload.len() <= SAMPLE && now.since(known.sampled_at) >= SAMPLE_EVERY_MS {
            // A copy: the payload is a part of a larger buffer, which must not stay for it.
            known.sample = Some(Bytes::copy_from_slice(&message.payload));
            known.sampled_at = now;
        }
    }

    /// Whether one more unknown topic may come in: for the one that was silent the longest,
    /// but no more often than once a second, for that costs a look at all.
    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.topics.len() < UNKNOWN {
            return true;
        }
        if now.since(self.made_room_at) < 1_000 {
            return false;
        }
        self.made_room_at = now;
        let oldest = self.topics.iter().min_by_key(|(_, topic)| topic.last_seen);
        let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return true };
        if let Some(gone) = self.topics.remove(&oldest) {
            self.unfollowed += gone.count;
        }
        true
    }
}
