//! The certificate that the API shows: the one in the files that the configuration names, as
//! they are. A pair that cannot be used leaves the one before in place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use super::serve::ServeError;
use crate::reload::Tapline;
use crate::telemetry;

/// How connections are accepted now; `None`: without TLS.
#[derive(Clone)]
pub(super) struct Tls(Arc<RwLock<Option<TlsAcceptor>>>);

/// The files of certificate and key, and what was last found in them.
#[derive(Clone, PartialEq)]
pub(super) struct Pair {
    files: (PathBuf, PathBuf),
    contents: (Vec<u8>, Vec<u8>),
}

impl Tls {
    /// # Errors
    /// If certificate or key cannot be used.
    pub(super) fn new(
        files: Option<&(PathBuf, PathBuf)>,
    ) -> Result<(Self, Option<Pair>), ServeError> {
        let pair = files.map(Pair::read).transpose()?;
        let acceptor = pair.as_ref().map(Pair::acceptor).transpose()?;
        Ok((Self(Arc::new(RwLock::new(acceptor))), pair))
    }

    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, acceptor: Option<TlsAcceptor>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }

    /// Follows the configuration and the files until `stop`. Connections that stand keep
    /// what they were made with.
    pub(super) async fn follow(
        self,
        tapline: Arc<Tapline>,
        mut shown: Option<Pair>,
        mut applied: watch::Receiver<()>,
        stop: CancellationToken,
    ) {
        let mut said = None;
        loop {
            // Once at the beginning too: files may have changed since they were read.
            let files = tapline.config().site.http.tls.clone();
            let read =
                tokio::task::spawn_blocking(move || files.as_ref().map(Pair::read).transpose());
            let found = match read.await {
                Ok(found) => found,
                Err(_) => return,
            };
            let problem = match found {
                Ok(found) if found == shown => None,
                Ok(found) => match found.as_ref().map(Pair::acceptor).transpose() {
                    Ok(acceptor) => {
                        tracing::info!(
                            event = "api_certificate_changed",
                            tls = acceptor.is_some(),
                            "new connections to the API get the certificate in the files"
                        );
                        self.set(acceptor);
                        shown = found;
                        None
                    }
                    Err(error) => Some(telemetry::words(&error)),
                },
                Err(error) => Some(telemetry::words(&error)),
            };
            if let Some(problem) = problem.as_ref().filter(|_| problem != said) {
                tracing::error!(
                    event = "api_certificate_unusable",
                    problem,
                    "the API goes on with the one before"
                );
            }
            let words =
                |problem: &String| format!("{problem} (the API goes on with the one before)");
            tapline.set_certificate_problem(problem.as_ref().map(words));
            said = problem;
            tokio::select! {
                () = stop.cancelled() => return,
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Pair {
    fn read(files: &(PathBuf, PathBuf)) -> Result<Self, ServeError> {
        let read = |file: &Path| std::fs::read(file).map_err(|e| failed(file)(Error::Io(e)));
        Ok(Self { files: files.clone(), contents: (read(&files.0)?, read(&files.1)?) })
    }

    fn acceptor(&self) -> Result<TlsAcceptor, ServeError> {
        let chain = CertificateDer::pem_slice_iter(&self.contents.0)
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed(&self.files.0))?;
        let key = PrivateKeyDer::from_pem_slice(&self.contents.1).map_err(failed(&self.files.1))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(ServeError::Tls)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(ServeError::Tls)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn failed(file: &Path) -> impl FnOnce(Error) -> ServeError {
    let file = file.display().to_string();
    move |source| ServeError::Certificate { file, source }
}
