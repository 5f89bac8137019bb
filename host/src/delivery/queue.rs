//! Which keys of a sink have something to send, and which of them may be sent now.
//!
//! Holds one entry per key with waiting rows, never the rows themselves: an outbox of a
//! million rows costs as much memory as it has keys. Invariant: a key's entry is its oldest
//! row that is neither settled nor held as refused, so whatever is picked keeps the order of
//! each key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::back_off::{BackOff, Waits};
use crate::store::{Head, RowId};

pub(super) struct Queue {
    waits: Waits,
    keys: HashMap<Arc<str>, Key>,
    /// Heads that may be sent, in commit order.
    ready: BTreeMap<RowId, Arc<str>>,
    /// Keys that wait for their time.
    delayed: BTreeSet<(Instant, Arc<str>)>,
    /// Rows up to here have been seen.
    seen: RowId,
}

struct Key {
    head: RowId,
    until: Option<Instant>,
    back_off: BackOff,
    /// It failed alone: keep it apart from the others until it is through.
    alone: bool,
}

impl Queue {
    pub(super) fn new(waits: Waits) -> Self {
        Self {
            waits,
            keys: HashMap::new(),
            ready: BTreeMap::new(),
            delayed: BTreeSet::new(),
            seen: RowId::START,
        }
    }

    /// Begins with the heads of an outbox whose last row was `last`, or before it.
    pub(super) fn start(&mut self, last: RowId, heads: Vec<Head>) {
        for head in heads {
            self.add(head);
        }
        // Every row up to here belongs to a key that is known now.
        self.seen = self.seen.max(last);
    }

    /// Claims that `row` is the head of the key.
    pub(super) fn is_head(&self, name: &Arc<str>, row: RowId) -> bool {
        self.keys.get(name).is_some_and(|key| key.head == row)
    }

    /// The last row that was seen.
    pub(super) fn seen(&self) -> RowId {
        self.seen
    }

    /// Takes note of a row in commit order; a key that has an older one is known already.
    pub(super) fn add(&mut self, head: Head) {
        self.seen = self.seen.max(head.row);
        if self.keys.contains_key(&head.key) {
            return;
        }
        self.ready.insert(head.row, head.key.clone());
        let back_off = BackOff::new(self.waits);
        self.keys.insert(head.key, Key { head: head.row, until: None, back_off, alone: false });
    }

    /// Keys whose time has come may be sent again.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((until, _)) = self.delayed.first() {
            if *until > now {
                break;
            }
            let Some((_, name)) = self.delayed.pop_first() else { break };
            if let Some(key) = self.keys.get_mut(&name) {
                key.until = None;
                self.ready.insert(key.head, name);
            }
        }
    }

    /// When the next delayed key may be sent again.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.delayed.first().map(|(until, _)| *until)
    }

    /// The number of keys that may be sent now.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Heads of at most `limit` keys, the oldest first. A key that failed alone comes alone.
    pub(super) fn pick(&self, limit: usize) -> Vec<Head> {
        let mut picked = Vec::new();
        for (row, name) in &self.ready {
            let alone = self.keys.get(name).is_some_and(|key| key.alone);
            if alone && !picked.is_empty() {
                continue;
            }
            picked.push(Head { row: *row, key: name.clone() });
            if alone || picked.len() >= limit {
                break;
            }
        }
        picked
    }

    /// Nothing of the key is in the way any more: its next row, if it has one, is `next`.
    pub(super) fn advance(&mut self, name: &Arc<str>, next: Option<RowId>) {
        let Some(key) = self.keys.get_mut(name) else { return };
        self.ready.remove(&key.head);
        if let Some(until) = key.until.take() {
            self.delayed.remove(&(until, name.clone()));
        }
        match next {
            Some(row) => {
                key.head = row;
                key.back_off.reset();
                key.alone = false;
                self.ready.insert(row, name.clone());
            }
            None => {
                self.keys.remove(name);
            }
        }
    }

    /// The key's next attempt starts with `head`, not before it has waited; `at_least` is
    /// what the other side asked for.
    pub(super) fn delay(
        &mut self,
        name: &Arc<str>,
        head: RowId,
        now: Instant,
        at_least: std::time::Duration,
        alone: bool,
    ) {
        let Some(key) = self.keys.get_mut(name) else { return };
        self.ready.remove(&key.head);
        if let Some(until) = key.until.take() {
            self.delayed.remove(&(until, name.clone()));
        }
        let until = now + key.back_off.fail().max(at_least);
        key.head = head;
        key.alone |= alone;
        key.until = Some(until);
        self.delayed.insert((until, name.clone()));
    }

    /// The head of a key changes while it keeps its turn.
    pub(super) fn keep(&mut self, name: &Arc<str>, head: RowId) {
        let Some(key) = self.keys.get_mut(name) else { return };
        if key.until.is_none() {
            self.ready.remove(&key.head);
            self.ready.insert(head, name.clone());
        }
        key.head = head;
    }
}
