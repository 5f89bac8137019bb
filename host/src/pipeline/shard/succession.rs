//! A new plan in place of the one that runs, and the state that it takes up.
//!
//! Invariant: what was due by the plan of before has acted before the new one counts.

use std::time::Instant;

use super::queue::NewPlan;
use super::watch::Turn;
use super::{Owed, Thread};
use crate::pipeline::difference::Concerned;
use crate::pipeline::migrate::Unmigrated;
use crate::pipeline::plan::Plan;
use crate::store::Succession;
use crate::telemetry::clock;

impl Thread {
    /// Goes on by the new plan, unless it cannot read the state that is there.
    pub(super) fn take_up(&mut self, new: NewPlan, start: Instant) -> Result<(), Unmigrated> {
        let NewPlan { plan, mut concerned, succession } = new;
        if self.inherit(&plan, &succession) {
            concerned = Concerned::Everybody;
        }
        self.worker.migrate(&plan)?;
        let now = self.links.values().all(|l| l.up && l.drained).then(clock::now);
        let begun = self.shadows.take_up(&plan, &self.flow);
        self.worker.followed.begin(&begun);
        let effects = self.worker.apply(plan, &concerned, now);
        self.commit(Turn::Plan { now }, effects, Owed::default(), &[], 0, start);
        tracing::debug!(
            event = "plan_taken_up",
            pipeline = %self.worker.plan().file.name,
            took_us = start.elapsed().as_micros(),
            "messages go on by the new plan"
        );
        Ok(())
    }

    /// Lets state change hands, and reads it where a stage comes in that did not run before.
    /// Whether anything did.
    fn inherit(&mut self, plan: &Plan, succession: &Succession) -> bool {
        let before = self.worker.plan().clone();
        let is_new = |stage: &str| before.rank(stage) == usize::MAX;
        let parsers = plan.parsers.iter().map(|parser| &parser.stage.name);
        let mut stages = parsers.chain(plan.detectors.iter().map(|d| &d.stage.name));
        if succession.is_empty() && !stages.any(|stage| is_new(stage)) {
            return false;
        }
        // The store writes in order: what was committed before is written before.
        let read = self.store.succeed(succession, clock::now()).and_then(|done| {
            let rows = self.store.load_keys(&plan.file.name)?;
            Ok((done, rows))
        });
        match read {
            Ok((done, rows)) => {
                tracing::info!(
                    event = "state_changed_hands",
                    pipeline = %plan.file.name,
                    restored = done.restored,
                    inherited = done.inherited,
                    "stages took their state up"
                );
                self.worker.remember(rows);
                true
            }
            // Without a store nothing is committed any more, whatever is remembered.
            Err(error) => {
                tracing::error!(
                    event = "state_not_read",
                    pipeline = %plan.file.name,
                    error = &error as &dyn std::error::Error,
                    "stages did not take their state up"
                );
                false
            }
        }
    }
}
