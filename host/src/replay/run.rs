//! A pipeline's worker over the lines of an input, in virtual time.
//!
//! The clock of a capture is the time of receipt. It moves on in whole seconds: before the
//! first message of a new one, every wake-up acts that a running pipeline's clock would have
//! made act by then. Between two messages of a second, wake-ups act as they do live within a
//! batch. So how messages were cut into batches changes nothing. A recording says itself when
//! the clock made what act.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::Fault;
use super::head::Head;
use super::print::Output;
use super::written::{Deaf, Letter, Line, STOPPED, Said, Wake};
use crate::message::{DeviceId, Message, MessageId, Properties, Timestamp};
use crate::pipeline::{Effects, Fate, Plan, Redo, Worker};

/// How long after the last message wake-ups act if nothing else is said.
const AFTER_LAST: u64 = 3_600_000;

/// Virtual time moves on in steps of this.
const STEP: u64 = 1_000;

pub(super) struct Run {
    plan: Arc<Plan>,
    worker: Worker,
    output: Output,
    batch: Vec<Arc<Message>>,
    /// Whose each is, where its line says so.
    told: Vec<Option<DeviceId>>,
    lines: Vec<u64>,
    size: usize,
    is_recording: bool,
    /// The latest receipt so far.
    clock: Timestamp,
    properties: Arc<Properties>,
    summary: Summary,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub messages: u64,
    pub items: u64,
    /// By stage or rule.
    pub filtered: BTreeMap<Arc<str>, u64>,
    pub late: u64,
    /// Lines of the input that were wrong.
    pub faults: u64,
    /// Why the recording ended early, if it did.
    pub ended: Option<String>,
}

/// Why a line does not count.
pub(super) enum Stop {
    Fault(Fault),
    Sort(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Sort(error)
    }
}

impl Run {
    pub(super) fn new(plan: Arc<Plan>, head: Head, size: usize) -> Self {
        let is_recording = head.is_recording();
        Self {
            worker: Worker::new(plan.clone(), head.into_rows()),
            plan,
            output: Output::new(),
            batch: Vec::with_capacity(size),
            told: Vec::with_capacity(size),
            lines: Vec::with_capacity(size),
            size,
            is_recording,
            clock: Timestamp(0),
            properties: Arc::default(),
            summary: Summary::default(),
        }
        .settled()
    }

    /// Keys whose settings or device changed since the recording hear of it first.
    fn settled(mut self) -> Self {
        let effects = self.worker.settle_changes(None);
        // Nothing is on disk yet, so nothing can fail.
        let _always = self.take(&effects);
        self
    }

    pub(super) fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), Stop> {
        let misplaced = |what: &str, remedy| {
            Err(Stop::Fault(Fault { line: number, what: what.to_owned(), remedy }))
        };
        match Line::read(number, bytes).map_err(Stop::Fault)? {
            Said::Message(mut line) => {
                let (message, device) = self.message(number, &mut line).map_err(Stop::Fault)?;
                if let Some(letter) = line.letter.take() {
                    return Ok(self.redo(number, message, *letter)?);
                }
                self.advance(message.received_at)?;
                self.batch.push(Arc::new(message));
                self.told.push(device);
                self.lines.push(number);
                if self.batch.len() >= self.size { Ok(self.flush()?) } else { Ok(()) }
            }
            Said::Deaf(deaf) => Ok(self.deaf(&deaf)?),
            Said::Wake(wake) if self.is_recording => Ok(self.wake(&wake)?),
            Said::Wake(_) => misplaced(
                "`wake` stands in no recording",
                "leave it out: in a capture the replay's own clock makes wake-ups act",
            ),
            Said::End(end) => {
                self.summary.ended = (end.reason != STOPPED).then_some(end.detail);
                Ok(())
            }
            Said::Start(_) | Said::Registered(_) | Said::Key(_) => misplaced(
                "`recording`, `registered` and `key` stand only at the beginning of a recording",
                "replay one recording at a time",
            ),
        }
    }

    fn message(
        &self,
        number: u64,
        line: &mut Line<'_>,
    ) -> Result<(Message, Option<DeviceId>), Fault> {
        let fault = |what: String, remedy| Fault { line: number, what, remedy };
        let topic = line.topic.take().map(|topic| topic.0).unwrap_or_default();
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            let what = format!("`{}` is no topic of a message", topic.escape_debug());
            return Err(fault(what, "give the topic that the message came on, without wildcards"));
        }
        let Some(received_at) = line.received_at else {
            return Err(fault(
                "`received_at` is missing".to_owned(),
                "say when the message came, in RFC 3339 or in milliseconds",
            ));
        };
        let qos = line.qos.unwrap_or(0);
        if qos > 2 {
            return Err(fault(format!("`{qos}` is no QoS"), "give 0, 1 or 2"));
        }
        let message = Message {
            id: MessageId {
                source: self.broker(line.broker.take().map(|broker| broker.0).as_deref(), &topic),
                epoch: 0,
                sequence: number,
            },
            topic: (&*topic).into(),
            payload: line.bytes(number)?,
            received_at: received_at.0,
            qos,
            retained: line.retained.unwrap_or(false),
            properties: line.properties.take().unwrap_or_else(|| self.properties.clone()),
        };
        let device = line.device.take().map(|device| DeviceId::from(&*device.0));
        Ok((message, device))
    }

    /// The broker that a message came from: as its line says, else the first that brings its
    /// topic, else the first.
    fn broker(&self, said: Option<&str>, topic: &str) -> Arc<str> {
        let sources = &self.plan.file.sources;
        if let Some(said) = said {
            let known = sources.iter().find(|source| *source.broker == *said);
            return known.map_or_else(|| said.into(), |source| source.broker.clone());
        }
        let several = sources.iter().any(|source| source.broker != sources[0].broker);
        let brings = |source: &&crate::config::pipeline::Source| {
            !several || self.plan.wants(&source.broker, topic)
        };
        let source = sources.iter().find(brings).or(sources.first());
        source.map_or_else(|| "".into(), |source| source.broker.clone())
    }

    /// Moves the clock of a capture on to `now`.
    fn advance(&mut self, now: Timestamp) -> io::Result<()> {
        let (before, now) = (self.clock, self.clock.max(now));
        self.clock = now;
        if self.is_recording || before.0 / STEP == now.0 / STEP {
            return Ok(());
        }
        self.flush()?;
        self.tick(Timestamp(now.0 / STEP * STEP), FOREVER)
    }

    /// Lets the clock run up to `now`, for wake-ups that were asked for by `until`.
    fn tick(&mut self, now: Timestamp, until: Timestamp) -> io::Result<()> {
        while let Some(due) = self.worker.next_due_until(until).filter(|due| *due <= now) {
            // Step by step, so that what follows from a wake-up meets others in their order.
            let step = Timestamp(due.0.div_ceil(STEP).saturating_mul(STEP)).min(now);
            let effects = self.worker.wake_until(step, until, &|_, _| true);
            self.take(&effects)?;
        }
        Ok(())
    }

    fn wake(&mut self, wake: &Wake) -> io::Result<()> {
        self.flush()?;
        let heard: BTreeSet<Arc<str>> = wake.heard.iter().cloned().collect();
        let heard = |plan: &Plan, device: Option<&DeviceId>| plan.is_heard(device, &heard);
        let effects = self.worker.wake(wake.now.0, &heard);
        self.take(&effects)
    }

    /// A dead letter's message went through once more; the clock stays where it is.
    fn redo(&mut self, number: u64, message: Message, letter: Letter) -> io::Result<()> {
        self.flush()?;
        let letter = letter.letter(self.plan.file.name.clone(), message.received_at);
        let redo = Redo { number, message: Arc::new(message), letter };
        let (effects, _) = self.worker.redo(&redo);
        self.summary.messages += 1;
        self.summary.late += effects.late;
        self.output.take(&self.plan, &effects, &[redo.message], &[number])
    }

    fn deaf(&mut self, deaf: &Deaf) -> io::Result<()> {
        self.advance(deaf.from.0)?;
        self.flush()?;
        // Whatever is due before the silence ends waits for what the silence means.
        self.clock = self.clock.max(deaf.until.0);
        let broker = match &deaf.broker {
            Some(broker) => broker.clone(),
            None => self.broker(None, ""),
        };
        let effects = self.worker.deaf(&broker, deaf.from.0, deaf.until.0, deaf.resumed);
        self.take(&effects)?;
        if self.is_recording {
            return Ok(());
        }
        self.tick(Timestamp(self.clock.0 / STEP * STEP), FOREVER)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let effects = self.worker.batch_of(&self.batch, &self.told);
        self.summary.messages += self.batch.len() as u64;
        for fate in &effects.fates {
            if let Fate::Filtered(by) = fate {
                *self.summary.filtered.entry(by.clone()).or_default() += 1;
            }
        }
        let taken = self.output.take(&self.plan, &effects, &self.batch, &self.lines);
        self.summary.late += effects.late;
        self.batch.clear();
        self.told.clear();
        self.lines.clear();
        taken
    }

    fn take(&mut self, effects: &Effects) -> io::Result<()> {
        self.summary.late += effects.late;
        self.output.take(&self.plan, effects, &[], &[])
    }

    /// Lets wake-ups act that are asked for by `until`, an hour after the last message if
    /// nothing is said. A recording ends where it ends, unless something is said.
    pub(super) fn finish(mut self, until: Option<Timestamp>) -> io::Result<(Output, Summary)> {
        self.flush()?;
        let until = match (until, self.is_recording) {
            (Some(until), _) => Some(until),
            (None, false) => Some(self.clock.plus_ms(AFTER_LAST)),
            (None, true) => None,
        };
        if let Some(until) = until {
            self.tick(FOREVER, until)?;
        }
        self.summary.items = self.output.count();
        Ok((self.output, self.summary))
    }
}

const FOREVER: Timestamp = Timestamp(u64::MAX);
