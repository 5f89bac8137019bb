//! A dead letter's message once more, through the plan of today.
//!
//! What had its effect the first time must not have it twice, so a letter has a [`Scope`]: the
//! device whose part of the message was refused and, where a detector refused it, that stage
//! and key. Stages before it run for what they say, and what they remember stays as it is.
//! Invariant: the effects of a replay, added to those of the first pass, are those of one pass
//! in which nothing was refused.

use std::sync::Arc;

use super::effects::{Effects, Fate};
use super::ingest::{self, Job};
use super::item::Routed;
use super::plan::Plan;
use super::worker::Worker;
use crate::message::{DeviceId, Message, Rejection};
use crate::store::DeadLetter;

/// A dead letter whose message is to go through the pipeline once more.
#[derive(Clone, Debug)]
pub struct Redo {
    pub number: u64,
    pub message: Arc<Message>,
    pub letter: DeadLetter,
}

/// What became of a [`Redo`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redone {
    /// The letter is gone. `late`: its readings came too late for detectors to see them.
    Through { late: bool },
    /// The letter stays, with this reason.
    Again(Rejection),
}

/// What of a message is replayed.
#[derive(Debug)]
pub(super) struct Scope {
    /// Parsed for this device alone; `None`: for all.
    job: Option<DeviceId>,
    /// Items of this device alone; `None`: all.
    item: Option<DeviceId>,
    /// The detector that refused it, and the key; `None`: from the parsers on.
    detector: Option<(usize, Option<Arc<str>>)>,
}

/// How a detector takes part in a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Not at all: it had its part the first time.
    None,
    /// It says again what it said, and remembers nothing of it.
    Dry,
    /// As ever, for the key that was refused.
    Refused,
    /// As ever, for what is new.
    Behind,
}

impl Scope {
    fn of(plan: &Plan, letter: &DeadLetter) -> Self {
        let detector = plan.detectors.iter().position(|d| d.stage.name == letter.stage);
        let parser = plan.parsers.iter().any(|p| p.stage.name == letter.stage);
        // A validator refuses a message as a whole, and so did a stage that is gone.
        let device = letter.device.clone().filter(|_| parser || detector.is_some());
        // A parser refuses all that a message says for a device; the host, single items.
        let whole = parser && !ingest::OF_AN_ITEM.contains(&&*letter.code);
        let (job, item) = if whole { (device, None) } else { (None, device) };
        Self { job, item, detector: detector.map(|index| (index, letter.key.clone())) }
    }

    /// Whether a parser is to read the message for the job's device.
    pub(super) fn has_job(&self, job: &Job, routed: &Routed) -> bool {
        let Some(device) = self.job.as_ref().or(self.item.as_ref()) else { return true };
        // The device of an item may be one that a gateway speaks for.
        let is_bound = routed.bound.iter().any(|bound| bound.device.id == *device);
        !is_bound || job.bound.as_ref().is_some_and(|bound| bound.device.id == *device)
    }

    /// Whether what concerns this device belongs to it.
    pub(super) fn has(&self, device: Option<&DeviceId>) -> bool {
        self.item.is_none() || self.item.as_ref() == device
    }

    /// Whether what parsers emit has an effect of its own.
    pub(super) fn begins_at_parsers(&self) -> bool {
        self.detector.is_none()
    }

    /// How the detector at `index` takes part.
    pub(super) fn part(&self, plan: &Plan, index: usize) -> Part {
        let Some((refused, _)) = self.detector else { return Part::Behind };
        match index.cmp(&refused) {
            std::cmp::Ordering::Equal => Part::Refused,
            std::cmp::Ordering::Greater => Part::Behind,
            std::cmp::Ordering::Less if leads_to(plan, index, refused) => Part::Dry,
            std::cmp::Ordering::Less => Part::None,
        }
    }

    /// Whether the refused detector steps this key.
    pub(super) fn has_key(&self, key: &Arc<str>) -> bool {
        !matches!(&self.detector, Some((_, Some(only))) if only != key)
    }
}

/// Whether the detector at `index` feeds the one at `target`, at whatever distance.
fn leads_to(plan: &Plan, index: usize, target: usize) -> bool {
    let name = &plan.detectors[index].stage.name;
    (index + 1..=target).any(|later| {
        plan.detectors[later].source.from.contains(name)
            && (later == target || leads_to(plan, later, target))
    })
}

/// Filtered for a reason that a person may not know of: the message is kept.
const UNTAKEN: [&str; 5] = ["unsubscribed", "except", "retained", "unknown-device", "unmatched"];

impl Worker {
    /// Works a dead letter's message off. Its letter leaves with the effects, or stays with a
    /// new reason; what another stage refuses besides is a letter of its own.
    pub fn redo(&mut self, redo: &Redo) -> (Effects, Redone) {
        let plan = self.plan.clone();
        let scope = Scope::of(&plan, &redo.letter);
        let mut effects = Effects { fates: vec![Fate::Committed], ..Effects::default() };
        let routed = match ingest::route(&plan, &redo.message, None) {
            Ok(routed) => Some(routed),
            Err(reason) => {
                effects.filter(0, reason);
                None
            }
        };
        let mut routed = [routed];
        self.validate(&plan, &mut routed, &mut effects);
        let mut items = self.parse(&plan, &routed, Some(&scope), &mut effects);
        self.detect_all(&plan, &routed, &mut items, Some(&scope), &mut effects);
        effects.items = items;
        effects.set_halts_aside();
        // What is refused of other devices has letters of its own.
        effects.dead.retain(|letter| scope.has(letter.device.as_ref()));
        if effects.dead.is_empty() && effects.fates[0] == Fate::DeadLettered {
            effects.fates[0] = Fate::Committed;
        }
        self.finish(&routed, &mut effects);
        for delivery in &mut effects.outbox {
            delivery.replayed = true;
        }
        let redone = conclude(redo, &mut effects);
        (effects, redone)
    }
}

/// Moves the first new letter, if there is one, to the place of the old.
fn conclude(redo: &Redo, effects: &mut Effects) -> Redone {
    let attempts = redo.letter.attempts.saturating_add(1);
    let again = match &effects.fates[0] {
        _ if !effects.dead.is_empty() => effects.dead.remove(0),
        Fate::Filtered(reason) if UNTAKEN.contains(&&**reason) => DeadLetter {
            code: reason.to_string(),
            detail: format!("today's pipeline leaves the message aside: {reason}"),
            ..redo.letter.clone()
        },
        _ => {
            effects.letters_gone.push(redo.number);
            return Redone::Through { late: effects.late > 0 };
        }
    };
    let rejection = Rejection::new(again.code.clone(), again.detail.clone());
    effects.letters_again.push((redo.number, DeadLetter { attempts, ..again }));
    Redone::Again(rejection)
}
