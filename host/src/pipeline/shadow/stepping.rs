//! A detector's shadow at work: its own state of each key, stepped as the live one was.
//!
//! A key begins with the live state, as a reload would bring it over, and is told what the live
//! version was told, in the same order; wake-ups that only the shadow asked for act by the clock
//! that it is told. Invariant: its state and what waits to be compared are bounded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compare::{cut, item_line, rejection_line};
use super::pairs::{Entry, Pairs};
use super::tally::{Difference, Outcome, ShadowTally};
use super::told::{Said, Seed, Stepped};
use crate::message::{DeviceId, Item, Timestamp};
use crate::pipeline::detect::{self, StepInput, Stepper, What};
use crate::pipeline::flow::Flow;
use crate::pipeline::inputs::settings_of;
use crate::pipeline::keys::StageKeys;
use crate::pipeline::line::Clock;
use crate::pipeline::plan::{Plan, ShadowStage};
use crate::pipeline::probation::FAILURES;
use crate::pipeline::runner::Runner;
use crate::store::KeyRow;

/// What a shadow may remember of all its keys.
const ROOM: usize = 128 << 20;
/// Wake-ups that one look at the clock works off.
const DUE_AT_ONCE: usize = 1_000;
/// The shortest time between two looks at the clock.
const NAP_MS: u64 = 250;

/// The time, and what may act at it.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) plan: Arc<Plan>,
    pub(super) now: Timestamp,
    /// Brokers that are connected and drained.
    pub(super) heard: BTreeSet<Arc<str>>,
}

pub(super) struct Stepping {
    pipeline: Arc<str>,
    /// The live stage's name.
    stage: Arc<str>,
    shadow: Arc<ShadowStage>,
    keys: StageKeys,
    runner: Runner,
    pairs: Pairs,
    tally: Arc<ShadowTally>,
    ends: Arc<AtomicBool>,
    /// What its states may take.
    pub(super) room: usize,
    /// The latest wall clock that it was told of.
    now: Timestamp,
    looked: Timestamp,
}

/// Where what a shadow said belongs.
struct Place<'a> {
    key: &'a Arc<str>,
    device: Option<&'a DeviceId>,
    topic: Option<&'a Arc<str>>,
}

impl Stepping {
    pub(super) fn new(
        pipeline: &Arc<str>,
        stage: &Arc<str>,
        shadow: &Arc<ShadowStage>,
        tally: Arc<ShadowTally>,
        ends: Arc<AtomicBool>,
    ) -> Self {
        let runner = Runner::new(pipeline, &shadow.stage, &Flow::default());
        Self {
            pipeline: pipeline.clone(),
            stage: stage.clone(),
            shadow: shadow.clone(),
            keys: StageKeys::default(),
            runner: runner.hurried(ends.clone()),
            pairs: Pairs::new(tally.clone()),
            tally,
            ends,
            room: ROOM,
            now: Timestamp(0),
            looked: Timestamp(0),
        }
    }

    /// Takes steps that the live version took, and compares.
    pub(super) fn steps(&mut self, steps: &[Stepped]) {
        let mut from = 0;
        for (index, step) in steps.iter().enumerate() {
            let comes_again = || steps[from..index].iter().any(|before| before.key == step.key);
            if matches!(step.seed, Seed::Live(_)) && comes_again() {
                self.run(&steps[from..index]);
                from = index;
            }
        }
        self.run(&steps[from..]);
        self.pairs.expire(self.now);
        self.keys.forget_changes();
        if self.keys.bytes() > self.room {
            self.tally.stop(&format!("its states take more than {} MiB", self.room >> 20));
        }
    }

    /// Keys whose own wake-ups are due.
    pub(super) fn due(&mut self, tick: &Tick) -> Vec<Arc<str>> {
        self.now = self.now.max(tick.now);
        self.looked = self.looked.max(tick.now);
        let may = |row: &KeyRow| tick.plan.is_heard(row.device.as_ref(), &tick.heard);
        self.keys.due(tick.now, DUE_AT_ONCE, may)
    }

    /// Lets wake-ups act that the shadow alone has asked for.
    pub(super) fn wake(&mut self, tick: &Tick, keys: &[Arc<str>]) {
        let mut detectors = tick.plan.detectors.iter().enumerate();
        let found = detectors.find(|(_, detector)| detector.stage.name == self.stage);
        let Some((index, detector)) = found else { return };
        let (now, until) = (tick.now, Timestamp(u64::MAX));
        let inputs: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                let device = self.keys.get(key)?.device.clone();
                let bound = device.as_ref().and_then(|device| tick.plan.directory.get(device));
                let settings = settings_of(detector, index, bound);
                let what = What::WakeUp { now, until };
                Some(StepInput { key: key.clone(), device, settings, what })
            })
            .collect();
        let outcomes = self.step(&inputs);
        if self.ends() {
            return;
        }
        for (input, outcome) in inputs.iter().zip(&outcomes) {
            let said = Said::of(outcome);
            // The live version was told nothing: this counts where something came of it.
            if !said.outputs.is_empty() || !said.refused.is_empty() {
                self.tally.handed_over(1);
                let (key, device) = (&input.key, input.device.as_ref());
                self.compare(&Place { key, device, topic: None }, &Said::default(), &said);
            }
        }
        self.keys.forget_changes();
    }

    /// What has waited long enough for its other half is a difference.
    pub(super) fn expire(&mut self) {
        self.pairs.expire(self.now);
    }

    /// It takes no more steps.
    pub(super) fn give_up(&mut self) {
        self.pairs.settle_all();
        self.keys = StageKeys::default();
    }

    /// When it is to be told the time.
    pub(super) fn wants_the_clock(&self) -> Option<Timestamp> {
        let due = self.keys.next_due(Timestamp(u64::MAX));
        let next = [due, self.pairs.next()].into_iter().flatten().min()?;
        Some(next.max(self.looked.plus_ms(NAP_MS)))
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    fn run(&mut self, steps: &[Stepped]) {
        for step in steps {
            self.seed(step);
        }
        let inputs: Vec<_> = steps.iter().map(Stepped::lend).collect();
        let outcomes = self.step(&inputs);
        if self.ends() {
            return self.tally.left_out(steps.len());
        }
        for (step, outcome) in steps.iter().zip(&outcomes) {
            self.now = self.now.max(step.told.at().unwrap_or(self.now));
            let (key, device) = (&step.key, step.device.as_ref());
            let place = Place { key, device, topic: step.told.topic() };
            self.compare(&place, &step.live, &Said::of(outcome));
        }
    }

    fn step(&mut self, inputs: &[StepInput<'_>]) -> Vec<detect::Outcome> {
        let mut stepper = Stepper {
            // Identities are not compared: they are made of key and time, which are.
            bridge: "",
            pipeline: &self.pipeline,
            stage: &self.shadow.stage,
            keys: &mut self.keys,
            runner: &mut self.runner,
        };
        stepper.run(inputs)
    }

    /// Begins a key with the live state before this step, if it does not go on from its own.
    fn seed(&mut self, step: &Stepped) {
        let Seed::Live(row) = &step.seed else { return };
        self.pairs.settle(&step.key);
        let to = self.shadow.stage.module.state_version();
        let mut row = row.as_deref().cloned();
        if let Some(row) = &mut row
            && let Some(state) = row.state.as_deref().filter(|_| row.state_version != to)
        {
            match self.runner.migrate(row.state_version, state) {
                Ok(state) => row.state = Some(state),
                Err(why) => {
                    (row.state, row.wake_at) = (None, None);
                    self.tally.began_afresh(&step.key, &why);
                }
            }
            row.state_version = to;
        }
        self.keys.set(&step.key, row);
    }

    fn compare(&mut self, place: &Place<'_>, live: &Said, shadow: &Said) {
        let outcome = match &shadow.failed {
            Some(_) => Outcome::Failed,
            None if live.codes() != shadow.codes() => Outcome::RefusedDifferently,
            None => {
                let entry = Entry {
                    at: self.now,
                    topic: place.topic.cloned(),
                    device: place.device.cloned(),
                    live: self.lines(place, live),
                    shadow: self.lines(place, shadow),
                };
                return self.pairs.add(place.key, entry);
            }
        };
        let shown = |said: &Said| {
            let refused = said.refused.iter().map(|one| rejection_line(&self.stage, one));
            let lines: Vec<_> = self.lines(place, said).into_iter().chain(refused).collect();
            super::compare::more(lines.iter().map(|line| cut(line)), lines.len())
        };
        let difference = Difference {
            outcome,
            at: self.now,
            topic: place.topic.cloned(),
            key: Some(place.key.clone()),
            device: place.device.cloned(),
            live: shown(live),
            shadow: shown(shadow),
        };
        self.tally.differ(difference, 1);
        if let Some(words) = &shadow.failed {
            let told = format!("it failed {FAILURES} times within a minute, at last: {words}");
            if self.tally.failed(&told) {
                super::lane::warn_of_the_end(words);
            }
        }
    }

    fn lines(&self, place: &Place<'_>, said: &Said) -> Vec<Vec<u8>> {
        let mut clock = Clock::default();
        let line = |(item, at): &(Item, Timestamp)| {
            let stated = match item {
                Item::Reading(reading) => reading.at,
                Item::Event(event) => event.at,
                Item::Publication(_) => None,
            };
            let stated = Some(stated.unwrap_or(*at));
            item_line(&self.stage, item, place.device, (stated, *at), &mut clock)
        };
        let mut lines: Vec<_> = said.outputs.iter().map(line).collect();
        if said.ask {
            lines.push(b"{\"item\":\"ask\"}\n".to_vec());
        }
        lines
    }
}
