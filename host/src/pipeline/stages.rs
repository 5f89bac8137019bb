//! The stages of a worker, one call of a module for each and batch.

use super::detect::{Outcome, Output, StepInput, Stepper};
use super::effects::{Effects, Fate, letter};
use super::ingest;
use super::inputs::{Inputs, Origin};
use super::item::{Emitted, Position, Routed};
use super::letters::{Part, Scope};
use super::plan::{Plan, ValidateCheck};
use super::shadow::{Shadowed, Stepped};
use super::worker::Worker;
use crate::message::{Item, Rejection, Timestamp};
use crate::store::DeadLetter;

impl Worker {
    pub(super) fn validate(
        &mut self,
        plan: &Plan,
        routed: &mut [Option<Routed>],
        effects: &mut Effects,
    ) {
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
                    let verdicts: Vec<_> = runner
                        .run(&inputs, |instance, batch| instance.validate(&ingest::inputs(batch)))
                        .into_iter()
                        .map(|verdict| verdict.and_then(|v| v))
                        .collect();
                    if self.is_shadowed(module) {
                        let shadowed = asked.iter().zip(&inputs).zip(&verdicts);
                        effects.shadowed.extend(shadowed.map(|((&i, input), verdict)| {
                            let routed = routed[i].as_ref().expect("asked only of these");
                            let live = verdict.clone().map(|()| Vec::new());
                            Shadowed::new(&stage.name, routed, input, live)
                        }));
                    }
                    verdicts
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

    pub(super) fn parse(
        &mut self,
        plan: &Plan,
        routed: &[Option<Routed>],
        scope: Option<&Scope>,
        effects: &mut Effects,
    ) -> Vec<Emitted> {
        let (mut jobs, unmatched) = ingest::jobs(plan, routed);
        for (message, reason) in unmatched {
            effects.filter(message, reason);
        }
        if let Some(scope) = scope {
            jobs.retain(|job| routed[job.message].as_ref().is_some_and(|r| scope.has_job(job, r)));
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
            let is_shadowed = self.is_shadowed(&parser.stage);
            for ((job, result), input) in mine.into_iter().zip(results).zip(&inputs) {
                let r = routed[job.message].as_ref().expect("jobs are of routed messages");
                let result = result.and_then(|outcome| outcome);
                if is_shadowed {
                    let live = result.clone();
                    effects.shadowed.push(Shadowed::new(name, r, input, live));
                }
                let outcome = result.map(|found| {
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
        if let Some(scope) = scope {
            items.retain(|item| scope.has(item.device.as_ref()));
            items.iter_mut().for_each(|item| item.counts = scope.begins_at_parsers());
        }
        items.sort_by_key(|item| item.position);
        items
    }

    pub(super) fn detect_all(
        &mut self,
        plan: &Plan,
        routed: &[Option<Routed>],
        items: &mut Vec<Emitted>,
        scope: Option<&Scope>,
        effects: &mut Effects,
    ) {
        for index in 0..plan.detectors.len() {
            let part = scope.map_or(Part::Behind, |scope| scope.part(plan, index));
            if part == Part::None {
                continue;
            }
            let anew = scope.is_none_or(Scope::begins_at_parsers) || part != Part::Behind;
            let found = {
                let mut inputs = Inputs::new(plan, index);
                if plan.detectors[index].takes_messages && anew {
                    for (i, r) in routed.iter().enumerate() {
                        if let Some(r) = r {
                            inputs.message(i, r, effects);
                        }
                    }
                }
                for item in items.iter().filter(|item| item.counts || anew) {
                    inputs.item(item, routed, effects);
                }
                if let Some(scope) = scope {
                    let refused = part == Part::Refused;
                    inputs.narrow(|step| {
                        scope.has(step.device.as_ref()) && (!refused || scope.has_key(&step.key))
                    });
                }
                if part == Part::Dry {
                    self.step_dry(plan, index, &inputs, effects)
                } else {
                    let outcomes = self.step(plan, index, &inputs.steps, effects);
                    collect(plan, index, &inputs.origins, &inputs.steps, outcomes, effects)
                }
            };
            items.extend(found);
            items.sort_by_key(|item| item.position);
        }
    }

    /// What a detector says, without it remembering that it did.
    fn step_dry(
        &mut self,
        plan: &Plan,
        index: usize,
        inputs: &Inputs<'_>,
        effects: &mut Effects,
    ) -> Vec<Emitted> {
        let name = &plan.detectors[index].stage.name;
        let rows: Vec<_> = {
            let keys = self.keys.get(name).expect("every detector has keys");
            let steps = inputs.steps.iter();
            steps.map(|step| (step.key.clone(), keys.get(&step.key).cloned())).collect()
        };
        let outcomes = self.step_unseen(plan, index, &inputs.steps);
        let keys = self.keys.get_mut(name).expect("every detector has keys");
        for (key, row) in rows {
            keys.set(&key, row);
        }
        let fates = vec![Fate::Committed; effects.fates.len()];
        let mut apart = Effects { fates, ..Effects::default() };
        let mut found = collect(plan, index, &inputs.origins, &inputs.steps, outcomes, &mut apart);
        found.iter_mut().for_each(|item| item.counts = false);
        // What it refuses is the reason for which the replay fails.
        apart.set_halts_aside();
        effects.dead.append(&mut apart.dead);
        for (fate, own) in effects.fates.iter_mut().zip(apart.fates) {
            if own == Fate::DeadLettered {
                *fate = own;
            }
        }
        found
    }

    /// Steps that no message causes, and what later stages make of their outputs.
    pub(super) fn steps_without_messages(
        &mut self,
        plan: &Plan,
        index: usize,
        inputs: &[StepInput<'_>],
        now: Option<Timestamp>,
        effects: &mut Effects,
    ) {
        let outcomes = self.step(plan, index, inputs, effects);
        let origins: Vec<Origin<'_>> = inputs
            .iter()
            .enumerate()
            .map(|(input, i)| Origin {
                message: None,
                woken: None,
                routed: None,
                bound: i.device.as_ref().and_then(|d| plan.directory.get(d)),
                received_at: now,
                qos: 1,
                input: effects.sequence + input,
            })
            .collect();
        let mut items = collect(plan, index, &origins, inputs, outcomes, effects);
        effects.sequence += inputs.len();
        // What comes after this detector in the graph takes from it as ever.
        for later in index + 1..plan.detectors.len() {
            let found = {
                let mut inputs = Inputs::new(plan, later);
                for item in &items {
                    inputs.item(item, &[], effects);
                }
                let outcomes = self.step(plan, later, &inputs.steps, effects);
                collect(plan, later, &inputs.origins, &inputs.steps, outcomes, effects)
            };
            items.extend(found);
            items.sort_by_key(|item| item.position);
        }
        effects.items.extend(items);
    }

    /// The detector's shadow is to be told of it, if there is one.
    fn step(
        &mut self,
        plan: &Plan,
        index: usize,
        inputs: &[StepInput<'_>],
        effects: &mut Effects,
    ) -> Vec<Outcome> {
        let stage = &plan.detectors[index].stage;
        if !self.is_shadowed(stage) {
            return self.step_unseen(plan, index, inputs);
        }
        let seeds = self.followed.seeds(stage, inputs, self.keys.get(&stage.name));
        let outcomes = self.step_unseen(plan, index, inputs);
        let steps = inputs.iter().zip(&outcomes).zip(seeds);
        effects.stepped.extend(
            steps.map(|((input, outcome), seed)| Stepped::new(&stage.name, input, outcome, seed)),
        );
        outcomes
    }

    fn step_unseen(&mut self, plan: &Plan, index: usize, inputs: &[StepInput<'_>]) -> Vec<Outcome> {
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
}

/// Items of a detector's outcomes, in order; what was refused or left aside goes to the effects.
fn collect(
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
        for (index, output) in outcome.outputs.into_iter().enumerate() {
            let Output { item, identity, woken } = output;
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
                woken: if woken { Some(identity.key.clone()) } else { origin.woken.clone() },
                position: Position {
                    input: origin.input,
                    stage: plan.rank(&stage.name),
                    output: found.len() + index,
                },
                identity: Some(identity),
                counts: true,
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
        let module = Some(&stage.module);
        for rejection in outcome.refused_wakes {
            effects.reject_wake(stage.on_reject, &stage.name, origin.message, &rejection, || {
                let letter =
                    letter(plan, &stage.name, module, &rejection, None, input.device.clone());
                DeadLetter { key: Some(input.key.clone()), at: origin.at(), ..letter }
            });
        }
        for rejection in outcome.rejections {
            let message = origin.routed.map(|r| &r.message);
            let known = |letter: &DeadLetter| {
                letter.stage == stage.name && letter.key.as_ref() == Some(&input.key)
            };
            // One letter, however many inputs of the key: it brings all of them back.
            if message.is_some_and(|message| {
                effects.dead.iter().rev().take_while(|l| l.is_of(message)).any(known)
            }) {
                continue;
            }
            let build = || {
                let device = input.device.clone();
                let letter = letter(plan, &stage.name, module, &rejection, message, device);
                DeadLetter { key: Some(input.key.clone()), at: origin.at(), ..letter }
            };
            match origin.message {
                Some(i) => effects.reject(stage.on_reject, &stage.name, i, &rejection, build),
                None => effects.reject_wake(stage.on_reject, &stage.name, None, &rejection, build),
            }
        }
    }
    found
}
