//! State that an older version of a detector wrote, brought up to date by the newer one.
//!
//! Invariant: either all of a plan's outdated state can be read by its modules, or nothing is
//! changed and the plan is not taken up.

use std::sync::Arc;

use super::plan::{DetectStage, Plan};
use crate::module::{Instance, LogContext};
use crate::store::{KeyRow, StoredKey};
use crate::telemetry;

/// Why a plan cannot take over the state that is there.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "module `{module}` cannot read the state of key `{key}` of stage `{stage}`, written in \
     version {from} (its own is {to}): {why}"
)]
pub struct Unmigrated {
    pub stage: Arc<str>,
    pub module: String,
    pub key: Arc<str>,
    pub from: u32,
    pub to: u32,
    pub why: String,
}

/// Whether a detector has to bring this row's state up to date before it steps.
pub(super) fn is_outdated(detector: &DetectStage, row: &KeyRow) -> bool {
    row.state.is_some() && row.state_version != detector.stage.module.state_version()
}

/// The rows among `rows` that are outdated, as the plan's modules write them now.
///
/// # Errors
/// The first state that a module does not take.
pub fn migrated(plan: &Plan, rows: Vec<StoredKey>) -> Result<Vec<StoredKey>, Unmigrated> {
    let mut done = Vec::new();
    for detector in &plan.detectors {
        let stage = &detector.stage;
        let (module, to) = (&stage.module, stage.module.state_version());
        let mut instance: Option<Instance> = None;
        for (of, key, row) in &rows {
            if *of != stage.name || !is_outdated(detector, row) {
                continue;
            }
            let failed = |why: String| Unmigrated {
                stage: stage.name.clone(),
                module: module.name().to_owned(),
                key: key.clone(),
                from: row.state_version,
                to,
                why,
            };
            let call = |error: crate::module::CallError| failed(telemetry::words(&error));
            let instance = match &mut instance {
                Some(instance) => instance,
                none => {
                    let log = LogContext::new(&plan.file.name, &stage.name);
                    none.insert(module.instantiate(stage.limits, log).map_err(call)?)
                }
            };
            let state = row.state.as_deref().unwrap_or_default();
            let state = instance.migrate(row.state_version, state).map_err(call)?;
            let state = Some(state.map_err(failed)?);
            let row = KeyRow { state, state_version: to, ..row.clone() };
            done.push((of.clone(), key.clone(), row));
        }
    }
    Ok(done)
}
