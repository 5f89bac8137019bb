//! The accept loop: as many connections as a small box bears, five seconds for headers,
//! bodies up to a limit, plain or TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::routes;
use crate::config::site::Http;
use crate::reload::Tapline;

const CONNECTIONS: usize = 256;
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
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Listens and serves until [`Server::stop`].
    ///
    /// # Errors
    /// If the address is taken, or certificate or key cannot be used.
    pub async fn start(http: &Http, tapline: Arc<Tapline>) -> Result<Self, ServeError> {
        let tls = match &http.tls {
            Some((cert, key)) => Some(acceptor(cert, key)?),
            None => None,
        };
        let failed = |source| ServeError::Listen { address: http.listen, source };
        let listener = TcpListener::bind(http.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let app = routes::router(tapline, http);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, tls, app, stop.clone(), tasks.clone()));
        tracing::info!(event = "api_listening", %address, tls = http.tls.is_some(), "API is up");
        Ok(Self { address, stop, tasks })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening; requests under way have `patience` to end.
    pub async fn stop(self, patience: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(event = "api_stop", "requests were cut off");
        }
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let failed = |file: &Path| {
        let file = file.display().to_string();
        move |source| ServeError::Certificate { file, source }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(failed(cert))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    let config = ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(ServeError::Tls)?
    .with_no_client_auth()
    .with_single_cert(chain, key_der)
    .map_err(ServeError::Tls)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = places.clone().acquire_owned() => place.expect("never closed"),
        };
        let (socket, peer) = tokio::select! {
            () = stop.cancelled() => return,
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
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            match tls {
                None => serve(socket, peer, app, stop).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) =
                        tokio::time::timeout(HANDSHAKE_TIME, tls.accept(socket)).await
                    {
                        serve(stream, peer, app, stop).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    app: Router,
    stop: CancellationToken,
) {
    let app = app.layer(axum::Extension(ConnectInfo(peer)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::time::timeout(CONNECTION_TIME, async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    })
    .await;
    if let Ok(Err(error)) = ended {
        tracing::debug!(event = "api_connection_ended", %peer, %error, "connection broke");
    }
}
