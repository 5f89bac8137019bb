//! A pipeline at work on one batch: validate, parse, detect, deliver.
//!
//! Pure but for its keys and instances: time comes in, effects go out, and nothing here
//! waits. Live running and replay drive the same worker. Invariant: the effects of a batch
//! are complete: what they hold, committed together, is all that follows from it.

use std::collections::HashMap;
use std::sync::Arc;

use super::detect::{Dating, Outcome, StepInput, Stepper, What};
use super::directory::Bound;
use super::effects::{Effects, Fate, letter};
use super::ingest;
use super::item::{Emitted, Position, Routed, stated};
use super::keys::StageKeys;
use super::plan::{DetectStage, Plan, ValidateCheck};
use super::runner::Runner;
use super::settings::SettingsSet;
use crate::config::pipeline::KeyPart;
use crate::message::{DeviceId, Item, Message, Rejection, Timestamp};
use crate::store::KeyRow;

/// Wake-ups that one turn of the clock works off.
const DUE_AT_ONCE: usize = 1_000;

/// A pipeline's plan with its instances and what it remembers.
#[derive(Debug)]
pub struct Worker {
    pub(super) plan: Arc<Plan>,
    /// By name of a validate, parse or detect stage.
    pub(super) runners: HashMap<Arc<str>, Runner>,
    /// By name of a parse or detect stage.
    pub(super) keys: HashMap<Arc<str>, StageKeys>,
}

impl Worker {
    /// A worker that knows `rows` from the store.
    pub fn new(plan: Arc<Plan>, rows: Vec<(Arc<str>, Arc<str>, KeyRow)>) -> Self {
        let mut keys: HashMap<Arc<str>, StageKeys> = HashMap::new();
        for (stage, key, row) in rows {
            keys.entry(stage).or_default().load(key, row);
        }
        let mut worker = Self { plan: plan.clone(), runners: HashMap::new(), keys };
        worker.renew_runners(None);
        worker
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
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
                self.runners.insert(stage.name.clone(), Runner::new(&plan.file.name, stage));
            }
        }
        for stage in
            plan.parsers.iter().map(|p| &p.stage).chain(plan.detectors.iter().map(|d| &d.stage))
        {
            self.keys.entry(stage.name.clone()).or_default();
        }
    }

    /// Takes up a new plan: devices that are gone end, changed settings act at once.
    /// `now` is the wall clock where silence can be judged by it.
    pub fn apply(&mut self, plan: Arc<Plan>, now: Option<Timestamp>) -> Effects {
        let before = std::mem::replace(&mut self.plan, plan.clone());
        self.renew_runners(Some(&before));
        self.settle_changes(now)
    }

    /// Tells each key whose device is gone or whose settings differ from its last step.
    pub fn settle_changes(&mut self, now: Option<Timestamp>) -> Effects {
        let plan = self.plan.clone();
        let mut effects = Effects::default();
        for (index, detector) in plan.detectors.iter().enumerate() {
            let keys = self.keys.entry(detector.stage.name.clone()).or_default();
            let mut inputs = Vec::new();
            let mut forgotten = Vec::new();
            for (key, row) in keys.all() {
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
            }
            self.steps_without_messages(&plan, index, &inputs, now, &mut effects);
        }
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
        self.finish(&[], &mut effects);
        effects
    }

    /// When the wall clock alone makes the next wake-up act.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.plan.detectors.iter().filter_map(|d| self.keys.get(&d.stage.name)?.next_due()).min()
    }

    /// Lets wake-ups act that are due by the wall clock, of keys for which `heard` says that
    /// their sources are connected and drained.
    pub fn wake(
        &mut self,
        now: Timestamp,
        heard: &dyn Fn(&Plan, Option<&DeviceId>) -> bool,
    ) -> Effects {
        let plan = self.plan.clone();
        let mut effects = Effects::default();
        for (index, detector) in plan.detectors.iter().enumerate() {
            let keys = self.keys.entry(detector.stage.name.clone()).or_default();
            let mut inputs = Vec::new();
            for key in keys.due(now, DUE_AT_ONCE, |row| heard(&plan, row.device.as_ref())) {
                let Some(row) = keys.get(&key) else { continue };
                let bound = row.device.as_ref().and_then(|d| plan.directory.get(d));
                inputs.push(StepInput {
                    device: row.device.clone(),
                    settings: settings_of(detector, index, bound),
                    what: What::WakeUp(now),
                    key,
                });
            }
            self.steps_without_messages(&plan, index, &inputs, Some(now), &mut effects);
        }
        self.finish(&[], &mut effects);
        effects
    }

    /// Works off one batch. Fates line up with messages.
    pub fn batch(&mut self, messages: &[Arc<Message>]) -> Effects {
        let plan = self.plan.clone();
        let mut effects =
            Effects { fates: vec![Fate::Committed; messages.len()], ..Effects::default() };
        let mut routed: Vec<Option<Routed>> = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            match ingest::route(&plan, message) {
                Ok(r) => routed.push(Some(r)),
                Err(reason) => {
                    effects.filter(index, reason);
                    routed.push(None);
                }
            }
        }
        self.validate(&plan, &mut routed, &mut effects);
        let mut items = self.parse(&plan, &routed, &mut effects);
        self.detect_all(&plan, &routed, &mut items, &mut effects);
        effects.items = items;
        self.finish(&routed, &mut effects);
        effects
    }

    fn validate(&mut self, plan: &Plan, routed: &mut [Option<Routed>], effects: &mut Effects) {
        for stage in &plan.validators {
            let takes = |r: &Routed| {
                stage.topics.is_empty() || stage.topics.iter().any(|t| t.matches(&r.message.topic))
            };
            let asked: Vec<usize> =
                (0..routed.len()).filter(|&i| routed[i].as_ref().is_some_and(takes)).collect();
            let verdicts: Vec<Result<(), Rejection>> = match &stage.check {
                ValidateCheck::Schema(schema) => asked
                    .iter()
                    .map(|&i| {
                        let routed = routed[i].as_ref().expect("asked only of these");
                        ingest::check_schema(schema, &routed.message.payload)
                    })
                    .collect(),
                ValidateCheck::Module(module) => {
                    let inputs: Vec<_> = asked
                        .iter()
                        .map(|&i| {
                            let routed = routed[i].as_ref().expect("asked only of these");
                            (module.settings.clone(), ingest::input_of(routed))
                        })
                        .collect();
                    let runner =
                        self.runners.get_mut(&stage.name).expect("every stage has a runner");
                    runner
                        .run(&inputs, |instance, batch| instance.validate(&ingest::inputs(batch)))
                        .into_iter()
                        .map(|verdict| verdict.and_then(|v| v))
                        .collect()
                }
            };
            let module = match &stage.check {
                ValidateCheck::Module(module) => Some(&module.module),
                ValidateCheck::Schema(_) => None,
            };
            for (&i, verdict) in asked.iter().zip(verdicts) {
                if let Err(rejection) = verdict {
                    effects.reject(stage.on_reject, &stage.name, i, &rejection, || {
                        let r = routed[i].as_ref().expect("asked only of these");
                        let device = r.bound.first().map(|b| b.device.id.clone());
                        letter(plan, &stage.name, module, &rejection, Some(&r.message), device)
                    });
                    if effects.fates[i] != Fate::Committed {
                        routed[i] = None;
                    }
                }
            }
        }
    }

    fn parse(
        &mut self,
        plan: &Plan,
        routed: &[Option<Routed>],
        effects: &mut Effects,
    ) -> Vec<Emitted> {
        let (jobs, unmatched) = ingest::jobs(plan, routed);
        for (message, reason) in unmatched {
            effects.filter(message, reason);
        }
        let mut items = Vec::new();
        for (index, parser) in plan.parsers.iter().enumerate() {
            let mine: Vec<_> = jobs.iter().filter(|job| job.parser == index).collect();
            let inputs: Vec<_> = mine
                .iter()
                .map(|job| {
                    let routed = routed[job.message].as_ref().expect("jobs are of routed messages");
                    let settings = match &job.bound {
                        Some(bound) => bound.parse_settings.clone(),
                        None => parser.stage.settings.clone(),
                    };
                    let device = job.bound.as_ref().map(|b| &b.device.id);
                    (settings, (&*routed.message, device))
                })
                .collect();
            let name = &parser.stage.name;
            let runner = self.runners.get_mut(name).expect("every stage has a runner");
            let results =
                runner.run(&inputs, |instance, batch| instance.parse(&ingest::inputs(batch)));
            for (job, result) in mine.into_iter().zip(results) {
                let r = routed[job.message].as_ref().expect("jobs are of routed messages");
                let outcome = result.and_then(|outcome| outcome).map(|found| {
                    ingest::claim(plan, index, job, r, found, effects, &mut items);
                });
                if let Err(rejection) = outcome {
                    effects.reject(parser.stage.on_reject, name, job.message, &rejection, || {
                        let device = job.bound.as_ref().map(|b| b.device.id.clone());
                        let module = Some(&parser.stage.module);
                        letter(plan, name, module, &rejection, Some(&r.message), device)
                    });
                }
            }
        }
        items.sort_by_key(|item| item.position);
        items
    }

    fn detect_all(
        &mut self,
        plan: &Plan,
        routed: &[Option<Routed>],
        items: &mut Vec<Emitted>,
        effects: &mut Effects,
    ) {
        for (index, detector) in plan.detectors.iter().enumerate() {
            let found = {
                let mut origins: Vec<Origin<'_>> = Vec::new();
                let mut inputs = Vec::new();
                if detector.takes_messages {
                    for (i, r) in routed.iter().enumerate() {
                        let Some(r) = r else { continue };
                        message_inputs(
                            detector,
                            index,
                            i,
                            r,
                            &mut origins,
                            &mut inputs,
                            effects,
                            plan,
                        );
                    }
                }
                for item in items.iter() {
                    item_input(
                        plan,
                        detector,
                        index,
                        item,
                        routed,
                        &mut origins,
                        &mut inputs,
                        effects,
                    );
                }
                let outcomes = self.step(plan, index, &inputs);
                self.collect(plan, index, &origins, &inputs, outcomes, effects)
            };
            items.extend(found);
            items.sort_by_key(|item| item.position);
        }
    }

    /// Steps that no message causes, and what later stages make of their outputs.
    fn steps_without_messages(
        &mut self,
        plan: &Plan,
        index: usize,
        inputs: &[StepInput<'_>],
        now: Option<Timestamp>,
        effects: &mut Effects,
    ) {
        let outcomes = self.step(plan, index, inputs);
        let origins: Vec<Origin<'_>> = inputs
            .iter()
            .enumerate()
            .map(|(input, i)| Origin {
                message: None,
                routed: None,
                bound: i.device.as_ref().and_then(|d| plan.directory.get(d)),
                received_at: now,
                qos: 1,
                input: effects.sequence + input,
            })
            .collect();
        let mut items = self.collect(plan, index, &origins, inputs, outcomes, effects);
        effects.sequence += inputs.len();
        // What comes after this detector in the graph takes from it as ever.
        for later in index + 1..plan.detectors.len() {
            let found = {
                let mut origins = Vec::new();
                let mut inputs = Vec::new();
                for item in &items {
                    let detector = &plan.detectors[later];
                    item_input(
                        plan,
                        detector,
                        later,
                        item,
                        &[],
                        &mut origins,
                        &mut inputs,
                        effects,
                    );
                }
                let outcomes = self.step(plan, later, &inputs);
                self.collect(plan, later, &origins, &inputs, outcomes, effects)
            };
            items.extend(found);
            items.sort_by_key(|item| item.position);
        }
        effects.items.extend(items);
    }

    fn step(&mut self, plan: &Plan, index: usize, inputs: &[StepInput<'_>]) -> Vec<Outcome> {
        let stage = &plan.detectors[index].stage;
        let mut stepper = Stepper {
            bridge: &plan.site.name,
            pipeline: &plan.file.name,
            stage,
            keys: self.keys.get_mut(&stage.name).expect("every detector has keys"),
            runner: self.runners.get_mut(&stage.name).expect("every stage has a runner"),
        };
        stepper.run(inputs)
    }

    fn collect(
        &self,
        plan: &Plan,
        index: usize,
        origins: &[Origin<'_>],
        inputs: &[StepInput<'_>],
        outcomes: Vec<Outcome>,
        effects: &mut Effects,
    ) -> Vec<Emitted> {
        let detector = &plan.detectors[index];
        let stage = &detector.stage;
        let mut found = Vec::new();
        for ((origin, input), outcome) in origins.iter().zip(inputs).zip(outcomes) {
            for (output, (item, identity)) in outcome.outputs.into_iter().enumerate() {
                let device = match &item {
                    Item::Reading(r) => r.device.clone(),
                    Item::Event(e) => e.device.clone(),
                    Item::Publication(_) => None,
                };
                let device = device.or_else(|| input.device.clone());
                let said = match &item {
                    Item::Reading(r) => r.at,
                    Item::Event(e) => e.at,
                    Item::Publication(_) => None,
                };
                found.push(Emitted {
                    bound: device.as_ref().and_then(|d| plan.directory.get(d)).cloned(),
                    device,
                    item,
                    stage: stage.name.clone(),
                    stated: Some(said.unwrap_or(identity.at)),
                    received_at: origin.received_at.unwrap_or(identity.at),
                    qos: origin.qos,
                    retained: false,
                    message: origin.message,
                    position: Position {
                        input: origin.input,
                        stage: plan.rank(&stage.name),
                        output: found.len() + output,
                    },
                    identity: Some(identity),
                });
            }
            effects.late += u64::from(outcome.late);
            for ignored in outcome.ignored {
                effects.ignored.push((stage.name.clone(), input.device.clone(), ignored));
            }
            if outcome.ask
                && let Some(ask) = origin.bound.and_then(|b| b.ask.clone())
            {
                let broker = origin.bound.and_then(|b| b.brokers.first().cloned());
                effects.asks.push((broker, ask));
            }
            for rejection in outcome.rejections {
                let build = || {
                    let message = origin.routed.map(|r| &r.message);
                    let module = Some(&stage.module);
                    letter(plan, &stage.name, module, &rejection, message, input.device.clone())
                };
                match origin.message {
                    Some(i) => effects.reject(stage.on_reject, &stage.name, i, &rejection, build),
                    None => effects.reject_wake(stage.on_reject, &stage.name, &rejection, build),
                }
            }
        }
        found
    }
}

/// Where a detector's input comes from.
struct Origin<'a> {
    message: Option<usize>,
    routed: Option<&'a Routed>,
    bound: Option<&'a Arc<Bound>>,
    received_at: Option<Timestamp>,
    qos: u8,
    /// For the order of outputs.
    input: usize,
}

/// The settings of a device at a detector, or the stage's own.
fn settings_of(
    detector: &DetectStage,
    index: usize,
    bound: Option<&Arc<Bound>>,
) -> Arc<SettingsSet> {
    bound
        .and_then(|b| b.detect_settings.get(index).cloned())
        .unwrap_or_else(|| detector.stage.settings.clone())
}

/// Whether a device carries all of `labels`.
pub(super) fn labelled(bound: &Bound, labels: &std::collections::BTreeMap<String, String>) -> bool {
    labels.iter().all(|(key, value)| bound.device.labels.get(key) == Some(value))
}

#[expect(clippy::too_many_arguments, reason = "one input's whole context, used in two places")]
fn item_input<'a>(
    plan: &'a Plan,
    detector: &DetectStage,
    index: usize,
    item: &'a Emitted,
    routed: &'a [Option<Routed>],
    origins: &mut Vec<Origin<'a>>,
    inputs: &mut Vec<StepInput<'a>>,
    effects: &mut Effects,
) {
    let rank = plan.rank(&item.stage);
    // Without `from`, a detector takes what parsers emit.
    if detector.source.from.is_empty() && rank >= plan.first_detector_rank() {
        return;
    }
    if !detector.source.takes(&item.stage, &item.item) {
        return;
    }
    if !detector.labels.is_empty()
        && !item.bound.as_ref().is_some_and(|b| labelled(b, &detector.labels))
    {
        return;
    }
    let r = item.message.and_then(|i| routed.get(i)).and_then(Option::as_ref);
    let channel = match &item.item {
        Item::Reading(r) => r.channel.as_str(),
        Item::Event(e) => e.channel.as_str(),
        Item::Publication(_) => "",
    };
    let key = match ingest::key(&detector.key, item.device.as_ref(), channel, r) {
        Ok(key) => key,
        Err(missing) => {
            effects.unkeyed(&detector.stage.name, missing);
            return;
        }
    };
    let dating = Dating {
        stated: stated(detector.time, plan.site.time, item.stated, item.received_at),
        received_at: item.received_at,
        retained: item.retained,
        qos: item.qos,
    };
    origins.push(Origin {
        message: item.message,
        routed: r,
        bound: item.bound.as_ref(),
        received_at: Some(item.received_at),
        qos: item.qos,
        input: item.position.input,
    });
    inputs.push(StepInput {
        key,
        device: item.device.clone(),
        settings: settings_of(detector, index, item.bound.as_ref()),
        what: What::Item { item: &item.item, dating },
    });
}

#[expect(clippy::too_many_arguments, reason = "one input's whole context")]
fn message_inputs<'a>(
    detector: &DetectStage,
    index: usize,
    message: usize,
    routed: &'a Routed,
    origins: &mut Vec<Origin<'a>>,
    inputs: &mut Vec<StepInput<'a>>,
    effects: &mut Effects,
    plan: &Plan,
) {
    let Some(captures) = ingest::captures(&detector.topics, &routed.message.topic) else { return };
    let _ = plan;
    let targets: Vec<Option<&'a Arc<Bound>>> =
        if routed.bound.is_empty() { vec![None] } else { routed.bound.iter().map(Some).collect() };
    for bound in targets {
        if !detector.labels.is_empty() && !bound.is_some_and(|b| labelled(b, &detector.labels)) {
            continue;
        }
        let device = bound.map(|b| b.device.id.clone()).or_else(|| {
            captures.iter().find(|(n, _)| &**n == "device").map(|(_, v)| v.as_str().into())
        });
        let key = match ingest::key_with(&detector.key, device.as_ref(), "", &captures) {
            Ok(key) => key,
            Err(missing) => {
                effects.unkeyed(&detector.stage.name, missing);
                continue;
            }
        };
        let dating = Dating {
            stated: None,
            received_at: routed.message.received_at,
            retained: routed.message.retained,
            qos: routed.message.qos,
        };
        origins.push(Origin {
            message: Some(message),
            routed: Some(routed),
            bound,
            received_at: Some(routed.message.received_at),
            qos: routed.message.qos,
            input: message,
        });
        inputs.push(StepInput {
            key,
            device,
            settings: settings_of(detector, index, bound),
            what: What::Message {
                message: &routed.message,
                device: bound.map(|b| &b.device.id),
                dating,
            },
        });
    }
}
