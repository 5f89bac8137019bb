//! A broker inside the process, for the demo and for tests that need no real one.
//!
//! rumqttd runs behind a small switch of ours on loopback: rumqttd itself cannot be stopped, but
//! the switch can cut every connection and refuse new ones, which is what a broker that is down
//! looks like from outside. It loses QoS 1 messages under overload, so it is never offered for
//! production. Invariant: nothing but loopback can reach it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const MAX_PAYLOAD: usize = 1 << 20;
/// For rumqttd's listener to stand.
const START: Duration = Duration::from_secs(5);

/// A running embedded broker. Dropping it takes its port away.
pub struct EmbeddedBroker {
    port: u16,
    up: watch::Sender<bool>,
    switch: JoinHandle<()>,
}

/// Why the embedded broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error("no loopback port is free")]
    Port(#[source] io::Error),
    #[error("the embedded broker does not start: {0}")]
    Start(String),
}

impl EmbeddedBroker {
    /// Starts on a free loopback port, with MQTT 3.1.1 and without a password.
    pub async fn start() -> Result<Self, EmbeddedError> {
        let inner = free_port().map_err(EmbeddedError::Port)?;
        let mut broker = Broker::new(config(inner));
        // Runs as long as the process: it has no way to be told to stop. Detached on purpose.
        std::thread::Builder::new()
            .name("embedded-broker".into())
            .spawn(move || {
                broker
                    .start()
                    .err()
                    .map(|error| tracing::warn!(event = "embedded_broker_ended", error = %error, "the embedded broker ended"))
            })
            .map_err(|error| EmbeddedError::Start(error.to_string()))?;
        wait_until_it_listens(inner).await?;
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(EmbeddedError::Port)?;
        let port = listener.local_addr().map_err(EmbeddedError::Port)?.port();
        let (up, state) = watch::channel(true);
        let switch = tokio::spawn(forward(listener, inner, state));
        Ok(Self { port, up, switch })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts every connection and refuses new ones, as if the broker had died.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Is there again, with the sessions that it had.
    pub fn restore(&self) {
        self.up.send_replace(true);
    }

    /// Whether connections are let through.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.switch.abort();
    }
}

/// rumqttd does not tell which port it got, so one is chosen for it; another program could take
/// it in between, which `wait_until_it_listens` then reports.
fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn config(listen: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: MAX_PAYLOAD,
        max_inflight_count: 500,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "embedded".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    Config {
        id: 0,
        router: RouterConfig {
            max_connections: 1000,
            max_outgoing_packet_count: 1000,
            max_segment_size: 10 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("embedded".to_owned(), server)])),
        ..Config::default()
    }
}

async fn wait_until_it_listens(at: SocketAddr) -> Result<(), EmbeddedError> {
    let listens = async {
        while TcpStream::connect(at).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(START, listens)
        .await
        .map_err(|_| EmbeddedError::Start(format!("nothing listens within {START:?}")))
}

/// Lets connections through while `up` says so.
async fn forward(listener: TcpListener, inner: SocketAddr, mut up: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // While it is down the socket closes at once, much like a refusal.
                if let Ok((outside, _)) = accepted && *up.borrow() {
                    connections.spawn(pass(outside, inner));
                }
            }
            changed = up.changed() => {
                if changed.is_err() {
                    return;
                }
                if !*up.borrow() {
                    connections.abort_all();
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut outside: TcpStream, inner: SocketAddr) {
    let Ok(mut inside) = TcpStream::connect(inner).await else { return };
    for socket in [&outside, &inside] {
        let _ = socket.set_nodelay(true); // only a matter of speed
    }
    // Ends with either side; how is of no interest.
    let _ = copy_bidirectional(&mut outside, &mut inside).await;
}
