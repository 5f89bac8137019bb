//! Sessions that run, and those that ended lately, as their last events told them.
//!
//! The store remembers the last that was said of each key, so that a session is known after a
//! restart. Invariant: one that ended is no longer among those that run, and only so many of
//! these are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::message::{DeviceId, Item};
use crate::pipeline::item::Emitted;
use crate::pipeline::plan::Plan;
use crate::store::{KeyId, Said};

/// Sessions that ended lately.
const ENDED: usize = 500;
/// Data of an event that is kept of a session; ours have some 400 bytes.
const SAID: usize = 4 << 10;

/// A session, as its last event told it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
    pub device: Option<DeviceId>,
    pub key: Arc<str>,
    /// The event, and its time: everything here is as of then.
    pub event: String,
    pub at: String,
    #[serde(flatten)]
    pub told: Told,
}

/// What the events of a session tell, by their own names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Told {
    pub session_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_wh: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_w: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_w: Option<f64>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Sessions {
    pub(super) running: HashMap<KeyId, Session>,
    ended: VecDeque<Session>,
}

impl Sessions {
    /// Those that the store remembers.
    pub(super) fn remembering(said: Vec<Said>) -> Self {
        let mut sessions = Self::default();
        let mut ended = Vec::new();
        for said in said {
            let Some(session) = session(&said) else { continue };
            if session.told.ended_at.is_some() {
                ended.push(session);
            } else {
                sessions.running.insert(said.id, session);
            }
        }
        ended.sort_by(|a, b| b.at.cmp(&a.at));
        ended.truncate(ENDED);
        sessions.ended = ended.into();
        sessions
    }

    /// Those that run, by pipeline, stage and key.
    pub(super) fn running(&self) -> Vec<Session> {
        let mut sessions: Vec<_> = self.running.values().cloned().collect();
        sessions
            .sort_by(|a, b| (&a.pipeline, &a.stage, &a.key).cmp(&(&b.pipeline, &b.stage, &b.key)));
        sessions
    }

    /// Those that ended lately, the last one first.
    pub(super) fn ended(&self) -> Vec<Session> {
        self.ended.iter().cloned().collect()
    }

    pub(super) fn hear(&mut self, said: Said) {
        let Some(session) = session(&said) else { return };
        if session.told.ended_at.is_none() {
            self.running.insert(said.id, session);
            return;
        }
        self.running.remove(&said.id);
        if self.ended.len() >= ENDED {
            self.ended.pop_back();
        }
        self.ended.push_front(session);
    }
}

/// What is to be remembered of a batch: the last that was said of each key's session.
pub(in crate::pipeline) fn said(plan: &Plan, items: &[Emitted]) -> Vec<Said> {
    let mut all: Vec<Said> = Vec::new();
    for item in items.iter().filter(|item| item.counts) {
        let Item::Event(event) = &item.item else { continue };
        let Some(identity) = &item.identity else { continue };
        // Only detectors have keys, and only sessions are looked for later.
        if !event.data.contains("\"session_id\"")
            || event.data.len() > SAID
            || plan.rank(&item.stage) < plan.first_detector_rank()
        {
            continue;
        }
        let said = Said {
            id: KeyId {
                pipeline: plan.file.name.clone(),
                stage: item.stage.clone(),
                key: identity.key.clone(),
            },
            device: item.device.clone(),
            kind: event.kind.clone(),
            at: event.at.unwrap_or(identity.at),
            data: event.data.clone(),
        };
        match all.iter_mut().find(|other| other.id == said.id) {
            Some(other) => *other = said,
            None => all.push(said),
        }
    }
    all
}

fn session(said: &Said) -> Option<Session> {
    // An event that has the name and another shape is no session of ours.
    let told: Told = serde_json::from_str(&said.data).ok()?;
    Some(Session {
        pipeline: said.id.pipeline.clone(),
        stage: said.id.stage.clone(),
        key: said.id.key.clone(),
        device: said.device.clone(),
        event: said.kind.clone(),
        at: said.at.rfc3339(),
        told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Timestamp;

    fn said(key: &str, at: u64, data: &str) -> Said {
        let id = KeyId { pipeline: "workshop".into(), stage: "session".into(), key: key.into() };
        let device = Some(DeviceId::from(key));
        Said { id, device, kind: "k".to_owned(), at: Timestamp(at), data: data.to_owned() }
    }

    #[test]
    fn sessions_that_ran_before_the_start_run_still() {
        let mut sessions = Sessions::remembering(vec![
            said("a", 5, r#"{"session_id":"1","state":"working","started_at":"t"}"#),
            said("b", 6, r#"{"session_id":"2","ended_at":"t","reason":"power"}"#),
            said("c", 9, r#"{"session_id":"3","ended_at":"t","working_s":7.5}"#),
            said("d", 7, r#"{"session_id":4}"#),
        ]);
        let keys = |found: Vec<Session>| -> Vec<_> {
            found.into_iter().map(|session| session.key.to_string()).collect()
        };
        assert_eq!(keys(sessions.running()), ["a"]);
        assert_eq!(keys(sessions.ended()), ["c", "b"]);
        sessions.hear(said("a", 10, r#"{"session_id":"1","ended_at":"t"}"#));
        assert_eq!(keys(sessions.running()), [""; 0]);
        assert_eq!(keys(sessions.ended()), ["a", "c", "b"]);
    }
}
