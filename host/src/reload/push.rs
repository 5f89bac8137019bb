//! A pushed configuration: validate, try, apply, verify, keep; or everything as it was.
//!
//! A document that is kept has run: its broker was reached and has granted the filters that
//! came with it. So a crash in between leaves the revision before in force.

use std::sync::Arc;

use super::changes::{Changes, Kept, Outline};
use super::pushed::{self, KeepError};
use super::verify::{Expected, Unverified};
use super::{Prepared, Tapline};
use crate::config::document::Format;
use crate::config::push::Pushed;
use crate::config::{Config, Problem};
use crate::message::Timestamp;
use crate::store::{self, StoreError};
use crate::telemetry::clock;
use crate::telemetry::process::give_memory_back;

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
    #[error(
        "the configuration in force is revision {current}, not the one that was meant; read it \
         again with GET /config and push what should follow it; nothing was changed"
    )]
    Superseded { current: u64 },
    #[error("broker `{host}` cannot be used: {why}; nothing was changed")]
    Broker { host: String, why: String },
    #[error("{0}; everything is as it was before")]
    TakenBack(Unverified),
    #[error("there is no revision {wanted}{}", words_of_kept(.kept))]
    NoRevision { wanted: u64, kept: Option<(u64, u64)> },
    #[error("the configuration could not be kept, so it was not applied")]
    Keep(#[source] KeepError),
    #[error("the revisions cannot be read")]
    Store(#[from] StoreError),
}

fn words(problems: &[Problem]) -> String {
    let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
    format!("{} problem(s) in the configuration: {}", problems.len(), all.join(" | "))
}

fn words_of_kept(kept: &Option<(u64, u64)>) -> String {
    match kept {
        Some((first, last)) if first == last => format!("; only {first} is kept"),
        Some((first, last)) => format!("; {first} to {last} are kept"),
        None => "; nothing was pushed yet".to_owned(),
    }
}

/// Of which revision a push may be the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IfMatch {
    /// Of any.
    #[default]
    Any,
    /// Of one of these.
    OneOf(Vec<u64>),
}

impl IfMatch {
    fn allows(&self, current: u64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(revisions) => revisions.contains(&current),
        }
    }
}

/// A document as it arrived, with what is wrong with its shape.
struct Arrived {
    document: Arc<Pushed>,
    problems: Vec<Problem>,
}

impl Tapline {
    /// Takes up a document in S3's shape.
    ///
    /// # Errors
    /// If it is wrong, another revision than `expected` is in force, its broker does not
    /// answer or refuses a filter, or it cannot be kept; then nothing of it applies.
    pub async fn push(
        &self,
        body: &[u8],
        author: &str,
        expected: &IfMatch,
    ) -> Result<Applied, PushError> {
        let _one_at_a_time = self.changing.lock().await;
        tracing::info!(
            event = "config_received",
            author,
            bytes = body.len(),
            "configuration received"
        );
        let begun = clock::now();
        let result = match self.arrived(body) {
            Ok(arrived) => self.take_up(arrived, author, expected, begun).await,
            Err(error) => Err(error),
        };
        log(&result, author, begun);
        tokio::task::spawn_blocking(give_memory_back);
        result
    }

    /// Brings the document of an older revision into force again, as a new revision. The
    /// password of the broker stays the one of today.
    ///
    /// # Errors
    /// If there is no such revision, and as [`Tapline::push`].
    pub async fn roll_back(
        &self,
        revision: u64,
        author: &str,
        expected: &IfMatch,
    ) -> Result<Applied, PushError> {
        let _one_at_a_time = self.changing.lock().await;
        let begun = clock::now();
        let author = format!("{author}, rollback to {revision}");
        let document = self.document_of(revision).await?;
        let arrived = Arrived { document: Arc::new(document), problems: Vec::new() };
        let result = self.take_up(arrived, &author, expected, begun).await;
        log(&result, &author, begun);
        result
    }

    /// What a push of this document would change. Changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with the document.
    pub async fn plan_push(&self, body: &[u8], expected: &IfMatch) -> Result<Changes, PushError> {
        let _one_at_a_time = self.changing.lock().await;
        self.expect(expected)?;
        let arrived = self.arrived(body)?;
        let prepared = self.checked(&arrived, clock::now()).await?;
        let after = Outline::of(&prepared.config, &prepared.plans);
        Ok(Changes::between(&self.outline(), &after, &Kept::default()))
    }

    /// What runs, in outline.
    pub(super) fn outline(&self) -> Outline {
        let running = self.running();
        let plans: Vec<_> = running.shards.values().map(|shard| shard.plan()).collect();
        match &running.config {
            Some(config) => Outline::of(config, &plans),
            None => Outline::default(),
        }
    }

    /// The number of the revision in force; 0 before the first push.
    pub fn revision(&self) -> u64 {
        self.revision.load(std::sync::atomic::Ordering::Acquire)
    }

    pub(super) fn set_revision(&self, revision: u64) {
        self.revision.store(revision, std::sync::atomic::Ordering::Release);
    }

    fn expect(&self, expected: &IfMatch) -> Result<(), PushError> {
        let current = self.revision();
        if expected.allows(current) { Ok(()) } else { Err(PushError::Superseded { current }) }
    }

    fn arrived(&self, body: &[u8]) -> Result<Arrived, PushError> {
        let text = String::from_utf8_lossy(body);
        let (document, problems) =
            Pushed::read("POST /config", &text, Format::Json).map_err(PushError::Invalid)?;
        let previous = self.running().pushed.clone();
        Ok(Arrived { document: Arc::new(document.after(previous.as_deref())), problems })
    }

    /// Prepared with the document in force; all that is wrong with it at once.
    async fn checked(&self, arrived: &Arrived, now: Timestamp) -> Result<Prepared, PushError> {
        let before = self.running().problems.clone();
        let mut problems = arrived.problems.clone();
        let prepared = self.prepare(Some(arrived.document.clone()), Some(now)).await;
        let found = match &prepared {
            Ok(prepared) => &prepared.problems,
            Err(problems) => problems,
        };
        // What was wrong before, in a file say, is not the push's fault.
        let own = found.iter().filter(|p| !before.contains(p) && !arrived.problems.contains(p));
        problems.extend(own.cloned());
        match prepared {
            Ok(prepared) if problems.is_empty() => Ok(prepared),
            _ => {
                let place = |p: &Problem| p.place.as_ref().map_or(0, |place| place.span.start);
                problems.sort_by_key(place);
                Err(PushError::Invalid(problems))
            }
        }
    }

    /// The one way of a document into force: by a push, or back to an older one.
    async fn take_up(
        &self,
        arrived: Arrived,
        author: &str,
        expected: &IfMatch,
        now: Timestamp,
    ) -> Result<Applied, PushError> {
        self.expect(expected)?;
        let prepared = self.checked(&arrived, now).await?;
        let (new, plans) = (prepared.config.clone(), prepared.plans.clone());
        let old = self.config();
        let changes =
            Changes::between(&self.outline(), &Outline::of(&new, &plans), &Kept::default());
        let expected = Expected::of(&self.links, &self.wanted(), &new, &plans);
        expected.try_beforehand().await?;

        let (previous, updated) = {
            let running = self.running();
            (running.pushed.clone(), running.updated)
        };
        self.apply(prepared).await;
        if let Err(unverified) = expected.verify(&self.links).await {
            self.take_back(previous, updated, &unverified).await;
            return Err(PushError::TakenBack(unverified));
        }
        let change = store::Change {
            at: now,
            author: author.to_owned(),
            devices: new.devices.by_id.len(),
            what: changes.in_short(),
        };
        let (store, data) = (&self.store, &self.options.data);
        let revision = match pushed::keep(store, data, &arrived.document, change).await {
            Ok(revision) => revision,
            Err(error) => {
                self.take_back(previous, updated, &error).await;
                return Err(PushError::Keep(error));
            }
        };
        self.set_revision(revision);
        tracing::info!(event = "config_persist", revision, "configuration persisted");
        let (added, updated, removed) = differences(&old, &new);
        Ok(Applied {
            devices: new.devices.by_id.len(),
            mqtt_reconnected: expected.reconnects(),
            revision,
            added,
            updated,
            removed,
        })
    }

    /// Applies what ran before.
    async fn take_back(
        &self,
        previous: Option<Arc<Pushed>>,
        updated: Option<Timestamp>,
        why: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        tracing::warn!(
            event = "config_taken_back",
            error = why as &dyn std::error::Error,
            revision = self.revision(),
            "the revision before stays in force"
        );
        match self.prepare(previous, updated).await {
            Ok(prepared) => self.apply(prepared).await,
            // It ran a moment ago, from the same texts.
            Err(problems) => tracing::error!(
                event = "config_not_taken_back",
                problems = words(&problems),
                "start Tapline again to go on with the revision before"
            ),
        }
    }
}

fn log(result: &Result<Applied, PushError>, author: &str, begun: Timestamp) {
    match result {
        Ok(applied) => tracing::info!(
            event = "config_applied",
            author,
            revision = applied.revision,
            devices = applied.devices,
            added = applied.added,
            updated = applied.updated,
            removed = applied.removed,
            mqtt_reconnected = applied.mqtt_reconnected,
            took_ms = clock::now().since(begun),
            "configuration applied"
        ),
        Err(error) => tracing::warn!(
            event = "config_rejected",
            author,
            error = error as &dyn std::error::Error,
            "configuration rejected"
        ),
    }
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
