//! What two versions of a detector said, laid side by side: an item that both said is the same,
//! also where one of them said it at another input of the key within [`PATIENCE_MS`].
//!
//! Invariant: what is found depends on what was said and on the times that stand with it, on no
//! clock of this machine; and what waits is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::compare::{are_equal_by_value, cut, more};
use super::tally::{Difference, Outcome, ShadowTally};
use crate::message::{DeviceId, Timestamp};

/// What one version says so much later than the other is still the same.
pub(super) const PATIENCE_MS: u64 = 5_000;
/// What may wait of all keys: inputs, and bytes of lines.
const ROOM: usize = 4096;
const ROOM_BYTES: usize = 4 << 20;
/// Inputs of one key that wait together.
const TOGETHER: usize = 64;
/// Lines of each side that are compared by value where their bytes differ.
const READ: usize = 64;

/// An input of which the two versions did not say the same at once.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) topic: Option<Arc<str>>,
    pub(super) device: Option<DeviceId>,
    /// Lines that the other side has not said.
    pub(super) live: Vec<Vec<u8>>,
    pub(super) shadow: Vec<Vec<u8>>,
}

/// Inputs of one key that wait for each other's other half.
#[derive(Debug)]
struct Group {
    until: Timestamp,
    entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Pairs {
    tally: Arc<ShadowTally>,
    groups: BTreeMap<Arc<str>, Group>,
    due: BTreeSet<(Timestamp, Arc<str>)>,
    entries: usize,
    bytes: usize,
}

impl Pairs {
    pub(super) fn new(tally: Arc<ShadowTally>) -> Self {
        let (groups, due) = (BTreeMap::new(), BTreeSet::new());
        Self { tally, groups, due, entries: 0, bytes: 0 }
    }

    /// Adds what both said at one input that was handed over.
    pub(super) fn add(&mut self, key: &Arc<str>, entry: Entry) {
        let is_alone = !self.groups.contains_key(key);
        if is_alone && entry.live == entry.shadow {
            return self.tally.same();
        }
        let (says_nothing, at) = (entry.is_empty(), entry.at);
        if says_nothing {
            return self.tally.same();
        }
        let mut group = self
            .take(key)
            .unwrap_or_else(|| Group { until: at.plus_ms(PATIENCE_MS), entries: Vec::new() });
        group.entries.push(entry);
        group.pair();
        let before = group.entries.len();
        group.entries.retain(|entry| !entry.is_empty());
        (group.entries.len()..before).for_each(|_| self.tally.same());
        if group.entries.is_empty() {
            return;
        }
        if group.entries.len() > TOGETHER {
            return self.judge(key, group);
        }
        self.put(key, group);
        while self.entries > ROOM || self.bytes > ROOM_BYTES {
            let Some((_, key)) = self.due.first().cloned() else { break };
            self.settle(&key);
        }
    }

    /// When the next ones have waited long enough.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Whatever has waited long enough at `now` is a difference.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.due.first().filter(|(until, _)| *until <= now).cloned() {
            self.settle(&key);
        }
    }

    /// What waits of a key waits no longer.
    pub(super) fn settle(&mut self, key: &Arc<str>) {
        if let Some(group) = self.take(key) {
            self.judge(key, group);
        }
    }

    /// Nothing waits any longer.
    pub(super) fn settle_all(&mut self) {
        while let Some((_, key)) = self.due.first().cloned() {
            self.settle(&key);
        }
    }

    /// One difference, shown together: which half belongs to which nobody can say.
    fn judge(&self, key: &Arc<str>, group: Group) {
        let inputs = group.entries.len();
        let mut entries = group.entries.into_iter();
        let Some(mut first) = entries.next() else { return };
        for entry in entries {
            first.live.extend(entry.live);
            first.shadow.extend(entry.shadow);
        }
        let outcome = match (first.live.is_empty(), first.shadow.is_empty()) {
            (false, false) => Outcome::Different,
            (false, true) => Outcome::OnlyLive,
            (true, _) => Outcome::OnlyShadow,
        };
        let difference = Difference {
            outcome,
            at: first.at,
            topic: first.topic,
            key: Some(key.clone()),
            device: first.device,
            live: shown(&first.live),
            shadow: shown(&first.shadow),
        };
        self.tally.differ(difference, inputs);
    }

    fn take(&mut self, key: &Arc<str>) -> Option<Group> {
        let group = self.groups.remove(key)?;
        self.due.remove(&(group.until, key.clone()));
        self.entries -= group.entries.len();
        self.bytes -= group.bytes();
        Some(group)
    }

    fn put(&mut self, key: &Arc<str>, group: Group) {
        self.entries += group.entries.len();
        self.bytes += group.bytes();
        self.due.insert((group.until, key.clone()));
        self.groups.insert(key.clone(), group);
    }
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.shadow.is_empty()
    }
}

impl Group {
    fn bytes(&self) -> usize {
        let lines = self.entries.iter().flat_map(|entry| entry.live.iter().chain(&entry.shadow));
        lines.map(Vec::len).sum()
    }

    /// Takes out what both sides said, the earliest first.
    fn pair(&mut self) {
        let mut said: BTreeMap<&[u8], usize> = BTreeMap::new();
        for line in self.entries.iter().flat_map(|entry| &entry.shadow) {
            *said.entry(line).or_default() += 1;
        }
        let mut both: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for line in self.entries.iter().flat_map(|entry| &entry.live) {
            if let Some(left) = said.get_mut(&**line).filter(|left| **left > 0) {
                *left -= 1;
                *both.entry(line.clone()).or_default() += 1;
            }
        }
        let mut of_live = both.clone();
        let mut of_shadow = both;
        let take = |lines: &mut Vec<Vec<u8>>, taken: &mut BTreeMap<Vec<u8>, usize>| {
            lines.retain(|line| match taken.get_mut(line).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => true,
            });
        };
        for entry in &mut self.entries {
            take(&mut entry.live, &mut of_live);
            take(&mut entry.shadow, &mut of_shadow);
        }
        self.pair_by_value();
    }

    /// Other bytes of the same values; of few lines, since each is read.
    fn pair_by_value(&mut self) {
        let count = |side: fn(&Entry) -> &Vec<Vec<u8>>| {
            self.entries.iter().map(|entry| side(entry).len()).sum::<usize>()
        };
        let (live, shadow) = (count(|entry| &entry.live), count(|entry| &entry.shadow));
        if live == 0 || shadow == 0 || live > READ || shadow > READ {
            return;
        }
        for one in 0..self.entries.len() {
            let mut lines = std::mem::take(&mut self.entries[one].live);
            lines.retain(|line| {
                let mut others = self.entries.iter_mut().map(|entry| &mut entry.shadow);
                !others.any(|others| {
                    let same = others.iter().position(|other| are_equal_by_value(line, other));
                    same.map(|at| others.remove(at)).is_some()
                })
            });
            self.entries[one].live = lines;
        }
    }
}

fn shown(lines: &[Vec<u8>]) -> Vec<Arc<str>> {
    more(lines.iter().map(|line| cut(line)), lines.len())
}
