//! What waits for a pipeline's thread.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::halt::{Halted, Resume};
use super::share::Rest;
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
    waiting: Mutex<Waiting>,
    /// Told when an entry comes, and when a rest ends or begins.
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Entries that are no messages.
    control: usize,
    rest: Option<Rest>,
}

impl Waiting {
    /// How long messages have to wait; whatever else comes ends the wait.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        match self.rest? {
            _ if self.control > 0 => None,
            Rest::Writing => Some(LONG),
            Rest::Until(end) if end > now => Some(end - now),
            Rest::Until(_) => {
                self.rest = None;
                None
            }
        }
    }
}

/// Between two looks where something is told when it happens.
const LONG: Duration = Duration::from_secs(1);

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub(super) fn push(&self, entry: Entry) {
        let mut waiting = self.lock();
        waiting.control += usize::from(!matches!(entry, Entry::Message(..)));
        waiting.entries.push_back(entry);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Lets messages wait, or no longer.
    pub(super) fn rest(&self, rest: Option<Rest>) {
        self.lock().rest = rest;
        self.changed.notify_one();
    }

    /// What is there, at most so many; waits up to `patience` for the first, and for the end of
    /// a rest.
    pub(super) fn take(&self, patience: Duration, most: usize) -> Vec<Entry> {
        let until = Instant::now() + patience;
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            let pause = waiting.pause(now);
            if pause.is_none() && !waiting.entries.is_empty() {
                break;
            }
            let wait = until.saturating_duration_since(now).min(pause.unwrap_or(patience));
            if wait.is_zero() {
                return Vec::new();
            }
            let (guard, _) =
                self.changed.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner);
            waiting = guard;
        }
        let count = waiting.entries.len().min(most);
        let taken: Vec<_> = waiting.entries.drain(..count).collect();
        let messages = taken.iter().filter(|entry| matches!(entry, Entry::Message(..))).count();
        waiting.control -= taken.len() - messages;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_lasts_until_its_end_or_until_something_else_than_a_message_comes() {
        let queue = Queue::default();
        let now = Instant::now();
        queue.rest(Some(Rest::Until(now + Duration::from_secs(3600))));
        assert!(queue.lock().pause(now).is_some_and(|pause| pause > LONG));
        assert!(queue.take(Duration::from_millis(1), 1).is_empty());
        queue.push(Entry::Stop);
        assert_eq!(queue.take(Duration::ZERO, 1).len(), 1);
        assert!(queue.lock().pause(now).is_some(), "then it goes on");
        assert_eq!(queue.lock().pause(now + Duration::from_secs(3600)), None);
        queue.rest(Some(Rest::Writing));
        assert!(queue.lock().pause(now).is_some());
        queue.rest(None);
        assert_eq!(queue.lock().pause(now), None);
    }
}
