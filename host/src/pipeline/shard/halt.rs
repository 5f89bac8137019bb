//! A pipeline that halts: `on_reject = "halt"`.
//!
//! What a stage refuses then is neither lost nor set aside: the pipeline goes back to before
//! it and takes nothing more. Messages wait in order with their tickets, so the broker keeps
//! them, too; clocks stand. A new plan or a person lets it go on, from that message.
//! Invariant: what is committed while and before a pipeline halts is what would have been
//! committed had the refused message not come yet.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};

use super::{Entry, Thread, last_marks};
use crate::broker::LinkEvent;
use crate::message::{DeviceId, MessageId, Timestamp};
use crate::pipeline::marks::Marks;
use crate::pipeline::worker::{Refusals, Worker};
use crate::store::{Commit, DeadLetter, StoreError};
use crate::telemetry::clock;

/// Why a pipeline takes nothing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Halted {
    pub since: Timestamp,
    pub stage: Arc<str>,
    pub code: String,
    pub detail: String,
    pub device: Option<DeviceId>,
    /// `None`: a wake-up was refused.
    pub topic: Option<Arc<str>>,
    #[serde(skip)]
    pub message: Option<MessageId>,
}

/// How a pipeline goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The same once more.
    Retry,
    /// What it halted on goes to the dead letters.
    SetAside,
}

impl fmt::Display for Halted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stage `{}` refused ", self.stage)?;
        match (&self.topic, &self.message) {
            (Some(topic), Some(message)) => write!(f, "message {message} on `{topic}`")?,
            _ => f.write_str("a wake-up")?,
        }
        if let Some(device) = &self.device {
            write!(f, " of device `{device}`")?;
        }
        write!(f, ": {}: {}", self.code, self.detail)
    }
}

impl Halted {
    fn of(letter: DeadLetter, since: Timestamp) -> Self {
        let DeadLetter { stage, code, detail, device, message, .. } = letter;
        let (topic, message) = message.map(|m| (m.topic, m.id)).unzip();
        Self { since, stage, code, detail, device, topic, message }
    }
}

/// What waits while a pipeline halts. Its messages are bounded by the brokers' ceilings.
#[derive(Default)]
pub(super) struct Standstill {
    entries: VecDeque<Entry>,
    /// The pipeline halts on the first of them, not on a wake-up.
    on_message: bool,
    /// Brokers whose session was lost meanwhile.
    lost: BTreeSet<Arc<str>>,
    /// What the store remembers could not be read.
    is_stale: bool,
}

impl Standstill {
    /// Keeps an entry in its place. With nothing heard between them, many changes of a
    /// connection come to one silence, from its first end to its last beginning.
    fn hold(&mut self, mut entry: Entry) {
        if let Entry::Link(broker, event) = &mut entry {
            let since_last_message =
                self.entries.iter().rposition(|e| matches!(e, Entry::Message(..)));
            let from = since_last_message.map_or(0, |at| at + 1);
            let of_same = |entry: &Entry| matches!(entry, Entry::Link(other, _) if other == broker);
            let went_down =
                |e: &Entry| of_same(e) && matches!(e, Entry::Link(_, LinkEvent::Down { .. }));
            match event {
                LinkEvent::Down { .. } => {
                    let first = self.entries.iter().skip(from).position(went_down);
                    if let Some(first) = first {
                        let mut place = 0;
                        self.entries.retain(|entry| {
                            place += 1;
                            place - 1 <= from + first || !of_same(entry)
                        });
                        return;
                    }
                }
                LinkEvent::Up { resumed, .. } => {
                    if !*resumed {
                        self.lost.insert(broker.clone());
                    }
                    *resumed &= !self.lost.contains(broker);
                }
                LinkEvent::Drained { .. } => {}
            }
        }
        self.entries.push_back(entry);
    }
}

impl Thread {
    pub(super) fn is_halted(&self) -> bool {
        self.standstill.is_some()
    }

    /// Nothing is wrong with what waits; there was no room for what follows from it.
    pub(super) fn is_held_for_room(&self) -> bool {
        self.is_halted() && self.halted_now().is_none()
    }

    /// Keeps what has to wait.
    pub(super) fn hold(&mut self, entry: Entry) {
        self.standstill.get_or_insert_default().hold(entry);
    }

    /// Goes back to before the batch of which `entries` are the messages, does what stands
    /// before the refused one at `place`, and halts there.
    pub(super) fn halt(&mut self, mut entries: Vec<Entry>, place: usize, letter: DeadLetter) {
        let is_stale = self.go_back();
        let on_message = !entries.is_empty();
        let behind = entries.split_off(place);
        let before = if is_stale { entries } else { self.work_off(entries) };
        // Otherwise it halts on one before: a module that is not sure of itself.
        if !self.is_halted() {
            self.stand(Standstill { on_message, is_stale, ..Standstill::default() }, letter);
        }
        before.into_iter().chain(behind).for_each(|entry| self.hold(entry));
    }

    /// Messages and links alone: none of these ends the thread, and none is left.
    fn work_off(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        self.work(entries);
        Vec::new()
    }

    fn stand(&mut self, standstill: Standstill, letter: DeadLetter) {
        self.standstill = Some(standstill);
        let halted = Halted::of(letter, clock::now());
        tracing::error!(
            event = "pipeline_halted",
            pipeline = %self.worker.plan().file.name,
            stage = %halted.stage,
            code = halted.code,
            detail = halted.detail,
            topic = halted.topic.as_deref(),
            message_id = halted.message.as_ref().map(ToString::to_string),
            device_id = halted.device.as_ref().map(DeviceId::as_str),
            "takes no more messages until this is mended, or `tapline resume`"
        );
        self.tell(Some(halted));
    }

    fn tell(&self, halted: Option<Halted>) {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = halted;
    }

    /// Remembers what is on the disk, and nothing else. Says whether that failed.
    fn go_back(&mut self) -> bool {
        let read = self.remembered();
        let failed = read.is_err();
        match read {
            Ok((worker, marks)) => {
                self.worker = worker;
                self.marks = marks;
                self.worker.set_refusals(Refusals::Halt);
                self.worker.serve_shadows();
            }
            Err(error) => tracing::error!(
                event = "state_not_read",
                pipeline = %self.worker.plan().file.name,
                error = &error as &dyn std::error::Error,
                "what the pipeline remembers is read again when it goes on"
            ),
        }
        failed
    }

    fn remembered(&self) -> Result<(Worker, Marks), StoreError> {
        let (done, wait) = sync_channel(1);
        let last = Box::new(move |_| {
            let _nobody_waits = done.send(());
        });
        self.store.submit(Commit::default(), last)?;
        wait.recv().map_err(|_| StoreError::Closed)?;
        let plan = self.worker.plan().clone();
        let rows = self.store.load_keys(&plan.file.name)?;
        let marks = last_marks(&plan, &self.store)?;
        Ok((Worker::counted(plan, rows, self.flow.clone()), Marks::load(marks)))
    }

    /// Goes on with what waits. It may come to halt again.
    pub(super) fn go_on(&mut self, how: Resume) {
        let Some(mut standstill) = self.standstill.take() else { return };
        if standstill.is_stale && self.go_back() {
            self.standstill = Some(standstill);
            return;
        }
        self.tell(None);
        tracing::info!(
            event = "pipeline_resumed",
            pipeline = %self.worker.plan().file.name,
            waiting = standstill.entries.len(),
            set_aside = how == Resume::SetAside,
            "goes on"
        );
        if how == Resume::SetAside {
            self.worker.set_refusals(Refusals::SetAside);
            match standstill.on_message.then(|| standstill.entries.pop_front()).flatten() {
                Some(entry) => drop(self.work_off(vec![entry])),
                None => self.wake(),
            }
            self.worker.set_refusals(Refusals::Halt);
        }
        self.work_off(standstill.entries.into());
    }

    /// Why it halts, after a try to go on.
    pub(super) fn halted_now(&self) -> Option<Halted> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(event: LinkEvent) -> Entry {
        Entry::Link("main".into(), event)
    }

    #[test]
    fn a_connection_that_flaps_takes_no_room_and_stays_one_silence() {
        let mut standstill = Standstill::default();
        let at = Timestamp;
        for n in 0..100 {
            standstill.hold(link(LinkEvent::Down { at: at(n * 10 + 1), last_heard: at(n * 10) }));
            standstill.hold(link(LinkEvent::Up { resumed: n != 50, at: at(n * 10 + 5) }));
            standstill.hold(link(LinkEvent::Drained { at: at(n * 10 + 6) }));
        }
        assert_eq!(standstill.entries.len(), 3);
        let mut events = standstill.entries.iter().map(|entry| match entry {
            Entry::Link(_, event) => *event,
            _ => panic!("only links were held"),
        });
        let first = events.next();
        assert!(matches!(first, Some(LinkEvent::Down { last_heard, .. }) if last_heard == at(0)));
        let second = events.next();
        assert!(
            matches!(second, Some(LinkEvent::Up { resumed: false, at: up }) if up == at(995)),
            "{second:?}"
        );
    }
}
