//! A module's own samples: run before the module is taken up.
//!
//! What samples look like, and what counts as a difference, is `tapline_kit::samples`; here
//! they meet the module. [`Module::check_samples`] is the gate that every pipeline's modules
//! pass; [`run`] tells of each sample, for `tapline test` and `tapline inspect`. Invariant: a
//! module's samples take a bounded time, off the threads that messages pass through, and what
//! they found is kept by the module's hash.

mod given;
mod ran;
mod run;
mod shown;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tapline_kit::samples::{self, Sample};
use tracing::dispatcher::{Dispatch, with_default};

pub use ran::{Ran, Verdict};
pub use run::{run, run_again};

use super::error::CallError;
use super::host::Limits;
use super::loaded::Module;

/// Limits under which a module's samples were run in this process, and what came of it.
const REMEMBERED: usize = 8;

/// How much longer than usual a call may take, as for an input that timed out alone.
const PATIENCE: u32 = 10;

/// What a module's file carries.
pub(super) struct Carried {
    /// As they travel, or why they cannot be read.
    text: Result<Option<String>, String>,
    known: Mutex<Vec<(Limits, Result<(), Failure>)>>,
}

/// Why a module does not pass its own samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
}

impl Failure {
    /// What to do about it.
    pub const REMEDY: &'static str = "mend the module or its sample and build it anew; `tapline test \
         FILE` shows everything, and `[modules] samples = false` takes modules as they are";
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Carried {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let text = samples::read(bytes).map_err(|error| error.to_string());
        Self { text, known: Mutex::default() }
    }
}

impl Module {
    /// The samples that its file carries.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn samples(&self) -> Result<Vec<Sample>, String> {
        match &self.carried.text {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(text)) => samples::parse(text).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        }
    }

    /// Runs its own samples under these limits, unless that was done before.
    ///
    /// # Errors
    /// The first sample that gives something else than it says, and what.
    pub fn check_samples(self: &Arc<Self>, limits: Limits) -> Result<(), Failure> {
        if matches!(self.carried.text, Ok(None)) {
            return Ok(());
        }
        // Held while they run: whoever asks meanwhile wants the same answer.
        let mut known = self.carried.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, result)) = known.iter().find(|(other, _)| *other == limits) {
            return result.clone();
        }
        let passed = self.cache.as_ref().is_some_and(|cache| cache.has_passed(&self.hash, &limits));
        let result = if passed { Ok(()) } else { self.judged(limits) };
        if let (false, Ok(()), Some(cache)) = (passed, &result, &self.cache) {
            cache.keep_passed(&self.hash, &limits);
        }
        if known.len() == REMEMBERED {
            drop(known.swap_remove(0));
        }
        known.push((limits, result.clone()));
        result
    }

    fn judged(self: &Arc<Self>, limits: Limits) -> Result<(), Failure> {
        let samples = self
            .samples()
            .map_err(|why| Failure { what: format!("its samples cannot be read: {why}") })?;
        // What a module says of devices that nobody has would only mislead an operator.
        let ran = with_default(&Dispatch::none(), || run(self, samples.iter(), limits));
        let failed: Vec<_> = ran.iter().filter(|ran| !ran.verdict.is_passed()).collect();
        let Some(first) = failed.first() else { return Ok(()) };
        let mut what = format!("its own sample {first}");
        if failed.len() > 1 {
            what.push_str(&format!("; {} of {} samples fail", failed.len(), ran.len()));
        }
        Err(Failure { what })
    }
}

/// With the patience that a pipeline has in the end, too: a busy machine is no fault of the
/// module's.
fn patient(limits: Limits) -> Limits {
    Limits { time: limits.time.saturating_mul(PATIENCE), ..limits }
}

/// The words for a failed call.
fn failed(error: &CallError) -> String {
    crate::telemetry::words(error)
}
