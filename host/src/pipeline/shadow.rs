//! Another version of a stage's module beside the live one: it gets the same inputs, and what it
//! makes of them is compared and counted, never delivered.
//!
//! A detector's shadow ([`stepping`]) has a state of its own, which begins with the live one
//! ([`Followed`]).
//!
//! The pipeline's thread copies inputs and outputs of a stage that has a shadow, and hands them
//! over once a batch is decided ([`Shadows::offer`]). Each shadow works on a thread of its own
//! ([`lane`]), in its own instance. Neighbours: `worker` collects, `shard` hands over, `reload`
//! shows and promotes. Invariant: nothing here reaches an effect, a count of the pipeline or an
//! acknowledgement; what a shadow has no room or time for is left out, and counted.

mod compare;
mod lane;
mod pairs;
mod stepping;
mod tally;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::flow::Flow;
use super::item::Routed;
use super::plan::Plan;
use super::settings::SettingsSet;
use crate::message::{DeviceId, Item, Message, Rejection, Timestamp};
use lane::{Handed, Lane};
use stepping::Tick;
pub use tally::{Afresh, Difference, Outcome, ShadowCounts, ShadowTally};
pub(super) use told::{Followed, Stepped};

/// One input of a stage with a shadow, and what the live version made of it.
#[derive(Debug)]
pub(super) struct Shadowed {
    pub(super) stage: Arc<str>,
    pub(super) message: Arc<Message>,
    /// As the module was told.
    pub(super) device: Option<DeviceId>,
    /// For people: the same, or the device that its topic names.
    pub(super) whose: Option<DeviceId>,
    pub(super) settings: Arc<SettingsSet>,
    pub(super) live: Result<Vec<Item>, Rejection>,
}

/// What a stage is given: settings, and the message with its device.
type Given<'a> = (Arc<SettingsSet>, (&'a Message, Option<&'a DeviceId>));

impl Shadowed {
    pub(super) fn new(
        stage: &Arc<str>,
        routed: &Routed,
        (settings, (_, device)): &Given<'_>,
        live: Result<Vec<Item>, Rejection>,
    ) -> Self {
        Self {
            stage: stage.clone(),
            message: routed.message.clone(),
            device: device.cloned(),
            whose: device.cloned().or_else(|| routed.captured_device()),
            settings: settings.clone(),
            live,
        }
    }
}

/// The shadows of one pipeline.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Those that are over, and may still end their last call.
    ended: Vec<Lane>,
}

impl Shadows {
    /// Runs the shadows of this plan. One that is the same as before goes on; the stages of the
    /// others are given back.
    pub(super) fn take_up(&mut self, plan: &Plan, flow: &Flow) -> Vec<Arc<str>> {
        let mut begun = Vec::new();
        self.ended.retain(|lane| !lane.has_ended());
        let mut before = std::mem::take(&mut self.lanes);
        for (stage, shadow) in plan.shadows() {
            let lane = match before.remove(&stage.name) {
                Some(lane) if lane.runs(shadow) => lane,
                other => {
                    self.end(other);
                    begun.push(stage.name.clone());
                    let tally = flow.shadow(&stage.name, shadow);
                    Lane::start(&plan.file.name, &stage.name, shadow, tally)
                }
            };
            self.lanes.insert(stage.name.clone(), lane);
        }
        for lane in before.into_values() {
            self.end(Some(lane));
        }
        begun
    }

    /// Does not wait for a call under way: that would hold up the pipeline.
    fn end(&mut self, lane: Option<Lane>) {
        if let Some(mut lane) = lane {
            lane.end();
            self.ended.push(lane);
        }
    }

    /// Hands over what is to be compared. Returns at once.
    pub(super) fn offer(&self, shadowed: Vec<Shadowed>) {
        let mut by_stage: BTreeMap<Arc<str>, Vec<Shadowed>> = BTreeMap::new();
        for one in shadowed {
            by_stage.entry(one.stage.clone()).or_default().push(one);
        }
        for (stage, inputs) in by_stage {
            if let Some(lane) = self.lanes.get(&stage) {
                lane.offer(Handed::Inputs(inputs));
            }
        }
    }

    /// The same of detectors' steps. Stages and keys are given back that a shadow has no room
    /// for: its state of these does not go along.
    pub(super) fn offer_steps(&self, steps: Vec<Stepped>) -> Vec<(Arc<str>, Arc<str>)> {
        let mut by_stage: BTreeMap<Arc<str>, Vec<Stepped>> = BTreeMap::new();
        for step in steps {
            by_stage.entry(step.stage.clone()).or_default().push(step);
        }
        let mut lost = Vec::new();
        for (stage, steps) in by_stage {
            let Some(lane) = self.lanes.get(&stage) else { continue };
            if let Some(Handed::Steps(steps)) = lane.offer(Handed::Steps(steps)) {
                lost.extend(steps.into_iter().map(|step| (step.stage, step.key)));
            }
        }
        lost
    }

    /// Whether time alone would make a shadow do something.
    pub(super) fn want_the_clock(&self, now: Timestamp) -> bool {
        self.lanes.values().any(|lane| lane.wants_the_clock(now))
    }

    /// Tells those that want to know what time it is.
    pub(super) fn tell_the_clock(
        &self,
        plan: &Arc<Plan>,
        now: Timestamp,
        heard: &BTreeSet<Arc<str>>,
    ) {
        for lane in self.lanes.values().filter(|lane| lane.wants_the_clock(now)) {
            lane.tell_the_clock(Tick { plan: plan.clone(), now, heard: heard.clone() });
        }
    }

    /// Ends all of them and waits for that: as long as one call may take.
    pub(super) fn stop(&mut self) {
        let lanes = std::mem::take(&mut self.lanes);
        lanes.into_values().for_each(|lane| self.end(Some(lane)));
        self.ended.drain(..).for_each(Lane::join);
    }
}

#[cfg(test)]
#[path = "shadow/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "shadow/detector_tests.rs"]
mod detector_tests;
