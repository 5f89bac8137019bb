//! What runs, in full: for `tapline status` and whoever asks `GET /api/v1/status`.
//!
//! Words and numbers are those of `/health` and `/metrics`; here they stand together with what
//! they belong to. Nothing is counted here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Connection, Tapline};
use crate::broker::SubscriptionStatus;
use crate::message::Timestamp;
use crate::module::{Module, shipped};
use crate::pipeline::{Counts, Flow, ModuleStage, Plan, Shard};
use crate::store::SinkId;
use crate::telemetry::clock;

/// A running Tapline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `ok`, or `degraded` with problems.
    pub status: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// What is odd but not wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub version: String,
    pub bridge_id: String,
    pub uptime_s: u64,
    /// The site directory; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    pub data: String,
    /// Registered devices.
    pub devices: usize,
    /// Number of the pushed configuration in force; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_config_update: Option<String>,
    pub dead_letters: u64,
    /// Database and its log.
    pub store_bytes: u64,
    pub brokers: Vec<BrokerStatus>,
    pub pipelines: Vec<PipelineStatus>,
    pub sinks: Vec<SinkState>,
    /// Those that a stage uses.
    pub modules: Vec<ModuleStatus>,
}

/// Something that went wrong; it may be over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerStatus {
    pub broker: String,
    pub address: String,
    pub connected: bool,
    /// Since when `connected` is as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Topic filters by state.
    pub granted: usize,
    pub pending: usize,
    /// Filters that the broker refused, with its reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, String>,
    /// The broker still had our session at the last connect.
    pub session_present: bool,
    /// Everything that the broker had kept for us has been handed over.
    pub drained: bool,
    pub received: u64,
    pub acknowledged: u64,
    pub shed: u64,
    pub oversize: u64,
    pub unrouted: u64,
    pub reconnects: u64,
    /// Received and not settled.
    pub held_messages: usize,
    /// How the broker can lose messages before they come here, or did within the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
    /// Messages of any client that the broker counted as dropped while Tapline runs.
    #[serde(default)]
    pub dropped_by_broker: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineStatus {
    pub pipeline: String,
    /// As the site directory has it; one that ships says so.
    pub file: String,
    pub running: bool,
    /// Registered devices that it reads.
    pub devices: usize,
    /// Messages that wait for its thread.
    pub queue: usize,
    #[serde(flatten)]
    pub counts: Counts,
    /// In the order in which messages pass them.
    pub stages: Vec<StageStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    pub stage: String,
    /// `validate`, `parse`, `detect` or `sink`.
    pub kind: String,
    /// Its module's name, version and the first digits of its hash; absent where the host
    /// checks a schema by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    pub calls: u64,
    pub inputs: u64,
    /// Inputs that it refused, or that its module could not bear.
    pub rejected: u64,
    /// Calls that cost the instance, by code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    pub recycled: u64,
    /// Time in calls, in milliseconds.
    pub busy_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    pub pipeline: String,
    pub sink: String,
    pub waiting: u64,
    /// Age of what waits longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_s: Option<u64>,
    pub in_flight: usize,
    pub queued: u64,
    pub delivered: u64,
    pub retried: u64,
    pub dead_lettered: u64,
    /// Why nothing is sent until a person acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Failure>,
    /// What went wrong last; the next success clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivered_at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleStatus {
    pub module: String,
    pub version: String,
    pub role: String,
    /// First digits of its hash.
    pub hash: String,
    pub size_bytes: usize,
    /// `shipped` with the program, or `site`.
    pub from: String,
    /// Stages, as `pipeline/stage`.
    pub used_by: Vec<String>,
}

impl Tapline {
    /// What runs, at this moment. Looks into the store, so it is not for the async runtime.
    pub fn status(&self) -> Status {
        let health = self.health();
        let shards = self.running().shards.clone();
        let path = |path: &std::path::Path| path.display().to_string();
        Status {
            status: health.status.to_owned(),
            problems: health.problems,
            warnings: health.warnings,
            version: health.version.to_owned(),
            bridge_id: health.bridge_id,
            uptime_s: health.uptime_s,
            site: self.options.site.as_deref().map(path),
            data: path(&self.options.data),
            devices: health.devices,
            // If the store cannot be read, the problems say so.
            revision: self.store.latest_revision_number().ok().flatten(),
            last_config_update: health.last_config_update,
            dead_letters: health.dead_letters,
            store_bytes: self.store.size(),
            brokers: self.links.all().iter().map(|(name, c)| broker(name, c)).collect(),
            pipelines: shards
                .iter()
                .map(|(name, shard)| pipeline(name, shard, &self.activity.flow(name)))
                .collect(),
            sinks: self.sink_states(),
            modules: self.modules_in_use(shards.values().map(|shard| shard.plan())),
        }
    }

    fn sink_states(&self) -> Vec<SinkState> {
        let now = clock::now();
        let state = |(id, status): (SinkId, crate::delivery::SinkStatus)| {
            // Each pipeline could publish to each broker; what never did is left out.
            if id.broker().is_some() && status.queued == 0 {
                return None;
            }
            let oldest = self.oldest_ms(&id, status.waiting, now).filter(|_| status.waiting > 0);
            Some(SinkState {
                pipeline: id.pipeline.to_string(),
                sink: id.stage.to_string(),
                waiting: status.waiting,
                oldest_s: oldest.map(|ms| ms / 1000),
                in_flight: status.in_flight,
                queued: status.queued,
                delivered: status.delivered,
                retried: status.retries,
                dead_lettered: status.dead,
                paused: status.paused.map(|p| failure(p.reason, Some(p.since))),
                last_error: status.last_error,
                last_delivered_at: status.last_delivered_at.map(Timestamp::rfc3339),
            })
        };
        self.delivery.status().into_iter().filter_map(state).collect()
    }

    fn modules_in_use(&self, plans: impl Iterator<Item = Arc<Plan>>) -> Vec<ModuleStatus> {
        let mut found: BTreeMap<(String, String), (Arc<Module>, Vec<String>)> = BTreeMap::new();
        for plan in plans {
            for (_, stage) in stages(&plan) {
                let Some(stage) = stage.ok() else { continue };
                let module = &stage.module;
                let key = (module.name().to_owned(), module.hash().to_string());
                let (_, users) = found.entry(key).or_insert_with(|| (module.clone(), Vec::new()));
                users.push(format!("{}/{}", plan.file.name, stage.name));
            }
        }
        let status = |(module, used_by): (Arc<Module>, Vec<String>)| ModuleStatus {
            module: module.name().to_owned(),
            version: module.version().to_owned(),
            role: module.role().to_string(),
            hash: module.hash().short(),
            size_bytes: module.size(),
            from: if shipped::ships(module.hash()) { "shipped" } else { "site" }.to_owned(),
            used_by,
        };
        found.into_values().map(status).collect()
    }
}

fn failure(what: String, at: Option<Timestamp>) -> Failure {
    Failure { what, at: at.map(Timestamp::rfc3339) }
}

fn broker(name: &str, connection: &Connection) -> BrokerStatus {
    let status = connection.link.status();
    let mut found = BrokerStatus {
        broker: name.to_owned(),
        address: format!("{}:{}", connection.broker.host, connection.broker.port),
        connected: status.connected,
        since: status.since.map(Timestamp::rfc3339),
        granted: 0,
        pending: 0,
        refused: BTreeMap::new(),
        session_present: status.session_present,
        drained: status.drained,
        received: status.received,
        acknowledged: status.acked,
        shed: status.shed,
        oversize: status.oversize,
        unrouted: connection.router.unrouted(),
        reconnects: status.reconnects,
        held_messages: status.held_messages,
        risks: status.risks.iter().map(ToString::to_string).collect(),
        dropped_by_broker: status.dropped,
        last_error: status.last_error.map(|what| failure(what, status.last_error_at)),
    };
    for (filter, state) in status.subscriptions.iter() {
        match state {
            SubscriptionStatus::Granted { .. } => found.granted += 1,
            SubscriptionStatus::Pending => found.pending += 1,
            SubscriptionStatus::Refused { reason, .. } => {
                found.refused.insert(filter.clone(), reason.clone());
            }
        }
    }
    found
}

fn pipeline(name: &Arc<str>, shard: &Shard, flow: &Flow) -> PipelineStatus {
    let plan = shard.plan();
    PipelineStatus {
        pipeline: name.to_string(),
        file: plan.file.file.to_string(),
        running: shard.is_alive(),
        devices: plan.directory.bound.len(),
        queue: shard.waiting(),
        counts: flow.counts(),
        stages: stages(&plan).map(|(kind, stage)| stage_status(kind, stage, flow)).collect(),
    }
}

/// Every stage with its kind; of one without a module, its name.
fn stages(plan: &Plan) -> impl Iterator<Item = (&'static str, Result<&ModuleStage, &Arc<str>>)> {
    let validators = plan.validators.iter().map(|v| ("validate", v.module().ok_or(&v.name)));
    let parsers = plan.parsers.iter().map(|p| ("parse", Ok(&p.stage)));
    let detectors = plan.detectors.iter().map(|d| ("detect", Ok(&d.stage)));
    let sinks = plan.sinks.iter().map(|s| ("sink", Ok(&s.stage)));
    validators.chain(parsers).chain(detectors).chain(sinks)
}

fn stage_status(
    kind: &'static str,
    stage: Result<&ModuleStage, &Arc<str>>,
    flow: &Flow,
) -> StageStatus {
    let name = match stage {
        Ok(stage) => &stage.name,
        Err(name) => name,
    };
    let module = stage.ok().map(|stage| &stage.module);
    let stats = flow.stage(name);
    let calls = stats.calls.snapshot();
    StageStatus {
        stage: name.to_string(),
        kind: kind.to_owned(),
        module: module.map(|m| m.name().to_owned()),
        version: module.map(|m| m.version().to_owned()),
        hash: module.map(|m| m.hash().short()),
        calls: calls.count(),
        inputs: stats.inputs.get(),
        rejected: stats.rejected.get(),
        failures: stats.failures().into_iter().map(|(code, n)| (code.to_owned(), n)).collect(),
        recycled: stats.recycled.get(),
        busy_ms: calls.millis(),
        last_error: stats.last_error().map(|error| failure(error.what, Some(error.at))),
    }
}
