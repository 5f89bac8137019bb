//! A link: the receiving and the publishing connection to one broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use super::outlet::{Outlet, OutletOptions, Presence, PublishError};
use super::probe::{self, Handover, ProbeError};
use super::receive::Receiver;
use super::session::Memory;
use super::status::{Board, LinkStatus};
use super::ticket::Ledger;
use super::{Clock, Intake, Subscription};
use crate::config::site::Broker;
use crate::message::{Publication, Timestamp};

/// What a link is started with.
#[derive(Clone)]
pub struct LinkOptions {
    pub broker: Arc<Broker>,
    /// The site's name, part of the marker's topic.
    pub site: String,
    pub intake: Arc<dyn Intake>,
    /// Keeps the number of the broker's session over restarts.
    pub memory: Arc<dyn Memory>,
    pub clock: Clock,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// DISCONNECT; the broker keeps the session and what comes for it.
    KeepSession,
    /// DISCONNECT; the broker forgets the session.
    EndSession,
    /// The socket closes without a word, so that the broker publishes the will.
    Vanish,
}

/// A running link to one broker. Dropping it is the same as [`Farewell::Vanish`].
pub struct Link {
    shared: Arc<Shared>,
    wanted: watch::Sender<Arc<BTreeMap<String, Subscription>>>,
    stop: watch::Sender<Option<Farewell>>,
    outlet: Outlet,
    task: Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

/// What the receiving task and the handle have in common.
pub(super) struct Shared {
    pub broker: Arc<Broker>,
    pub site: String,
    pub intake: Arc<dyn Intake>,
    pub memory: Arc<dyn Memory>,
    pub clock: Clock,
    pub ledger: Arc<Ledger>,
    pub board: Board,
    /// Next receipt sequence.
    pub sequence: AtomicU64,
    /// Nothing is handed to the intake any more.
    pub paused: AtomicBool,
}

impl Shared {
    /// How long the connection may go without a ping of ours.
    pub(super) fn patience(&self) -> Duration {
        match self.broker.keep_alive / 2 {
            Duration::ZERO => Duration::from_secs(30), // no keep-alive: the broker waits for ever
            half => half,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl Link {
    /// Starts connecting, without end until [`stop`](Self::stop). Needs a tokio runtime.
    pub fn start(options: LinkOptions, wanted: BTreeMap<String, Subscription>) -> Self {
        let LinkOptions { broker, site, intake, memory, clock } = options;
        let (counts, drops) = watch::channel(None);
        let outlet_options = OutletOptions {
            client_id: format!("{}-pub", broker.client_id),
            presence: Some(Presence {
                topic: broker.status_topic.clone(),
                online: b"online".to_vec(),
                offline: b"offline".to_vec(),
                qos: 1,
            }),
            clock: Arc::clone(&clock),
            broker: Arc::clone(&broker),
        };
        let outlet = match broker.sys_topics {
            true => Outlet::watching(outlet_options, counts),
            false => Outlet::start(outlet_options),
        };
        let shared = Arc::new(Shared {
            ledger: Arc::new(Ledger::new(broker.ceiling)),
            board: Board::default(),
            // Unique over restarts as long as fewer than a million messages a millisecond come.
            sequence: AtomicU64::new(clock().0 << 20),
            paused: AtomicBool::new(false),
            broker,
            site,
            intake,
            memory,
            clock,
        });
        let (wanted, wanted_rx) = watch::channel(Arc::new(wanted));
        let (stop, stop_rx) = watch::channel(None);
        let task =
            tokio::spawn(Receiver::new(Arc::clone(&shared), wanted_rx, stop_rx, drops).run());
        let abort = task.abort_handle();
        Self { shared, wanted, stop, outlet, task: Mutex::new(Some(task)), abort }
    }

    /// Replaces the set of filters that are to be subscribed; the difference goes to the broker
    /// at once, or when it is there again.
    pub fn subscribe(&self, wanted: BTreeMap<String, Subscription>) {
        self.wanted.send_if_modified(|held| {
            let changed = **held != wanted;
            if changed {
                *held = Arc::new(wanted);
            }
            changed
        });
    }

    /// As [`Outlet::publish`].
    pub async fn publish(
        &self,
        publication: &Publication,
        expiry: Option<Duration>,
        limit: Duration,
    ) -> Result<(), PublishError> {
        self.outlet.publish(publication, expiry, limit).await
    }

    /// How the link stands.
    pub fn status(&self) -> LinkStatus {
        let mut status = self.shared.board.snapshot();
        status.held_messages = self.shared.ledger.messages();
        status.held_bytes = self.shared.ledger.bytes();
        status.acked = self.shared.ledger.acked();
        status.publishing = self.outlet.is_connected();
        let now = self.shared.now();
        status.risks.retain(|risk| !risk.is_over(now));
        if let Some((at, words)) =
            self.outlet.last_trouble().filter(|(at, _)| Some(*at) > status.last_error_at)
        {
            status.last_error = Some(words);
            status.last_error_at = Some(at);
        }
        status
    }

    /// Hands nothing more to the intake. What comes from now on is not acknowledged; tickets
    /// that are out still are.
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::Release);
    }

    /// Pauses, waits up to `patience` for the tickets that are out, and ends both connections.
    pub async fn stop(&self, farewell: Farewell, patience: Duration) {
        self.pause();
        if farewell != Farewell::Vanish {
            // Acknowledgements leave on the connection, so it has to stand until then.
            let _ = tokio::time::timeout(patience, self.shared.ledger.empty()).await;
        }
        self.stop.send_replace(Some(farewell));
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await; // ends within its own limits
        }
        self.outlet.stop(farewell).await;
    }

    /// Whether `new` can be reached and grants `filters`, beside the link to `old`; see
    /// [`Handover`] for what to do next.
    pub async fn probe(
        old: Option<&Broker>,
        new: Arc<Broker>,
        filters: &BTreeMap<String, Subscription>,
        limit: Duration,
    ) -> Result<Handover, ProbeError> {
        probe::probe(old, new, filters, limit).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.abort.abort();
    }
}
