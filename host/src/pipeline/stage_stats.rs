//! What a stage's module does, in numbers: calls, their time, what went wrong.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::message::Timestamp;
use crate::module::CallError;
use crate::telemetry::metrics::{Counter, Histogram};

/// The numbers of one stage; they outlive its instances and a change of its module.
#[derive(Debug)]
pub struct StageStats {
    /// One observation a call.
    pub calls: Histogram,
    pub inputs: Counter,
    /// Rounds in which a detector worked batches off.
    pub rounds: Counter,
    /// Instances made.
    pub instances: Counter,
    /// Instances replaced because their memory had grown.
    pub recycled: Counter,
    /// Inputs refused by the module, or that it could not bear.
    pub rejected: Counter,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    last_error: Mutex<Option<LastError>>,
}

/// What went wrong last at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub at: Timestamp,
    pub what: String,
}

impl Default for StageStats {
    fn default() -> Self {
        Self {
            calls: Histogram::of_work(),
            inputs: Counter::default(),
            rounds: Counter::default(),
            instances: Counter::default(),
            recycled: Counter::default(),
            rejected: Counter::default(),
            failures: Mutex::default(),
            last_error: Mutex::default(),
        }
    }
}

impl StageStats {
    /// Makes a call on `inputs` inputs, and counts it.
    pub fn call<T>(
        &self,
        inputs: usize,
        call: impl FnOnce() -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let begun = Instant::now();
        let result = call();
        self.called(inputs, begun.elapsed());
        if let Err(error) = &result {
            self.failed(error.code());
        }
        result
    }

    fn called(&self, inputs: usize, took: Duration) {
        self.calls.took(took);
        self.inputs.add(inputs as u64);
    }

    /// A call cost the instance; `code` is that of its [`CallError`].
    pub fn failed(&self, code: &'static str) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Calls that cost the instance, by code.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An input was refused.
    pub fn rejected(&self, at: Timestamp, why: &str) {
        self.rejected.inc();
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(LastError { at, what: why.to_owned() });
    }

    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_counts_as_a_call_and_by_its_code() {
        let stats = StageStats::default();
        let trap = || Err::<(), _>(CallError::Trap { message: "broke".into() });
        assert!(stats.call(3, trap).is_err());
        assert!(stats.call(1, || Ok(())).is_ok());
        assert_eq!((stats.calls.snapshot().count(), stats.inputs.get()), (2, 4));
        assert_eq!(stats.failures(), BTreeMap::from([("module-trap", 1)]));
    }
}
