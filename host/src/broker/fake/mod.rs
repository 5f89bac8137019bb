//! A broker for tests that does what a test tells it and logs every packet in order.
//!
//! It speaks MQTT 3.1.1 and 5 on a loopback port. By itself it accepts connections, grants
//! subscriptions, keeps sessions by client id, routes publications to subscribers and confirms
//! them; a test changes that through [`Script`], sends messages with packet ids of its own, and
//! reads from the log what was acknowledged, when, and on which connection. It never sends a
//! message again by itself: a redelivery is the test's to make.

mod connection;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use packets::{Delivery, Packet};

/// One packet that a client sent, or what became of its connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Connections are counted from 1 in the order in which they were accepted.
    pub connection: usize,
    /// Empty before CONNECT.
    pub client_id: String,
    pub packet: Packet,
}

/// How the broker behaves from now on.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Answer CONNECT with this code.
    pub refuse_connect: Option<u8>,
    /// Do not answer CONNECT at all.
    pub ignore_connect: bool,
    /// What CONNACK says, whatever is true.
    pub session_present: Option<bool>,
    /// Codes for filters that are not granted.
    pub suback: BTreeMap<String, u8>,
    /// Do not answer SUBSCRIBE.
    pub withhold_suback: bool,
    /// Do not confirm publications.
    pub withhold_puback: bool,
    /// Confirm publications with this code (MQTT 5).
    pub puback: Option<u8>,
    /// Do not route what is published below this topic.
    pub swallow: Option<String>,
    /// Close the connection on what is published below this topic.
    pub close_on_publish: Option<String>,
    /// Close the connection on a SUBSCRIBE with this filter.
    pub close_on_subscribe: Option<String>,
    /// Do not answer pings.
    pub ignore_pings: bool,
    /// What CONNACK says of the broker (MQTT 5).
    pub limits: Limits,
}

/// Properties of CONNACK; what is `None` is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub session_expiry: Option<u32>,
    pub most_qos: Option<u8>,
    pub retains: Option<bool>,
    pub max_packet: Option<u32>,
    pub wildcards: Option<bool>,
    pub shared: Option<bool>,
}

/// A running scripted broker; the port closes when it is dropped.
pub struct FakeBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Counts log entries, to wait on.
    logged: watch::Sender<usize>,
}

#[derive(Default)]
pub(super) struct State {
    script: Script,
    log: Vec<Entry>,
    connections: usize,
    /// By client id: the connection that stands.
    clients: BTreeMap<String, Client>,
    /// By client id: subscriptions of a session that outlives the connection.
    sessions: BTreeMap<String, BTreeSet<String>>,
    next_packet_id: u16,
}

pub(super) struct Client {
    pub connection: usize,
    pub version: u8,
    pub subscriptions: BTreeSet<String>,
    pub send: mpsc::Sender<Order>,
}

/// What a connection is told to do.
pub(super) enum Order {
    Send(Vec<u8>),
    Cut,
}

impl FakeBroker {
    /// Listens on a free loopback port.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_at("127.0.0.1:0").await
    }

    /// Listens on `address`, for a broker that comes back where it was.
    pub async fn start_at(address: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State { next_packet_id: 40_000, ..State::default() }),
            logged: watch::channel(0).0,
        });
        let accepting = tokio::spawn(connection::accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it behaves.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.state().script);
    }

    /// Forgets every session, as a broker without persistence does on a restart.
    pub fn forget_sessions(&self) {
        self.shared.state().sessions.clear();
    }

    /// Sends a message to a client; whether it was connected.
    pub fn deliver(&self, client_id: &str, delivery: &Delivery) -> bool {
        self.shared.send(client_id, |version| packets::publish(version, delivery))
    }

    /// Sends bytes as they are.
    pub fn send_raw(&self, client_id: &str, bytes: &[u8]) -> bool {
        self.shared.send(client_id, |_| bytes.to_vec())
    }

    /// Sends DISCONNECT with a reason code (MQTT 5) and closes.
    pub fn dismiss(&self, client_id: &str, code: u8) {
        self.shared.send(client_id, |_| packets::disconnect(code));
        self.cut(client_id);
    }

    /// Closes a client's connection without a word.
    pub fn cut(&self, client_id: &str) {
        let state = self.shared.state();
        if let Some(client) = state.clients.get(client_id) {
            let _ = client.send.try_send(Order::Cut);
        }
    }

    /// Every packet so far.
    pub fn log(&self) -> Vec<Entry> {
        self.shared.state().log.clone()
    }

    /// What one client sent, over all its connections.
    pub fn log_of(&self, client_id: &str) -> Vec<Entry> {
        let mut log = self.log();
        log.retain(|entry| entry.client_id == client_id);
        log
    }

    /// Packet ids that a client acknowledged (PUBACK, PUBREC), with their connections.
    pub fn acked_by(&self, client_id: &str) -> Vec<(usize, u16)> {
        let log = self.log_of(client_id);
        let acks = log.iter().filter_map(|entry| match entry.packet {
            Packet::PubAck { packet_id } | Packet::PubRec { packet_id } => {
                Some((entry.connection, packet_id))
            }
            _ => None,
        });
        // Routed messages (the marker of being drained, for one) are not the test's.
        acks.filter(|(_, packet_id)| *packet_id < 40_000).collect()
    }

    /// Waits until the log satisfies `what`; fails with the log after `limit`.
    pub async fn wait_for(
        &self,
        limit: Duration,
        what: impl Fn(&[Entry]) -> bool,
    ) -> Result<Vec<Entry>, String> {
        let mut logged = self.shared.logged.subscribe();
        let reached = tokio::time::timeout(limit, async {
            loop {
                let log = self.log();
                if what(&log) {
                    return log;
                }
                if logged.changed().await.is_err() {
                    return log;
                }
            }
        });
        reached.await.map_err(|_| format!("not within {limit:?}: {:#?}", self.log()))
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.accepting.abort();
        for client in self.shared.state().clients.values() {
            let _ = client.send.try_send(Order::Cut);
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, client_id: &str, encode: impl FnOnce(u8) -> Vec<u8>) -> bool {
        let state = self.state();
        let Some(client) = state.clients.get(client_id) else { return false };
        client.send.try_send(Order::Send(encode(client.version))).is_ok()
    }

    pub(super) fn record(&self, connection: usize, client_id: &str, packet: Packet) {
        self.state().log.push(Entry { connection, client_id: client_id.to_owned(), packet });
        self.logged.send_modify(|count| *count += 1);
    }
}

impl State {
    pub(super) fn script(&self) -> &Script {
        &self.script
    }
}
