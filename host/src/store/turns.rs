//! Whose turn it is at the writer.
//!
//! Work is written in the order in which it was handed in, with one exception: while a large
//! commit comes to the disk in parts (see `large`), what other pipelines commit goes between
//! them. Invariant: what belongs to one pipeline stays in order; what belongs to none (a look at
//! everything, a change of owners, the end) stays behind all that was handed in before it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::error::StoreError;
use super::large::{Body, Large, Waste};
use super::writer::Work;

/// Commits that share a transaction at most. More would save little and make the first wait.
const GROUP: usize = 64;

/// What waits for the writer.
pub(super) struct Turns {
    work: mpsc::Receiver<Work>,
    large: Option<Large>,
    /// What may not go before the large commit. When this is full nothing more is taken in, and
    /// all of the large one is written without a break.
    behind: VecDeque<Work>,
    waste: Waste,
    /// The last number that a body has.
    last_body: i64,
    /// Others have had their turn.
    part_is_due: bool,
}

impl Turns {
    pub(super) fn new(work: mpsc::Receiver<Work>, (waste, last_body): (Waste, i64)) -> Self {
        Self { work, large: None, behind: VecDeque::new(), waste, last_body, part_is_due: false }
    }

    /// What shares the next transaction; waits for it. `None`: nothing will come any more.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Work>>, StoreError> {
        loop {
            if std::mem::take(&mut self.part_is_due) {
                if let Some(body) = self.waste.first() {
                    return Ok(Some(vec![Work::Sweep(body)]));
                }
                if let Some(large) = &mut self.large {
                    let parts = large.parts(&mut self.last_body)?;
                    if !parts.is_empty() {
                        return Ok(Some(vec![Work::Parts(parts)]));
                    }
                    return Ok(self.large.take().map(|large| vec![large.rest()]));
                }
            }
            self.part_is_due = true;
            let group = self.gather();
            if !group.is_empty() {
                return Ok(Some(group));
            }
            if self.large.is_none() && self.waste.first().is_none() {
                match self.work.blocking_recv() {
                    Some(work) => self.behind.push_back(work),
                    None => return Ok(None),
                }
                self.part_is_due = false;
            }
        }
    }

    /// Bodies whose rows are gone.
    pub(super) fn add_waste(&mut self, bodies: Vec<Body>) {
        self.waste.add(bodies);
    }

    /// Nothing of a body is left.
    pub(super) fn is_swept(&mut self, body: i64) {
        self.waste.is_gone(body);
    }

    /// What is there and may go now.
    fn gather(&mut self) -> Vec<Work> {
        let mut group = Vec::new();
        while group.len() < GROUP {
            let work = match self.behind.pop_front() {
                Some(work) if self.large.is_none() => work,
                kept => {
                    if let Some(work) = kept {
                        self.behind.push_front(work);
                    }
                    match self.receive() {
                        Some(work) if self.stays_behind(&work) => {
                            self.behind.push_back(work);
                            continue;
                        }
                        Some(work) => work,
                        None => break,
                    }
                }
            };
            match work {
                Work::Commit(commit, _, done) if commit.is_large() => {
                    self.large = Some(Large::new(commit, done));
                }
                work => group.push(work),
            }
        }
        group
    }

    fn receive(&mut self) -> Option<Work> {
        if self.behind.len() >= GROUP {
            return None;
        }
        // Whether anything can still come is asked when nothing is left to do.
        self.work.try_recv().ok()
    }

    fn stays_behind(&self, work: &Work) -> bool {
        let Some(large) = &self.large else { return false };
        match work {
            Work::Look => false,
            Work::Commit(commit, ..) if commit.is_large() => true,
            work => match pipeline(work) {
                None => true,
                mine => {
                    large.pipeline() == mine
                        || self.behind.iter().any(|other| pipeline(other) == mine)
                }
            },
        }
    }
}

/// Whose work it is.
fn pipeline(work: &Work) -> Option<&Arc<str>> {
    match work {
        Work::Commit(commit, ..) => commit.pipeline.as_ref(),
        Work::Call(..) | Work::Parts(_) | Work::Sweep(_) | Work::Look | Work::End => None,
    }
}
