//! Whether the detectors that are to run can read the state that is there, tried beforehand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::prepare::Prepared;
use crate::config::Problem;
use crate::pipeline::{Plan, Shard, migrated};
use crate::store::{Store, StoredKey};
use crate::telemetry;

/// Takes out of `prepared` the pipelines that could not take over their state, and says why.
pub(super) fn rehearse(
    prepared: &mut Prepared,
    shards: &BTreeMap<Arc<str>, Arc<Shard>>,
    store: &Store,
) {
    let mut refused = Vec::new();
    for plan in &prepared.plans {
        let shard = shards.get(&plan.file.name).filter(|shard| shard.is_alive());
        let rows = match shard {
            Some(shard) if !reads_otherwise(&shard.plan(), plan) => continue,
            Some(shard) => outdated(shard, plan),
            // What cannot be read now is tried again, and told, when the pipeline starts.
            None => store.load_keys(&plan.file.name).unwrap_or_default(),
        };
        if let Err(error) = migrated(plan, rows) {
            let stages = plan.file.detect.iter().map(|detect| &detect.stage);
            let place = stages.into_iter().find(|s| s.name == error.stage);
            let (what, remedy) = (telemetry::words(&error), REMEDY);
            let problem = match place {
                Some(stage) => Problem::at(stage.module_place.clone(), what, remedy),
                None => Problem::of(&*plan.file.file, what, remedy),
            };
            refused.push((plan.clone(), problem));
        }
    }
    for (plan, problem) in refused {
        prepared.plans.retain(|other| !Arc::ptr_eq(other, &plan));
        prepared.broken.insert(plan.file.file.to_string());
        prepared.problems.push(problem);
    }
}

const REMEDY: &str = "teach its `migrate` that version, or put the module before back";

/// Whether a detector writes another version of its state than the one that runs.
fn reads_otherwise(before: &Plan, next: &Plan) -> bool {
    next.detectors.iter().any(|detector| {
        let old = before.detectors.iter().find(|old| old.stage.name == detector.stage.name);
        old.is_none_or(|old| {
            old.stage.module.state_version() != detector.stage.module.state_version()
        })
    })
}

fn outdated(shard: &Shard, plan: &Arc<Plan>) -> Vec<StoredKey> {
    let (give, take) = sync_channel(1);
    let plan = plan.clone();
    shard.visit(move |worker| {
        let _nobody_waits = give.send(worker.outdated(&plan));
    });
    // A pipeline that ends meanwhile has nothing to take over.
    take.recv().unwrap_or_default()
}
