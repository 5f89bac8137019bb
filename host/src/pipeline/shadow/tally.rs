//! What came of comparing: counts, the last differences, and why a shadow has stopped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::message::{DeviceId, Timestamp};
use crate::module::Hash;
use crate::pipeline::plan::ShadowStage;
use crate::pipeline::probation::FAILURES;
use crate::telemetry::clock;

/// Differences that are kept of each shadow.
const KEPT: usize = 20;
/// [`FAILURES`] within this time end a shadow.
const WITHIN: Duration = Duration::from_secs(60);

/// What became of one input at a shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The same items, or refused with the same code.
    Same,
    /// Other items.
    Different,
    /// The live version had items, the shadow none.
    OnlyLive,
    OnlyShadow,
    /// One refused it, or both did with different codes.
    RefusedDifferently,
    /// The shadow could not bear it.
    Failed,
    /// There was no room for it, or the shadow had stopped.
    NotCompared,
}

/// Inputs by what became of them; together they are all that the live version got meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowCounts {
    pub inputs: u64,
    pub same: u64,
    pub different: u64,
    pub only_live: u64,
    pub only_shadow: u64,
    pub refused_differently: u64,
    pub failed: u64,
    pub not_compared: u64,
    /// Handed over, and not yet looked at.
    pub waiting: u64,
}

/// An input of which two versions made something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub outcome: Outcome,
    pub at: Timestamp,
    /// Of a detector only where it was told a message.
    pub topic: Option<Arc<str>>,
    /// Of a detector, whose state it is.
    pub key: Option<Arc<str>>,
    pub device: Option<DeviceId>,
    /// Items as JSON lines, or the rejection.
    pub live: Vec<Arc<str>>,
    pub shadow: Vec<Arc<str>>,
}

/// The numbers of one shadow. They begin anew with another version of either side.
#[derive(Debug)]
pub struct ShadowTally {
    versions: (Hash, Hash),
    pub since: Timestamp,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: ShadowCounts,
    last: VecDeque<Difference>,
    failures: VecDeque<Instant>,
    stopped: Option<Arc<str>>,
    afresh: Option<Afresh>,
}

/// Keys that a detector's shadow could not begin with the live state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Afresh {
    pub keys: u64,
    /// The last of them, and why.
    pub key: Arc<str>,
    pub why: Arc<str>,
}

impl ShadowCounts {
    /// All outcomes with their names as labels and keys.
    pub fn by_outcome(&self) -> [(&'static str, u64); 7] {
        [
            ("same", self.same),
            ("different", self.different),
            ("only-live", self.only_live),
            ("only-shadow", self.only_shadow),
            ("refused-differently", self.refused_differently),
            ("failed", self.failed),
            ("not-compared", self.not_compared),
        ]
    }

    fn of(&mut self, outcome: Outcome) -> &mut u64 {
        match outcome {
            Outcome::Same => &mut self.same,
            Outcome::Different => &mut self.different,
            Outcome::OnlyLive => &mut self.only_live,
            Outcome::OnlyShadow => &mut self.only_shadow,
            Outcome::RefusedDifferently => &mut self.refused_differently,
            Outcome::Failed => &mut self.failed,
            Outcome::NotCompared => &mut self.not_compared,
        }
    }
}

impl ShadowTally {
    pub(in crate::pipeline) fn new(shadow: &ShadowStage) -> Self {
        let versions = (shadow.live, shadow.stage.module.hash());
        Self { versions, since: clock::now(), inner: Mutex::default() }
    }

    /// Whether it counts this version of a shadow beside this version of a module.
    pub(in crate::pipeline) fn is_of(&self, shadow: &ShadowStage) -> bool {
        self.versions == (shadow.live, shadow.stage.module.hash())
    }

    /// The numbers at this moment; they add up.
    pub fn counts(&self) -> ShadowCounts {
        self.lock().counts
    }

    /// The last differences, the newest first.
    pub fn last(&self) -> Vec<Difference> {
        self.lock().last.iter().rev().cloned().collect()
    }

    /// Why it looks at nothing any more.
    pub fn stopped(&self) -> Option<Arc<str>> {
        self.lock().stopped.clone()
    }

    /// Which keys began without the live state, if any did.
    pub fn afresh(&self) -> Option<Afresh> {
        self.lock().afresh.clone()
    }

    /// The shadow does not read the live state of a key.
    pub(super) fn began_afresh(&self, key: &Arc<str>, why: &str) {
        let afresh = &mut self.lock().afresh;
        let keys = afresh.as_ref().map_or(1, |before| before.keys + 1);
        *afresh = Some(Afresh { keys, key: key.clone(), why: why.into() });
    }

    pub(super) fn handed_over(&self, inputs: usize) {
        let mut inner = self.lock();
        inner.counts.inputs += inputs as u64;
        inner.counts.waiting += inputs as u64;
    }

    /// So many that were handed over are left out.
    pub(super) fn left_out(&self, inputs: usize) {
        let mut inner = self.lock();
        inner.counts.waiting -= inputs as u64;
        inner.counts.not_compared += inputs as u64;
    }

    /// One that was handed over is the same on both sides.
    pub(super) fn same(&self) {
        let mut inner = self.lock();
        inner.counts.waiting -= 1;
        inner.counts.same += 1;
    }

    /// One that was handed over is not.
    pub(super) fn differs(&self, difference: Difference) {
        self.differ(difference, 1);
    }

    /// So many that were handed over are not, and belong together.
    pub(super) fn differ(&self, difference: Difference, inputs: usize) {
        let mut inner = self.lock();
        inner.counts.waiting -= inputs as u64;
        *inner.counts.of(difference.outcome) += inputs as u64;
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(difference);
    }

    /// The shadow failed in these words. Whether that was once too often, so that it has to stop.
    pub(super) fn failed(&self, words: &str) -> bool {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.failures.push_back(now);
        while inner.failures.len() > FAILURES {
            inner.failures.pop_front();
        }
        let first = inner.failures.front().map_or(Duration::ZERO, |first| now - *first);
        let stops = inner.failures.len() == FAILURES && first <= WITHIN;
        if stops {
            inner.stopped = Some(words.into());
        }
        stops
    }

    /// It cannot go on, for this reason.
    pub(super) fn stop(&self, words: &str) {
        self.lock().stopped = Some(words.into());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
