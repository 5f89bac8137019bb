//! Who watches the pipelines: some always, others for as long as somebody looks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::shard::{Observed, Observer};

/// Tells everybody what a pipeline did. Without a passing watcher that costs one load.
pub struct Watchers {
    permanent: Vec<Arc<dyn Observer>>,
    passing: RwLock<Vec<Arc<dyn Observer>>>,
    count: AtomicUsize,
}

/// Watches until it is dropped.
#[must_use = "it ends when it is dropped"]
pub struct Watching {
    watchers: Arc<Watchers>,
    observer: Arc<dyn Observer>,
}

impl Watchers {
    /// Those that watch for as long as Tapline runs.
    pub fn new(permanent: Vec<Arc<dyn Observer>>) -> Arc<Self> {
        Arc::new(Self { permanent, passing: RwLock::default(), count: AtomicUsize::new(0) })
    }

    /// Watches from the next batch on.
    pub fn join(self: &Arc<Self>, observer: Arc<dyn Observer>) -> Watching {
        let mut passing = self.write();
        passing.push(observer.clone());
        self.count.store(passing.len(), Ordering::Release);
        Watching { watchers: self.clone(), observer }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<dyn Observer>>> {
        self.passing.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Arc<dyn Observer>>> {
        self.passing.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut passing = self.watchers.write();
        passing.retain(|other| !Arc::ptr_eq(other, &self.observer));
        self.watchers.count.store(passing.len(), Ordering::Release);
    }
}

impl Observer for Watchers {
    fn observe(&self, observed: &Observed<'_>) {
        for observer in &self.permanent {
            observer.observe(observed);
        }
        if self.count.load(Ordering::Acquire) > 0 {
            for observer in self.read().iter() {
                observer.observe(observed);
            }
        }
    }
}
