//! A pipeline's own worker over the turns of an input.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::turns::{Batch, STEP, Turn};
use crate::message::{DeviceId, Timestamp};
use crate::pipeline::{Effects, Fate, Parsed, Plan, Redo, Worker};
use crate::store::StoredKey;

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

/// What followed from a turn, with the messages that it was about.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) effects: Effects,
    pub(super) batch: Arc<Batch>,
}

/// Takes what follows; `false`: nobody wants more.
pub(super) type Taker<'a> = dyn FnMut(Outcome) -> bool + 'a;

/// What acts: one worker, one turn after the other.
pub(super) struct Run {
    plan: Arc<Plan>,
    worker: Worker,
    summary: Summary,
}

impl Run {
    pub(super) fn new(plan: Arc<Plan>, rows: Vec<StoredKey>) -> Self {
        let mut worker = Worker::new(plan.clone(), rows);
        worker.serve_no_store();
        Self { plan, worker, summary: Summary::default() }
    }

    /// Keys whose settings or device changed since the recording hear of it first.
    pub(super) fn settle(&mut self, take: &mut Taker<'_>) -> bool {
        let effects = self.worker.settle_changes(None);
        self.give(effects, Arc::default(), take)
    }

    /// What detectors make of a batch that is parsed.
    pub(super) fn batch(
        &mut self,
        batch: Arc<Batch>,
        parsed: Parsed,
        take: &mut Taker<'_>,
    ) -> bool {
        let effects = self.worker.detect_batch(parsed);
        self.summary.messages += batch.messages.len() as u64;
        for fate in &effects.fates {
            if let Fate::Filtered(by) = fate {
                match self.summary.filtered.get_mut(by) {
                    Some(count) => *count += 1,
                    None => drop(self.summary.filtered.insert(by.clone(), 1)),
                }
            }
        }
        self.give(effects, batch, take)
    }

    /// What follows from a turn that is no batch.
    pub(super) fn turn(&mut self, turn: Turn, take: &mut Taker<'_>) -> bool {
        match turn {
            Turn::Clock { now, until } => self.clock(now, until, take),
            Turn::Wake { now, heard } => {
                let heard = |plan: &Plan, device: Option<&DeviceId>| plan.is_heard(device, &heard);
                let effects = self.worker.wake(now, &heard);
                self.give(effects, Arc::default(), take)
            }
            Turn::Redo { number, message, letter } => {
                let letter = letter.letter(self.plan.file.name.clone(), message.received_at);
                let redo = Redo { number, message: Arc::new(message), letter };
                let (effects, _) = self.worker.redo(&redo);
                self.summary.messages += 1;
                self.give(effects, Batch::of(redo.message, number).into(), take)
            }
            Turn::Deaf { broker, from, until, resumed } => {
                let effects = self.worker.deaf(&broker, from, until, resumed);
                self.give(effects, Arc::default(), take)
            }
        }
    }

    /// Lets the clock run up to `now`, for wake-ups that were asked for by `until`.
    fn clock(&mut self, now: Timestamp, until: Timestamp, take: &mut Taker<'_>) -> bool {
        while let Some(due) = self.worker.next_due_until(until).filter(|due| *due <= now) {
            // Step by step, so that what follows from a wake-up meets others in their order.
            let step = Timestamp(due.0.div_ceil(STEP).saturating_mul(STEP)).min(now);
            let effects = self.worker.wake_until(step, until, &|_, _| true);
            if !self.give(effects, Arc::default(), take) {
                return false;
            }
        }
        true
    }

    fn give(&mut self, effects: Effects, batch: Arc<Batch>, take: &mut Taker<'_>) -> bool {
        debug_assert!(
            effects.keys.is_empty() && effects.outbox.is_empty(),
            "nobody keeps what a replay changes or would deliver"
        );
        self.summary.late += effects.late;
        take(Outcome { effects, batch })
    }

    pub(super) fn summary(self) -> Summary {
        self.summary
    }
}
