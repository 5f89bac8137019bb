//! The accept loops: as many connections as a small box bears, five seconds for headers,
//! bodies up to a limit; over TCP, plain or TLS, and over a socket in the data directory.

use std::collections::HashMap;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Caller;
use super::routes;
use super::stream::{Flow, Streams};
use super::tls::Tls;
use crate::config::site::Http;
use crate::reload::Tapline;

const CONNECTIONS: usize = 256;
/// One address cannot take all places from the others.
const CONNECTIONS_OF_ONE: usize = 96;
const HEADER_TIME: Duration = Duration::from_secs(5);
/// A push that switches brokers takes up to 10 s for the probe and as long for the drain.
const CONNECTION_TIME: Duration = Duration::from_secs(300);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "http.listen `{address}` cannot be opened: set another with BRIDGE_PORT or http.listen"
    )]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the socket `{path}` cannot be opened")]
    Socket {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("certificate or key of http.tls `{file}` cannot be read")]
    Certificate {
        file: String,
        #[source]
        source: tokio_rustls::rustls::pki_types::pem::Error,
    },
    #[error("certificate and key of http.tls do not fit together")]
    Tls(#[source] tokio_rustls::rustls::Error),
}

/// The API while it is served.
pub struct Server {
    address: SocketAddr,
    socket: PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The name of the socket in the data directory. Who may open it may do everything.
pub const SOCKET: &str = "tapline.sock";
/// What the system takes for a socket's path.
const SOCKET_PATH: usize = 107;

impl Server {
    /// Listens and serves until [`Server::stop`].
    ///
    /// # Errors
    /// If the address is taken, or certificate or key cannot be used.
    pub async fn start(http: &Http, tapline: Arc<Tapline>) -> Result<Self, ServeError> {
        let (tls, shown) = Tls::new(http.tls.as_ref())?;
        let failed = |source| ServeError::Listen { address: http.listen, source };
        let listener = TcpListener::bind(http.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let socket = tapline.data().join(SOCKET);
        let app = routes::router(tapline.clone(), http);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let applied = tapline.serves(http.listen);
        tasks.spawn(tls.clone().follow(tapline, shown, applied, stop.clone()));
        let door = Door {
            app,
            stop: stop.clone(),
            tasks: tasks.clone(),
            streams: Streams::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            crowd: Arc::default(),
        };
        tasks.spawn(door.clone().accept(Listener::Tcp(listener, tls)));
        if socket.as_os_str().len() > SOCKET_PATH {
            tracing::warn!(
                event = "socket_not_opened",
                path = %socket.display(),
                "the path of the data directory is too long for a socket: commands need --url"
            );
        } else {
            // A crowd on the network must not keep this machine's operator out.
            let places = Arc::new(Semaphore::new(CONNECTIONS));
            tasks.spawn(Door { places, ..door }.accept(Listener::Unix(open(&socket)?)));
        }
        tracing::info!(event = "api_listening", %address, tls = http.tls.is_some(), "API is up");
        Ok(Self { address, socket, stop, tasks })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening; requests under way have `patience` to end.
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        self.tasks.close();
        // It may be gone already, or never have been.
        let _gone = std::fs::remove_file(&self.socket);
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(event = "api_stop", "requests were cut off");
        }
    }
}

/// Opens the socket for its owner alone. One left over by a kill is replaced: the lock on the
/// store says that nobody else runs here.
fn open(path: &Path) -> Result<UnixListener, ServeError> {
    use std::os::unix::fs::PermissionsExt;
    let open = || {
        // Under its name only once its rights are right.
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        Ok(listener)
    };
    open().map_err(|source| ServeError::Socket { path: path.display().to_string(), source })
}

/// What an accept loop shares with its connections.
#[derive(Clone)]
struct Door {
    app: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
    streams: Streams,
    places: Arc<Semaphore>,
    crowd: Arc<Crowd>,
}

/// How many connections each address has.
#[derive(Default)]
struct Crowd(Mutex<HashMap<IpAddr, usize>>);

/// One of an address' connections.
struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// A seat, unless the address has too many already.
    fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = crowd.entry(address).or_default();
        if *seats >= CONNECTIONS_OF_ONE {
            return None;
        }
        *seats += 1;
        Some(Seat { crowd: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut crowd = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = crowd.get_mut(&self.address) {
            *seats -= 1;
            if *seats == 0 {
                crowd.remove(&self.address);
            }
        }
    }
}

enum Listener {
    Tcp(TcpListener, Tls),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(TcpStream, SocketAddr, Option<TlsAcceptor>),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer, tls.acceptor()))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Door {
    async fn accept(self, listener: Listener) {
        loop {
            let place = tokio::select! {
                () = self.stop.cancelled() => return,
                place = self.places.clone().acquire_owned() => place.expect("never closed"),
            };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, say: it passes, and spinning helps nobody.
                        tracing::warn!(event = "api_accept_failed", %error, "connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let seat = match &accepted {
                Accepted::Unix(_) => None,
                Accepted::Tcp(_, peer, _) => match self.crowd.seat(peer.ip()) {
                    Some(seat) => Some(seat),
                    // Closed at once: there is no room for words.
                    None => continue,
                },
            };
            let door = self.clone();
            self.tasks.spawn(async move {
                let _kept = (place, seat);
                door.connection(accepted).await;
            });
        }
    }

    async fn connection(self, accepted: Accepted) {
        match accepted {
            Accepted::Unix(stream) => {
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                self.serve(stream, Caller::Socket { uid }).await;
            }
            Accepted::Tcp(stream, peer, None) => {
                self.serve(stream, Caller::Network(peer.ip())).await;
            }
            Accepted::Tcp(stream, peer, Some(tls)) => {
                let shaken = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await;
                if let Ok(Ok(stream)) = shaken {
                    self.serve(stream, Caller::Network(peer.ip())).await;
                }
            }
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller) {
        let flow = Flow::new(self.streams, self.stop.clone());
        let app = self.app.layer(Extension(caller.clone())).layer(Extension(flow.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        let mut connection = std::pin::pin!(connection);
        let stop = self.stop;
        let limit = async {
            tokio::time::sleep(CONNECTION_TIME).await;
            if flow.is_stream() {
                pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = limit => return,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(CONNECTION_TIME, connection.as_mut()).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(event = "api_connection_ended", %caller, %error, "connection broke");
        }
    }
}
