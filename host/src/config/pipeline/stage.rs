//! What stages have in common: module, settings, limits, topics, names of the site.

use std::time::Duration;

use serde_json::{Map, Value};

use super::build::{Build, MIB};
use super::file::{LimitsFile, OnRejectText};
use super::{Limits, OnReject, Settings, Shadow, Stage, Take, take};
use crate::config::document::Anchor;
use crate::config::schema::{nearest, ticked};
use crate::config::topic::Pattern;
use crate::config::units::{FilterText, ModuleFile, TakeText};

/// What all stages that run a module say.
pub(super) struct Common {
    pub(super) name: String,
    pub(super) module: String,
    pub(super) settings: Map<String, Value>,
    pub(super) limits: LimitsFile,
    pub(super) on_reject: Option<OnRejectText>,
    pub(super) shadow: Option<ModuleFile>,
}

impl Build<'_> {
    pub(super) fn stage(&mut self, at: &str, common: Common) -> Stage {
        let mut settings = Value::Object(common.settings);
        self.fill_topics(&mut settings);
        let Value::Object(value) = settings else { unreachable!("an object stays one") };
        Stage {
            name: common.name.into(),
            place: self.reader.place(&format!("{at}/name")),
            module: common.module.into(),
            module_place: self.reader.place(&format!("{at}/module")),
            settings: Settings {
                value,
                anchor: Anchor::new(&self.reader.document, &format!("{at}/settings")),
            },
            limits: self.limits(at, common.limits),
            on_reject: on_reject(common.on_reject),
            shadow: common.shadow.map(|file| Shadow {
                module: file.name().into(),
                place: self.reader.place(&format!("{at}/shadow")),
            }),
        }
    }

    /// Says of a stage of another kind why it has no shadow.
    pub(super) fn refuse_shadow(
        &mut self,
        at: &str,
        shadow: Option<&ModuleFile>,
        why: &str,
        remedy: &str,
    ) {
        if shadow.is_some() {
            self.reader.key_problem(&format!("{at}/shadow"), why, remedy);
        }
    }

    /// A module cannot know `[topics]`, so a setting that is `@name` becomes the topic.
    fn fill_topics(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let topic = text.strip_prefix('@').and_then(|name| self.topics.get(name));
                if let Some(topic) = topic {
                    *text = topic.clone();
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.fill_topics(value)),
            Value::Object(map) => map.values_mut().for_each(|value| self.fill_topics(value)),
            _ => {}
        }
    }

    fn limits(&mut self, at: &str, limits: LimitsFile) -> Limits {
        let at = |key: &str| format!("{at}/limits/{key}");
        let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(10));
        Limits {
            memory: self.reader.size(&at("memory"), limits.memory, MIB, 1024 * MIB),
            time: self.reader.duration(&at("time"), limits.time, shortest, longest),
            output: self.reader.size(&at("output"), limits.output, 1024, 256 * MIB),
            state: self.reader.size(&at("state"), limits.state, 1, MIB),
        }
    }

    pub(super) fn takes(&mut self, at: &str, texts: Vec<TakeText>) -> Vec<Take> {
        let mut takes = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            match take::parse(&text.0) {
                Ok(take) => takes.push(take),
                Err((what, remedy)) => self.reader.problem(&format!("{at}/{i}"), what, remedy),
            }
        }
        takes
    }

    /// Topic filters, `@name` looked up.
    pub(super) fn patterns(&mut self, at: &str, texts: Vec<FilterText>) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for (i, FilterText(text)) in texts.iter().enumerate() {
            let at = format!("{at}/{i}");
            let topic = match text.strip_prefix('@') {
                None => text,
                Some(name) => match self.topics.get(name) {
                    Some(topic) => topic,
                    None => {
                        let known: Vec<&str> = self.topics.keys().map(String::as_str).collect();
                        let remedy = match nearest(name, &known) {
                            Some(near) => format!("did you mean `@{near}`?"),
                            None => format!("add `{name}` to [topics]"),
                        };
                        self.reader.problem(&at, format!("no topic is called `{name}`"), remedy);
                        continue;
                    }
                },
            };
            match Pattern::parse(topic) {
                Ok(pattern) => patterns.push(pattern),
                // A bad topic of [topics] is reported there, once.
                Err(_) if text.starts_with('@') => {}
                Err(error) => self.reader.problem(&at, error.to_string(), error.remedy()),
            }
        }
        patterns
    }

    pub(super) fn check_known(
        &mut self,
        at: &str,
        kind: &str,
        name: &str,
        known: Option<Vec<&str>>,
    ) {
        let Some(known) = known else { return };
        if known.contains(&name) {
            return;
        }
        let remedy = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("add [{kind}.{name}] to tapline.toml"),
            None => format!("add [{kind}.{name}] to tapline.toml, or use {}", ticked(&known)),
        };
        self.reader.problem(at, format!("no {kind} is called `{name}`"), remedy);
    }
}

pub(super) fn on_reject(text: Option<OnRejectText>) -> OnReject {
    match text {
        Some(OnRejectText::DeadLetter) | None => OnReject::DeadLetter,
        Some(OnRejectText::Pass) => OnReject::Pass,
        Some(OnRejectText::Halt) => OnReject::Halt,
    }
}
