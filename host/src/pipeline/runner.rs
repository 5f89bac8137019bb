//! Runs a module's instance and keeps one bad input from costing the others.
//!
//! Results line up with inputs one to one. A trap, a time-out or a wrong length costs the
//! instance: a fresh one tries the halves of the batch until the one bad input is found.
//!
//! Invariant: an input is refused only for what it does in a fresh instance. So neither what
//! earlier calls left in an instance nor when it is replaced ever changes a result.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::flow::Flow;
use super::plan::ModuleStage;
use super::probation::Probation;
use super::settings::SettingsSet;
use super::stage_stats::StageStats;
use crate::message::Rejection;
use crate::module::{CallError, Instance, Limits, LogContext, Module, SettingsId};

/// Distinct sets of settings that one instance holds before it is replaced.
const MAX_SETS: usize = 100_000;
/// An input that timed out alone is tried once more with this many times the deadline:
/// the machine may have been busy.
const SECOND_TRY: u32 = 10;

/// One stage's instance, replaced when it dies.
#[derive(Debug)]
pub(super) struct Runner {
    module: Arc<Module>,
    limits: Limits,
    log: LogContext,
    instance: Option<Instance>,
    /// The instance answered a call before.
    has_served: bool,
    sets: HashMap<[u8; 16], SettingsId>,
    pub(super) stats: Arc<StageStats>,
    pipeline: Arc<str>,
    stage: Arc<str>,
    probation: Arc<Probation>,
    /// How many times the deadline an input gets that timed out alone.
    patience: u32,
    /// Once set, no call is made any more.
    ends: Option<Arc<AtomicBool>>,
}

impl Runner {
    pub(super) fn new(pipeline: &Arc<str>, stage: &ModuleStage, flow: &Flow) -> Self {
        Self {
            module: stage.module.clone(),
            limits: stage.limits,
            log: LogContext::new(pipeline, &stage.name),
            instance: None,
            has_served: false,
            sets: HashMap::new(),
            stats: flow.stage(&stage.name),
            pipeline: pipeline.clone(),
            stage: stage.name.clone(),
            probation: flow.probation().clone(),
            patience: SECOND_TRY,
            ends: None,
        }
    }

    /// One that gives nobody more time than usual, and makes no call once `ends` is set.
    pub(super) fn hurried(self, ends: Arc<AtomicBool>) -> Self {
        Self { patience: 1, ends: Some(ends), ..self }
    }

    /// Brings state of another version up to date, or says why that cannot be.
    pub(super) fn migrate(&mut self, from: u32, state: &[u8]) -> Result<Vec<u8>, String> {
        let migrated = self.instance().and_then(|instance| instance.migrate(from, state));
        migrated.unwrap_or_else(|error| {
            self.drop_instance();
            Err(error.to_string())
        })
    }

    /// Calls the module on `inputs`, each with its settings. An input that the module cannot
    /// bear is a rejection whose code says how it failed (`trap`, `timeout`, …).
    pub(super) fn run<I, O>(
        &mut self,
        inputs: &[(Arc<SettingsSet>, I)],
        call: impl Fn(&mut Instance, &[(SettingsId, &I)]) -> Result<Vec<O>, CallError> + Copy,
    ) -> Vec<Result<O, Rejection>> {
        let mut results = Vec::with_capacity(inputs.len());
        if !inputs.is_empty() {
            self.part(inputs, call, &mut results);
        }
        results
    }

    /// Whether its instance answered a call before.
    pub(super) fn has_served(&self) -> bool {
        self.has_served
    }

    /// One call on all of them, and nothing more: what a failure means is the caller's to
    /// decide. The instance is gone after one, so the next call has a fresh one.
    pub(super) fn once<I, O>(
        &mut self,
        inputs: &[(Arc<SettingsSet>, I)],
        call: impl Fn(&mut Instance, &[(SettingsId, &I)]) -> Result<Vec<O>, CallError>,
    ) -> Result<Vec<O>, Rejection> {
        self.attempt(inputs, call).map_err(|error| {
            self.drop_instance();
            error.into_rejection()
        })
    }

    fn part<I, O>(
        &mut self,
        inputs: &[(Arc<SettingsSet>, I)],
        call: impl Fn(&mut Instance, &[(SettingsId, &I)]) -> Result<Vec<O>, CallError> + Copy,
        results: &mut Vec<Result<O, Rejection>>,
    ) {
        let had_served = self.has_served;
        let error = match self.attempt(inputs, call) {
            Ok(outputs) => {
                results.extend(outputs.into_iter().map(Ok));
                return;
            }
            Err(error) => error,
        };
        self.drop_instance();
        if let Failure::Settings(rejection) = &error
            && inputs.iter().all(|(set, _)| set.hash == inputs[0].0.hash)
        {
            results.extend(inputs.iter().map(|_| Err(rejection.clone())));
            return;
        }
        if inputs.len() > 1 {
            let (left, right) = inputs.split_at(inputs.len() / 2);
            self.part(left, call, results);
            self.part(right, call, results);
            return;
        }
        let error = match self.second_try(error, had_served, inputs, call) {
            Ok(outputs) => {
                results.extend(outputs.into_iter().map(Ok));
                return;
            }
            Err(error) => error,
        };
        self.judge(&error);
        results.push(Err(error.into_rejection()));
    }

    /// Counts a failure that is the module's own. One that fails too often right after it came
    /// makes room for the version before: this input is lost to it, the next is not.
    fn judge(&mut self, error: &Failure) {
        let Failure::Call(error) = error else { return };
        if error.is_callers() {
            return;
        }
        let (hash, what) = (self.module.hash(), error.to_string());
        if let Some(instead) = self.probation.failed(hash, &self.pipeline, &self.stage, &what) {
            self.module = instead;
            self.drop_instance();
        }
    }

    /// One input once more, in a fresh instance: where it took too long, with more time, and
    /// where the instance had served others, since those may have brought it down.
    fn second_try<I, O>(
        &mut self,
        error: Failure,
        had_served: bool,
        inputs: &[(Arc<SettingsSet>, I)],
        call: impl Fn(&mut Instance, &[(SettingsId, &I)]) -> Result<Vec<O>, CallError> + Copy,
    ) -> Result<Vec<O>, Failure> {
        let usual = self.limits.time;
        match error {
            Failure::Call(CallError::Timeout { .. }) if self.patience > 1 => {
                self.limits.time = usual.saturating_mul(self.patience).min(Duration::from_secs(10));
            }
            Failure::Call(_) if had_served => {}
            error => return Err(error),
        }
        let second = self.attempt(inputs, call);
        if self.limits.time != usual || second.is_err() {
            self.drop_instance();
        }
        self.limits.time = usual;
        second
    }

    fn attempt<I, O>(
        &mut self,
        inputs: &[(Arc<SettingsSet>, I)],
        call: impl Fn(&mut Instance, &[(SettingsId, &I)]) -> Result<Vec<O>, CallError>,
    ) -> Result<Vec<O>, Failure> {
        if self.ends.as_ref().is_some_and(|ends| ends.load(Ordering::Relaxed)) {
            return Err(CallError::Dead.into());
        }
        let mut ids = Vec::with_capacity(inputs.len());
        for (set, input) in inputs {
            ids.push((self.settings(set)?, input));
        }
        let stats = self.stats.clone();
        let instance = self.instance()?;
        let outputs = stats.call(inputs.len(), || call(instance, &ids))?;
        if outputs.len() != inputs.len() {
            return Err(
                CallError::WrongLength { expected: inputs.len(), got: outputs.len() }.into()
            );
        }
        let is_bloated = instance.is_bloated();
        self.has_served = true;
        if is_bloated {
            self.stats.recycled.inc();
            self.drop_instance();
        }
        Ok(outputs)
    }

    /// The number of a set in the instance, configured at first use.
    fn settings(&mut self, set: &SettingsSet) -> Result<SettingsId, Failure> {
        if let Some(&id) = self.sets.get(&set.hash) {
            return Ok(id);
        }
        if self.sets.len() >= MAX_SETS {
            self.drop_instance();
        }
        let id = SettingsId(u32::try_from(self.sets.len()).expect("at most MAX_SETS"));
        self.instance()?.configure(id, &set.json)?.map_err(|why| {
            Failure::Settings(Rejection::new("settings", format!("settings are refused: {why}")))
        })?;
        self.sets.insert(set.hash, id);
        Ok(id)
    }

    fn instance(&mut self) -> Result<&mut Instance, CallError> {
        if self.instance.is_none() {
            self.sets.clear();
            self.instance = Some(self.module.instantiate(self.limits, self.log.clone())?);
            self.stats.instances.inc();
        }
        Ok(self.instance.as_mut().expect("made just above"))
    }

    fn drop_instance(&mut self) {
        self.instance = None;
        self.has_served = false;
        self.sets.clear();
    }
}

enum Failure {
    Call(CallError),
    Settings(Rejection),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Failure {
    fn into_rejection(self) -> Rejection {
        match self {
            Self::Call(error) => Rejection::new(error.code(), error.to_string()),
            Self::Settings(rejection) => rejection,
        }
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
