//! A pipeline's share of the store, which has one writer for all.
//!
//! Outputs may be megabytes each, and what a commit of many takes to write, the next pipeline's
//! commit waits. So a large commit is alone of its pipeline in the store, a pause follows it
//! that grows with the time that it took, and batches become smaller while commits are large:
//! how batches are cut never changes a result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BATCH;
use super::queue::Queue;
use crate::store::LARGE;

/// A pause is so many times as long as the commit took: a fifth of the writer's time is left to
/// those who write much.
const PAUSES: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Until when a pipeline takes no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// A large commit is on its way to the disk.
    Writing,
    Until(Instant),
}

/// How many messages the next batch has at most.
pub(super) struct Share {
    batch: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self { batch: BATCH }
    }
}

impl Share {
    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    /// Learns from a batch of `messages` with so many bytes of outputs. Whether its commit is
    /// large.
    pub(super) fn learn(&mut self, messages: usize, bytes: usize) -> bool {
        let is_large = bytes >= LARGE;
        if is_large {
            self.batch = (messages.max(1) * LARGE / bytes).max(1);
        } else if messages >= self.batch {
            self.batch = (self.batch * 2).min(BATCH);
        }
        is_large
    }
}

/// Held by a large commit: ends the wait for it, also where the store closes before.
pub(super) struct Writing {
    queue: Arc<Queue>,
    begun: Instant,
}

impl Writing {
    pub(super) fn begin(queue: &Arc<Queue>) -> Self {
        queue.rest(Some(Rest::Writing));
        Self { queue: queue.clone(), begun: Instant::now() }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let pause = (self.begun.elapsed() * PAUSES).min(LONGEST_PAUSE);
        self.queue.rest(Some(Rest::Until(Instant::now() + pause)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_while_commits_are_large_and_grow_again() {
        let mut share = Share::default();
        assert!(!share.learn(BATCH, LARGE - 1));
        assert_eq!(share.batch(), BATCH);
        assert!(share.learn(BATCH, 4 * LARGE));
        assert_eq!(share.batch(), BATCH / 4);
        assert!(share.learn(1, 10 * LARGE));
        assert_eq!(share.batch(), 1);
        assert!(!share.learn(1, 0));
        assert!(!share.learn(2, 0));
        assert_eq!(share.batch(), 4);
        assert!(!share.learn(1, 0), "it had no more to do");
        assert_eq!(share.batch(), 4);
    }
}
