//! One connection at work, from the subscriptions to its end: what is subscribed, what came, and
//! when all that had waited is through.
//!
//! Invariant: the task waits for nothing while it polls, except at the ceiling, where not polling
//! is the point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{End, PARTING, Receiver};
use crate::broker::drain::Drain;
use crate::broker::link::Farewell;
use crate::broker::outlet::wait_for_stop;
use crate::broker::session::Session;
use crate::broker::subscriptions::{self, CHUNK, News};
use crate::broker::wire::{
    self, Arrival, Confirmed, Granted, Inbound, Poller, Refusal, Requests, WireError,
};
use crate::broker::{LinkEvent, Subscription};
use crate::message::{Properties, Publication};

/// A broker may close the connection on a publication that it does not allow (MQTT 3.1.1,
/// 3.3.5-2). After so many connections that ended like this the marker is not sent any more.
const LOST_MARKERS: u8 = 2;
/// Refused subscriptions are asked for again this often.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the broker still owes on this connection.
enum Answer {
    Subscribed(Vec<(String, Subscription)>, Granted),
    Unsubscribed(Vec<String>, Confirmed),
    Marker(Confirmed),
}

impl Receiver {
    /// Works until the connection ends.
    pub(super) async fn serve(&mut self, requests: &Requests, poller: &mut Poller) -> End {
        let mut answers = JoinSet::new();
        let mut drain = Drain::Subscribing;
        let mut ask_again = tokio::time::interval_at(Instant::now() + ASK_AGAIN, ASK_AGAIN);
        self.want();
        let mut leaving = false;
        if let Err(error) = self.reconcile(requests, &mut answers, &mut drain) {
            return error.into();
        }
        loop {
            self.shared.ledger.nudge();
            let poll = poller.poll();
            tokio::pin!(poll);
            let arrival = loop {
                tokio::select! {
                    arrival = &mut poll => break arrival,
                    Ok(()) = self.wanted.changed(), if !leaving => {
                        self.want();
                        if let Err(error) = self.reconcile(requests, &mut answers, &mut drain) {
                            return error.into();
                        }
                    }
                    Some(answer) = answers.join_next() => {
                        if let Ok(answer) = answer {
                            self.answered(answer, &mut drain);
                        }
                        // A look at everything for each of thousands of answers would take longer
                        // than the broker does.
                        if answers.is_empty()
                            && let Err(error) = self.reconcile(requests, &mut answers, &mut drain)
                        {
                            return error.into();
                        }
                    }
                    Ok(()) = self.drops.changed() => self.count_drops().await,
                    _ = ask_again.tick() => {
                        self.still_there().await;
                        self.shared.board.update(|status| status.taken_over = false);
                        self.subscriptions.forgive();
                        if let Err(error) = self.reconcile(requests, &mut answers, &mut drain) {
                            return error.into();
                        }
                    }
                    () = at(drain.due()) => {
                        if drain.tick(Instant::now()) {
                            self.drained();
                        }
                    }
                    farewell = wait_for_stop(&mut self.stop), if !leaving => {
                        let expiry = match farewell {
                            Farewell::Vanish => return End::Stopped,
                            Farewell::KeepSession => None,
                            Farewell::EndSession => Some(0),
                        };
                        requests.disconnect(expiry);
                        leaving = true;
                        break match timeout(PARTING, &mut poll).await {
                            Ok(arrival) => arrival,
                            Err(_) => return End::Stopped,
                        };
                    }
                }
            };
            match arrival {
                Ok(Arrival::Message(inbound)) => {
                    self.shared.board.heard(self.now());
                    drain.heard(Instant::now());
                    if inbound.topic.as_ref() == self.marker {
                        self.marker_came(&inbound, &mut drain);
                    } else if let Some(inbound) = self.admission.admit(inbound) {
                        if self.shared.ledger.is_full() && !self.wait_for_room().await {
                            return End::Full;
                        }
                        self.admission.hand_over(inbound, self.keeper.session().epoch);
                    }
                }
                Ok(Arrival::Sent) => {}
                Ok(Arrival::Sign | Arrival::Connected { .. }) => {
                    self.shared.board.heard(self.now())
                }
                Err(_) if leaving => return End::Stopped,
                Err(error) => {
                    if drain.awaits_marker() {
                        self.lost_markers = self.lost_markers.saturating_add(1);
                    }
                    return error.into();
                }
            }
        }
    }

    /// Takes up the desired set, with the marker's topic.
    fn want(&mut self) {
        let mut wanted = BTreeMap::clone(&self.wanted.borrow_and_update());
        wanted.insert(self.marker.clone(), subscriptions::of_marker());
        self.subscriptions.want(wanted);
    }

    /// Sends what is missing, and the marker once nothing is.
    fn reconcile(
        &mut self,
        requests: &Requests,
        answers: &mut JoinSet<Answer>,
        drain: &mut Drain,
    ) -> Result<(), WireError> {
        let plan = self.subscriptions.plan();
        let mut ask = Vec::with_capacity(plan.subscribe.len());
        for (filter, how) in plan.subscribe {
            match wire::rules_out(&filter, &self.limits) {
                Some(refusal) => self.take_answer(&filter, how, Err(refusal)),
                None => ask.push((filter, how)),
            }
        }
        let filters = self.subscriptions.possible();
        self.keeper.keep(Session { filters, ..self.keeper.session().clone() });
        for filters in plan.unsubscribe.chunks(CHUNK) {
            let pending = requests.unsubscribe(filters)?;
            let filters = filters.to_vec();
            answers.spawn(async move { Answer::Unsubscribed(filters, pending.await) });
        }
        for filters in ask.chunks(CHUNK) {
            let pending = requests.subscribe(filters)?;
            let filters = filters.to_vec();
            answers.spawn(async move { Answer::Subscribed(filters, pending.await) });
        }
        let shown = self.subscriptions.status(&self.marker);
        self.shared.board.update(|status| status.subscriptions = Arc::new(shown));
        self.check.limits(&self.limits, &self.subscriptions);
        if matches!(drain, Drain::Subscribing) && self.subscriptions.settled() {
            if self.subscriptions.is_refused(&self.marker)
                || self.lost_markers >= LOST_MARKERS
                || self.limits.most_qos == 0
            {
                drain.refused(Instant::now());
                return Ok(());
            }
            let nonce = uuid::Uuid::new_v4().to_string();
            let pending = requests.publish(&marker(&self.marker, &nonce), None)?;
            answers.spawn(async move { Answer::Marker(pending.await) });
            drain.marked(nonce, Instant::now());
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer, drain: &mut Drain) {
        match answer {
            Answer::Subscribed(filters, Ok(codes)) => {
                let mut shown = Vec::with_capacity(filters.len());
                for ((filter, how), code) in filters.into_iter().zip(codes) {
                    self.take_answer(&filter, how, code);
                    if filter != self.marker {
                        let status = self.subscriptions.status_of(&filter);
                        shown.push((filter, status));
                    }
                }
                self.shared.board.update(|status| {
                    Arc::make_mut(&mut status.subscriptions).extend(shown);
                });
            }
            Answer::Unsubscribed(filters, Ok(())) => {
                for filter in filters {
                    self.subscriptions.left(&filter);
                }
            }
            Answer::Marker(Err(WireError::Rejected(_))) => drain.refused(Instant::now()),
            // The connection is gone, which `poll` tells as well.
            Answer::Subscribed(_, Err(_)) | Answer::Unsubscribed(_, Err(_)) | Answer::Marker(_) => {
            }
        }
    }

    /// Takes the answer for one filter, and says what is new about it.
    fn take_answer(&mut self, filter: &str, how: Subscription, answer: Result<u8, Refusal>) {
        let broker = &self.shared.broker.name;
        match self.subscriptions.answered(filter, how, answer) {
            Some(News::Refused(refusal)) => {
                tracing::warn!(event = "mqtt_subscription_refused", broker = %broker, filter, code = refusal.code, reason = refusal.words, "the broker refuses a subscription");
            }
            Some(News::GrantedAtLast) => {
                tracing::info!(event = "mqtt_subscription_granted", broker = %broker, filter, "the broker grants a subscription that it had refused");
            }
            None => {}
        }
    }

    fn marker_came(&mut self, inbound: &Inbound, drain: &mut Drain) {
        if inbound.qos > 0 {
            // In its turn behind what came before it.
            self.shared.ledger.confirmed(0, inbound.qos, inbound.packet_id).done();
        }
        if drain.arrived(&inbound.payload) {
            self.lost_markers = 0;
            self.drained();
        }
    }

    fn drained(&self) {
        self.shared.board.update(|status| status.drained = true);
        self.shared.intake.link(LinkEvent::Drained { at: self.now() });
    }

    /// Stops polling until there is room; `false` when that takes too long for the keep-alive.
    async fn wait_for_room(&mut self) -> bool {
        let limit = self.shared.patience();
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            waited = timeout(limit, shared.ledger.room()) => waited.is_ok(),
            _ = wait_for_stop(&mut self.stop) => true,
        }
    }

    /// Takes the broker's count of what it dropped.
    async fn count_drops(&mut self) {
        let count = *self.drops.borrow_and_update();
        if let Some(count) = count {
            let drops = self.check.counted(self.keeper.session().drops, count);
            self.keeper.note(|session| session.drops = Some(drops)).await;
        }
    }
}

fn marker(topic: &str, nonce: &str) -> Publication {
    Publication {
        broker: None,
        topic: topic.to_owned(),
        payload: nonce.as_bytes().to_vec(),
        qos: 1,
        retain: false,
        properties: Properties::default(),
    }
}

/// Waits until then; for ever without a time.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
