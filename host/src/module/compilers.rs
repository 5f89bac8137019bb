//! How many modules are being compiled at a time.
//!
//! Compiling cannot be interrupted: a thread that takes too long is given up and goes on
//! unseen to its end. Invariant: there is a fixed number of them, given up or not, so a
//! module that is offered again and again cannot take the machine.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Compilers that may run at a time.
pub(super) const MOST: usize = 4;

/// Counts the compilers at work.
#[derive(Clone, Debug, Default)]
pub(super) struct Compilers(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    running: Mutex<usize>,
    ended: Condvar,
}

/// One compiler at work; to be held until it has ended.
#[derive(Debug)]
pub(super) struct AtWork(Arc<Count>);

impl Compilers {
    /// One more, as soon as there is room; `None` if there is none within `limit`.
    pub(super) fn begin(&self, limit: Duration) -> Option<AtWork> {
        let count = &self.0;
        let waited =
            count.ended.wait_timeout_while(count.lock(), limit, |running| *running >= MOST);
        let (mut running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *running >= MOST {
            return None;
        }
        *running += 1;
        Some(AtWork(Arc::clone(count)))
    }
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_fixed_number_until_one_of_them_ends() {
        let compilers = Compilers::default();
        let now = Duration::ZERO;
        let mut at_work: Vec<AtWork> = (0..MOST).map(|_| compilers.begin(now).unwrap()).collect();
        assert!(compilers.begin(now).is_none());
        let waiting = compilers.clone();
        let waiting = std::thread::spawn(move || waiting.begin(Duration::from_secs(600)).is_some());
        at_work.pop();
        assert!(waiting.join().unwrap());
        assert!(compilers.begin(now).is_some());
    }
}
