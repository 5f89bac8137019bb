//! Why a topic reaches a sink, or at which filter, label or rule it ends.
//!
//! `path` follows a topic through a plan, `taker` says what a stage takes, `trial` runs a
//! payload through a fresh worker of the plan, `near` looks for devices that were probably meant. Neighbours: `reload` adds what only
//! a running Tapline knows. Invariant: nothing here touches what runs; routing is asked of
//! the same functions that route.

mod near;
mod path;
mod taker;
mod text;
mod trial;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use crate::config::{Config, Place, Problem};
use crate::message::Timestamp;

use near::near;

/// Problems of the configuration that are named.
const PROBLEMS: usize = 10;

/// What somebody wants to know.
#[derive(Clone, Debug)]
pub struct Question {
    pub topic: Arc<str>,
    /// Really run through the stages, if there is one.
    pub payload: Option<Bytes>,
    /// `None`: any broker that a source names.
    pub broker: Option<Arc<str>>,
    /// `None`: every pipeline.
    pub pipeline: Option<Arc<str>>,
    pub retained: bool,
    pub received_at: Timestamp,
}

/// The answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Explanation {
    pub topic: String,
    /// `pipeline/sink` of each sink that it reaches, or may reach by what a detector says later.
    pub reaches: Vec<String>,
    pub pipelines: Vec<Path>,
    /// What of the configuration does not run; where a device is in it, that is the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Devices that were probably meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<Step>,
    /// What only the running Tapline knows; empty where it was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<Step>,
}

/// A topic's way through one pipeline.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Path {
    pub pipeline: Arc<str>,
    pub file: Arc<str>,
    pub steps: Vec<Step>,
    pub reaches: Vec<Arc<str>>,
}

/// One thing that was asked, and what the answer is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Step {
    pub verdict: Verdict,
    pub what: String,
    /// Where it is written, `pipelines/workshop.toml:7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// An item that a stage emitted, in the shape of `tapline replay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Yes,
    No,
    /// It depends on the payload, or on what a detector says later.
    Maybe,
    Note,
}

impl Question {
    /// What is wrong with the question itself: its topic, or names that nobody has.
    pub fn unfit<'a>(&self, plans: impl Iterator<Item = &'a Arc<Plan>> + Clone) -> Option<String> {
        if self.topic.is_empty() || self.topic.contains(['+', '#']) {
            let topic = &self.topic;
            return Some(format!(
                "`{topic}` is not the topic of a message: name one without wildcards"
            ));
        }
        let names =
            || plans.clone().map(|plan| format!("`{}`", plan.file.name)).collect::<Vec<_>>();
        if let Some(wanted) = &self.pipeline
            && !plans.clone().any(|plan| plan.file.name == *wanted)
        {
            return Some(format!(
                "no pipeline `{wanted}` can run; those that can: {}",
                names().join(", ")
            ));
        }
        let mut sources = plans.clone().flat_map(|plan| &plan.file.sources);
        if let Some(wanted) = &self.broker
            && !sources.any(|source| source.broker == *wanted)
        {
            return Some(format!("no pipeline has a source of a broker `{wanted}`"));
        }
        None
    }
}

impl Step {
    /// A step that is written nowhere.
    pub fn new(verdict: Verdict, what: impl Into<String>) -> Self {
        Self { verdict, what: what.into(), place: None, item: None }
    }

    /// The same with its place.
    #[must_use]
    pub fn at(self, place: &Place) -> Self {
        Self { place: Some(place.spot()), ..self }
    }
}

impl Explanation {
    /// Whether it reaches a sink, as far as anybody can tell.
    pub fn is_fine(&self) -> bool {
        !self.reaches.is_empty() && self.live.iter().all(|step| step.verdict != Verdict::No)
    }
}

/// Follows a topic through all plans; `problems` is what did not become part of them.
pub fn explain(
    question: &Question,
    config: &Config,
    plans: &[Arc<Plan>],
    problems: &[Problem],
) -> Explanation {
    let asked = |plan: &&Arc<Plan>| {
        question.pipeline.as_ref().is_none_or(|wanted| plan.file.name == *wanted)
    };
    let mut paths: Vec<Path> = plans
        .iter()
        .filter(asked)
        .map(|plan| path::follow(plan, question, config, problems))
        .collect();
    // Those that take it come first.
    paths.sort_by_key(|path| path.steps.first().is_none_or(|step| step.verdict == Verdict::No));
    let reaches = paths
        .iter()
        .flat_map(|path| path.reaches.iter().map(|sink| format!("{}/{sink}", path.pipeline)))
        .collect();
    let is_bound = plans.iter().any(|plan| {
        let brokers = plan.file.sources.iter().map(|source| &source.broker);
        brokers.into_iter().any(|b| !plan.directory.find(b, &question.topic).is_empty())
    });
    let near = if is_bound { Vec::new() } else { near(&question.topic, &config.devices, plans) };
    let mut broken: Vec<_> = problems.iter().take(PROBLEMS).map(ToString::to_string).collect();
    if problems.len() > PROBLEMS {
        broken.push(format!("and {} more: `tapline check` names them", problems.len() - PROBLEMS));
    }
    Explanation {
        topic: question.topic.to_string(),
        reaches,
        pipelines: paths,
        problems: broken,
        near,
        live: Vec::new(),
    }
}
