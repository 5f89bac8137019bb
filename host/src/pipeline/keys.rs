//! What a stage remembers of each key: state, time, wake-up. Kept in memory, written with
//! the batch that changed it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::message::Timestamp;
use crate::store::{KeyId, KeyRow};

/// Beyond its due time and the key's lag, a wake-up waits this long for an input that
/// comes before it.
pub(super) const GRACE_MS: u64 = 1_000;

/// Keys that one stage may hold; a device that invents channels must not fill the disk.
pub(super) const MAX_KEYS: usize = 1_000_000;

/// The keys of one stage.
#[derive(Debug, Default)]
pub(super) struct StageKeys {
    rows: HashMap<Arc<str>, KeyRow>,
    wakes: BTreeSet<(Timestamp, Arc<str>)>,
    dirty: HashSet<Arc<str>>,
    /// What its rows take, roughly.
    bytes: usize,
}

/// What a row takes beside its key and its state.
const ROW: usize = 160;

fn weight(key: &str, row: &KeyRow) -> usize {
    key.len() + row.state.as_ref().map_or(0, Vec::len) + ROW
}

/// When a row's wake-up is due by the wall clock.
fn due(row: &KeyRow) -> Option<Timestamp> {
    row.wake_at.map(|at| at.plus_ms(row.lag_ms).plus_ms(GRACE_MS))
}

impl StageKeys {
    /// Takes up a row as the store holds it.
    pub(super) fn load(&mut self, key: Arc<str>, row: KeyRow) {
        if let Some(due) = due(&row) {
            self.wakes.insert((due, key.clone()));
        }
        self.bytes += weight(&key, &row);
        self.rows.insert(key, row);
    }

    pub(super) fn get(&self, key: &str) -> Option<&KeyRow> {
        self.rows.get(key)
    }

    /// Whether a key that is not there yet may come in.
    pub(super) fn has_room(&self) -> bool {
        self.rows.len() < MAX_KEYS
    }

    /// Replaces a key's row; `None` forgets it.
    pub(super) fn set(&mut self, key: &Arc<str>, row: Option<KeyRow>) {
        if let Some(old) = self.rows.get(key) {
            self.bytes -= weight(key, old);
            if let Some(due) = due(old) {
                self.wakes.remove(&(due, key.clone()));
            }
        }
        match row {
            Some(row) => {
                if let Some(due) = due(&row) {
                    self.wakes.insert((due, key.clone()));
                }
                self.bytes += weight(key, &row);
                self.rows.insert(key.clone(), row);
            }
            None => {
                self.rows.remove(key);
            }
        }
        self.mark(key);
    }

    /// What all rows take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing of what changed is to be written.
    pub(super) fn forget_changes(&mut self) {
        self.dirty.clear();
    }

    /// Changes a key's row in its place; one that is new begins empty.
    pub(super) fn change<T>(&mut self, key: &Arc<str>, change: impl FnOnce(&mut KeyRow) -> T) -> T {
        if !self.rows.contains_key(key) {
            let row = KeyRow::default();
            self.bytes += weight(key, &row);
            self.rows.insert(key.clone(), row);
        }
        let row = self.rows.get_mut(key).expect("it is there by now");
        let (before, had) = (due(row), weight(key, row));
        let result = change(row);
        let after = due(row);
        self.bytes = self.bytes - had + weight(key, row);
        if before != after {
            before.map(|due| self.wakes.remove(&(due, key.clone())));
            after.map(|due| self.wakes.insert((due, key.clone())));
        }
        self.mark(key);
        result
    }

    fn mark(&mut self, key: &Arc<str>) {
        if !self.dirty.contains(key) {
            self.dirty.insert(key.clone());
        }
    }

    /// Keys of which `wanted` says yes, in order of their names.
    pub(super) fn among(&self, wanted: impl Fn(&KeyRow) -> bool) -> Vec<(Arc<str>, &KeyRow)> {
        let rows = self.rows.iter().filter(|(_, row)| wanted(row));
        let mut found: Vec<_> = rows.map(|(key, row)| (key.clone(), row)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// All keys, in order of their names.
    pub(super) fn all(&self) -> Vec<(Arc<str>, &KeyRow)> {
        self.among(|_| true)
    }

    /// When the next wake-up that was asked for by `until` is due by the wall clock.
    pub(super) fn next_due(&self, until: Timestamp) -> Option<Timestamp> {
        let asked =
            |key| self.rows.get(key).and_then(|row| row.wake_at).is_some_and(|w| w <= until);
        self.wakes.iter().find(|(_, key)| asked(key)).map(|(due, _)| *due)
    }

    /// Keys whose wake-ups are due by the wall clock at `now` and for which `may` says yes, at
    /// most `limit`.
    pub(super) fn due(
        &self,
        now: Timestamp,
        limit: usize,
        may: impl Fn(&KeyRow) -> bool,
    ) -> Vec<Arc<str>> {
        self.wakes
            .iter()
            .take_while(|(due, _)| *due <= now)
            .filter(|(_, key)| self.rows.get(key).is_some_and(&may))
            .take(limit)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// What changed since the last call, for the commit.
    pub(super) fn take_changes(
        &mut self,
        pipeline: &Arc<str>,
        stage: &Arc<str>,
    ) -> Vec<(KeyId, Option<KeyRow>)> {
        let mut keys: Vec<_> = self.dirty.drain().collect();
        keys.sort();
        keys.into_iter()
            .map(|key| {
                let row = self.rows.get(&key).cloned();
                (KeyId { pipeline: pipeline.clone(), stage: stage.clone(), key }, row)
            })
            .collect()
    }
}
