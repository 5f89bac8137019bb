//! What flows through one pipeline, in numbers.
//!
//! Every message that is handed to a pipeline is held here until its effects are on the disk.
//! The numbers that have to fit each other lie under one lock, so that at any moment
//! received = committed + filtered + dead-lettered + duplicates + returned + in flight.
//! Invariant: in flight counts holds and nothing else; what became of messages is counted
//! from their fates. So the equation can fail, and a message that gets lost between the two
//! makes it fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::effects::{Effects, Fate};
use super::plan::ShadowStage;
use super::probation::Probation;
use super::shadow::ShadowTally;
use super::stage_stats::StageStats;
use crate::message::{Message, Timestamp};
use crate::telemetry::metrics::Histogram;

/// Every rule that filters messages. A page names each, also those that did nothing yet, so
/// that sums over them are never empty.
pub const FILTERS: [&str; 7] = [
    "except",
    "nothing",
    "other-channel",
    "retained",
    "unknown-device",
    "unmatched",
    "unsubscribed",
];

/// Counts of one pipeline since the program started.
/// Received = committed + filtered + dead-lettered + duplicates + returned + in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub received: u64,
    pub committed: u64,
    /// By stage or rule.
    pub filtered: BTreeMap<Arc<str>, u64>,
    pub dead_lettered: u64,
    pub duplicates: u64,
    /// Dropped without a commit when the pipeline broke; the broker sends them again.
    pub returned: u64,
    /// Handed over, and what follows from them is not yet on the disk.
    pub in_flight: u64,
    pub late: u64,
    pub unclaimed: u64,
    pub deliveries: u64,
}

impl Counts {
    /// How many were filtered, whoever did it.
    pub fn filtered_in_all(&self) -> u64 {
        self.filtered.values().sum()
    }
}

/// The numbers of one pipeline; they outlive its thread.
#[derive(Debug)]
pub struct Flow {
    counts: Mutex<Counts>,
    stages: Mutex<BTreeMap<Arc<str>, Arc<StageStats>>>,
    /// Of stages that have one.
    shadows: Mutex<BTreeMap<Arc<str>, Arc<ShadowTally>>>,
    /// Where failures of modules are counted.
    probation: Arc<Probation>,
    pub batch_messages: Histogram,
    pub batch_time: Histogram,
    /// From a message's receipt until it was committed.
    pub commit_lag: Histogram,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            counts: Mutex::default(),
            stages: Mutex::default(),
            shadows: Mutex::default(),
            probation: Arc::default(),
            batch_messages: Histogram::of_sizes(),
            batch_time: Histogram::of_work(),
            commit_lag: Histogram::of_lags(),
        }
    }
}

/// A message that was handed over and is not settled. Dropped, it counts as returned.
#[derive(Debug)]
pub(super) struct Held(Option<Arc<Flow>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(flow) = self.0.take() {
            let mut counts = flow.lock();
            counts.in_flight -= 1;
            counts.returned += 1;
        }
    }
}

impl Flow {
    /// Whose modules' failures count in `probation`.
    pub fn watched(probation: Arc<Probation>) -> Self {
        Self { probation, ..Self::default() }
    }

    /// Where failures of modules are counted.
    pub fn probation(&self) -> &Arc<Probation> {
        &self.probation
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers at this moment; they fit each other.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// What a stage's module does. Ask once, and keep it.
    pub fn stage(&self, name: &Arc<str>) -> Arc<StageStats> {
        self.stages().entry(name.clone()).or_default().clone()
    }

    /// All stages by name.
    pub fn all_stages(&self) -> BTreeMap<Arc<str>, Arc<StageStats>> {
        self.stages().clone()
    }

    /// Calls of modules that cost an instance, of all stages that are there.
    pub(super) fn failed_calls(&self) -> u64 {
        self.stages().values().map(|stats| stats.failures().values().sum::<u64>()).sum()
    }

    /// The numbers of a stage's shadow, anew for another version.
    pub fn shadow(&self, stage: &Arc<str>, shadow: &ShadowStage) -> Arc<ShadowTally> {
        let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
        match shadows.get(stage) {
            Some(tally) if tally.is_of(shadow) => tally.clone(),
            _ => {
                let tally = Arc::new(ShadowTally::new(shadow));
                shadows.insert(stage.clone(), tally.clone());
                tally
            }
        }
    }

    /// Forgets the numbers of shadows that are gone.
    pub(super) fn retain_shadows(&self, there: &dyn Fn(&str) -> bool) {
        let mut shadows = self.shadows.lock().unwrap_or_else(PoisonError::into_inner);
        shadows.retain(|stage, _| there(stage));
    }

    /// Forgets stages that are gone.
    pub(super) fn retain_stages(&self, there: &dyn Fn(&str) -> bool) {
        self.stages().retain(|name, _| there(name));
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<StageStats>>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is handed over.
    pub(super) fn hold(self: &Arc<Self>) -> Held {
        let mut counts = self.lock();
        counts.received += 1;
        counts.in_flight += 1;
        Held(Some(self.clone()))
    }

    /// What follows from these messages is on the disk.
    pub(super) fn settle(&self, held: Vec<Held>, settled: Settled, now: Timestamp) {
        for at in &settled.received_at {
            self.commit_lag.lagged_ms(now.since(*at));
        }
        for (stage, words) in &settled.rejected {
            if let Some(stats) = self.stages().get(stage) {
                stats.rejected(now, words);
            }
        }
        let mut counts = self.lock();
        counts.in_flight -= held.len() as u64;
        counts.committed += settled.committed;
        counts.dead_lettered += settled.dead_lettered;
        counts.duplicates += settled.duplicates;
        counts.late += settled.late;
        counts.unclaimed += settled.unclaimed;
        counts.deliveries += settled.deliveries;
        for (by, count) in settled.filtered {
            *counts.filtered.entry(by).or_default() += count;
        }
        drop(counts);
        held.into_iter().for_each(|mut held| held.0 = None);
    }
}

/// What became of a batch, to be counted once it is on the disk.
#[derive(Debug, Default)]
pub(super) struct Settled {
    committed: u64,
    filtered: Vec<(Arc<str>, u64)>,
    dead_lettered: u64,
    duplicates: u64,
    late: u64,
    unclaimed: u64,
    deliveries: u64,
    received_at: Vec<Timestamp>,
    /// Stage, and why.
    rejected: Vec<(Arc<str>, String)>,
}

impl Settled {
    pub(super) fn of(effects: &Effects, messages: &[Arc<Message>], duplicates: usize) -> Self {
        let mut settled = Self {
            duplicates: duplicates as u64,
            late: effects.late,
            unclaimed: effects.unclaimed,
            deliveries: effects.outbox.len() as u64,
            received_at: messages.iter().map(|m| m.received_at).collect(),
            ..Self::default()
        };
        for fate in &effects.fates {
            match fate {
                Fate::Committed => settled.committed += 1,
                Fate::DeadLettered => settled.dead_lettered += 1,
                Fate::Filtered(by) => {
                    match settled.filtered.iter_mut().find(|(name, _)| name == by) {
                        Some((_, count)) => *count += 1,
                        None => settled.filtered.push((by.clone(), 1)),
                    }
                }
            }
        }
        let dead = effects.dead.iter();
        let dead = dead.map(|letter| {
            let (code, detail) = (&letter.code, &letter.detail);
            let words = if detail.is_empty() { code.clone() } else { format!("{code}: {detail}") };
            (letter.stage.clone(), words)
        });
        settled.rejected = dead.chain(effects.passed.iter().cloned()).collect();
        settled
    }

    /// For messages that were counted when they came, and come once more as dead letters.
    pub(super) fn forget_messages(&mut self) {
        (self.committed, self.dead_lettered) = (0, 0);
        self.filtered.clear();
        self.received_at.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adds_up(counts: &Counts) -> bool {
        counts.received
            == counts.committed
                + counts.filtered_in_all()
                + counts.dead_lettered
                + counts.duplicates
                + counts.returned
                + counts.in_flight
    }

    fn effects(fates: Vec<Fate>) -> Effects {
        Effects { fates, ..Effects::default() }
    }

    #[test]
    fn what_was_received_is_settled_returned_or_in_flight() {
        let flow = Arc::new(Flow::default());
        let mut held: Vec<_> = (0..5).map(|_| flow.hold()).collect();
        assert_eq!((flow.counts().received, flow.counts().in_flight), (5, 5));
        let rest = held.split_off(4);
        let fates = vec![Fate::Committed, Fate::Filtered("except".into()), Fate::DeadLettered];
        flow.settle(held, Settled::of(&effects(fates), &[], 1), Timestamp(0));
        let counts = flow.counts();
        assert!(adds_up(&counts), "{counts:?}");
        assert_eq!((counts.committed, counts.dead_lettered, counts.duplicates), (1, 1, 1));
        assert_eq!((counts.filtered["except"], counts.in_flight), (1, 1));
        drop(rest);
        let counts = flow.counts();
        assert!(adds_up(&counts), "{counts:?}");
        assert_eq!((counts.returned, counts.in_flight), (1, 0));
    }

    #[test]
    fn a_message_that_gets_lost_on_the_way_makes_the_equation_fail() {
        let flow = Arc::new(Flow::default());
        let held = vec![flow.hold(), flow.hold()];
        flow.settle(held, Settled::of(&effects(vec![Fate::Committed]), &[], 0), Timestamp(0));
        assert!(!adds_up(&flow.counts()));
    }

    #[test]
    fn a_stage_keeps_its_numbers_while_it_is_there() {
        let flow = Flow::default();
        let (parse, detect) = ("parse".into(), "detect".into());
        flow.stage(&parse).inputs.inc();
        flow.stage(&detect).inputs.inc();
        flow.retain_stages(&|name| name == "parse");
        assert_eq!(flow.stage(&parse).inputs.get(), 1);
        assert_eq!(flow.stage(&detect).inputs.get(), 0);
    }
}
