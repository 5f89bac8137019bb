//! A topic's way through a plan: source, devices, parser, and who would take what comes of it.

use std::sync::Arc;

use super::taker::{Taker, sinks, ticked};
use super::{Path, Question, Step, Verdict, trial};
use crate::config::pipeline::{Retained, Take, UnknownDevices};
use crate::config::topic::Pattern;
use crate::config::{Config, Place, Problem};
use crate::message::{Message, MessageId};
use crate::pipeline::directory::Bound;
use crate::pipeline::ingest::{self, Job};
use crate::pipeline::inputs::carries;
use crate::pipeline::item::Routed;
use crate::pipeline::plan::Plan;

/// Follows the topic as far as it goes.
pub(super) fn follow(
    plan: &Arc<Plan>,
    question: &Question,
    config: &Config,
    problems: &[Problem],
) -> Path {
    let mut walk = Walk { plan, config, problems, steps: Vec::new(), reaches: Vec::new() };
    if let Some(routed) = walk.source(question) {
        walk.whose(&routed);
        let tried = question.payload.is_some();
        let goes_on =
            if tried { trial::validated(&mut walk, &routed) } else { walk.checks(&routed) };
        if let Some(jobs) = if goes_on { walk.parsers(&routed) } else { None } {
            if tried {
                trial::run(&mut walk, &routed, &jobs);
            } else {
                walk.stages(&routed, &jobs);
            }
        }
    }
    let Walk { steps, reaches, .. } = walk;
    Path { pipeline: plan.file.name.clone(), file: plan.file.file.clone(), steps, reaches }
}

pub(super) struct Walk<'a> {
    pub(super) plan: &'a Arc<Plan>,
    config: &'a Config,
    problems: &'a [Problem],
    steps: Vec<Step>,
    reaches: Vec<Arc<str>>,
}

impl Walk<'_> {
    pub(super) fn say(&mut self, verdict: Verdict, what: impl Into<String>, place: &Place) {
        self.steps.push(Step::new(verdict, what).at(place));
    }

    pub(super) fn show(&mut self, verdict: Verdict, what: String, item: serde_json::Value) {
        self.steps.push(Step { item: Some(item), ..Step::new(verdict, what) });
    }

    pub(super) fn reach(&mut self, sink: &Arc<str>) {
        self.reaches.push(sink.clone());
    }

    /// The first source that takes the topic, as routing finds it.
    fn source(&mut self, question: &Question) -> Option<Routed> {
        let plan = self.plan.clone();
        let mut brokers: Vec<&Arc<str>> = Vec::new();
        for source in &plan.file.sources {
            let asked = question.broker.as_ref().is_none_or(|broker| source.broker == *broker);
            if asked && !brokers.contains(&&source.broker) {
                brokers.push(&source.broker);
            }
        }
        for broker in brokers {
            let message = Arc::new(Message {
                id: MessageId { source: broker.clone(), epoch: 0, sequence: 0 },
                topic: question.topic.clone(),
                payload: question.payload.clone().unwrap_or_default(),
                received_at: question.received_at,
                qos: 1,
                retained: question.retained,
                properties: Arc::default(),
            });
            match ingest::route(&plan, &message, None) {
                Ok(routed) => {
                    self.taken_by(&routed);
                    return Some(routed);
                }
                Err("unsubscribed") => {}
                Err(rule) => {
                    self.kept_out(broker, &question.topic, rule);
                    return None;
                }
            }
        }
        self.untaken(question);
        None
    }

    fn taken_by(&mut self, routed: &Routed) {
        let plan = self.plan.clone();
        let source = &plan.file.sources[routed.source];
        let topic = &routed.message.topic;
        let (name, broker) = (&source.name, &source.broker);
        let filter = source.topics.iter().position(|t| t.matches(topic));
        let (by, place) = match filter {
            Some(i) => {
                let by = format!("by its filter `{}`", source.topics[i]);
                (by, source.anchor.place(&format!("/topics/{i}")))
            }
            None => ("for its devices".to_owned(), source.anchor.place("/devices")),
        };
        self.say(
            Verdict::Yes,
            format!("source `{name}` of broker `{broker}` takes it {by}"),
            &place,
        );
        if routed.message.retained && source.retained == Retained::Flags {
            let what = format!("source `{name}` lets only flags of retained messages count");
            self.say(Verdict::Note, what, &source.anchor.place("/retained"));
        }
    }

    fn kept_out(&mut self, broker: &Arc<str>, topic: &str, rule: &str) {
        let plan = self.plan.clone();
        for source in plan.file.sources.iter().filter(|source| source.broker == *broker) {
            let name = &source.name;
            if let Some(i) = source.except.iter().position(|e| e.matches(topic)) {
                let what =
                    format!("source `{name}` leaves it out by `except`: `{}`", source.except[i]);
                let place = source.anchor.place(&format!("/except/{i}"));
                return self.say(Verdict::No, what, &place);
            }
            if rule == "retained" && source.retained == Retained::Ignore {
                let what = format!("source `{name}` ignores retained messages");
                return self.say(Verdict::No, what, &source.anchor.place("/retained"));
            }
        }
    }

    fn untaken(&mut self, question: &Question) {
        let plan = self.plan.clone();
        for source in &plan.file.sources {
            let filters: Vec<_> = source.topics.iter().map(|t| format!("`{t}`")).collect();
            let count = plan.directory.bound.len();
            let devices = format!("the topics of its {count} devices");
            let takes = match (source.devices, filters.is_empty()) {
                (true, true) => devices,
                (true, false) => format!("{devices} and {}", filters.join(", ")),
                (false, _) => filters.join(", "),
            };
            let (name, broker) = (&source.name, &source.broker);
            let asked = question.broker.as_ref().is_none_or(|asked| *asked == *broker);
            let what = if asked {
                format!("source `{name}` of broker `{broker}` does not take it: it takes {takes}")
            } else {
                format!("source `{name}` takes messages of broker `{broker}`, not of this one")
            };
            self.say(Verdict::No, what, &source.place);
        }
        self.lost_devices(&question.topic);
    }

    /// Registered devices whose topic this is and that this pipeline does not serve.
    fn lost_devices(&mut self, topic: &str) {
        let plan = self.plan.clone();
        let config = self.config;
        let lost = config.devices.by_id.values().filter(|device| {
            device.topic.matches(topic) && plan.directory.get(&device.id).is_none()
        });
        for device in lost.take(5) {
            let (id, wanted) = (&device.id, &device.parser_type);
            let read: Vec<_> = plan.parsers.iter().flat_map(|p| &p.parser_types).collect();
            if !read.contains(&wanted) {
                let read: Vec<_> = read.iter().map(|known| format!("`{known}`")).collect();
                let what = format!(
                    "device `{id}` has this topic, but no parse stage here reads its parser_type \
                     `{wanted}`; they read {}",
                    read.join(", ")
                );
                self.say(Verdict::No, what, &device.place("/parser_type"));
                continue;
            }
            let own = device.place("");
            let why = self.problems.iter().find(|problem| {
                problem.place.as_ref().is_some_and(|place| {
                    place.file == own.file && place.path.starts_with(&*own.path)
                })
            });
            let why = why.map_or_else(
                || "see `tapline check`".to_owned(),
                |problem| format!("{}; {}", problem.what, problem.remedy),
            );
            let what = format!("device `{id}` has this topic, but is left out: {why}");
            self.say(Verdict::No, what, &own);
        }
    }

    fn whose(&mut self, routed: &Routed) {
        for bound in &routed.bound {
            self.bound(routed, bound);
        }
        if routed.bound.is_empty() {
            self.lost_devices(&routed.message.topic);
        }
    }

    /// Validators that look at it; without a payload nobody knows what they say.
    fn checks(&mut self, routed: &Routed) -> bool {
        let plan = self.plan.clone();
        for validate in plan.file.validate.iter().filter(|v| looks_at(&v.topics, routed)) {
            let what = format!("validator `{}` looks at the payload first", validate.name);
            self.say(Verdict::Maybe, what, &validate.place);
        }
        true
    }

    /// Who parses it, for each device; `None`: it ends here.
    fn parsers(&mut self, routed: &Routed) -> Option<Vec<Job>> {
        let plan = self.plan.clone();
        let known = [Some(clone_of(routed))];
        let (jobs, unmatched) = ingest::jobs(&plan, &known);
        if let Some((_, rule)) = unmatched.first() {
            self.unparsed(routed, rule);
            return None;
        }
        for job in &jobs {
            let parse = &plan.file.parse[job.parser.min(plan.file.parse.len() - 1)];
            let (name, module) = (&parse.stage.name, &parse.stage.module);
            let by = match &job.bound {
                Some(bound) => {
                    format!(
                        "the parser_type `{}` of `{}`",
                        bound.device.parser_type, bound.device.id
                    )
                }
                None => "its topic filter".to_owned(),
            };
            let what = format!("parser `{name}` (module `{module}`) reads it, by {by}");
            self.say(Verdict::Yes, what, &parse.stage.place);
        }
        Some(jobs)
    }

    fn bound(&mut self, routed: &Routed, bound: &Bound) {
        let (topic, device) = (&routed.message.topic, &bound.device);
        let id = &device.id;
        if device.topic.matches(topic) {
            let what = format!("it is the mqtt_topic of device `{id}`");
            return self.say(Verdict::Yes, what, &device.place("/mqtt_topic"));
        }
        let companion = bound
            .filters
            .iter()
            .skip(1)
            .find(|filter| Pattern::parse(filter).is_ok_and(|filter| filter.matches(topic)));
        let what = match companion {
            Some(filter) => {
                let parser = &self.plan.parsers[bound.parser].stage.name;
                format!(
                    "it is a companion topic of device `{id}`: parser `{parser}` adds `{filter}`"
                )
            }
            None => format!("`{{device}}` in its topic is `{id}`, which is registered"),
        };
        self.say(Verdict::Yes, what, &device.place("/mqtt_topic"));
    }

    fn unparsed(&mut self, routed: &Routed, rule: &str) {
        let plan = self.plan.clone();
        let source = &plan.file.sources[routed.source];
        if rule == "unknown-device"
            && let Some(device) = routed.captured_device()
        {
            let what = format!(
                "device `{device}`, which the topic names, is not registered, and no parse stage \
                 has a filter for the topic (`unknown-device`)"
            );
            return self.say(Verdict::No, what, &source.place);
        }
        let what = "it belongs to no registered device, and no parse stage has a filter for it \
                    (`unmatched`)";
        self.say(Verdict::No, what, &source.place);
    }

    /// What may follow, as far as it can be told without a payload.
    fn stages(&mut self, routed: &Routed, jobs: &[Job]) {
        let plan = self.plan.clone();
        if routed.bound.is_empty() && !jobs.is_empty() {
            self.policy(routed);
        }
        // Stages from which items may come.
        let mut speaking: Vec<Arc<str>> =
            jobs.iter().map(|job| plan.parsers[job.parser].stage.name.clone()).collect();
        let first = speaking.len();
        for detector in &plan.detectors {
            let Some(detect) =
                plan.file.detect.iter().find(|d| d.stage.name == detector.stage.name)
            else {
                continue;
            };
            let taker = Taker::detector(detect);
            let from = if detect.from.is_empty() { &speaking[..first] } else { &speaking[..] };
            if self.may_take(&taker, routed, from) {
                speaking.push(detect.stage.name.clone());
            }
        }
        for taker in sinks(&plan.file) {
            // Parsers may say events, but where there are detectors, these do.
            if taker.takes_only_events()
                && taker.from.is_empty()
                && speaking.len() == first
                && !plan.detectors.is_empty()
            {
                let what = format!(
                    "{} takes {}, and no detector takes this",
                    taker.title(),
                    taker.takes()
                );
                self.say(Verdict::No, what, &taker.anchor.place("/take"));
            } else if self.may_take(&taker, routed, &speaking) {
                self.reach(taker.name);
            }
        }
    }

    /// What the source's rule for devices that nobody registered means here.
    pub(super) fn policy(&mut self, routed: &Routed) {
        let source = &self.plan.file.sources[routed.source];
        let what = match source.unknown_devices {
            UnknownDevices::Accept => "devices that are not registered are accepted",
            UnknownDevices::Report => {
                "a device that is not registered is only reported: see `tapline devices --unknown`"
            }
            UnknownDevices::DeadLetter => {
                "messages of devices that are not registered are set aside as dead letters"
            }
        };
        let verdict = match source.unknown_devices {
            UnknownDevices::Accept => Verdict::Note,
            _ => Verdict::Maybe,
        };
        let place = source.anchor.place("/unknown_devices");
        self.say(verdict, format!("source `{}`: {what}", source.name), &place);
    }

    fn may_take(&mut self, taker: &Taker<'_>, routed: &Routed, from: &[Arc<str>]) -> bool {
        let name = taker.title();
        if taker.takes_messages() && looks_at(taker.topics, routed) {
            let what = format!("{name} takes the message as it is");
            self.say(Verdict::Yes, what, &taker.anchor.place("/take"));
            return true;
        }
        let sources: Vec<_> = from
            .iter()
            .filter(|stage| taker.from.is_empty() || taker.from.contains(*stage))
            .collect();
        if sources.is_empty() {
            if !taker.from.is_empty() {
                let what = format!("{name} takes only what {} emit", ticked(taker.from));
                self.say(Verdict::No, what, &taker.anchor.place("/from"));
            }
            return false;
        }
        let bound: Vec<_> = routed.bound.iter().collect();
        let carried =
            taker.labels.is_empty() || bound.iter().any(|bound| carries(Some(bound), taker.labels));
        if !carried {
            self.unlabelled(taker, routed.bound.first());
            return false;
        }
        let what = format!("{name} takes {}", taker.takes());
        let sure = taker.take.iter().any(|take| matches!(take, Take::Reading(None)));
        let verdict = if sure { Verdict::Yes } else { Verdict::Maybe };
        self.say(verdict, what, &taker.anchor.place("/take"));
        true
    }

    fn unlabelled(&mut self, taker: &Taker<'_>, bound: Option<&Arc<Bound>>) {
        let what = format!("{} {}", taker.title(), taker.label_words(bound));
        self.say(Verdict::No, what, &taker.anchor.place("/labels"));
    }
}

/// Whether a stage with these filters looks at a message; without any it looks at all.
pub(super) fn looks_at(topics: &[Pattern], routed: &Routed) -> bool {
    topics.is_empty() || topics.iter().any(|t| t.matches(&routed.message.topic))
}

/// Routing consumes what it found; explaining looks more than once.
pub(super) fn clone_of(routed: &Routed) -> Routed {
    Routed {
        message: routed.message.clone(),
        bound: routed.bound.clone(),
        captures: routed.captures.clone(),
        source: routed.source,
    }
}
