//! A stand-in for Odoo: takes events as our event endpoint and a webhook do, records by
//! `load()` over `/jsonrpc` and `/json/2`, and fails on demand.
//!
//! For `tapline demo` and tests, never for production. Neighbours: none; it speaks HTTP and
//! knows nothing of the program's other parts. Invariant: it judges by what came over the
//! wire alone, so what it says about order and doubles is independent of Tapline's own word.

mod behaviour;
mod books;
mod remote;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

pub use behaviour::{Behaviour, Refusal};
pub use books::{ReceivedEvent, SessionRecord};
pub use remote::Fields;

use behaviour::Script;
use books::Books;
use remote::Shelf;
use serve::Listening;

/// What the stand-in asks of its callers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandInOptions {
    /// Port 0: a free one.
    pub listen: SocketAddr,
    /// The key that `Authorization: Bearer` must carry.
    pub key: Option<String>,
    /// What `X-Odoo-Database` must say.
    pub database: Option<String>,
    /// The user that `/jsonrpc` lets in, with the key.
    pub login: Option<String>,
    /// The major version, which decides what is spoken.
    pub version: u16,
    /// The name of the only webhook.
    pub hook: String,
}

impl Default for StandInOptions {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            key: None,
            database: None,
            login: None,
            version: 18,
            hook: "2f1d7b1c-hook".into(),
        }
    }
}

/// A running stand-in.
pub struct StandIn {
    address: SocketAddr,
    room: Arc<Room>,
    listening: Mutex<Option<Listening>>,
}

/// What requests and the owner share.
pub(crate) struct Room {
    pub(crate) options: StandInOptions,
    state: Mutex<State>,
    /// Counts requests that have been answered or dropped.
    changes: watch::Sender<u64>,
    /// What held requests wait for.
    pub(crate) gate: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) books: Books,
    pub(crate) script: Script,
    pub(crate) requests: u64,
    pub(crate) shelf: Shelf,
}

impl StandIn {
    /// Starts listening.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(options: StandInOptions) -> std::io::Result<Self> {
        let (changes, _) = watch::channel(0);
        let room =
            Arc::new(Room { options, state: Mutex::default(), changes, gate: Notify::new() });
        let listening = Listening::start(room.options.listen, room.clone()).await?;
        let address = listening.address();
        Ok(Self { address, room, listening: Mutex::new(Some(listening)) })
    }

    /// Where it listens; the same after [`StandIn::come_back`].
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint's base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the port and every connection: from now on connections are refused.
    pub async fn go_away(&self) {
        let listening = lock(&self.listening).take();
        if let Some(listening) = listening {
            listening.stop().await;
        }
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// If somebody else took the port.
    pub async fn come_back(&self) -> std::io::Result<()> {
        if lock(&self.listening).is_some() {
            return Ok(());
        }
        let listening = Listening::start(self.address, self.room.clone()).await?;
        *lock(&self.listening) = Some(listening);
        Ok(())
    }

    /// Claims that it is there.
    pub fn is_there(&self) -> bool {
        lock(&self.listening).is_some()
    }

    /// The next `times` requests meet this behaviour, after those asked for before.
    pub fn behave(&self, times: u32, behaviour: Behaviour) {
        self.room.lock().script.push(times, behaviour);
    }

    /// Back to normal at once, refusals included.
    pub fn behave_well(&self) {
        self.room.lock().script = Script::default();
    }

    /// Answers the request that is held, or the next one that would be.
    pub fn let_go(&self) {
        self.room.gate.notify_one();
    }

    /// Refuses single events until [`StandIn::behave_well`].
    pub fn refuse(&self, refusal: Refusal) {
        self.room.lock().script.refuse(refusal);
    }

    /// Sessions, by when they were first heard of.
    pub fn records(&self) -> Vec<SessionRecord> {
        self.room.lock().books.records()
    }

    /// Accepted events in order of arrival, each once.
    pub fn events(&self) -> Vec<ReceivedEvent> {
        self.room.lock().books.events().to_vec()
    }

    /// Accepted events of one device in order of arrival, each once.
    pub fn events_of(&self, device_id: &str) -> Vec<ReceivedEvent> {
        self.room.lock().books.of(device_id).cloned().collect()
    }

    /// The number of accepted events of one device.
    pub fn event_count_of(&self, device_id: &str) -> usize {
        self.room.lock().books.of(device_id).len()
    }

    /// The number of accepted events.
    pub fn event_count(&self) -> usize {
        self.room.lock().books.events().len()
    }

    /// Events that came again under an id that was known, with or without another content.
    pub fn duplicates(&self) -> u64 {
        self.room.lock().books.duplicates()
    }

    /// What no correct sender does: a device's events out of order, one id with two contents.
    pub fn violations(&self) -> Vec<String> {
        self.room.lock().books.violations().to_vec()
    }

    /// The number of requests for events so far, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.room.lock().requests
    }

    /// What `load()` has written to a model, by external id.
    pub fn loaded(&self, model: &str) -> BTreeMap<String, Fields> {
        self.room.lock().shelf.of(model)
    }

    /// How often somebody logged in by `/jsonrpc`.
    pub fn logins(&self) -> u64 {
        self.room.lock().shelf.logins
    }

    /// Changes with each request that has been dealt with.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.room.changes.subscribe()
    }

    /// Waits until `holds` does; looks again after each request.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.watch();
        while !holds(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Room {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A request has been dealt with.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
