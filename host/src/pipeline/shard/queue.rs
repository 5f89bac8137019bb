//! What waits for a pipeline's thread.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::BATCH;
use super::halt::{Halted, Resume};
use crate::broker::{LinkEvent, Received};
use crate::pipeline::difference::Concerned;
use crate::pipeline::flow::Held;
use crate::pipeline::letters::{Redo, Redone};
use crate::pipeline::migrate::Unmigrated;
use crate::pipeline::plan::Plan;
use crate::pipeline::worker::Worker;
use crate::store::Succession;

/// A look at what a pipeline remembers, between two turns.
pub(super) type Visit = Box<dyn FnOnce(&Worker) + Send>;

pub(super) struct NewPlan {
    pub(super) plan: Arc<Plan>,
    pub(super) concerned: Concerned,
    pub(super) succession: Succession,
}

pub(super) enum Entry {
    Message(Received, Held),
    Link(Arc<str>, LinkEvent),
    Apply(Box<NewPlan>, SyncSender<Result<(), Unmigrated>>),
    Visit(Visit),
    Redo(Vec<Redo>, SyncSender<Vec<Redone>>),
    Resume(Resume, SyncSender<Option<Halted>>),
    Stop,
}

/// The queue to the thread. Its length is bounded by the brokers' ceilings: a message keeps
/// its ticket until it is committed, and without free tickets nothing more is received.
#[derive(Default)]
pub(super) struct Queue {
    entries: Mutex<VecDeque<Entry>>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn push(&self, entry: Entry) {
        self.lock().push_back(entry);
        self.filled.notify_one();
    }

    /// What is there, at most a batch; waits up to `patience` for the first.
    pub(super) fn take(&self, patience: Duration) -> Vec<Entry> {
        let entries = self.lock();
        let (mut entries, _) = self
            .filled
            .wait_timeout_while(entries, patience, |e| e.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        let count = entries.len().min(BATCH);
        entries.drain(..count).collect()
    }
}
