//! A pipeline at work on one batch: validate, parse, detect, deliver.
//!
//! Pure but for its keys and instances: time comes in, effects go out, and nothing here
//! waits. Live running and replay drive the same worker. Invariant: the effects of a batch
//! are complete: what they hold, committed together, is all that follows from it.

use std::collections::HashMap;
use std::sync::Arc;

use super::detect::{StepInput, What};
use super::difference::Concerned;
use super::effects::{Effects, Fate};
use super::flow::Flow;
use super::ingest;
use super::inputs::{labelled, settings_of};
use super::item::{Emitted, Routed};
use super::keys::StageKeys;
use super::migrate::{self, Unmigrated, migrated};
use super::plan::{ModuleStage, Plan};
use super::runner::Runner;
use super::shadow::{Followed, Stepped};
use crate::config::pipeline::KeyPart;
use crate::message::{DeviceId, Message, Timestamp};
use crate::store::{KeyRow, StoredKey};

/// Wake-ups that one turn of the clock works off.
const DUE_AT_ONCE: usize = 1_000;
const FOREVER: Timestamp = Timestamp(u64::MAX);

/// A pipeline's plan with its instances and what it remembers.
#[derive(Debug)]
pub struct Worker {
    pub(super) plan: Arc<Plan>,
    /// By name of a validate, parse or detect stage.
    pub(super) runners: HashMap<Arc<str>, Runner>,
    /// By name of a parse or detect stage.
    pub(super) keys: HashMap<Arc<str>, StageKeys>,
    flow: Arc<Flow>,
    refusals: Refusals,
    /// Replays and trials have no shadows.
    has_shadows: bool,
    /// What changes and what is to be delivered is kept.
    pub(super) has_store: bool,
    /// Keys of which a detector's shadow has a state.
    pub(super) followed: Followed,
}

/// What becomes of an input that a stage with `on_reject = "halt"` refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusals {
    /// As with `dead-letter`.
    #[default]
    SetAside,
    /// The effects say that the pipeline has to halt.
    Halt,
}

impl Worker {
    /// A worker that knows `rows` from the store.
    pub fn new(plan: Arc<Plan>, rows: Vec<(Arc<str>, Arc<str>, KeyRow)>) -> Self {
        Self::counted(plan, rows, Arc::default())
    }

    /// The same, whose numbers go to `flow`.
    pub fn counted(
        plan: Arc<Plan>,
        rows: Vec<(Arc<str>, Arc<str>, KeyRow)>,
        flow: Arc<Flow>,
    ) -> Self {
        let mut keys: HashMap<Arc<str>, StageKeys> = HashMap::new();
        for (stage, key, row) in rows {
            keys.entry(stage).or_default().load(key, row);
        }
        let mut worker = Self {
            plan: plan.clone(),
            runners: HashMap::new(),
            keys,
            flow,
            refusals: Refusals::default(),
            has_shadows: false,
            has_store: true,
            followed: Followed::default(),
        };
        worker.renew_runners(None);
        worker
    }

    /// Messages and wake-ups may halt the pipeline, or may not.
    pub fn set_refusals(&mut self, refusals: Refusals) {
        self.refusals = refusals;
    }

    /// From now on effects hold neither rows nor deliveries, as nobody keeps them.
    pub fn serve_no_store(&mut self) {
        self.has_store = false;
    }

    /// From now on it tells what shadows are to be compared on.
    pub(super) fn serve_shadows(&mut self) {
        self.has_shadows = true;
    }

    /// Whether what this stage does is to be compared.
    pub(super) fn is_shadowed(&self, stage: &ModuleStage) -> bool {
        self.has_shadows && stage.shadow.is_some()
    }

    fn may_not_halt(&self, effects: &mut Effects) {
        if self.refusals == Refusals::SetAside {
            effects.set_halts_aside();
        }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// All that it remembers now, in order of stage and key.
    pub fn rows(&self) -> Vec<StoredKey> {
        let mut stages: Vec<_> = self.keys.iter().collect();
        stages.sort_by_key(|(stage, _)| *stage);
        let rows = stages.into_iter().flat_map(|(stage, keys)| {
            keys.all().into_iter().map(|(key, row)| (stage.clone(), key, row.clone()))
        });
        rows.collect()
    }

    /// Replaces all that it remembers by what the store holds; everything before must be
    /// durable.
    pub fn remember(&mut self, rows: Vec<StoredKey>) {
        self.keys.clear();
        self.followed = Followed::default();
        for (stage, key, row) in rows {
            self.keys.entry(stage).or_default().load(key, row);
        }
    }

    /// Keeps an instance whose stage runs the same module under the same limits.
    fn renew_runners(&mut self, before: Option<&Plan>) {
        let plan = self.plan.clone();
        let stages = plan.module_stages();
        self.runners.retain(|name, _| stages.iter().any(|s| s.name == *name));
        for stage in stages {
            let same = before.is_some_and(|before| {
                before.module_stages().iter().any(|s| {
                    s.name == stage.name
                        && s.module.hash() == stage.module.hash()
                        && s.limits == stage.limits
                })
            });
            if !same || !self.runners.contains_key(&stage.name) {
                let runner = Runner::new(&plan.file.name, stage, &self.flow);
                self.runners.insert(stage.name.clone(), runner);
            }
        }
        for stage in plan.validators.iter().filter(|stage| stage.module().is_none()) {
            // Nothing runs for it, but what it refuses is counted from the first on.
            self.flow.stage(&stage.name);
        }
        for stage in
            plan.parsers.iter().map(|p| &p.stage).chain(plan.detectors.iter().map(|d| &d.stage))
        {
            self.keys.entry(stage.name.clone()).or_default();
        }
    }

    /// Rows whose state the detectors of `plan` have to bring up to date.
    pub fn outdated(&self, plan: &Plan) -> Vec<StoredKey> {
        let of = |detector: &super::plan::DetectStage| {
            let stage = detector.stage.name.clone();
            let keys = self.keys.get(&stage).into_iter();
            let rows = keys.flat_map(|keys| keys.among(|row| migrate::is_outdated(detector, row)));
            rows.map(|(key, row)| (stage.clone(), key, row.clone())).collect::<Vec<_>>()
        };
        plan.detectors.iter().flat_map(of).collect()
    }

    /// Brings state up to date that older versions of the plan's detectors wrote.
    ///
    /// # Errors
    /// If a module does not take a state; then none is changed.
    pub fn migrate(&mut self, plan: &Plan) -> Result<(), Unmigrated> {
        for (stage, key, row) in migrated(plan, self.outdated(plan))? {
            self.keys.entry(stage).or_default().set(&key, Some(row));
        }
        Ok(())
    }

    /// Takes up a new plan: devices that are gone end, changed settings act at once.
    /// `now` is the wall clock where silence can be judged by it.
    pub fn apply(
        &mut self,
        plan: Arc<Plan>,
        concerned: &Concerned,
        now: Option<Timestamp>,
    ) -> Effects {
        let before = std::mem::replace(&mut self.plan, plan);
        self.renew_runners(Some(&before));
        self.settle(concerned, now)
    }

    /// Tells each key whose device is gone or whose settings differ from its last step.
    pub fn settle_changes(&mut self, now: Option<Timestamp>) -> Effects {
        self.settle(&Concerned::Everybody, now)
    }

    fn settle(&mut self, concerned: &Concerned, now: Option<Timestamp>) -> Effects {
        let plan = self.plan.clone();
        let mut effects = Effects::default();
        let concerns = |row: &KeyRow| match concerned {
            Concerned::Nobody => false,
            Concerned::Devices(devices) => row.device.as_ref().is_some_and(|d| devices.contains(d)),
            Concerned::Everybody => true,
        };
        for (index, detector) in plan.detectors.iter().enumerate() {
            if *concerned == Concerned::Nobody {
                break;
            }
            let keys = self.keys.entry(detector.stage.name.clone()).or_default();
            let mut inputs = Vec::new();
            let mut forgotten = Vec::new();
            for (key, row) in keys.among(concerns) {
                let bound = row.device.as_ref().and_then(|d| plan.directory.get(d));
                let gone = row.device.is_some()
                    && detector.key.contains(&KeyPart::Device)
                    && bound.is_none_or(|b| !labelled(b, &detector.labels))
                    && !plan.accepts_unknown();
                let settings = settings_of(detector, index, bound);
                if gone && row.state.is_none() {
                    forgotten.push(key);
                } else if gone || (row.settings != settings.hash && row.state.is_some()) {
                    inputs.push(StepInput {
                        key,
                        device: row.device.clone(),
                        settings,
                        what: if gone { What::Removed(now) } else { What::Reconfigured(now) },
                    });
                }
            }
            for key in forgotten {
                keys.set(&key, None);
                let stage = &detector.stage.name;
                if self.followed.loses(stage, &key) {
                    effects.stepped.push(Stepped::removed(detector, key, now));
                }
            }
            self.steps_without_messages(&plan, index, &inputs, now, &mut effects);
        }
        // A change cannot wait: what it makes a stage refuse is set aside.
        effects.set_halts_aside();
        self.finish(&[], &mut effects);
        effects
    }

    /// The source of `broker` was not heard between two times of the wall clock. A resumed
    /// session brings what was sent meanwhile, so it concerns only keys whose last message
    /// would not have been kept or says nothing of its own time.
    pub fn deaf(
        &mut self,
        broker: &str,
        from: Timestamp,
        until: Timestamp,
        resumed: bool,
    ) -> Effects {
        let plan = self.plan.clone();
        let mut effects = Effects::default();
        for (index, detector) in plan.detectors.iter().enumerate() {
            let keys = self.keys.entry(detector.stage.name.clone()).or_default();
            let inputs: Vec<_> = keys
                .all()
                .into_iter()
                .filter(|(_, row)| row.state.is_some() && (!resumed || row.undated_or_qos0))
                .filter(|(_, row)| plan.hears(row.device.as_ref(), broker))
                .map(|(key, row)| {
                    let bound = row.device.as_ref().and_then(|d| plan.directory.get(d));
                    StepInput {
                        key,
                        device: row.device.clone(),
                        settings: settings_of(detector, index, bound),
                        what: What::Deaf(from, until),
                    }
                })
                .collect();
            self.steps_without_messages(&plan, index, &inputs, Some(until), &mut effects);
        }
        // A change cannot wait: what it makes a stage refuse is set aside.
        effects.set_halts_aside();
        self.finish(&[], &mut effects);
        effects
    }

    /// When the wall clock alone makes the next wake-up act.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_due_until(FOREVER)
    }

    /// The same of those that were asked for by `until`.
    pub fn next_due_until(&self, until: Timestamp) -> Option<Timestamp> {
        let detectors = self.plan.detectors.iter();
        detectors.filter_map(|d| self.keys.get(&d.stage.name)?.next_due(until)).min()
    }

    /// Lets wake-ups act that are due by the wall clock, of keys for which `heard` says that
    /// their sources are connected and drained.
    pub fn wake(
        &mut self,
        now: Timestamp,
        heard: &dyn Fn(&Plan, Option<&DeviceId>) -> bool,
    ) -> Effects {
        self.wake_until(now, FOREVER, heard)
    }

    /// The same, but only what was asked for by `until`.
    pub fn wake_until(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        heard: &dyn Fn(&Plan, Option<&DeviceId>) -> bool,
    ) -> Effects {
        let plan = self.plan.clone();
        let mut effects = Effects::default();
        for (index, detector) in plan.detectors.iter().enumerate() {
            let keys = self.keys.entry(detector.stage.name.clone()).or_default();
            let mut inputs = Vec::new();
            let acts = |row: &KeyRow| {
                row.wake_at.is_some_and(|at| at <= until) && heard(&plan, row.device.as_ref())
            };
            for key in keys.due(now, DUE_AT_ONCE, acts) {
                let Some(row) = keys.get(&key) else { continue };
                let bound = row.device.as_ref().and_then(|d| plan.directory.get(d));
                inputs.push(StepInput {
                    device: row.device.clone(),
                    settings: settings_of(detector, index, bound),
                    what: What::WakeUp { now, until },
                    key,
                });
            }
            self.steps_without_messages(&plan, index, &inputs, Some(now), &mut effects);
        }
        self.may_not_halt(&mut effects);
        self.finish(&[], &mut effects);
        effects
    }

    /// Works off one batch. Fates line up with messages.
    pub fn batch(&mut self, messages: &[Arc<Message>]) -> Effects {
        self.batch_of(messages, &[])
    }

    /// The same, where `told` may say whose each message is, whatever its topic.
    pub fn batch_of(&mut self, messages: &[Arc<Message>], told: &[Option<DeviceId>]) -> Effects {
        let parsed = self.parse_batch(messages, told);
        self.detect_batch(parsed)
    }

    /// The first half of a batch: routes, validates and parses. It neither reads nor changes
    /// what the worker remembers, so any worker of the plan may do it.
    pub fn parse_batch(&mut self, messages: &[Arc<Message>], told: &[Option<DeviceId>]) -> Parsed {
        let plan = self.plan.clone();
        let mut effects =
            Effects { fates: vec![Fate::Committed; messages.len()], ..Effects::default() };
        let mut routed: Vec<Option<Routed>> = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            match ingest::route(&plan, message, told.get(index).and_then(Option::as_ref)) {
                Ok(r) => routed.push(Some(r)),
                Err(reason) => {
                    effects.filter(index, reason);
                    routed.push(None);
                }
            }
        }
        self.validate(&plan, &mut routed, &mut effects);
        let items = self.parse(&plan, &routed, None, &mut effects);
        Parsed { routed, items, effects }
    }

    /// The second half: detects and delivers. Halves must come in the order of their batches.
    pub fn detect_batch(&mut self, parsed: Parsed) -> Effects {
        let plan = self.plan.clone();
        let Parsed { routed, mut items, mut effects } = parsed;
        self.detect_all(&plan, &routed, &mut items, None, &mut effects);
        self.may_not_halt(&mut effects);
        effects.items = items;
        self.finish(&routed, &mut effects);
        effects
    }
}

/// A batch that is parsed, and that no detector has seen.
#[derive(Debug)]
pub struct Parsed {
    routed: Vec<Option<Routed>>,
    items: Vec<Emitted>,
    effects: Effects,
}
