//! How many modules are being compiled at a time.
//!
//! Compiling cannot be interrupted: a thread that takes too long is given up and goes on
//! unseen to its end. Invariant: there is a fixed number of them, given up or not, so a
//! module that is offered again and again cannot take the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Compilers that may run at a time.
pub(super) const MOST: usize = 4;

/// Counts the compilers at work.
#[derive(Clone, Debug, Default)]
pub(super) struct Compilers(Arc<AtomicUsize>);

/// One compiler at work; to be held until it has ended.
#[derive(Debug)]
pub(super) struct AtWork(Arc<AtomicUsize>);

impl Compilers {
    /// One more, if there is room.
    pub(super) fn begin(&self) -> Option<AtWork> {
        let one_more = |running| (running < MOST).then_some(running + 1);
        self.0.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        Some(AtWork(Arc::clone(&self.0)))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_fixed_number_until_one_of_them_ends() {
        let compilers = Compilers::default();
        let mut at_work: Vec<AtWork> = (0..MOST).map(|_| compilers.begin().unwrap()).collect();
        assert!(compilers.clone().begin().is_none());
        at_work.pop();
        assert!(compilers.begin().is_some());
    }
}
