//! What runs, for those who look at single devices, sessions and topics.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::Serialize;

use super::prepare::{Identity, Inputs};
use super::{Options, Tapline};
use crate::broker::SubscriptionStatus;
use crate::config::topic::Pattern;
use crate::config::{Problem, device::Device};
use crate::message::DeviceId;
use crate::module::{Engine, EngineOptions};
use crate::pipeline::{
    Explanation, Plan, Question, Session, Sight, Step, Trouble, Verdict, explain as follow,
};
use crate::quantity;
use crate::store::StoreError;

/// All that is known of one device.
#[derive(Debug, Serialize)]
pub struct DeviceView {
    pub device_id: DeviceId,
    /// False: it was heard, but nobody registered it.
    pub registered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parser_type: Option<Arc<str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it is written, `devices/hall.toml:3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// That serve it; none: it is left out, and `explain` says why.
    pub pipelines: Vec<Arc<str>>,
    /// It was heard since Tapline started.
    pub heard_since_start: bool,
    /// Also of the run before, where the store still knows.
    pub last_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_topic: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The last values, by channel and quantity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, BTreeMap<String, f64>>,
    /// As of its last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_problem: Option<Trouble>,
}

impl Tapline {
    /// What each pipeline runs now, by name.
    pub fn plans(&self) -> BTreeMap<Arc<str>, Arc<Plan>> {
        let running = self.running();
        running.shards.iter().map(|(name, shard)| (name.clone(), shard.plan())).collect()
    }

    /// Registered devices after this one, by id. It waits for the disk.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn devices(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DeviceView>, StoreError> {
        let config = self.config();
        let start = match after {
            Some(after) => Bound::Excluded(DeviceId::from(after)),
            None => Bound::Unbounded,
        };
        let page = config.devices.by_id.range((start, Bound::Unbounded)).take(limit);
        let page: Vec<_> = page.map(|(id, device)| (id.clone(), Some(&**device))).collect();
        self.views(&page)
    }

    /// One device, registered or only heard. `None`: neither.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn device(&self, id: &str) -> Result<Option<DeviceView>, StoreError> {
        let config = self.config();
        let id = DeviceId::from(id);
        let device = config.devices.by_id.get(&id).map(|device| &**device);
        let mut views = self.views(&[(id, device)])?;
        Ok(views.pop().filter(|view| view.registered || view.heard_since_start))
    }

    /// Devices that are accepted though nobody registered them, by id.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn strangers(&self) -> Result<Vec<DeviceView>, StoreError> {
        let config = self.config();
        let known = |id: &DeviceId| config.devices.by_id.contains_key(id);
        let strangers = self.sights.strangers(&known);
        self.views(&strangers.into_iter().map(|id| (id, None)).collect::<Vec<_>>())
    }

    fn views(
        &self,
        devices: &[(DeviceId, Option<&Device>)],
    ) -> Result<Vec<DeviceView>, StoreError> {
        let plans = self.plans();
        let ids: Vec<_> = devices.iter().map(|(id, _)| id.clone()).collect();
        let seen = self.sights.devices(&ids);
        let views = devices.iter().zip(seen);
        views
            .map(|((id, device), (sight, sessions))| {
                self.view(&plans, id, *device, sight.unwrap_or_default(), sessions)
            })
            .collect()
    }

    fn view(
        &self,
        plans: &BTreeMap<Arc<str>, Arc<Plan>>,
        id: &DeviceId,
        device: Option<&Device>,
        sight: Sight,
        sessions: Vec<Session>,
    ) -> Result<DeviceView, StoreError> {
        let serving = plans.values().filter(|plan| plan.directory.get(id).is_some());
        let pipelines: Vec<_> = serving.map(|plan| plan.file.name.clone()).collect();
        let mut last_seen = sight.last_seen;
        if last_seen.is_none() {
            for pipeline in &pipelines {
                last_seen = last_seen.max(self.store.last_input(pipeline, id.as_str())?);
            }
        }
        // Several detectors may each follow a session; the one that began last is shown.
        let session = sessions.into_iter().max_by(|a, b| a.told.started_at.cmp(&b.told.started_at));
        let values = sight.channels.iter().map(|channel| {
            let values = channel.values.iter().map(|(quantity, value)| {
                let name = quantity::entry(*quantity)
                    .map_or_else(|| quantity.0.to_string(), |entry| entry.name.clone());
                (name, *value)
            });
            (channel.name.clone(), values.collect())
        });
        Ok(DeviceView {
            device_id: id.clone(),
            registered: device.is_some(),
            machine_name: device.map(|d| d.machine_name.clone()),
            mqtt_topic: device.map(|d| d.topic.as_str().to_owned()),
            parser_type: device.map(|d| d.parser_type.clone()),
            labels: device.map(|d| d.labels.clone()).unwrap_or_default(),
            place: device.map(|d| d.place("").spot()),
            pipelines,
            heard_since_start: sight.last_seen.is_some(),
            last_seen: last_seen.map(|at| at.rfc3339()),
            online: sight.value("online").map(|online| online != 0.0),
            state: sight
                .state
                .clone()
                .or_else(|| session.as_ref().and_then(|s| s.told.state.clone())),
            values: values.collect(),
            last_topic: sight.topic,
            session,
            last_problem: sight.problem,
        })
    }

    /// Sessions that run, and those that ended lately.
    pub fn sessions(&self) -> (Vec<Session>, Vec<Session>) {
        (self.sights.running(), self.sights.ended())
    }

    /// Why a topic reaches a sink or not, with what only the running Tapline knows. With a
    /// payload it runs modules, so it belongs on a thread that may wait.
    pub fn explain(&self, question: &Question) -> Result<Explanation, StoreError> {
        let config = self.config();
        let plans: Vec<_> = self.plans().into_values().collect();
        let problems = self.running().problems.clone();
        let mut explanation = follow(question, &config, &plans, &problems);
        explanation.live = self.facts(question, &plans)?;
        Ok(explanation)
    }

    fn facts(&self, question: &Question, plans: &[Arc<Plan>]) -> Result<Vec<Step>, StoreError> {
        let mut facts = Vec::new();
        let sources = || plans.iter().flat_map(|plan| &plan.file.sources);
        for (name, connection) in self.links.all() {
            let used = sources().any(|source| source.broker == name);
            if !used || question.broker.as_ref().is_some_and(|asked| *asked != name) {
                continue;
            }
            let status = connection.link.status();
            let wanted = status.subscriptions.iter().filter(|(filter, _)| {
                Pattern::parse(filter).is_ok_and(|filter| filter.matches(&question.topic))
            });
            let wanted: Vec<_> = wanted.collect();
            // Another broker's trouble is no reason where this one does not bring the topic.
            let verdict = if wanted.is_empty() { Verdict::Note } else { Verdict::No };
            if status.connected {
                let since = status.since.map(|at| format!(" since {at}")).unwrap_or_default();
                let what = format!("broker `{name}` is connected{since}");
                facts.push(Step::new(Verdict::Yes, what));
            } else {
                let why = status.last_error.as_deref().unwrap_or("no attempt has ended yet");
                let what = format!("broker `{name}` is not connected: {why}");
                facts.push(Step::new(verdict, what));
            }
            for (filter, state) in wanted {
                facts.push(match state {
                    SubscriptionStatus::Granted { qos } => Step::new(
                        Verdict::Yes,
                        format!("broker `{name}` has granted `{filter}` (QoS {qos})"),
                    ),
                    SubscriptionStatus::Refused { reason, .. } => Step::new(
                        Verdict::No,
                        format!("broker `{name}` refuses `{filter}`: {reason}"),
                    ),
                    SubscriptionStatus::Pending => Step::new(
                        Verdict::No,
                        format!("broker `{name}` has not answered yet to `{filter}`"),
                    ),
                });
            }
        }
        let mut devices: Vec<DeviceId> = Vec::new();
        for plan in plans {
            for source in &plan.file.sources {
                let bound = plan.directory.find(&source.broker, &question.topic);
                devices.extend(bound.iter().map(|bound| bound.device.id.clone()));
            }
        }
        devices.sort();
        devices.dedup();
        for id in devices.iter().take(10) {
            let Some(view) = self.device(id.as_str())? else { continue };
            facts.push(Step::new(Verdict::Note, heard(&view)));
            if let Some(Trouble { at, stage, detail, .. }) = view.last_problem {
                let what = format!("the last problem of `{id}`, at {at} in `{stage}`: {detail}");
                facts.push(Step::new(Verdict::Note, what));
            }
        }
        let (unknown, _) = self.sights.unknown();
        for topic in unknown.iter().filter(|unknown| unknown.topic == question.topic) {
            let (count, at, broker) = (topic.count, topic.last_seen, &topic.broker);
            let what = format!(
                "{count} messages of this topic came from `{broker}` and belonged to nobody, the \
                 last at {at}"
            );
            facts.push(Step::new(Verdict::Note, what));
        }
        Ok(facts)
    }
}

fn heard(view: &DeviceView) -> String {
    let id = &view.device_id;
    match (&view.last_seen, &view.last_topic) {
        (Some(at), Some(topic)) => format!("device `{id}` was last heard at {at}, on `{topic}`"),
        (Some(at), None) => {
            format!("device `{id}` was not heard since the start; before, at {at}")
        }
        (None, _) => {
            format!("device `{id}` was not heard since the start, and nothing is kept of it")
        }
    }
}

/// The same without a running Tapline, as far as files tell.
///
/// # Errors
/// What keeps everything from being checked; inside, what is wrong with the question.
pub fn explain(
    options: &Options,
    question: &Question,
) -> Result<Result<Explanation, String>, Vec<Problem>> {
    let engine = Engine::new(None, EngineOptions::default()).map_err(|error| {
        let what = crate::telemetry::words(&error);
        vec![Problem::of("module engine", what, "see what the system refuses")]
    })?;
    let pushed = match &options.config_file {
        Some(file) => Some(Arc::new(super::pushed::read_document(file)?)),
        None => None,
    };
    let inputs = Inputs::read(options, &engine, None, None);
    let prepared =
        inputs.prepare(options, &Identity::nobody(), pushed, None, question.received_at)?;
    if let Some(why) = question.unfit(prepared.plans.iter()) {
        return Ok(Err(why));
    }
    Ok(Ok(follow(question, &prepared.config, &prepared.plans, &prepared.problems)))
}
