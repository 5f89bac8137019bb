//! The seam between a link and the MQTT library: one small interface over MQTT 5 and 3.1.1.
//!
//! A [`Dial`] says everything about one connection; [`open`] makes the pair of [`Requests`]
//! (queue something, never waits) and [`Poller`] (drive the connection). Each connection gets a
//! pair of its own, so that nothing that was queued for one can reach the next. Neighbours:
//! `receive`, `outlet` and `probe` above. Invariant: no type of the library leaves this folder.

mod limits;
mod prompt;
mod reason;
mod tls;
mod v4;
mod v5;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(super) use self::limits::{Limits, has_wildcard, is_shared};
use super::Subscription;
use crate::config::site::{Broker, MqttVersion};
use crate::message::{Properties, Publication};

/// More than any broker keeps in flight to one client: packet ids end at 65535.
const QUEUE: usize = 70_000;
/// How far the library's packet limit lies above what CONNECT announces, so that the broker's
/// count and ours never differ to our harm.
pub(super) const HEADROOM: usize = 64 * 1024;
/// What an MQTT packet may weigh at most.
const LARGEST: usize = 268_435_460;

/// Everything about one connection.
pub(super) struct Dial {
    pub broker: Arc<Broker>,
    pub client_id: String,
    /// Ask for a new session, and let it end with the connection unless `session_expiry` says
    /// otherwise.
    pub clean: bool,
    /// Seconds that the broker keeps the session (MQTT 5).
    pub session_expiry: u32,
    pub manual_acks: bool,
    /// Packets larger than this end the connection; above what CONNECT announces.
    pub packet_limit: usize,
    pub will: Option<Will>,
}

/// What the broker publishes for us when the connection ends without a farewell.
#[derive(Clone, Debug)]
pub(super) struct Will {
    pub topic: String,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
}

impl Dial {
    fn address(&self) -> String {
        let host = &self.broker.host;
        // An IPv6 address needs brackets before a port can follow.
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.clone()
        }
    }

    /// `ws://…` or `wss://…`.
    fn websocket_url(&self, scheme: &str) -> String {
        let Broker { port, path, .. } = &*self.broker;
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{}:{port}{slash}{path}", self.address())
    }

    fn keep_alive_seconds(&self) -> u16 {
        u16::try_from(self.broker.keep_alive.as_secs()).unwrap_or(u16::MAX)
    }

    fn packet_limit(&self) -> usize {
        self.packet_limit.clamp(1024, LARGEST)
    }

    fn tls(&self) -> Result<tls::ClientConfig, WireError> {
        tls::client_config(self.broker.tls.as_ref())
    }
}

/// Prepares a connection; the first [`Poller::poll`] makes it.
pub(super) fn open(dial: &Dial) -> Result<(Requests, Poller), WireError> {
    match dial.broker.version {
        MqttVersion::V5 => {
            let (client, events) = v5::open(dial)?;
            Ok((Requests::V5(client), Poller::new(dial, Events::V5(Box::new(events)))))
        }
        MqttVersion::V311 => {
            let (client, events) = v4::open(dial)?;
            Ok((Requests::V4(client), Poller::new(dial, Events::V4(Box::new(events)))))
        }
    }
}

/// As [`open`], but reads the files of TLS where blocking does no harm.
pub(super) async fn open_off_thread(dial: Dial) -> Result<(Requests, Poller), WireError> {
    tokio::task::spawn_blocking(move || open(&dial)).await.unwrap_or(Err(WireError::Over))
}

/// Drives one connection. Dropping it closes the socket without DISCONNECT.
pub(super) struct Poller {
    events: Events,
    /// How long nothing may move at all; `None` without a keep-alive.
    patience: Option<Duration>,
}

enum Events {
    V5(Box<v5::Events>),
    V4(Box<v4::Events>),
}

impl Poller {
    fn new(dial: &Dial, events: Events) -> Self {
        Self { events, patience: patience(dial.broker.keep_alive) }
    }

    /// Works until something arrives. The library may lose a request when this is dropped half
    /// way: hold on to the future until it is ready, or give the connection up.
    pub(super) async fn poll(&mut self) -> Result<Arrival, WireError> {
        let arrival = match self.patience {
            // A ping leaves once a keep-alive. Where not even that happens, the library is in
            // the middle of a packet that the other side does not take, and waits without end.
            Some(patience) => tokio::time::timeout(patience, self.events.poll())
                .await
                .unwrap_or(Err(WireError::Stuck(patience)))?,
            None => self.events.poll().await?,
        };
        if let Arrival::Connected { limits: Limits { keep_alive: Some(theirs), .. }, .. } = arrival
        {
            self.patience = patience(theirs);
        }
        Ok(arrival)
    }
}

impl Events {
    async fn poll(&mut self) -> Result<Arrival, WireError> {
        match self {
            Self::V5(events) => events.poll().await,
            Self::V4(events) => events.poll().await,
        }
    }
}

fn patience(keep_alive: Duration) -> Option<Duration> {
    (!keep_alive.is_zero()).then_some(keep_alive * 2)
}

/// What came in.
#[derive(Debug)]
pub(super) enum Arrival {
    Connected {
        session_present: bool,
        limits: Limits,
    },
    Message(Inbound),
    /// Another packet of the broker, which shows that it is alive.
    Sign,
    /// Something left; says nothing about the broker.
    Sent,
}

/// A PUBLISH.
#[derive(Debug)]
pub(super) struct Inbound {
    pub topic: Arc<str>,
    pub payload: Bytes,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: u16,
    pub properties: Option<Properties>,
}

/// An answer that the broker still owes.
pub(super) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Per filter the QoS granted, or why not.
pub(super) type Granted = Result<Vec<Result<u8, Refusal>>, WireError>;
/// The broker's confirmation of a publication.
pub(super) type Confirmed = Result<(), WireError>;

/// Why a broker refused one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: u8,
    pub words: &'static str,
}

/// Queues requests on one connection; nothing here waits.
#[derive(Clone)]
pub(super) enum Requests {
    V5(v5::Client),
    V4(v4::Client),
}

impl Requests {
    /// Acknowledges a packet; `false` if the queue has no room.
    pub(super) fn ack(&self, qos: u8, packet_id: u16) -> bool {
        match self {
            Self::V5(client) => v5::ack(client, qos, packet_id),
            Self::V4(client) => v4::ack(client, qos, packet_id),
        }
    }

    /// Subscribes all `filters` in one packet; they must be valid.
    pub(super) fn subscribe(
        &self,
        filters: &[(String, Subscription)],
    ) -> Result<Pending<Granted>, WireError> {
        match self {
            Self::V5(client) => v5::subscribe(client, filters),
            Self::V4(client) => v4::subscribe(client, filters),
        }
    }

    /// Gives all `filters` up in one packet.
    pub(super) fn unsubscribe(&self, filters: &[String]) -> Result<Pending<Confirmed>, WireError> {
        match self {
            Self::V5(client) => v5::unsubscribe(client, filters),
            Self::V4(client) => v4::unsubscribe(client, filters),
        }
    }

    /// Publishes; the answer is PUBACK, PUBCOMP, or that it went to the network (QoS 0).
    pub(super) fn publish(
        &self,
        publication: &Publication,
        expiry: Option<Duration>,
    ) -> Result<Pending<Confirmed>, WireError> {
        match self {
            Self::V5(client) => v5::publish(client, publication, expiry),
            Self::V4(client) => v4::publish(client, publication),
        }
    }

    /// Queues a DISCONNECT behind what is queued already. `session_expiry` replaces how long
    /// the session is kept (MQTT 5).
    pub(super) fn disconnect(&self, session_expiry: Option<u32>) -> bool {
        match self {
            Self::V5(client) => v5::disconnect(client, session_expiry),
            Self::V4(client) => v4::disconnect(client),
        }
    }
}

/// Why a connection cannot be made or ended, in words for a person.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the broker refused the connection: {0}")]
    Refused(&'static str),
    #[error("the broker does not keep retained messages, which the will asks for")]
    NoRetainedWill,
    #[error("another client uses the client id `{0}` and took the session over")]
    TakenOver(String),
    #[error("the broker ended the connection: {0}")]
    Disconnected(String),
    #[error("the broker closed the connection")]
    Closed,
    #[error(
        "the broker closes the connection without a word again and again: another client may use \
         the client id `{0}`"
    )]
    ClosedAgain(String),
    #[error("a packet of {size} bytes is over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("cannot read `{path}`")]
    File { path: String, source: std::io::Error },
    #[error("{0}")]
    Tls(String),
    #[error("the broker took nothing for {}", humantime::format_duration(*.0))]
    Stuck(Duration),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("`{0}` is not a valid topic")]
    Topic(String),
    #[error("the broker refused it: {} (0x{:02x})", .0.words, .0.code)]
    Rejected(Refusal),
    #[error("{0}")]
    Other(String),
    #[error("the connection was given up")]
    Over,
}

/// An input/output error without the library's wrapping.
fn io_words(error: &std::io::Error) -> WireError {
    use std::io::ErrorKind;
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return WireError::Tls(tls_words(tls));
    }
    match error.kind() {
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => WireError::Closed,
        ErrorKind::ConnectionRefused => {
            WireError::Other("nothing listens at the broker's address".to_owned())
        }
        _ => WireError::Other(error.to_string()),
    }
}

/// What is said of a filter that the library would not even send.
pub(super) const NOT_A_FILTER: Refusal =
    Refusal { code: 0x8f, words: "it is not a valid topic filter" };

/// Why a broker with these limits cannot be asked for this filter.
pub(super) fn rules_out(filter: &str, limits: &Limits) -> Option<Refusal> {
    if is_filter(filter) { limits.rules_out(filter) } else { Some(NOT_A_FILTER) }
}

/// Whether a broker can be asked for this filter.
pub(super) fn is_filter(filter: &str) -> bool {
    rumqttc_v5::valid_filter(filter)
        && filter.len() <= usize::from(u16::MAX)
        && !filter.contains('\0')
}

fn tls_words(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, Error};
    match error {
        Error::InvalidCertificate(why) => {
            format!("the broker's certificate is not accepted: {why:?}")
        }
        Error::AlertReceived(Alert::CertificateRequired) => {
            "the broker asks for a client certificate".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the broker ended the TLS handshake, perhaps over our certificate: {alert:?}")
        }
        other => format!("TLS does not come about: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_in_words_what_tls_says_in_codes() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, alert);
        assert_eq!(io_words(&wrapped).to_string(), "the broker asks for a client certificate");
    }

    #[test]
    fn knows_a_filter_from_what_only_looks_like_one() {
        for good in ["a/+/b", "#", "$share/group/a/#", "+"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a/#/b", "a+", "a\0b"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
