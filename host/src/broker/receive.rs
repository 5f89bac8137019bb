//! The receiving side: connect, take the session up, work (`serve`), reconnect, leave.
//!
//! Every connection is a fresh one of the library, with queues of its own: nothing that was
//! meant for one can leave on the next.

mod serve;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::admission::Admission;
use super::backoff::{Backoff, TAKEN_OVER, Takeovers};
use super::drain;
use super::link::{Farewell, Shared};
use super::outlet::wait_for_stop;
use super::self_check::SelfCheck;
use super::session::{self, Drops, Keeper, Session};
use super::subscriptions::Subscriptions;
use super::wire::{self, Arrival, Dial, Limits, WireError};
use super::{LinkEvent, Subscription};
use crate::config::site::MqttVersion;
use crate::telemetry;

/// A connection that held this long was a good one: the next pause starts small again.
const STABLE: Duration = Duration::from_secs(30);
/// After so many connections in a row that the broker closed soon and without a word, another
/// client is the likely reason: brokers of 3.1.1 cannot say so, and some of 5 do not. One that
/// restarts is not there to connect to in between.
const CLOSED_AGAIN: u32 = 4;
/// For a DISCONNECT to leave.
const PARTING: Duration = Duration::from_secs(2);

/// The receiving task.
pub(super) struct Receiver {
    shared: Arc<Shared>,
    wanted: watch::Receiver<Arc<BTreeMap<String, Subscription>>>,
    stop: watch::Receiver<Option<Farewell>>,
    subscriptions: Subscriptions,
    keeper: Keeper,
    marker: String,
    /// Packets above it end the connection; raised when one came, so that it cannot end every
    /// connection to come.
    packet_limit: usize,
    connections: u64,
    /// Connections in a row that ended while the marker was on its way.
    lost_markers: u8,
    admission: Admission,
    check: SelfCheck,
    /// What the broker does, as it said at the last connect.
    limits: Limits,
    /// The broker's count of messages that it dropped.
    drops: watch::Receiver<Option<u64>>,
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

impl Receiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        wanted: watch::Receiver<Arc<BTreeMap<String, Subscription>>>,
        stop: watch::Receiver<Option<Farewell>>,
        drops: watch::Receiver<Option<u64>>,
    ) -> Self {
        let marker = drain::topic(&shared.site, &shared.broker.client_id);
        let packet_limit = shared.broker.max_packet as usize + wire::HEADROOM;
        let keeper = Keeper::new(Arc::clone(&shared.memory), &shared.broker.name);
        let admission = Admission::new(Arc::clone(&shared));
        let check = SelfCheck::new(Arc::clone(&shared));
        Self {
            shared,
            wanted,
            stop,
            subscriptions: Subscriptions::default(),
            keeper,
            marker,
            packet_limit,
            connections: 0,
            lost_markers: 0,
            admission,
            check,
            limits: Limits::default(),
            drops,
        }
    }

    pub(super) async fn run(mut self) {
        let (mut backoff, mut takeovers) = (Backoff::new(), Takeovers::new());
        let mut closed = 0;
        if !self.recall(&mut backoff).await {
            return;
        }
        loop {
            let (begun, connections) = (Instant::now(), self.connections);
            let mut end = self.connect_and_serve().await;
            let connected_for = begun.elapsed();
            self.shared.ledger.close();
            if connected_for > STABLE {
                backoff = Backoff::new();
            }
            if connected_for <= STABLE
                && self.connections > connections
                && matches!(end, End::Failed(WireError::Closed))
            {
                closed += 1;
                if closed >= CLOSED_AGAIN {
                    let id = self.shared.broker.client_id.clone();
                    end = End::Failed(WireError::ClosedAgain(id));
                }
            } else {
                closed = 0;
            }
            let pause = match end {
                End::Stopped => break,
                End::Full => {
                    tracing::warn!(event = "mqtt_ceiling_reached", broker = %self.shared.broker.name, held = self.shared.ledger.messages(), "more was received than could be worked off");
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
                            takeovers.pause(connected_for) + backoff.pause()
                        }
                        WireError::ClosedAgain(_) => TAKEN_OVER + backoff.pause(),
                        WireError::TooLarge { size, .. } => {
                            self.packet_limit = self.packet_limit.max(size.saturating_mul(2));
                            backoff.pause()
                        }
                        _ => backoff.pause(),
                    };
                    let words = telemetry::words(&error);
                    tracing::warn!(event = "mqtt_connection_failed", broker = %self.shared.broker.name, error = %words, retry_in_ms = pause.as_millis() as u64, "no connection to the broker");
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
            let ended = self.keeper.session().ended();
            self.keeper.keep(ended);
        }
        self.keeper.settled().await;
        self.keeper.noted(PARTING).await;
    }

    /// Reads what is known of the session; `false` when told to stop before it could.
    async fn recall(&mut self, backoff: &mut Backoff) -> bool {
        loop {
            // Starting with a made-up number could use one twice, so there is no way round it.
            let words = match self.keeper.recall().await {
                Ok(()) => return true,
                Err(error) => error.to_string(),
            };
            tracing::error!(event = "mqtt_session_unknown", broker = %self.shared.broker.name, error = %words, "the state of the session cannot be read");
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
            Ok(Arrival::Connected { session_present, limits }) => {
                self.limits = limits;
                session_present
            }
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
        self.still_there().await;
        end
    }

    /// Decides which session this is. Its number is durable before a message can carry it.
    async fn adopt_session(&mut self, session_present: bool) -> Result<(), WireError> {
        let owner = session::owner(&self.shared.broker);
        let before = self.keeper.session();
        self.check.connected(before, &owner, session_present);
        let session = before.after_connack(owner, session_present, self.now());
        self.keeper.keep(session);
        // Without pings in the meantime, so not for long.
        match timeout(self.shared.patience(), self.keeper.settled()).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(WireError::Other("the store does not keep the session's number".to_owned()))
            }
            Err(_) => Err(WireError::Other(
                "the store did not keep the session's number in time".to_owned(),
            )),
        }
    }

    fn came_up(&mut self, session_present: bool) {
        let at = self.now();
        let kept = session_present.then(|| &self.keeper.session().filters);
        self.subscriptions.connected(kept);
        self.connections += 1;
        self.shared.board.heard(at);
        let (epoch, reconnects) = (self.keeper.session().epoch, self.connections - 1);
        self.shared.board.update(|status| {
            status.connected = true;
            status.since = Some(at);
            status.drained = false;
            status.session_present = session_present;
            status.epoch = epoch;
            status.reconnects = reconnects;
        });
        tracing::info!(event = "mqtt_connected", broker = %self.shared.broker.name, session_present, epoch, "connected to the broker");
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
        tracing::info!(event = "mqtt_disconnected", broker = %self.shared.broker.name, "the connection to the broker ended");
        self.shared.intake.link(LinkEvent::Down { at, last_heard });
    }

    /// Notes that the broker had our session and lost nothing up to now that we know of.
    async fn still_there(&mut self) {
        let now = self.now();
        let note = |session: &mut Session| {
            session.seen = Some(now);
            session.drops = session.drops.map(|drops| Drops { at: now, ..drops });
        };
        self.keeper.note(note).await;
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
            tracing::warn!(event = "mqtt_session_left_behind", broker = %self.shared.broker.name, "the session at the broker could not be ended");
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

    fn now(&self) -> crate::message::Timestamp {
        self.shared.now()
    }
}
