//! Whether brokers agree with a push: beforehand, beside what runs, and afterwards, as it runs.
//!
//! Beforehand costs a connection of its own and leaves no trace, so nothing has to be taken
//! back in the usual case of a refusal: a device that the push removes has not been told so.
//! Only a broker that is connected is asked; one that is away is tried for as long as it takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::push::PushError;
use super::{Links, Tapline, prepare};
use crate::broker::{Link, ProbeError, Subscription, SubscriptionStatus};
use crate::config::Config;
use crate::config::site::Broker;
use crate::pipeline::Plan;

/// How long a new broker has to answer, and any broker to grant one more subscription.
const LIMIT: Duration = Duration::from_secs(10);
/// What each filter adds for the attempt beforehand: a hundred thousand devices take a while.
const A_FILTER: Duration = Duration::from_micros(100);
/// Between two looks at a link; at one with many filters a look is work.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_AT_MANY: Duration = Duration::from_millis(500);
const MANY: usize = 1000;

pub(super) type Filters = BTreeMap<String, Subscription>;

/// What brokers must grant for a push to stay.
pub(super) struct Expected(Vec<OfBroker>);

/// What one broker must grant.
struct OfBroker {
    broker: Arc<Broker>,
    /// The one in its place, where it is another.
    replaces: Option<Arc<Broker>>,
    /// All that is wanted of a new broker, what is new to one that stays.
    filters: Filters,
}

/// Why a push was taken back.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    #[error("broker `{broker}` refuses `{filter}`: {reason} (code {code:#04x}){}", and_more(.more))]
    Refused { broker: String, filter: String, code: u8, reason: String, more: usize },
    #[error("broker `{broker}` has not granted `{filter}` within {}", seconds())]
    Unanswered { broker: String, filter: String },
    #[error("broker `{broker}` could not be reached within {}: {why}", seconds())]
    Unreachable { broker: String, why: String },
}

fn seconds() -> String {
    format!("{} s", LIMIT.as_secs())
}

fn and_more(more: &usize) -> String {
    if *more == 0 { String::new() } else { format!(", and {more} more") }
}

impl Tapline {
    /// What is wanted of each connected broker now.
    pub(super) fn wanted(&self) -> BTreeMap<Arc<str>, Filters> {
        let plans: Vec<_> = self.running().shards.values().map(|shard| shard.plan()).collect();
        let links = self.links.all();
        let connected = links.into_iter().filter(|(_, c)| c.link.status().connected);
        connected
            .map(|(name, _)| {
                let filters = prepare::subscriptions(&plans, &name);
                (name, filters)
            })
            .collect()
    }
}

impl Expected {
    /// What `config` asks anew of brokers that are connected.
    pub(super) fn of(
        links: &Links,
        wanted: &BTreeMap<Arc<str>, Filters>,
        config: &Config,
        plans: &[Arc<Plan>],
    ) -> Self {
        let mut all = Vec::new();
        for (name, before) in wanted {
            let Some(broker) = config.site.brokers.get(&**name) else { continue };
            let current = links.get(name).map(|connection| connection.broker);
            let replaces = current.filter(|current| *current != *broker);
            let mut filters = prepare::subscriptions(plans, name);
            if replaces.is_none() {
                filters.retain(|filter, how| before.get(filter) != Some(how));
            }
            if replaces.is_some() || !filters.is_empty() {
                all.push(OfBroker { broker: broker.clone(), replaces, filters });
            }
        }
        Self(all)
    }

    /// Whether a broker gives way to another.
    pub(super) fn reconnects(&self) -> bool {
        self.0.iter().any(|one| one.replaces.is_some())
    }

    /// Asks beside what runs.
    ///
    /// # Errors
    /// If a new broker cannot be used, or one refuses a filter.
    pub(super) async fn try_beforehand(&self) -> Result<(), PushError> {
        for one in &self.0 {
            let broker = &one.broker;
            // A broker that stays is its own predecessor: the same session must not be taken.
            let old = one.replaces.as_ref().unwrap_or(broker);
            let count = u32::try_from(one.filters.len()).unwrap_or(u32::MAX);
            let limit = LIMIT + A_FILTER.saturating_mul(count);
            let tried = Link::probe(Some(old), broker.clone(), &one.filters, limit).await;
            let host = format!("{}:{}", broker.host, broker.port);
            match tried {
                Ok(_) => {}
                Err(error)
                    if one.replaces.is_some() || matches!(error, ProbeError::Refused { .. }) =>
                {
                    return Err(PushError::Broker { host, why: error.to_string() });
                }
                // It may allow one connection only; the link itself will tell.
                Err(error) => tracing::info!(
                    event = "config_not_tried",
                    broker = broker.name,
                    %error,
                    "the broker could not be asked beforehand"
                ),
            }
        }
        Ok(())
    }

    /// Waits until the links that run have what was expected.
    ///
    /// # Errors
    /// What a broker refuses, or does not answer in time.
    pub(super) async fn verify(&self, links: &Links) -> Result<(), Unverified> {
        let mut moved = Instant::now();
        for one in &self.0 {
            let look = if one.filters.len() > MANY { LOOK_AT_MANY } else { LOOK };
            let mut least = usize::MAX;
            loop {
                let standing = one.standing(links)?;
                match &standing {
                    Standing::Granted => break,
                    Standing::Waiting { count, .. } if *count < least => {
                        (least, moved) = (*count, Instant::now());
                    }
                    Standing::Waiting { .. } | Standing::Away => {}
                }
                if moved.elapsed() >= LIMIT {
                    one.overdue(links, standing)?;
                    break;
                }
                sleep(look).await;
            }
        }
        Ok(())
    }
}

#[derive(PartialEq)]
enum Standing {
    Granted,
    /// So many filters are not answered yet, this one among them.
    Waiting {
        filter: String,
        count: usize,
    },
    Away,
}

impl OfBroker {
    fn standing(&self, links: &Links) -> Result<Standing, Unverified> {
        let Some(connection) = links.get(&self.broker.name) else { return Ok(Standing::Away) };
        let status = connection.link.status();
        let mut refused = Vec::new();
        let (mut waiting, mut count) = (None, 0);
        for filter in self.filters.keys() {
            match status.subscriptions.get(filter) {
                Some(SubscriptionStatus::Granted { .. }) => {}
                Some(SubscriptionStatus::Refused { code, reason }) => {
                    refused.push((filter, *code, reason));
                }
                Some(SubscriptionStatus::Pending) | None => {
                    waiting = Some(filter);
                    count += 1;
                }
            }
        }
        if let Some((filter, code, reason)) = refused.first() {
            return Err(Unverified::Refused {
                broker: self.broker.name.clone(),
                filter: (*filter).clone(),
                code: *code,
                reason: (*reason).clone(),
                more: refused.len() - 1,
            });
        }
        Ok(match waiting {
            _ if !status.connected => Standing::Away,
            Some(filter) => Standing::Waiting { filter: filter.clone(), count },
            None => Standing::Granted,
        })
    }

    fn overdue(&self, links: &Links, standing: Standing) -> Result<(), Unverified> {
        let broker = self.broker.name.clone();
        match standing {
            Standing::Waiting { filter, .. } => Err(Unverified::Unanswered { broker, filter }),
            Standing::Away if self.replaces.is_some() => {
                let link = links.get(&broker).map(|connection| connection.link.status());
                let why = link.and_then(|status| status.last_error);
                let why = why.unwrap_or_else(|| "it does not answer".to_owned());
                Err(Unverified::Unreachable { broker, why })
            }
            // The broker went away by itself, which is no fault of the push.
            Standing::Away | Standing::Granted => Ok(()),
        }
    }
}
