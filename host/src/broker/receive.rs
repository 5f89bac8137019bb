//! The receiving side: connect, keep the subscriptions, hand messages over, reconnect.
//!
//! Every connection is a fresh one of the library, with queues of its own: nothing that was
//! meant for one can leave on the next. The task waits for nothing while it polls, except at
//! the ceiling, where not polling is the point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::backoff::Backoff;
use super::drain::{self, Drain};
use super::link::{Farewell, Shared};
use super::outlet::wait_for_stop;
use super::session::{self, Session};
use super::subscriptions::{self, CHUNK, Subscriptions};
use super::wire::{self, Arrival, Confirmed, Dial, Granted, Inbound, Poller, Requests, WireError};
use super::{LinkEvent, PacketMark, Received, Subscription, hash};
use crate::config::site::MqttVersion;
use crate::message::{Message, MessageId, Properties, Publication};

/// Refused subscriptions are asked for again this often.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// A connection that held this long was a good one: the next pause starts small again.
const STABLE: Duration = Duration::from_secs(30);
/// For a DISCONNECT to leave.
const PARTING: Duration = Duration::from_secs(2);
/// Counted for a message beside topic and payload: what it costs to hold.
const OVERHEAD: usize = 256;

/// The receiving task.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    wanted: watch::Receiver<Arc<BTreeMap<String, Subscription>>>,
    stop: watch::Receiver<Option<Farewell>>,
    subscriptions: Subscriptions,
    session: Session,
    marker: String,
    /// Packets above it end the connection; raised when one came, so that it cannot end every
    /// connection to come.
    packet_limit: usize,
    connections: u64,
    shedding: bool,
    keeping: Option<JoinHandle<()>>,
}

/// Why a connection ended.
enum End {
    Stopped,
    /// At the ceiling for too long.
    Full,
    Failed(WireError),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Failed(error)
    }
}

/// What the broker still owes on this connection.
enum Answer {
    Subscribed(Vec<(String, Subscription)>, Granted),
    Unsubscribed(Vec<String>, Confirmed),
    Marker(Confirmed),
}

impl Receiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        wanted: watch::Receiver<Arc<BTreeMap<String, Subscription>>>,
        stop: watch::Receiver<Option<Farewell>>,
    ) -> Self {
        let marker = drain::topic(&shared.site, &shared.broker.client_id);
        let packet_limit = shared.broker.max_packet as usize + wire::HEADROOM;
        Self {
            shared,
            wanted,
            stop,
            subscriptions: Subscriptions::default(),
            session: Session::default(),
            marker,
            packet_limit,
            connections: 0,
            shedding: false,
            keeping: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        if !self.recall(&mut backoff).await {
            return;
        }
        loop {
            let begun = Instant::now();
            let end = self.connect_and_serve().await;
            let connected_for = begun.elapsed();
            self.shared.ledger.close();
            if connected_for > STABLE {
                backoff = Backoff::new();
            }
            let pause = match end {
                End::Stopped => break,
                End::Full => {
                    tracing::warn!(broker = %self.shared.broker.name, held = self.shared.ledger.messages(), "mqtt_ceiling_reached");
                    self.shared.board.trouble(
                        self.now(),
                        "more was received than could be worked off: the broker keeps the rest"
                            .to_owned(),
                    );
                    tokio::select! {
                        () = self.shared.ledger.half_empty() => continue,
                        _ = wait_for_stop(&mut self.stop) => break,
                    }
                }
                End::Failed(error) => {
                    let pause = match &error {
                        WireError::TakenOver(_) => {
                            self.shared.board.update(|status| status.taken_over = true);
                            backoff.pause_after_takeover()
                        }
                        WireError::TooLarge { size, .. } => {
                            self.packet_limit = self.packet_limit.max(size.saturating_mul(2));
                            backoff.pause()
                        }
                        _ => backoff.pause(),
                    };
                    let words = super::chain(&error);
                    tracing::warn!(broker = %self.shared.broker.name, error = %words, retry_in_ms = pause.as_millis() as u64, "mqtt_connection_failed");
                    self.shared.board.trouble(self.now(), words);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = wait_for_stop(&mut self.stop) => break,
            }
        }
        if *self.stop.borrow() == Some(Farewell::EndSession) {
            self.end_session().await;
        }
        if let Some(keeping) = self.keeping.take() {
            let _ = keeping.await;
        }
    }

    /// Reads what is known of the session; `false` when told to stop before it could.
    async fn recall(&mut self, backoff: &mut Backoff) -> bool {
        loop {
            let memory = Arc::clone(&self.shared.memory);
            let recalled = tokio::task::spawn_blocking(move || Session::recall(&*memory)).await;
            // Starting with a made-up number could use one twice, so there is no way round it.
            let words = match recalled {
                Ok(Ok(session)) => {
                    self.session = session;
                    return true;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(broker = %self.shared.broker.name, error = %words, "mqtt_session_unknown");
            self.shared.board.trouble(self.now(), words);
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                _ = wait_for_stop(&mut self.stop) => return false,
            }
        }
    }

    async fn connect_and_serve(&mut self) -> End {
        let limit = self.shared.broker.connect_timeout;
        let opened = wire::open_off_thread(self.dial(self.shared.broker.clean_start)).await;
        let (requests, mut poller) = match opened {
            Ok(pair) => pair,
            Err(error) => return error.into(),
        };
        let arrival = tokio::select! {
            arrival = timeout(limit, poller.poll()) => arrival.unwrap_or(Err(WireError::Timeout(limit))),
            _ = wait_for_stop(&mut self.stop) => return End::Stopped,
        };
        let session_present = match arrival {
            Ok(Arrival::Connected { session_present, .. }) => session_present,
            Ok(_) => {
                return WireError::Other("the broker did not answer CONNECT".to_owned()).into();
            }
            Err(error) => return error.into(),
        };
        if let Err(error) = self.adopt_session(session_present).await {
            return error.into();
        }
        let acks = requests.clone();
        self.shared.ledger.open(Box::new(move |qos, packet_id| acks.ack(qos, packet_id)));
        self.came_up(session_present);
        let end = self.serve(&requests, &mut poller).await;
        self.went_down();
        end
    }

    /// Decides which session this is. Its number is durable before a message can carry it.
    async fn adopt_session(&mut self, session_present: bool) -> Result<(), WireError> {
        let owner = session::owner(&self.shared.broker);
        let session = self.session.after_connack(owner, session_present);
        if session != self.session {
            self.keep(session);
        }
        // Without pings in the meantime, so not for long.
        let limit = self.patience();
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        if timeout(limit, keeping).await.is_err() {
            return Err(WireError::Other(
                "the store did not keep the session's number in time".to_owned(),
            ));
        }
        self.keeping = None;
        Ok(())
    }

    /// Keeps `session`, after what is being kept already.
    fn keep(&mut self, session: Session) {
        self.session = session.clone();
        let before = self.keeping.take();
        let shared = Arc::clone(&self.shared);
        self.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let name = shared.broker.name.clone();
            let kept = tokio::task::spawn_blocking(move || session.keep(&*shared.memory)).await;
            if let Ok(Err(error)) = kept {
                tracing::error!(broker = %name, error = %error, "mqtt_session_not_kept");
            }
        }));
    }

    fn came_up(&mut self, session_present: bool) {
        let at = self.now();
        let kept = session_present.then_some(&self.session.filters);
        self.subscriptions.connected(kept);
        self.connections += 1;
        self.shared.board.heard(at);
        let (epoch, reconnects) = (self.session.epoch, self.connections - 1);
        self.shared.board.update(|status| {
            status.connected = true;
            status.since = Some(at);
            status.drained = false;
            status.session_present = session_present;
            status.epoch = epoch;
            status.reconnects = reconnects;
        });
        tracing::info!(broker = %self.shared.broker.name, session_present, epoch, "mqtt_connected");
        self.shared.intake.link(LinkEvent::Up { resumed: session_present, at });
    }

    fn went_down(&mut self) {
        // What is acknowledged from here on could no longer leave.
        self.shared.ledger.close();
        let at = self.now();
        let last_heard = self.shared.board.last_heard().unwrap_or(at);
        self.shared.board.update(|status| {
            status.connected = false;
            status.since = Some(at);
            status.drained = false;
        });
        tracing::info!(broker = %self.shared.broker.name, "mqtt_disconnected");
        self.shared.intake.link(LinkEvent::Down { at, last_heard });
    }

    /// Works until the connection ends.
    async fn serve(&mut self, requests: &Requests, poller: &mut Poller) -> End {
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
                        if let Err(error) = self.reconcile(requests, &mut answers, &mut drain) {
                            return error.into();
                        }
                    }
                    _ = ask_again.tick() => {
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
                    } else if let Some(inbound) = self.admit(inbound) {
                        if self.shared.ledger.is_full() && !self.wait_for_room().await {
                            return End::Full;
                        }
                        self.hand_over(inbound);
                    }
                }
                Ok(Arrival::Sent) => {}
                Ok(Arrival::Sign | Arrival::Connected { .. }) => {
                    self.shared.board.heard(self.now())
                }
                Err(_) if leaving => return End::Stopped,
                Err(error) => return error.into(),
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
        let (ask, invalid): (Vec<_>, Vec<_>) =
            plan.subscribe.into_iter().partition(|(filter, _)| wire::is_filter(filter));
        for (filter, how) in invalid {
            self.subscriptions.answered(&filter, how, Err(wire::NOT_A_FILTER));
        }
        let possible = self.subscriptions.possible();
        if possible != self.session.filters {
            self.keep(Session { filters: possible, ..self.session.clone() });
        }
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
        self.shared.board.update(|status| status.subscriptions = shown);
        if matches!(drain, Drain::Subscribing) && self.subscriptions.settled() {
            if self.subscriptions.is_refused(&self.marker) {
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
                for ((filter, how), code) in filters.into_iter().zip(codes) {
                    if let Some(refusal) = self.subscriptions.answered(&filter, how, code) {
                        tracing::warn!(broker = %self.shared.broker.name, filter, code = refusal.code, reason = refusal.words, "mqtt_subscription_refused");
                    }
                }
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

    fn marker_came(&mut self, inbound: &Inbound, drain: &mut Drain) {
        if inbound.qos > 0 {
            // In its turn behind what came before it.
            self.shared.ledger.confirmed(0, inbound.qos, inbound.packet_id).done();
        }
        if drain.arrived(&inbound.payload) {
            self.drained();
        }
    }

    fn drained(&self) {
        self.shared.board.update(|status| status.drained = true);
        self.shared.intake.link(LinkEvent::Drained { at: self.now() });
    }

    /// Sorts out what is not handed over: after a pause, at the ceiling (QoS 0), over the limit.
    fn admit(&mut self, inbound: Inbound) -> Option<Inbound> {
        if self.shared.paused.load(Ordering::Acquire) {
            return None; // unacknowledged: it comes again, or belongs to a session that ends
        }
        let size = inbound.topic.len() + inbound.payload.len();
        if size > self.shared.broker.max_packet as usize {
            // Over MQTT 5 the broker drops it before we see it. Over 3.1.1 it cannot know our
            // limit, and a message that is never acknowledged would end every connection.
            tracing::warn!(broker = %self.shared.broker.name, topic = %inbound.topic, size, limit = self.shared.broker.max_packet, "mqtt_message_too_large");
            self.shared.board.oversize.fetch_add(1, Ordering::Relaxed);
            if inbound.qos > 0 {
                self.shared.ledger.confirmed(0, inbound.qos, inbound.packet_id).done();
            }
            return None;
        }
        let full = self.shared.ledger.is_full();
        if inbound.qos == 0 && full {
            self.shared.board.shed.fetch_add(1, Ordering::Relaxed);
            if !self.shedding {
                tracing::warn!(broker = %self.shared.broker.name, "mqtt_messages_shed");
            }
            self.shedding = true;
            return None;
        }
        self.shedding = full;
        Some(inbound)
    }

    /// Stops polling until there is room; `false` when that takes too long for the keep-alive.
    async fn wait_for_room(&mut self) -> bool {
        let limit = self.patience();
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            waited = timeout(limit, shared.ledger.room()) => waited.is_ok(),
            _ = wait_for_stop(&mut self.stop) => true,
        }
    }

    fn hand_over(&self, inbound: Inbound) {
        let shared = &self.shared;
        let size = inbound.topic.len() + inbound.payload.len() + OVERHEAD;
        shared.board.received.fetch_add(1, Ordering::Relaxed);
        let ticket = match inbound.qos {
            0 => shared.ledger.unconfirmed(size),
            qos => shared.ledger.confirmed(size, qos, inbound.packet_id),
        };
        let packet = (inbound.qos > 0).then(|| PacketMark {
            packet_id: inbound.packet_id,
            epoch: self.session.epoch,
            dup: inbound.dup,
            hash: hash::content(inbound.topic.as_bytes(), &inbound.payload),
        });
        let id = MessageId {
            source: Arc::from(shared.broker.name.as_str()),
            epoch: self.session.epoch,
            sequence: shared.sequence.fetch_add(1, Ordering::Relaxed),
        };
        let message = Message {
            id,
            topic: inbound.topic,
            payload: inbound.payload,
            received_at: self.now(),
            qos: inbound.qos,
            retained: inbound.retain,
            properties: Arc::new(inbound.properties.unwrap_or_default()),
        };
        shared.intake.message(Received { message, packet, ticket });
    }

    /// Over MQTT 3.1.1 a session ends only by another, clean one; MQTT 5 was told in DISCONNECT.
    async fn end_session(&mut self) {
        if self.shared.broker.version != MqttVersion::V311 {
            return;
        }
        let ended = timeout(self.shared.broker.connect_timeout, async {
            let (requests, mut poller) = wire::open_off_thread(self.dial(true)).await?;
            poller.poll().await?;
            requests.disconnect(None);
            while poller.poll().await.is_ok() {}
            Ok::<(), WireError>(())
        });
        if !matches!(ended.await, Ok(Ok(()))) {
            tracing::warn!(broker = %self.shared.broker.name, "mqtt_session_left_behind");
        }
    }

    fn dial(&self, clean: bool) -> Dial {
        let broker = Arc::clone(&self.shared.broker);
        let expiry = u32::try_from(broker.session_expiry.as_secs()).unwrap_or(u32::MAX);
        Dial {
            client_id: broker.client_id.clone(),
            clean,
            session_expiry: if clean { 0 } else { expiry },
            manual_acks: true,
            packet_limit: self.packet_limit,
            will: None,
            broker,
        }
    }

    /// How long the connection may go without a ping of ours.
    fn patience(&self) -> Duration {
        match self.shared.broker.keep_alive / 2 {
            Duration::ZERO => Duration::from_secs(30), // no keep-alive: the broker waits for ever
            half => half,
        }
    }

    fn now(&self) -> crate::message::Timestamp {
        (self.shared.clock)()
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
