//! Trying a new broker beside the old one, before anything is changed.
//!
//! The probe connects and subscribes, then leaves with its session kept: from that moment the
//! new broker collects QoS 1 and 2 for us, and the link that is started next on the same client
//! id gets it all, so nothing is lost between the two. Handing over the probe's own connection
//! would need an intake for two brokers at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::subscriptions::CHUNK;
use super::wire::{self, Arrival, Dial, Limits, Poller, Requests, WireError};
use super::{Subscription, session};
use crate::config::site::Broker;
use crate::telemetry;

/// What a successful probe leaves behind, and so how to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// The new broker keeps a session with all subscriptions: stop the old link with
    /// `EndSession`, then start the new one.
    NewSession,
    /// It is the same broker and client id, only reached differently: stop the old link with
    /// `KeepSession`, then start the new one, which resumes the session. The probe used a
    /// client id of its own, as the same would have thrown the running link out.
    SameSession,
}

/// Why a broker cannot take the place of another.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("`{broker}` at {address}: {words}")]
    Unreachable { broker: String, address: String, words: String },
    #[error("`{broker}` at {address} did not answer within {}", humantime::format_duration(*.limit))]
    TimedOut { broker: String, address: String, limit: Duration },
    #[error("`{broker}` refuses {} of the subscriptions, the first is `{filter}`: {reason}", .count)]
    Refused { broker: String, count: usize, filter: String, reason: &'static str },
}

pub(super) async fn probe(
    old: Option<&Broker>,
    new: Arc<Broker>,
    filters: &BTreeMap<String, Subscription>,
    limit: Duration,
) -> Result<Handover, ProbeError> {
    let same = old.is_some_and(|old| session::owner(old) == session::owner(&new));
    let (broker, address) = (new.name.clone(), format!("{}:{}", new.host, new.port));
    let client_id = if same { format!("{}-probe", new.client_id) } else { new.client_id.clone() };
    let clean = same || new.clean_start;
    let expiry = u32::try_from(new.session_expiry.as_secs()).unwrap_or(u32::MAX);
    let dial = Dial {
        client_id,
        clean,
        session_expiry: if clean { 0 } else { expiry },
        // Nothing is acknowledged, so what comes during the probe comes again to the link.
        manual_acks: true,
        packet_limit: usize::MAX,
        will: None,
        broker: new,
    };
    match timeout(limit, attempt(dial, filters)).await {
        Err(_) => Err(ProbeError::TimedOut { broker, address, limit }),
        Ok(Err(error)) => {
            Err(ProbeError::Unreachable { broker, address, words: telemetry::words(&error) })
        }
        Ok(Ok(refused)) => match refused.first() {
            Some((filter, reason)) => Err(ProbeError::Refused {
                broker,
                count: refused.len(),
                filter: filter.clone(),
                reason,
            }),
            None if same => Ok(Handover::SameSession),
            None => Ok(Handover::NewSession),
        },
    }
}

/// Connects, subscribes, leaves; the filters that were refused, and why.
async fn attempt(
    dial: Dial,
    filters: &BTreeMap<String, Subscription>,
) -> Result<Vec<(String, &'static str)>, WireError> {
    let (requests, mut poller) = wire::open_off_thread(dial).await?;
    let Arrival::Connected { limits, .. } = poller.poll().await? else {
        return Err(WireError::Other("the broker did not answer CONNECT".to_owned()));
    };
    let refused = subscribe(&requests, &mut poller, filters, &limits).await?;
    // A session that nobody will take up must not collect messages.
    requests.disconnect(if refused.is_empty() { None } else { Some(0) });
    while poller.poll().await.is_ok() {}
    Ok(refused)
}

async fn subscribe(
    requests: &Requests,
    poller: &mut Poller,
    filters: &BTreeMap<String, Subscription>,
    limits: &Limits,
) -> Result<Vec<(String, &'static str)>, WireError> {
    let (mut ask, mut refused) = (Vec::new(), Vec::new());
    for (filter, how) in filters {
        match wire::rules_out(filter, limits) {
            Some(refusal) => refused.push((filter.clone(), refusal.words)),
            None => ask.push((filter.clone(), *how)),
        }
    }
    for chunk in ask.chunks(CHUNK) {
        let mut pending = requests.subscribe(chunk)?;
        let codes = loop {
            let poll = poller.poll();
            tokio::pin!(poll);
            tokio::select! {
                codes = &mut pending => break codes?,
                arrival = &mut poll => { arrival?; }
            }
        };
        let answers = chunk.iter().zip(codes);
        refused.extend(
            answers.filter_map(|((filter, _), code)| Some((filter.clone(), code.err()?.words))),
        );
    }
    Ok(refused)
}
