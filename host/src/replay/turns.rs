//! Cuts what lines say into turns of one pipeline, in virtual time.
//!
//! The clock of a capture is the time of receipt. It moves on in whole seconds: before the
//! first message of a new one, every wake-up acts that a running pipeline's clock would have
//! made act by then. Between two messages of a second, wake-ups act as they do live within a
//! batch. So how messages were cut into batches changes nothing. A recording says itself when
//! the clock made what act.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::entry::{Entry, Unplaced};
use super::written::{Deaf, Letter};
use crate::message::{DeviceId, Message, Timestamp};
use crate::pipeline::Plan;

/// How long after the last message wake-ups act if nothing else is said.
const AFTER_LAST: u64 = 3_600_000;

/// Virtual time moves on in steps of this.
pub(super) const STEP: u64 = 1_000;

pub(super) const FOREVER: Timestamp = Timestamp(u64::MAX);

/// Bytes of payloads after which a batch is full, so that what waits in memory is bounded.
const FULL: usize = 4 << 20;

/// Messages that the pipeline gets at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Arc<Message>>,
    /// Whose each is, where its line says so.
    pub(super) told: Vec<Option<DeviceId>>,
    /// The line of each.
    pub(super) lines: Vec<u64>,
    bytes: usize,
}

impl Batch {
    /// One message.
    pub(super) fn of(message: Arc<Message>, line: u64) -> Self {
        Self { messages: vec![message], told: vec![None], lines: vec![line], bytes: 0 }
    }
}

/// What cutting gives.
pub(super) enum Cut {
    Batch(Batch),
    Turn(Turn),
}

/// What a pipeline does between two batches.
pub(super) enum Turn {
    /// The clock moves on to `now`, for wake-ups that were asked for by `until`.
    Clock { now: Timestamp, until: Timestamp },
    /// The clock of a recording made wake-ups act.
    Wake { now: Timestamp, heard: BTreeSet<Arc<str>> },
    /// A dead letter's message went through once more; the clock stays where it is.
    Redo { number: u64, message: Message, letter: Letter },
    /// A broker was not heard.
    Deaf { broker: Arc<str>, from: Timestamp, until: Timestamp, resumed: bool },
}

/// Cuts for one pipeline.
pub(super) struct Cutter {
    plan: Arc<Plan>,
    size: usize,
    is_recording: bool,
    /// The latest receipt so far.
    clock: Timestamp,
    batch: Batch,
}

impl Cutter {
    pub(super) fn new(plan: Arc<Plan>, is_recording: bool, size: usize) -> Self {
        Self { plan, size, is_recording, clock: Timestamp(0), batch: Batch::default() }
    }

    /// Adds the turns that are complete with this entry.
    pub(super) fn take(&mut self, entry: Entry, cuts: &mut Vec<Cut>) {
        match entry {
            Entry::Message(mut message) => {
                let letter = message.letter.take();
                let (number, device) = (message.number, message.device.take());
                let message = self.placed(message);
                if let Some(letter) = letter {
                    self.flush(cuts);
                    cuts.push(Cut::Turn(Turn::Redo { number, message, letter }));
                    return;
                }
                self.advance(message.received_at, cuts);
                self.batch.bytes += message.payload.len();
                self.batch.messages.push(Arc::new(message));
                self.batch.told.push(device);
                self.batch.lines.push(number);
                if self.batch.messages.len() >= self.size || self.batch.bytes >= FULL {
                    self.flush(cuts);
                }
            }
            Entry::Deaf(deaf) => self.deaf(deaf, cuts),
            Entry::Wake(wake) => {
                self.flush(cuts);
                let heard = wake.heard.into_iter().collect();
                cuts.push(Cut::Turn(Turn::Wake { now: wake.now.0, heard }));
            }
            Entry::End(_) => {}
        }
    }

    fn placed(&self, mut message: Unplaced) -> Message {
        let said = message.broker.take();
        let broker = self.broker(said, &message.topic);
        message.place(broker)
    }

    /// The broker that a message came from: as its line says, else the first that brings its
    /// topic, else the first.
    fn broker(&self, said: Option<Arc<str>>, topic: &str) -> Arc<str> {
        let sources = &self.plan.file.sources;
        if let Some(said) = said {
            return said;
        }
        let several = sources.iter().any(|source| source.broker != sources[0].broker);
        let brings = |source: &&crate::config::pipeline::Source| {
            !several || self.plan.wants(&source.broker, topic)
        };
        let source = sources.iter().find(brings).or(sources.first());
        source.map_or_else(|| "".into(), |source| source.broker.clone())
    }

    /// Moves the clock of a capture on to `now`.
    fn advance(&mut self, now: Timestamp, cuts: &mut Vec<Cut>) {
        let (before, now) = (self.clock, self.clock.max(now));
        self.clock = now;
        if self.is_recording || before.0 / STEP == now.0 / STEP {
            return;
        }
        self.flush(cuts);
        cuts.push(Cut::Turn(Turn::Clock { now: whole_second(now), until: FOREVER }));
    }

    fn deaf(&mut self, deaf: Deaf, cuts: &mut Vec<Cut>) {
        self.advance(deaf.from.0, cuts);
        self.flush(cuts);
        // Whatever is due before the silence ends waits for what the silence means.
        self.clock = self.clock.max(deaf.until.0);
        let broker = deaf.broker.unwrap_or_else(|| self.broker(None, ""));
        let (from, until, resumed) = (deaf.from.0, deaf.until.0, deaf.resumed);
        cuts.push(Cut::Turn(Turn::Deaf { broker, from, until, resumed }));
        if !self.is_recording {
            cuts.push(Cut::Turn(Turn::Clock { now: whole_second(self.clock), until: FOREVER }));
        }
    }

    fn flush(&mut self, cuts: &mut Vec<Cut>) {
        if !self.batch.messages.is_empty() {
            cuts.push(Cut::Batch(std::mem::take(&mut self.batch)));
        }
    }

    /// The last turns: wake-ups act that are asked for by `until`, an hour after the last
    /// message if nothing is said. A recording ends where it ends, unless something is said.
    pub(super) fn finish(mut self, until: Option<Timestamp>, cuts: &mut Vec<Cut>) {
        self.flush(cuts);
        let until = match (until, self.is_recording) {
            (Some(until), _) => Some(until),
            (None, false) => Some(self.clock.plus_ms(AFTER_LAST)),
            (None, true) => None,
        };
        if let Some(until) = until {
            cuts.push(Cut::Turn(Turn::Clock { now: FOREVER, until }));
        }
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp(at.0 / STEP * STEP)
}
