//! The API's side of a change: who serves it hears that one was applied, and what it cannot
//! take up is said in `/health`.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::Tapline;
use crate::config::Config;

/// How the API is served.
#[derive(Default)]
pub(super) struct Serving {
    applied: watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What it was asked to listen on; `None`: it is not served.
    listen: Option<SocketAddr>,
    /// Another address that was already spoken of in the log.
    noted: Option<SocketAddr>,
    /// Why the certificate in the files is not the one that is shown.
    certificate: Option<String>,
}

impl Serving {
    /// What `config` says and the API does not do, for a person.
    pub(super) fn warning(&self, config: &Config) -> Option<String> {
        let listen = self.lock().listen?;
        let wanted = config.site.http.listen;
        (wanted != listen).then(|| {
            format!("http.listen is `{wanted}` now, the API is on `{listen}` until a restart")
        })
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.lock().certificate.clone()
    }

    /// Tells that `config` is in force.
    pub(super) fn tell(&self, config: &Config) {
        let wanted = config.site.http.listen;
        let warning = self.warning(config);
        let before = std::mem::replace(&mut self.lock().noted, warning.is_some().then_some(wanted));
        if let Some(what) = warning
            && before != Some(wanted)
        {
            tracing::warn!(event = "restart_needed", what, "a change takes effect with a restart");
        }
        self.applied.send_replace(());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tapline {
    /// Remembers that the API is served as `listen` says. What is returned tells of each
    /// change that is applied, also of one in the contents of certificates.
    pub fn serves(&self, listen: SocketAddr) -> watch::Receiver<()> {
        self.serving.lock().listen = Some(listen);
        self.serving.applied.subscribe()
    }

    /// Says in `/health` why the API's certificate is not the one in the files.
    pub fn set_certificate_problem(&self, problem: Option<String>) {
        self.serving.lock().certificate = problem;
    }
}
