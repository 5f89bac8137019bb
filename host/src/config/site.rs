//! `tapline.toml`: what belongs to this box.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::message::Timestamp;

mod brokers;
mod build;
mod file;
mod secrets;

pub use super::secret::{Secret, is_secret};
pub(super) use brokers::check_broker_url;
pub(super) use build::SHAPE;
pub use build::{Around, Loaded, load};

/// A checked `tapline.toml` with the layers below (environment) and above (push) applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// `bridge_id` in events; part of generated client ids and of delivery ids.
    pub name: String,
    pub brokers: BTreeMap<String, Arc<Broker>>,
    pub endpoints: BTreeMap<String, Arc<Endpoint>>,
    pub http: Http,
    pub store: Store,
    pub log: Log,
    /// Which times a device may state, relative to the receipt.
    pub time: TimeWindow,
    pub reload: Reload,
    pub watch: Watch,
    pub modules: Modules,
}

impl Site {
    /// Makes this a client of its own at each broker, beside the box that it is a copy of. What
    /// the box is called in events stays, so that both give an event the same id.
    pub fn set_apart(&mut self, mark: &str) {
        for broker in self.brokers.values_mut() {
            let broker = Arc::make_mut(broker);
            for name in [&mut broker.client_id, &mut broker.status_topic] {
                *name = format!("{name}-{mark}");
            }
        }
    }
}

/// One MQTT broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    pub name: String,
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// Of a WebSocket; `/mqtt` where the URL has none.
    pub path: String,
    pub version: MqttVersion,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub keep_alive: Duration,
    pub connect_timeout: Duration,
    /// `false`: the broker keeps our session while we are away.
    pub clean_start: bool,
    /// How long the broker keeps it (MQTT 5).
    pub session_expiry: Duration,
    pub tls: Option<Tls>,
    /// Bytes; sent in CONNECT on MQTT 5.
    pub max_packet: u32,
    /// What may be received but not yet acknowledged.
    pub ceiling: Ceiling,
    /// Where Tapline's own will and birth go; default `tapline/<site>/status`.
    pub status_topic: String,
    /// Whether the broker is asked for topics of its own, below `$SYS`.
    pub sys_topics: bool,
    /// The one broker that `mqtt` of `POST /config` replaces.
    pub pushed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    WebSocketTls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    V5,
    V311,
}

/// Files are read when the connection is made, so that a renewed certificate is taken up.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key that the broker asks of us.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    pub messages: usize,
    pub bytes: usize,
}

/// An outside system that sinks speak to.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub name: String,
    /// Without a trailing slash. `None`: not configured yet, the sink is paused `no endpoint`.
    pub url: Option<String>,
    pub database: Option<String>,
    pub login: Option<String>,
    pub key: Option<Secret>,
    /// Sent with each request; secrets resolved.
    pub headers: Vec<(String, Secret)>,
    pub ca: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// For the whole exchange; 130 s by default, longer than Odoo retries conflicts itself.
    pub timeout: Duration,
    /// The other side keeps to the order within one request.
    pub in_order: bool,
    /// A module may have the key put into a body, as JSON-RPC needs it.
    pub key_in_body: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub listen: SocketAddr,
    pub tls: Option<(PathBuf, PathBuf)>,
    pub token: Option<Secret>,
    /// Networks from which no token is asked. Without a token, loopback is one.
    pub anonymous_from: Vec<IpNet>,
    /// Tokens with less than all rights.
    pub tokens: Vec<AccessToken>,
    /// Requests a second that one address may make.
    pub rate_limit: NonZeroU32,
}

/// A token of the API, of which only the hash is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    pub name: Arc<str>,
    pub sha256: [u8; 32],
    pub roles: BTreeSet<Role>,
    /// From when it is refused.
    pub expires: Option<Timestamp>,
}

/// What a caller of the API may do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See how everything is: health, status, metrics, configuration without secrets.
    Read,
    /// Push, reload and roll back configuration.
    Config,
    /// See payloads, resume sinks, replay and discard dead letters.
    Operate,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Config => "config",
            Self::Operate => "operate",
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub max_size: Option<u64>,
    /// `None`: 256 MiB, a tenth of the file system at most.
    pub min_free: Option<u64>,
    pub history: Option<History>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct History {
    pub keep: Duration,
    pub max_size: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A level, or a `tracing` filter.
    pub level: String,
    pub format: LogFormat,
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A device's time counts if it lies in [receipt − past, receipt + future].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    pub past: Duration,
    pub future: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    Auto,
    Confirm,
}

/// How changed files are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Whether the system's events count; many mounts give none, and some give too many.
    pub events: bool,
    pub rescan: Duration,
}

/// How modules are taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modules {
    /// Whether a module whose own samples fail is refused.
    pub samples: bool,
}

impl Default for Modules {
    fn default() -> Self {
        Self { samples: true }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { events: true, rescan: Duration::from_secs(3) }
    }
}
