//! What must be known about the broker's session after a restart of ours: its number and what
//! is subscribed in it.
//!
//! Invariant: a number is never used for two sessions, as redeliveries are recognised by it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::config::site::Broker;

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

    /// The session after CONNACK: the same if the broker still has it and it is ours, else the
    /// next.
    pub(super) fn after_connack(&self, owner: String, session_present: bool) -> Self {
        if session_present && self.owner == owner && self.epoch > 0 {
            return self.clone();
        }
        Self { epoch: self.epoch + 1, owner, filters: BTreeSet::new() }
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
}

impl Keeper {
    pub(super) fn new(memory: Arc<dyn Memory>, broker: &str) -> Self {
        let broker = broker.to_owned();
        Self { memory, broker, session: Session::default(), writing: None, kept: true }
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
        self.session = session.clone();
        self.kept = true; // unless `settled` learns otherwise
        let (memory, broker, before) =
            (Arc::clone(&self.memory), self.broker.clone(), self.writing.take());
        self.writing = Some(tokio::spawn(async move {
            if let Some(before) = before {
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
        }));
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

    #[test]
    fn a_lost_session_or_another_broker_starts_the_next_epoch() {
        let memory = InMemory::default();
        let first = Session::recall(&memory).unwrap().after_connack("a@b:1".into(), true);
        assert_eq!(first.epoch, 1);
        first.keep(&memory).unwrap();
        let again = Session::recall(&memory).unwrap();
        assert_eq!(again.after_connack("a@b:1".into(), true).epoch, 1);
        assert_eq!(again.after_connack("a@b:1".into(), false).epoch, 2);
        assert_eq!(again.after_connack("a@c:1".into(), true).epoch, 2);
    }

    #[test]
    fn takes_an_unreadable_value_for_none() {
        let memory = InMemory::default();
        memory.keep(b"{".to_vec()).unwrap();
        assert_eq!(Session::recall(&memory).unwrap(), Session::default());
    }
}
