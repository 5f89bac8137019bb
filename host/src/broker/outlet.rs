//! The publishing side: one connection that says that we are there and publishes what it is
//! given, each publication confirmed by the broker.
//!
//! It keeps nothing: what cannot be published now is the caller's to try again (the outbox is
//! the durable queue), so the broker's session ends with the connection. Neighbours: `link`
//! uses it beside the receiving side, `simulate` by itself. Invariant: `publish` answers within
//! its limit, and `Ok` means that the broker has it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};

use super::Clock;
use super::backoff::{Backoff, Takeovers};
use super::drops::Watch;
use super::link::Farewell;
use super::wire::{
    self, Arrival, Confirmed, Dial, Limits, Pending, Poller, Requests, Will, WireError,
};
use crate::config::site::Broker;
use crate::message::{Properties, Publication, Timestamp};
use crate::telemetry;

/// Publications that wait for their confirmation at a time. Brokers allow 20 by default; what
/// is beyond would lie in the library's queue and could go out after its expiry.
const IN_FLIGHT: usize = 20;
/// For saying good-bye.
const PARTING: Duration = Duration::from_secs(2);
/// After so many lost connections the status message is taken for the reason.
const LOST_BIRTHS: u8 = 2;
/// A broker that has not answered by then is published to all the same.
const OVERDUE: Duration = Duration::from_secs(2);
/// A connection that held this long was a good one: the next pause starts small again.
const STABLE: Duration = Duration::from_secs(30);

/// How a publishing connection introduces itself.
#[derive(Clone)]
pub struct OutletOptions {
    pub broker: Arc<Broker>,
    pub client_id: String,
    pub presence: Option<Presence>,
    pub clock: Clock,
}

/// Retained messages that tell others whether we are there: birth after connecting, will when
/// the connection breaks.
#[derive(Clone, Debug)]
pub struct Presence {
    pub topic: String,
    pub online: Vec<u8>,
    pub offline: Vec<u8>,
    pub qos: u8,
}

/// Why a publication did not reach the broker, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Not sent; try again later.
    #[error("the broker is not connected{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotConnected(Option<String>),
    /// Sent perhaps; try again with the same id.
    #[error("no confirmation within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// Sent perhaps; try again with the same id.
    #[error("the connection broke before the confirmation came")]
    Broken,
    /// Not sent, and never to be.
    #[error("it expired before the broker could take it")]
    Expired,
    /// For good.
    #[error("the broker refuses it: {reason} (0x{code:02x})")]
    Refused { code: u8, reason: &'static str },
    /// For good.
    #[error("`{0}` is not a topic to publish to")]
    Topic(String),
    /// For good.
    #[error("its {size} bytes are over the broker's limit of {limit}")]
    TooLarge { size: usize, limit: u32 },
}

impl PublishError {
    /// Whether trying again can help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::NotConnected(_) | Self::TimedOut(_) | Self::Broken)
    }
}

/// A running publishing connection.
pub struct Outlet {
    way: watch::Receiver<Option<Way>>,
    stop: watch::Sender<Option<Farewell>>,
    trouble: Arc<Mutex<Option<(Timestamp, String)>>>,
    in_flight: Semaphore,
    pulse: Arc<Pulse>,
    /// How long the broker may owe an answer before it is taken for dead.
    silence: Duration,
    task: Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

/// Whether the broker answers at all. The library pings only when nothing else leaves, so
/// publications one after the other would hide for long that the connection is dead.
#[derive(Default)]
struct Pulse {
    /// Since when the broker owes an answer and nothing of it was heard.
    owing: Mutex<Option<Instant>>,
    lost: Notify,
}

impl Pulse {
    fn asked(&self) {
        self.owing().get_or_insert_with(Instant::now);
    }

    fn heard(&self) {
        *self.owing() = None;
    }

    fn silent_for(&self) -> Duration {
        self.owing().map(|since| since.elapsed()).unwrap_or_default()
    }

    fn owing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.owing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that stands.
#[derive(Clone)]
struct Way {
    requests: Requests,
    limits: Limits,
}

impl Outlet {
    /// Starts connecting, without end until [`stop`](Self::stop). Needs a tokio runtime.
    pub fn start(options: OutletOptions) -> Self {
        Self::begin(options, None)
    }

    /// The same, and tells to `counts` how many messages the broker says that it dropped, where
    /// it does.
    pub(super) fn watching(options: OutletOptions, counts: watch::Sender<Option<u64>>) -> Self {
        Self::begin(options, Some(Watch::new(counts)))
    }

    fn begin(options: OutletOptions, drops: Option<Watch>) -> Self {
        let (way_tx, way) = watch::channel(None);
        let (stop, stop_rx) = watch::channel(None);
        let trouble = Arc::new(Mutex::new(None));
        let (pulse, silence) = (Arc::<Pulse>::default(), options.broker.connect_timeout);
        let task = Task {
            options,
            pulse: Arc::clone(&pulse),
            way: way_tx,
            stop: stop_rx,
            trouble: Arc::clone(&trouble),
            retained_will: true,
            lost_births: 0,
            drops,
        };
        let task = tokio::spawn(task.run());
        let abort = task.abort_handle();
        Self {
            way,
            stop,
            trouble,
            in_flight: Semaphore::new(IN_FLIGHT),
            pulse,
            silence,
            task: Mutex::new(Some(task)),
            abort,
        }
    }

    /// Publishes and waits for PUBACK, PUBCOMP or, at QoS 0, for the network to take it, at most
    /// for `limit`. With `expiry` it is not sent later than that, and the broker is told what is
    /// left of it (MQTT 5).
    pub async fn publish(
        &self,
        publication: &Publication,
        expiry: Option<Duration>,
        limit: Duration,
    ) -> Result<(), PublishError> {
        let begun = Instant::now();
        let deadline = begun + limit;
        let permit = timeout_at(deadline, self.in_flight.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(PublishError::TimedOut(limit)) };
        let mut way = self.way.clone();
        let ready = timeout_at(deadline, way.wait_for(Option::is_some)).await;
        let Some(way) = ready.ok().and_then(Result::ok).and_then(|way| way.clone()) else {
            return Err(PublishError::NotConnected(self.last_trouble().map(|(_, words)| words)));
        };
        let left = expiry.map(|expiry| expiry.saturating_sub(begun.elapsed()));
        if left == Some(Duration::ZERO) {
            return Err(PublishError::Expired);
        }
        let size = publication.topic.len() + publication.payload.len() + 16;
        if let Some(limit) = way.limits.largest_packet.filter(|limit| size > *limit as usize) {
            return Err(PublishError::TooLarge { size, limit });
        }
        let confirmation =
            way.requests.publish(publication, left).map_err(|error| match error {
                WireError::Topic(topic) => PublishError::Topic(topic),
                _ => PublishError::Broken,
            })?;
        if publication.qos > 0 {
            self.pulse.asked();
        }
        match timeout_at(deadline, confirmation).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WireError::Rejected(refusal))) => {
                Err(PublishError::Refused { code: refusal.code, reason: refusal.words })
            }
            Ok(Err(_)) => Err(PublishError::Broken),
            Err(_) => {
                if self.pulse.silent_for() >= self.silence {
                    self.pulse.lost.notify_one();
                }
                Err(PublishError::TimedOut(limit))
            }
        }
    }

    /// Whether the connection stands.
    pub fn is_connected(&self) -> bool {
        self.way.borrow().is_some()
    }

    /// Waits until the connection stands, at most for `limit`; the last trouble otherwise.
    pub async fn connected(&self, limit: Duration) -> Result<(), PublishError> {
        let mut way = self.way.clone();
        let ready = timeout(limit, way.wait_for(Option::is_some)).await;
        match ready {
            Ok(Ok(_)) => Ok(()),
            _ => Err(PublishError::NotConnected(self.last_trouble().map(|(_, words)| words))),
        }
    }

    /// The last trouble, also after it is over.
    pub fn last_trouble(&self) -> Option<(Timestamp, String)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the connection: with the offline message and DISCONNECT, or by vanishing, upon which
    /// the broker publishes the will.
    pub async fn stop(&self, farewell: Farewell) {
        self.stop.send_replace(Some(farewell));
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // The task ends by itself within its limits; a panic in it was logged by the runtime.
            let _ = task.await;
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

struct Task {
    options: OutletOptions,
    pulse: Arc<Pulse>,
    way: watch::Sender<Option<Way>>,
    stop: watch::Receiver<Option<Farewell>>,
    trouble: Arc<Mutex<Option<(Timestamp, String)>>>,
    retained_will: bool,
    /// Connections in a row that ended before the birth was confirmed.
    lost_births: u8,
    /// What the broker drops.
    drops: Option<Watch>,
}

impl Task {
    async fn run(mut self) {
        let (mut backoff, mut takeovers) = (Backoff::new(), Takeovers::new());
        loop {
            let begun = Instant::now();
            let ended = self.connect_and_serve().await;
            self.way.send_replace(None);
            let Err(error) = ended else { return };
            if self.drops.as_mut().is_some_and(Watch::ended) {
                // Perhaps it does not like to be asked; the next attempts go without it.
                tracing::info!(event = "mqtt_drops_unknown", broker = %self.options.broker.name, error = %telemetry::words(&error), "the connection ended when the broker was asked what it drops");
                continue;
            }
            if begun.elapsed() > STABLE {
                backoff = Backoff::new();
            }
            let pause = match error {
                // No pause: the next attempt goes without it.
                WireError::NoRetainedWill if self.retained_will => {
                    self.retained_will = false;
                    Duration::ZERO
                }
                WireError::TakenOver(_) => takeovers.pause(begun.elapsed()) + backoff.pause(),
                _ => backoff.pause(),
            };
            self.note(&error, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = wait_for_stop(&mut self.stop) => return,
            }
        }
    }

    fn note(&self, error: &WireError, pause: Duration) {
        let words = telemetry::words(error);
        tracing::warn!(event = "mqtt_connection_failed", broker = %self.options.broker.name, client_id = %self.options.client_id,
            error = %words, retry_in_ms = pause.as_millis() as u64, "no connection to the broker");
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = Some(((self.options.clock)(), words));
    }

    /// `Ok` when told to stop.
    async fn connect_and_serve(&mut self) -> Result<(), WireError> {
        let dial = self.dial();
        let limit = dial.broker.connect_timeout;
        let (requests, mut poller) = wire::open_off_thread(dial).await?;
        let arrival = tokio::select! {
            arrival = timeout(limit, poller.poll()) => arrival.map_err(|_| WireError::Timeout(limit))??,
            _ = wait_for_stop(&mut self.stop) => return Ok(()),
        };
        let Arrival::Connected { limits, .. } = arrival else {
            return Err(WireError::Other("the broker did not answer CONNECT".to_owned()));
        };
        tracing::info!(event = "mqtt_connected", broker = %self.options.broker.name, client_id = %self.options.client_id, "connected to the broker");
        self.pulse.heard();
        if let Some(drops) = &mut self.drops {
            drops.connected();
        }
        let mut birth = match self.presence() {
            Some(presence) => Some(requests.publish(&presence.says(&presence.online), None)?),
            None => None,
        };
        // Open once it is known that the broker does not close the connection over our questions:
        // that would cost what is under way.
        let mut way = Some(Way { requests: requests.clone(), limits });
        let overdue = tokio::time::sleep(OVERDUE);
        tokio::pin!(overdue);
        let farewell = loop {
            let poll = poller.poll();
            tokio::pin!(poll);
            let arrival = loop {
                if let Some(drops) = self.drops.as_mut().filter(|_| birth.is_none()) {
                    // After the birth, so that it is known what a broker does not like.
                    drops.ask(&requests)?;
                }
                if way.is_some() && self.drops.as_ref().is_none_or(Watch::is_settled) {
                    self.way.send_replace(way.take());
                }
                tokio::select! {
                    farewell = wait_for_stop(&mut self.stop) => break Err(farewell),
                    () = &mut overdue, if way.is_some() => drop(self.way.send_replace(way.take())),
                    answer = confirmed(&mut birth), if birth.is_some() => {
                        birth = None;
                        self.born(answer);
                    }
                    () = answered(&mut self.drops) => {}
                    arrival = &mut poll => break Ok(arrival),
                    () = self.pulse.lost.notified() => {
                        let silent = self.pulse.silent_for();
                        // What was noticed on an earlier connection says nothing of this one.
                        if silent >= limit {
                            return Err(WireError::Timeout(limit));
                        }
                    }
                }
            };
            match arrival {
                Err(farewell) => break farewell,
                Ok(Ok(Arrival::Sent)) => {}
                Ok(Ok(arrival)) => {
                    self.pulse.heard();
                    if let (Arrival::Message(inbound), Some(drops)) = (&arrival, &self.drops) {
                        drops.heard(inbound);
                    }
                }
                Ok(Err(error)) => {
                    self.lost_births = self.lost_births.saturating_add(u8::from(birth.is_some()));
                    return Err(error);
                }
            }
        };
        self.way.send_replace(None);
        if farewell != Farewell::Vanish {
            self.take_leave(&requests, &mut poller).await;
        }
        Ok(())
    }

    /// The birth message and will, unless the broker seems to close connections because of it:
    /// that is how one of 3.1.1 may refuse a publication (3.3.5-2).
    fn presence(&self) -> Option<&Presence> {
        self.options.presence.as_ref().filter(|_| self.lost_births < LOST_BIRTHS)
    }

    fn born(&mut self, answer: Confirmed) {
        self.lost_births = 0;
        if let Err(WireError::Rejected(refusal)) = answer {
            let topic =
                self.options.presence.as_ref().map_or("", |presence| presence.topic.as_str());
            tracing::warn!(event = "mqtt_presence_refused", broker = %self.options.broker.name, topic, code = refusal.code, reason = refusal.words, "the broker refuses the status message");
        }
    }

    async fn take_leave(&mut self, requests: &Requests, poller: &mut Poller) {
        let offline = self.presence().map(|presence| presence.says(&presence.offline));
        let parting = async {
            if let Some(offline) = offline
                && let Ok(mut confirmed) = requests.publish(&offline, None)
            {
                loop {
                    tokio::select! {
                        _ = &mut confirmed => break,
                        arrival = poller.poll() => if arrival.is_err() { return },
                    }
                }
            }
            requests.disconnect(None);
            while poller.poll().await.is_ok() {}
        };
        // Whoever does not answer in time is left without a word.
        let _ = timeout(PARTING, parting).await;
    }

    fn dial(&self) -> Dial {
        let broker = Arc::clone(&self.options.broker);
        let will = self.presence().map(|presence| Will {
            topic: presence.topic.clone(),
            payload: presence.offline.clone().into(),
            qos: presence.qos,
            retain: self.retained_will,
        });
        Dial {
            client_id: self.options.client_id.clone(),
            clean: true,
            session_expiry: 0,
            manual_acks: false,
            packet_limit: broker.max_packet as usize + wire::HEADROOM,
            will,
            broker,
        }
    }
}

impl Presence {
    fn says(&self, payload: &[u8]) -> Publication {
        Publication {
            broker: None,
            topic: self.topic.clone(),
            payload: payload.to_vec(),
            qos: self.qos,
            retain: true,
            properties: Properties::default(),
        }
    }
}

/// The broker's answer to the birth message.
async fn confirmed(birth: &mut Option<Pending<Confirmed>>) -> Confirmed {
    match birth {
        Some(birth) => birth.await,
        None => std::future::pending().await,
    }
}

/// The broker's answer to being asked what it drops.
async fn answered(drops: &mut Option<Watch>) {
    match drops {
        Some(drops) => drops.answered().await,
        None => std::future::pending().await,
    }
}

/// Waits until a farewell is asked for; a link that was dropped vanishes.
pub(super) async fn wait_for_stop(stop: &mut watch::Receiver<Option<Farewell>>) -> Farewell {
    match stop.wait_for(Option::is_some).await {
        Ok(farewell) => (*farewell).unwrap_or(Farewell::Vanish),
        Err(_) => Farewell::Vanish,
    }
}
