//! A pushed configuration: validate, plan, apply, or leave everything as it was.

use std::sync::Arc;
use std::time::Duration;

use super::pushed::{self, KeepError};
use super::{Tapline, prepare};
use crate::broker::Link;
use crate::config::document::Format;
use crate::config::push::Pushed;
use crate::config::{Config, Problem};
use crate::store::Change;
use crate::telemetry::clock;

/// How long a new broker has to answer and to grant the subscriptions.
const PROBE: Duration = Duration::from_secs(10);

/// What a push changed.
#[derive(Clone, Debug)]
pub struct Applied {
    pub devices: usize,
    pub mqtt_reconnected: bool,
    pub revision: u64,
    pub added: usize,
    pub updated: usize,
    pub removed: usize,
}

/// Why a push was not taken up. Nothing of it applies.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("{}", words(.0))]
    Invalid(Vec<Problem>),
    #[error("broker `{host}` cannot be used: {why}; nothing was changed")]
    Broker { host: String, why: String },
    #[error("the configuration could not be kept, so it was not applied")]
    Store(#[source] KeepError),
    #[error("the configuration was not applied: {0}")]
    Failed(String),
}

fn words(problems: &[Problem]) -> String {
    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
    format!("{} problem(s) in the configuration: {}", problems.len(), all.join(" | "))
}

impl Tapline {
    /// Takes up a document in S3's shape.
    ///
    /// # Errors
    /// If it is wrong, its broker does not answer, or it cannot be kept; then nothing of it
    /// applies.
    pub async fn push(&self, body: &[u8], author: &str) -> Result<Applied, PushError> {
        let _one_at_a_time = self.changing.lock().await;
        let now = clock::now();
        let old = self.config();
        tracing::info!(
            event = "config_received",
            author,
            bytes = body.len(),
            "configuration received"
        );
        let result = self.push_locked(body, author, &old).await;
        match &result {
            Ok(applied) => tracing::info!(
                event = "config_applied",
                author,
                revision = applied.revision,
                devices = applied.devices,
                added = applied.added,
                updated = applied.updated,
                removed = applied.removed,
                mqtt_reconnected = applied.mqtt_reconnected,
                took_ms = clock::now().since(now),
                "configuration applied"
            ),
            Err(error) => tracing::warn!(
                event = "config_rejected",
                author,
                error = error as &dyn std::error::Error,
                "configuration rejected"
            ),
        }
        result
    }

    async fn push_locked(
        &self,
        body: &[u8],
        author: &str,
        old: &Arc<Config>,
    ) -> Result<Applied, PushError> {
        let (previous, before) = {
            let running = self.running();
            (running.pushed.clone(), running.problems.clone())
        };
        let text = String::from_utf8_lossy(body);
        let document = Pushed::parse("POST /config", &text, Format::Json)
            .map_err(PushError::Invalid)?
            .after(previous.as_deref());
        let document = Arc::new(document);
        let now = clock::now();
        let prepared =
            self.prepare(Some(document.clone()), Some(now)).await.map_err(PushError::Invalid)?;
        // What was wrong before, in a file say, is not the push's fault.
        let own: Vec<_> =
            prepared.problems.iter().filter(|p| !before.contains(p)).cloned().collect();
        if !own.is_empty() {
            return Err(PushError::Invalid(own));
        }
        let broker = changed_broker(old, &prepared.config);
        let mut reconnect = false;
        if let Some(broker) = &broker
            && self.links.get(&broker.name).is_some_and(|c| c.link.status().connected)
        {
            let filters = prepare::subscriptions(&prepared.plans, &broker.name);
            let old = self.links.get(&broker.name).map(|c| c.broker.clone());
            Link::probe(old.as_deref(), broker.clone(), &filters, PROBE).await.map_err(
                |error| PushError::Broker {
                    host: format!("{}:{}", broker.host, broker.port),
                    why: error.to_string(),
                },
            )?;
            reconnect = true;
        }
        let change = Change {
            at: now,
            author: author.to_owned(),
            devices: prepared.config.devices.by_id.len(),
            what: String::new(),
        };
        let revision = pushed::keep(&self.store, &self.options.data, &document, change)
            .await
            .map_err(PushError::Store)?;
        tracing::info!(event = "config_persist", revision, "configuration persisted");
        let new = prepared.config.clone();
        self.apply(prepared).await;
        let (added, updated, removed) = differences(old, &new);
        Ok(Applied {
            devices: new.devices.by_id.len(),
            mqtt_reconnected: reconnect,
            revision,
            added,
            updated,
            removed,
        })
    }
}

/// The broker that a push sets, if it is another than before.
fn changed_broker(old: &Config, new: &Config) -> Option<Arc<crate::config::site::Broker>> {
    let pushed = new.site.brokers.values().find(|b| b.pushed)?;
    let same = old.site.brokers.get(&pushed.name).is_some_and(|old| **old == **pushed);
    (!same).then(|| pushed.clone())
}

fn differences(old: &Config, new: &Config) -> (usize, usize, usize) {
    let added = new.devices.by_id.keys().filter(|id| !old.devices.by_id.contains_key(id)).count();
    let removed = old.devices.by_id.keys().filter(|id| !new.devices.by_id.contains_key(id)).count();
    let updated = new
        .devices
        .by_id
        .iter()
        .filter(|(id, device)| old.devices.by_id.get(id).is_some_and(|old| !old.is_same(device)))
        .count();
    (added, updated, removed)
}
