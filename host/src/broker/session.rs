//! What must be known about the broker's session after a restart of ours: its number and what
//! is subscribed in it.
//!
//! Invariant: a number is never used for two sessions, as redeliveries are recognised by it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::config::site::Broker;
use crate::message::Timestamp;

/// Keeps one small value for a link over restarts.
///
/// Called on a blocking thread, never on the polling task.
pub trait Memory: Send + Sync {
    /// What was kept last.
    fn recall(&self) -> Result<Option<Vec<u8>>, MemoryError>;
    /// Keeps `value` in place of what was there. It must be durable no later than the effects
    /// of the messages that are handed to the intake after it returns.
    fn keep(&self, value: Vec<u8>) -> Result<(), MemoryError>;
}

/// Why a value could not be kept or recalled, for a log line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MemoryError(pub String);

/// Forgets everything at the end of the process: for the demo and for tests.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<Option<Vec<u8>>>);

impl Memory for InMemory {
    fn recall(&self) -> Result<Option<Vec<u8>>, MemoryError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn keep(&self, value: Vec<u8>) -> Result<(), MemoryError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }
}

/// The session that we believe the broker keeps for us.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Session {
    /// 0: none was ever begun.
    pub epoch: u64,
    /// Broker and client id: another broker has other sessions.
    pub owner: String,
    /// Filters that may be subscribed in it.
    pub filters: BTreeSet<String>,
    /// When the connection was last known to stand.
    #[serde(default)]
    pub seen: Option<Timestamp>,
    /// What the broker said last of messages that it dropped.
    #[serde(default)]
    pub drops: Option<Drops>,
}

/// A broker's count of dropped messages, and when it was still so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Drops {
    pub count: u64,
    pub at: Timestamp,
}

impl Session {
    /// Reads what was kept; anything unreadable counts as nothing, at the cost of one repeat of
    /// what is unacknowledged.
    pub(super) fn recall(memory: &dyn Memory) -> Result<Self, MemoryError> {
        Ok(memory
            .recall()?
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default())
    }

    /// Keeps it.
    pub(super) fn keep(&self, memory: &dyn Memory) -> Result<(), MemoryError> {
        let bytes = serde_json::to_vec(self).map_err(|error| MemoryError(error.to_string()))?;
        memory.keep(bytes)
    }

    /// Whether it was ever begun, with this broker and client id.
    pub(super) fn belongs_to(&self, owner: &str) -> bool {
        self.owner == owner && self.epoch > 0
    }

    /// The session after CONNACK: the same if the broker still has it and it is ours, else the
    /// next.
    pub(super) fn after_connack(
        &self,
        owner: String,
        session_present: bool,
        now: Timestamp,
    ) -> Self {
        let ours = self.belongs_to(&owner);
        if session_present && ours {
            return self.clone();
        }
        // The broker may be the same and count on; another one counts for itself.
        let drops = self.drops.filter(|_| ours);
        Self { epoch: self.epoch + 1, owner, filters: BTreeSet::new(), seen: Some(now), drops }
    }

    /// What is left of it once the broker was told to end it: nobody's, so that its absence is
    /// no loss.
    pub(super) fn ended(&self) -> Self {
        Self { epoch: self.epoch, ..Self::default() }
    }
}

/// Keeps the session in the memory, one value after the other, off the polling task.
pub(super) struct Keeper {
    memory: Arc<dyn Memory>,
    broker: String,
    session: Session,
    /// What is being kept; `true` once it is durable.
    writing: Option<JoinHandle<bool>>,
    kept: bool,
    /// As `writing`, of what is good to know but nothing depends on.
    noting: Option<JoinHandle<bool>>,
}

impl Keeper {
    pub(super) fn new(memory: Arc<dyn Memory>, broker: &str) -> Self {
        let broker = broker.to_owned();
        let session = Session::default();
        Self { memory, broker, session, writing: None, kept: true, noting: None }
    }

    /// The session as it is, kept or on its way.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Reads what was kept.
    pub(super) async fn recall(&mut self) -> Result<(), MemoryError> {
        let memory = Arc::clone(&self.memory);
        let recalled = tokio::task::spawn_blocking(move || Session::recall(&*memory)).await;
        self.session = recalled.unwrap_or_else(|error| Err(MemoryError(error.to_string())))?;
        Ok(())
    }

    /// Keeps `session`, after what is being kept already; nothing to do where it is kept.
    pub(super) fn keep(&mut self, session: Session) {
        if session == self.session && self.kept {
            return;
        }
        self.session = session;
        self.kept = true; // unless `settled` learns otherwise
        self.writing = Some(self.write());
    }

    /// Notes in the session what nothing depends on. While the memory is busy it is kept with
    /// what comes next.
    pub(super) async fn note(&mut self, change: impl FnOnce(&mut Session)) {
        change(&mut self.session);
        let busy =
            |task: &Option<JoinHandle<bool>>| task.as_ref().is_some_and(|t| !t.is_finished());
        if !busy(&self.writing) && !busy(&self.noting) && self.settled().await {
            self.noting = Some(self.write());
        }
    }

    /// Writes the session as it is, behind what is being written.
    fn write(&mut self) -> JoinHandle<bool> {
        let (session, memory) = (self.session.clone(), Arc::clone(&self.memory));
        let broker = self.broker.clone();
        let before = [self.writing.take(), self.noting.take()];
        tokio::spawn(async move {
            for before in before.into_iter().flatten() {
                let _ = before.await; // what follows replaces it, whatever became of it
            }
            match tokio::task::spawn_blocking(move || session.keep(&*memory)).await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::error!(event = "mqtt_session_not_kept", broker, %error, "the state of the session is not kept");
                    false
                }
                Err(_) => false,
            }
        })
    }

    /// Waits for what is being noted, at most for `limit`.
    pub(super) async fn noted(&mut self, limit: Duration) {
        if let Some(noting) = self.noting.take() {
            let _late_or_lost = tokio::time::timeout(limit, noting).await;
        }
    }

    /// Waits for what is being kept; whether it is durable.
    pub(super) async fn settled(&mut self) -> bool {
        if let Some(writing) = &mut self.writing {
            self.kept = matches!(writing.await, Ok(true));
            self.writing = None;
        }
        self.kept
    }
}

/// Names the broker and client id that a session belongs to.
pub(super) fn owner(broker: &Broker) -> String {
    format!("{}@{}:{}", broker.client_id, broker.host, broker.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_770_000_000_000);

    #[test]
    fn a_lost_session_or_another_broker_starts_the_next_epoch() {
        let memory = InMemory::default();
        let first = Session::recall(&memory).unwrap().after_connack("a@b:1".into(), true, NOW);
        assert_eq!(first.epoch, 1);
        first.keep(&memory).unwrap();
        let again = Session::recall(&memory).unwrap();
        assert_eq!(again.after_connack("a@b:1".into(), true, NOW).epoch, 1);
        assert_eq!(again.after_connack("a@b:1".into(), false, NOW).epoch, 2);
        assert_eq!(again.after_connack("a@c:1".into(), true, NOW).epoch, 2);
    }

    #[test]
    fn takes_an_unreadable_value_for_none() {
        let memory = InMemory::default();
        memory.keep(b"{".to_vec()).unwrap();
        assert_eq!(Session::recall(&memory).unwrap(), Session::default());
    }

    #[test]
    fn reads_what_an_earlier_release_kept() {
        let memory = InMemory::default();
        memory.keep(br#"{"epoch":3,"owner":"a@b:1","filters":["x"]}"#.to_vec()).unwrap();
        let session = Session::recall(&memory).unwrap();
        assert_eq!((session.epoch, session.seen, session.drops), (3, None, None));
        assert!(session.belongs_to("a@b:1"));
    }

    #[test]
    fn a_session_that_was_ended_on_purpose_is_nobodys_and_its_number_is_not_used_again() {
        let first = Session::default().after_connack("a@b:1".into(), false, NOW);
        assert!(!first.ended().belongs_to("a@b:1"));
        assert_eq!(first.ended().after_connack("a@b:1".into(), true, NOW).epoch, 2);
    }

    /// Takes what it is given only when it is let to.
    struct Slow(Mutex<std::sync::mpsc::Receiver<()>>, InMemory);

    impl Memory for Slow {
        fn recall(&self) -> Result<Option<Vec<u8>>, MemoryError> {
            self.1.recall()
        }

        fn keep(&self, value: Vec<u8>) -> Result<(), MemoryError> {
            let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waits.recv().map_err(|error| MemoryError(error.to_string()))?;
            self.1.keep(value)
        }
    }

    #[tokio::test]
    async fn a_note_that_cannot_be_written_holds_up_no_session() {
        let (go, waits) = std::sync::mpsc::sync_channel(8);
        let memory = Arc::new(Slow(Mutex::new(waits), InMemory::default()));
        let mut keeper = Keeper::new(memory.clone(), "main");
        go.send(()).unwrap();
        keeper.keep(Session::default().after_connack("a@b:1".into(), false, NOW));
        assert!(keeper.settled().await);
        for later in 1..4 {
            keeper.note(|session| session.seen = Some(NOW.plus_ms(later))).await;
        }
        let resumed = keeper.session().after_connack("a@b:1".into(), true, NOW);
        keeper.keep(resumed);
        assert!(keeper.settled().await, "the number of the session was kept before");
        // The next number waits for the note before it, and takes along what was noted since.
        keeper.keep(keeper.session().after_connack("a@b:1".into(), false, NOW));
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert!(keeper.settled().await);
        assert_eq!(Session::recall(&*memory).unwrap().epoch, 2);
    }
}
