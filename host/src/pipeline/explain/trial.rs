//! A payload on its real way: the plan's validators, parsers and detectors, with instances and
//! state of their own.

use std::sync::Arc;

use super::Verdict;
use super::path::{Walk, clone_of, looks_at};
use super::taker::{Taker, sinks};
use crate::message::{DeviceId, Item, Message, Rejection};
use crate::pipeline::effects::{Effects, Fate};
use crate::pipeline::ingest::{self, Job};
use crate::pipeline::item::{Emitted, Routed};
use crate::pipeline::line::{Clock, write_item};
use crate::pipeline::worker::Worker;
use crate::store::DeadLetter;

/// Runs the message of `routed` and tells what each stage makes of it.
pub(super) fn run(walk: &mut Walk<'_>, routed: &Routed, jobs: &[Job]) {
    let message = routed.message.clone();
    let mut speaking = Vec::new();
    for job in jobs {
        if parsed(walk, routed, job) {
            speaking.push(walk.plan.parsers[job.parser].stage.name.clone());
        }
    }
    if speaking.is_empty() && !walk.plan.reads_messages {
        return;
    }
    let effects = Worker::new(walk.plan.clone(), Vec::new()).batch(&[message]);
    let mut said = Vec::new();
    detected(walk, routed, &effects, &mut said);
    delivered(walk, routed, &effects, &said);
}

fn alone() -> Effects {
    Effects { fates: vec![Fate::Committed], ..Effects::default() }
}

/// Whether all validators that look at it let it through.
pub(super) fn validated(walk: &mut Walk<'_>, routed: &Routed) -> bool {
    let plan = walk.plan.clone();
    let looking: Vec<_> =
        plan.file.validate.iter().filter(|v| looks_at(&v.topics, routed)).collect();
    let mut effects = alone();
    let mut one = [Some(clone_of(routed))];
    Worker::new(plan.clone(), Vec::new()).validate(&plan, &mut one, &mut effects);
    for validate in looking {
        let name = &validate.name;
        if let Some(dead) = effects.dead.iter().find(|dead| dead.stage == *name) {
            let what = format!("validator `{name}` refuses it: {}", refusal(dead));
            walk.say(Verdict::No, what, &validate.place);
            return false;
        }
        let passed = effects.passed.iter().find(|(stage, _)| stage == name);
        let what = match passed {
            Some((_, code)) => {
                format!("validator `{name}` refuses it (`{code}`), and lets it pass all the same")
            }
            None => format!("validator `{name}` accepts it"),
        };
        walk.say(Verdict::Yes, what, &validate.place);
    }
    one[0].is_some()
}

/// What the parser makes of it for one device; `false`: nothing that goes on.
fn parsed(walk: &mut Walk<'_>, routed: &Routed, job: &Job) -> bool {
    let plan = walk.plan.clone();
    let parser = &plan.parsers[job.parser];
    let name = &parser.stage.name;
    let Some(parse) = plan.file.parse.iter().find(|p| p.stage.name == *name) else { return false };
    let settings = match &job.bound {
        Some(bound) => bound.parse_settings.clone(),
        None => parser.stage.settings.clone(),
    };
    let device = job.bound.as_ref().map(|bound| &bound.device.id);
    let mut worker = Worker::new(plan.clone(), Vec::new());
    let runner = worker.runners.get_mut(name).expect("every stage has a runner");
    let input: (&Message, Option<&DeviceId>) = (&routed.message, device);
    let mut results =
        runner.run(&[(settings, input)], |instance, batch| instance.parse(&ingest::inputs(batch)));
    let found = match results.pop().map(|result| result.and_then(|items| items)) {
        Some(Ok(found)) => found,
        Some(Err(why)) => {
            let what = format!("parser `{name}` refuses it: {}", told(&why));
            walk.say(Verdict::No, what, &parse.stage.place);
            return false;
        }
        None => Vec::new(),
    };
    if found.is_empty() {
        let what = format!("parser `{name}` understands it, and finds nothing in it that counts");
        walk.say(Verdict::No, what, &parse.stage.place);
        return false;
    }
    let mut kept = false;
    for item in found {
        kept |= claimed(walk, routed, job, name, item);
    }
    kept
}

/// Whose an item of a parser is, or which rule keeps it out.
fn claimed(walk: &mut Walk<'_>, routed: &Routed, job: &Job, parser: &str, item: Item) -> bool {
    let plan = walk.plan.clone();
    let channel = match &item {
        Item::Reading(reading) => reading.channel.clone(),
        _ => String::new(),
    };
    let (mut effects, mut items) = (alone(), Vec::new());
    ingest::claim(&plan, job.parser, job, routed, vec![item], &mut effects, &mut items);
    if let Some(item) = items.pop() {
        let what = match &item.device {
            Some(device) => format!("parser `{parser}` emits, for `{device}`:"),
            None => format!("parser `{parser}` emits:"),
        };
        walk.show(Verdict::Yes, what, shown(&item));
        return true;
    }
    let source = &plan.file.sources[routed.source];
    let rule = source.anchor.place("/unknown_devices");
    if let Some((_, device)) = effects.unknown.first() {
        let device = device.as_ref().map_or("", |device| device.as_str());
        let what = format!(
            "device `{device}` is not registered, and source `{}` only reports such \
             (`unknown-device`): see `tapline devices --unknown`",
            source.name
        );
        walk.say(Verdict::No, what, &rule);
    } else if let Some(dead) = effects.dead.first() {
        walk.say(Verdict::No, refusal(dead), &rule);
    } else {
        let bound = job.bound.as_ref();
        match (&effects.fates[0], bound) {
            (Fate::Filtered(by), Some(bound)) if &**by == "other-channel" => {
                let own = bound.device.channel.join("`, `");
                let what = format!(
                    "channel `{channel}` is not that of device `{}`, which is `{own}`",
                    bound.device.id
                );
                walk.say(Verdict::No, what, &bound.device.place("/channel"));
            }
            (Fate::Filtered(by), _) if &**by == "retained" => {
                let what = format!(
                    "of a retained message only flags count, and `{channel}` has none (source \
                     `{}`)",
                    source.name
                );
                walk.say(Verdict::No, what, &source.anchor.place("/retained"));
            }
            _ => {
                let what = format!("an item of parser `{parser}` has nothing that counts");
                walk.say(Verdict::No, what, &source.place);
            }
        }
    }
    false
}

/// What the detectors take and say; those that took something are added to `said`.
fn detected(walk: &mut Walk<'_>, routed: &Routed, effects: &Effects, said: &mut Vec<Arc<str>>) {
    let plan = walk.plan.clone();
    for detector in &plan.detectors {
        let name = &detector.stage.name;
        let Some(detect) = plan.file.detect.iter().find(|d| d.stage.name == *name) else {
            continue;
        };
        let taker = Taker::detector(detect);
        let as_it_is = taker.takes_messages() && looks_at(&detect.topics, routed);
        let before: Vec<_> =
            effects.items.iter().filter(|i| plan.rank(&i.stage) < plan.rank(name)).collect();
        let refuses = |item: &&Emitted| taker.refuses(item, is_of_detector(&plan, item));
        let taken = before.iter().filter(|item| refuses(item).is_none()).count();
        if taken == 0 && !as_it_is {
            refused(walk, &taker, before.first().and_then(refuses));
            continue;
        }
        let mut aside = Vec::new();
        for (_, _, why) in effects.ignored.iter().filter(|(stage, ..)| stage == name) {
            aside.push(format!("detector `{name}` leaves it aside: {}", told(why)));
        }
        for dead in effects.dead.iter().filter(|dead| dead.stage == *name) {
            aside.push(format!("detector `{name}` refuses it: {}", refusal(dead)));
        }
        let emitted: Vec<_> = effects.items.iter().filter(|item| item.stage == *name).collect();
        let all_aside = !aside.is_empty() && aside.len() >= taken.max(1);
        for what in aside {
            walk.say(Verdict::No, what, &detect.stage.place);
        }
        if all_aside && emitted.is_empty() {
            continue;
        }
        said.push(name.clone());
        let what = match emitted.is_empty() {
            true => format!(
                "detector `{name}` takes it and says nothing yet (tried with a fresh state, not \
                 that of the running one)"
            ),
            false => format!("detector `{name}` takes it (tried with a fresh state) and says:"),
        };
        walk.say(Verdict::Yes, what, &detect.stage.place);
        for item in emitted {
            walk.show(Verdict::Note, format!("`{name}` emits:"), shown(item));
        }
    }
}

fn delivered(walk: &mut Walk<'_>, routed: &Routed, effects: &Effects, said: &[Arc<str>]) {
    let plan = walk.plan.clone();
    let all: Vec<_> = effects.items.iter().filter(|item| item.counts).collect();
    for taker in sinks(&plan.file) {
        let name = taker.name;
        let refuses = |item: &&Emitted| taker.refuses(item, is_of_detector(&plan, item));
        let messages = taker.takes_messages() && effects.fates == [Fate::Committed];
        let taken = all.iter().filter(|item| refuses(item).is_none()).count();
        if taken > 0 || messages {
            let what = match messages {
                true => format!("sink `{name}` takes the message as it is"),
                false => format!("sink `{name}` takes {taken} of what was emitted"),
            };
            walk.say(Verdict::Yes, what, taker.place);
            walk.reach(name);
        } else if taker.awaits(said, routed.bound.first()) {
            let what = format!("sink `{name}` takes {} when a detector says such", taker.takes());
            walk.say(Verdict::Maybe, what, &taker.anchor.place("/take"));
            walk.reach(name);
        } else {
            refused(walk, &taker, all.first().and_then(refuses));
        }
    }
    for delivery in &effects.outbox {
        if let Some(broker) = delivery.sink.broker() {
            let what = format!("it leads to a publication on broker `{broker}`");
            walk.say(Verdict::Yes, what, &plan.file.sources[routed.source].place);
        }
    }
    for dead in effects.dead.iter().filter(|dead| dead.code == "publish-not-allowed") {
        walk.say(Verdict::No, refusal(dead), &plan.file.sources[routed.source].place);
    }
}

fn refused(walk: &mut Walk<'_>, taker: &Taker<'_>, why: Option<(String, &'static str)>) {
    if let Some((why, key)) = why {
        let what = format!("{} {why}", taker.title());
        walk.say(Verdict::No, what, &taker.anchor.place(key));
    }
}

fn is_of_detector(plan: &crate::pipeline::Plan, item: &Emitted) -> bool {
    plan.rank(&item.stage) >= plan.first_detector_rank()
}

fn told(why: &Rejection) -> String {
    format!("{} (`{}`)", why.detail, why.code)
}

fn refusal(dead: &DeadLetter) -> String {
    format!("{} (`{}`)", dead.detail, dead.code)
}

fn shown(item: &Emitted) -> serde_json::Value {
    let mut bytes = Vec::new();
    write_item(&mut bytes, item, &mut Clock::default());
    serde_json::from_slice(&bytes).expect("a line is JSON")
}
