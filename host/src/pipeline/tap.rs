//! A look at what passes through a pipeline while it passes.
//!
//! Neighbours: a tap joins [`super::Watchers`]; `api` writes what it lets through. Invariant:
//! a tap never makes a pipeline wait: it chooses, copies and hands over, and what its reader
//! has no room for is missed and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::item::Emitted;
use super::line::{Clock, write_item, write_message, write_rejection};
use super::shard::{Observed, Observer};
use crate::config::topic::Pattern;
use crate::message::{DeviceId, Item, Message, Rejection};
use crate::store::DeadLetter;

/// What a reader may be behind.
const ROOM: usize = 4096;
/// Bytes that the messages of all that a reader is behind may keep in memory.
const ROOM_BYTES: u64 = 8 << 20;

/// The kinds of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Message,
    Reading,
    Event,
    Publication,
    Rejection,
}

/// What of a pipeline somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What this stage emits or refuses; `None`: what any does.
    pub stage: Option<String>,
    pub device: Option<DeviceId>,
    /// `None`: everything but messages as they come.
    pub kind: Option<Kind>,
    /// Only what follows from messages of these topics.
    pub topic: Option<Pattern>,
    /// Each message as it comes, followed by what became of it.
    pub messages: bool,
}

/// Hands over what passes through one pipeline.
pub struct Tap {
    pipeline: Arc<str>,
    wanted: Wanted,
    out: Sender<Passed>,
    behind: Arc<Behind>,
}

/// What a tap lets through, in order.
pub struct Tapped {
    passed: Receiver<Passed>,
    behind: Arc<Behind>,
    clock: Clock,
}

#[derive(Default)]
struct Behind {
    missed: AtomicU64,
    bytes: AtomicU64,
}

enum Passed {
    Message(Arc<Message>),
    Item(Box<Emitted>),
    Rejection(Arc<str>, Rejection),
}

impl Tap {
    /// A tap of `pipeline`, and what comes out of it.
    pub fn new(pipeline: Arc<str>, wanted: Wanted) -> (Arc<Self>, Tapped) {
        let (out, passed) = mpsc::channel(ROOM);
        let behind = Arc::new(Behind::default());
        let tapped = Tapped { passed, behind: behind.clone(), clock: Clock::default() };
        (Arc::new(Self { pipeline, wanted, out, behind }), tapped)
    }

    fn pass(&self, passed: Passed) {
        let size = passed.size();
        let before = self.behind.bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > ROOM_BYTES || self.out.try_send(passed).is_err() {
            self.behind.bytes.fetch_sub(size, Ordering::Relaxed);
            self.behind.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Passed {
    /// Roughly what it keeps in memory.
    fn size(&self) -> u64 {
        let bytes = match self {
            Self::Message(message) => message.size(),
            Self::Item(item) => item.item.size(),
            Self::Rejection(_, rejection) => rejection.detail.len(),
        };
        bytes as u64
    }
}

impl Wanted {
    fn kind(&self, kind: Kind) -> bool {
        match self.kind {
            Some(wanted) => wanted == kind,
            None => kind != Kind::Message,
        }
    }

    fn stage(&self, stage: &str) -> bool {
        self.stage.as_deref().is_none_or(|wanted| wanted == stage)
    }

    fn device(&self, device: Option<&DeviceId>) -> bool {
        self.device.is_none() || self.device.as_ref() == device
    }

    fn topic(&self, topic: Option<&str>) -> bool {
        let Some(wanted) = &self.topic else { return true };
        topic.is_some_and(|topic| wanted.matches(topic))
    }

    fn message(&self, observed: &Observed<'_>, message: &Message) -> bool {
        let devices = || {
            let bound = observed.plan.directory.find(&message.id.source, &message.topic);
            bound.iter().any(|bound| Some(&bound.device.id) == self.device.as_ref())
        };
        (self.messages || self.stage.is_none())
            && self.topic(Some(&message.topic))
            && (self.device.is_none() || devices())
    }
}

impl Observer for Tap {
    fn observe(&self, observed: &Observed<'_>) {
        if observed.plan.file.name != self.pipeline || self.out.is_closed() {
            return;
        }
        let (wanted, effects) = (&self.wanted, observed.effects);
        if wanted.messages {
            self.message_by_message(observed);
            return;
        }
        if wanted.kind(Kind::Message) {
            for message in observed.messages.iter().filter(|m| wanted.message(observed, m)) {
                self.pass(Passed::Message(message.clone()));
            }
        }
        for item in &effects.items {
            self.item(observed, item);
        }
        for letter in &effects.dead {
            self.letter(letter);
        }
    }
}

impl Tap {
    fn item(&self, observed: &Observed<'_>, item: &Emitted) {
        let wanted = &self.wanted;
        let kind = match &item.item {
            Item::Reading(_) => Kind::Reading,
            Item::Event(_) => Kind::Event,
            Item::Publication(_) => Kind::Publication,
        };
        let topic = item.message.and_then(|i| observed.messages.get(i)).map(|m| &*m.topic);
        if wanted.kind(kind)
            && wanted.stage(&item.stage)
            && wanted.device(item.device.as_ref())
            && wanted.topic(topic)
        {
            self.pass(Passed::Item(Box::new(item.clone())));
        }
    }

    fn letter(&self, letter: &DeadLetter) {
        let wanted = &self.wanted;
        let topic = letter.message.as_ref().map(|m| &*m.topic);
        if wanted.kind(Kind::Rejection)
            && wanted.stage(&letter.stage)
            && wanted.device(letter.device.as_ref())
            && wanted.topic(topic)
        {
            let rejection = Rejection::new(letter.code.clone(), letter.detail.clone());
            self.pass(Passed::Rejection(letter.stage.clone(), rejection));
        }
    }

    /// What follows from no message, a wake-up say, comes last.
    fn message_by_message(&self, observed: &Observed<'_>) {
        let effects = observed.effects;
        for (index, message) in observed.messages.iter().enumerate() {
            if !self.wanted.message(observed, message) {
                continue;
            }
            self.pass(Passed::Message(message.clone()));
            for item in effects.items.iter().filter(|item| item.message == Some(index)) {
                self.item(observed, item);
            }
            let its =
                |letter: &&DeadLetter| letter.message.as_ref().is_some_and(|m| m.id == message.id);
            effects.dead.iter().filter(its).for_each(|letter| self.letter(letter));
        }
        for item in effects.items.iter().filter(|item| item.message.is_none()) {
            self.item(observed, item);
        }
        for letter in effects.dead.iter().filter(|letter| letter.message.is_none()) {
            self.letter(letter);
        }
    }
}

impl Tapped {
    /// How many were missed since this was last asked, as a line; `None` if none was.
    pub fn missed(&self) -> Option<Vec<u8>> {
        let missed = self.behind.missed.swap(0, Ordering::Relaxed);
        (missed > 0).then(|| format!("{{\"missed\":{missed}}}\n").into_bytes())
    }

    /// The next line, behind one that says how many were missed; `None` once the tap is gone.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let passed = self.passed.recv().await?;
        self.behind.bytes.fetch_sub(passed.size(), Ordering::Relaxed);
        let mut bytes = self.missed().unwrap_or_default();
        match &passed {
            Passed::Message(message) => write_message(&mut bytes, message, &mut self.clock),
            Passed::Item(item) => write_item(&mut bytes, item, &mut self.clock),
            Passed::Rejection(stage, why) => {
                write_rejection(&mut bytes, stage, &why.code, &why.detail, None);
            }
        }
        Some(bytes)
    }
}
