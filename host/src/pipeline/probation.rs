//! Modules that fail again and again: counts failures, tells of those that are too many, and
//! knows with which version a stage goes on.
//!
//! A failure is an input that a module could not bear in a fresh instance: its author's fault,
//! no rejection. Who decides what follows is elsewhere (`reload`), since the files of a site
//! have to agree. Invariant: a stage waits for that decision only where there may be a version
//! to go back to, and never for longer than [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::module::{Hash, Module};

/// So many failures within [`WITHIN`] are too many.
pub const FAILURES: usize = 10;
const WITHIN: Duration = Duration::from_secs(60);
/// How long a stage waits for a decision: each message that it fails on meanwhile is lost to
/// the dead letters.
const PATIENCE: Duration = Duration::from_secs(5);

/// A module that fails too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    pub module: Hash,
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    /// What went wrong last, in the words of the module's author where there are any.
    pub what: String,
}

/// Counts for all pipelines.
#[derive(Default)]
pub struct Probation {
    records: Mutex<BTreeMap<Hash, Record>>,
    told: Mutex<VecDeque<Failing>>,
    ripe: Notify,
    decided: Condvar,
}

#[derive(Default)]
struct Record {
    failures: VecDeque<Instant>,
    /// There may be a version to go back to.
    on_trial: bool,
    is_told: bool,
    is_decided: bool,
    instead: Option<Arc<Module>>,
}

impl Probation {
    /// A module failed on an input. With what its stage goes on, if that is another version.
    pub fn failed(
        &self,
        module: Hash,
        pipeline: &Arc<str>,
        stage: &Arc<str>,
        what: &str,
    ) -> Option<Arc<Module>> {
        let now = Instant::now();
        let mut records = self.lock();
        let record = records.entry(module).or_default();
        record.failures.push_back(now);
        while record.failures.len() > FAILURES {
            record.failures.pop_front();
        }
        let first = record.failures.front().map_or(Duration::ZERO, |first| now - *first);
        if record.failures.len() == FAILURES && first <= WITHIN && !record.is_told {
            record.is_told = true;
            let failing = Failing {
                module,
                pipeline: pipeline.clone(),
                stage: stage.clone(),
                what: what.to_owned(),
            };
            self.told.lock().unwrap_or_else(PoisonError::into_inner).push_back(failing);
            self.ripe.notify_one();
            if record.on_trial {
                let undecided = |records: &mut BTreeMap<Hash, Record>| {
                    records.get(&module).is_some_and(|record| !record.is_decided)
                };
                let waited = self.decided.wait_timeout_while(records, PATIENCE, undecided);
                records = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        records.get(&module)?.instead.clone()
    }

    /// Waits for the next module that fails too often; each is told once.
    pub async fn next(&self) -> Failing {
        loop {
            let next = self.told.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(failing) => return failing,
                None => self.ripe.notified().await,
            }
        }
    }

    /// What stages of a module go on with; `None`: as before.
    pub fn decide(&self, module: Hash, instead: Option<Arc<Module>>) {
        if let Some(record) = self.lock().get_mut(&module) {
            record.is_decided = true;
            record.instead = instead;
        }
        self.decided.notify_all();
    }

    /// From now on these modules run; there may be a version to go back to from those on trial.
    pub fn watch(&self, modules: &BTreeSet<Hash>, on_trial: &BTreeSet<Hash>) {
        let mut records = self.lock();
        records.retain(|module, _| modules.contains(module));
        for module in modules {
            let trial = on_trial.contains(module);
            if trial || records.contains_key(module) {
                records.entry(*module).or_default().on_trial = trial;
            }
        }
    }

    /// How long ago a module failed last.
    pub fn last(&self, module: &Hash) -> Option<Duration> {
        Some(self.lock().get(module)?.failures.back()?.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hash, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Probation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probation").field("modules", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(probation: &Probation, module: Hash, times: usize) {
        for n in 0..times {
            let what = format!("broke {n}");
            assert!(
                probation.failed(module, &"hall".into(), &"parse".into(), &what).is_none(),
                "there is nothing to go on with"
            );
        }
    }

    #[tokio::test]
    async fn ten_failures_are_told_once_with_the_last_words() {
        let probation = Probation::default();
        let (one, other) = (Hash::of(b"one"), Hash::of(b"other"));
        fail(&probation, one, FAILURES - 1);
        fail(&probation, other, FAILURES - 1);
        assert!(probation.told.lock().unwrap().is_empty());
        fail(&probation, one, FAILURES + 5);
        let told = probation.next().await;
        assert_eq!((told.module, &*told.what, &*told.stage), (one, "broke 0", "parse"));
        assert!(probation.told.lock().unwrap().is_empty());
        assert!(probation.last(&one).is_some() && probation.last(&Hash::of(b"third")).is_none());
    }

    #[test]
    fn a_module_that_is_gone_begins_anew() {
        let probation = Probation::default();
        let module = Hash::of(b"one");
        fail(&probation, module, FAILURES - 1);
        probation.watch(&BTreeSet::new(), &BTreeSet::new());
        fail(&probation, module, FAILURES - 1);
        assert!(probation.told.lock().unwrap().is_empty());
    }

    #[test]
    fn a_stage_waits_for_the_decision_on_a_module_that_is_on_trial() {
        let probation = Arc::new(Probation::default());
        let module = Hash::of(b"one");
        probation.watch(&[module].into(), &[module].into());
        let deciding = probation.clone();
        let decider = std::thread::spawn(move || {
            while deciding.told.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            deciding.decide(module, None);
        });
        fail(&probation, module, FAILURES);
        decider.join().unwrap();
        assert!(probation.lock()[&module].is_decided);
    }
}
