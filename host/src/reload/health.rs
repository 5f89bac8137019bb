//! `/health`: S3's four fields, and what else an operator wants to see at a glance.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::room::{self, QUEUE, StoreHealth};
use super::{Connection, Tapline};
use crate::broker::SubscriptionStatus;
use crate::delivery::SinkStatus;
use crate::pipeline::Counts;
use crate::telemetry::clock;

/// How Tapline is.
#[derive(Debug, Serialize)]
pub struct Health {
    /// `ok`, or `degraded` with problems.
    pub status: &'static str,
    /// Registered devices.
    pub devices: usize,
    /// Topic filters that the brokers have granted.
    pub subscriptions: usize,
    /// When a configuration was last pushed; null before the first.
    pub last_config_update: Option<String>,
    pub version: &'static str,
    pub bridge_id: String,
    pub uptime_s: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// All of them, also those that `problems` only counts.
    #[serde(skip)]
    pub problem_count: usize,
    /// What is odd but not wrong, a file value that a push hides for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub brokers: BTreeMap<Arc<str>, BrokerHealth>,
    pub pipelines: BTreeMap<Arc<str>, PipelineHealth>,
    pub sinks: BTreeMap<String, SinkHealth>,
    pub store: StoreHealth,
    pub dead_letters: u64,
    /// A restart would not help while this is true; false answers 503.
    #[serde(skip)]
    pub alive: bool,
}

#[derive(Debug, Serialize)]
pub struct BrokerHealth {
    pub connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub subscriptions: usize,
    /// Filters that the broker refused, with its reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, String>,
    pub received: u64,
    /// QoS 0 messages that came while the broker's ceiling was reached.
    pub shed: u64,
    /// Messages that no pipeline wanted any more.
    pub unrouted: u64,
    /// For how long the broker keeps messages that are not acknowledged, if its queue is of the
    /// usual length and they go on coming as in the last hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_hours_left: Option<f64>,
    /// How the broker can lose messages before they come here, or did within the last day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct PipelineHealth {
    pub running: bool,
    /// Why it takes no messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    pub devices: usize,
    #[serde(flatten)]
    pub counts: Counts,
}

#[derive(Debug, Serialize)]
pub struct SinkHealth {
    pub waiting: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Problems that `/health` names; more are counted.
const NAMED: usize = 20;

impl Tapline {
    /// How everything is, at this moment.
    pub fn health(&self) -> Health {
        let running = self.running();
        let counts = self.activity.counts();
        let links = self.links.all();
        let pending = self.pending();
        let broken = pending.broken.iter();
        let broken = broken.map(|p| format!("{p} (its last accepted version runs)"));
        let mut problems: Vec<String> =
            broken.chain(running.problems.iter().map(ToString::to_string)).collect();
        problems.extend(pending.waiting.into_iter().map(|waiting| waiting.what));
        problems.extend(self.module_problems());
        problems.extend(self.serving.problem());
        let now = clock::now();
        problems.extend(running.expiring.iter().filter_map(|expiring| expiring.problem(now)));
        let space = self.store.space();
        problems.extend(room::problem(&space));
        let is_full = self.store.is_full();
        let brokers: BTreeMap<_, _> = links
            .iter()
            .map(|(name, connection)| {
                let mut health = broker(name, connection, &mut problems);
                health.queue_hours_left = self.rates.hours(name, health.received);
                if let (true, Some(hours)) = (is_full, health.queue_hours_left) {
                    problems.push(format!(
                        "broker `{name}` keeps what is not acknowledged for about {hours} h \
                         more, if it queues {QUEUE} messages and as many come as before"
                    ));
                }
                (name.clone(), health)
            })
            .collect();
        let sinks = self.delivery.status();
        let sinks = sinks
            .into_iter()
            .filter(|(id, status)| id.broker().is_none() || status.waiting > 0)
            .map(|(id, status)| (id.to_string(), sink(&id.to_string(), status, &mut problems)))
            .collect();
        let pipelines: BTreeMap<_, _> = running
            .shards
            .iter()
            .map(|(name, shard)| {
                let counts = counts.get(name).cloned().unwrap_or_default();
                let devices = shard.plan().directory.bound.len();
                let running = shard.is_alive();
                if !running {
                    problems.push(format!("pipeline `{name}` has ended: the log says why"));
                }
                let halted = shard.halted().map(|halted| halted.to_string());
                if let Some(why) = &halted {
                    problems.push(format!(
                        "pipeline `{name}` halts: {why}: mend it, or `tapline resume {name}`"
                    ));
                }
                (name.clone(), PipelineHealth { running, halted, devices, counts })
            })
            .collect();
        for note in self.activity.notes() {
            let device = note.device.map(|d| format!("device `{d}`: ")).unwrap_or_default();
            problems.push(format!("{device}{} ({} times)", note.detail, note.count));
        }
        if let Some(trouble) = self.store.trouble() {
            problems.push(format!("the store cannot write: {}: {}", trouble.what, trouble.detail));
        }
        if let Some(ahead) = clock::ahead_ms() {
            problems.push(format!(
                "the system's clock was set back by {} s: times run on from where they were until \
                 it has caught up",
                ahead / 1000
            ));
        }
        let store = self.store.is_alive();
        if !store {
            problems.push("the store has ended".to_owned());
        }
        let problem_count = problems.len();
        if problems.len() > NAMED {
            let more = problems.len() - NAMED;
            problems.truncate(NAMED);
            problems.push(format!("and {more} more"));
        }
        let warnings = running.config.iter().flat_map(|config| {
            // What expires is a problem, counted from today rather than from the last reload.
            let odd = config.warnings.iter().filter(|odd| !odd.pointer().ends_with(".expires"));
            let odd = odd.take(NAMED).map(ToString::to_string);
            self.serving.warning(config).into_iter().chain(odd)
        });
        let warnings = warnings.chain(self.shadow_warnings());
        // They are the broker's to mend: what runs here runs as it should.
        let at_risk = brokers.iter().flat_map(|(name, broker)| {
            broker.risks.iter().map(move |risk| format!("broker `{name}` {risk}"))
        });
        Health {
            warnings: at_risk.chain(warnings).collect(),
            status: if problems.is_empty() { "ok" } else { "degraded" },
            devices: running.config.as_ref().map_or(0, |c| c.devices.by_id.len()),
            subscriptions: brokers.values().map(|b| b.subscriptions).sum(),
            last_config_update: running.updated.map(|at| at.rfc3339()),
            version: env!("CARGO_PKG_VERSION"),
            bridge_id: running.config.as_ref().map(|c| c.site.name.clone()).unwrap_or_default(),
            uptime_s: self.started.elapsed().as_secs(),
            alive: store && pipelines.values().all(|p| p.running),
            problems,
            problem_count,
            brokers,
            pipelines,
            sinks,
            store: space.into(),
            dead_letters: self.store.dead_letter_count(),
        }
    }
}

fn broker(name: &str, connection: &Connection, problems: &mut Vec<String>) -> BrokerHealth {
    let status = connection.link.status();
    let mut refused = BTreeMap::new();
    for (filter, state) in status.subscriptions.iter() {
        if let SubscriptionStatus::Refused { reason, .. } = state {
            refused.insert(filter.clone(), reason.clone());
            problems.push(format!("broker `{name}` refuses `{filter}`: {reason}"));
        }
    }
    let granted = |state: &&SubscriptionStatus| matches!(state, SubscriptionStatus::Granted { .. });
    if !status.connected {
        let why = status.last_error.as_deref().unwrap_or("no attempt has ended yet");
        problems.push(format!("broker `{name}` is not connected: {why}"));
    } else if status.taken_over {
        problems.push(format!(
            "broker `{name}`: another client uses the same client id and takes messages of this \
             bridge: give one of the two another `client_id`"
        ));
    }
    BrokerHealth {
        connected: status.connected,
        last_error: status.last_error.clone(),
        subscriptions: status.subscriptions.values().filter(granted).count(),
        refused,
        received: status.received,
        shed: status.shed,
        unrouted: connection.router.unrouted(),
        queue_hours_left: None,
        risks: status.risks.iter().map(ToString::to_string).collect(),
    }
}

fn sink(name: &str, status: SinkStatus, problems: &mut Vec<String>) -> SinkHealth {
    let paused = status.paused.map(|paused| paused.reason);
    if let Some(reason) = &paused {
        problems.push(format!("sink `{name}` is paused: {reason}"));
    } else if let Some(error) = &status.last_error {
        problems.push(format!("sink `{name}`: {error}"));
    }
    SinkHealth {
        waiting: status.waiting,
        delivered: status.delivered,
        dead_lettered: status.dead,
        paused,
        last_error: status.last_error,
    }
}
