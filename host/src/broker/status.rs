//! What `/health` says about a link.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::risk::Risk;
use crate::message::Timestamp;

/// A link at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkStatus {
    /// The receiving connection stands.
    pub connected: bool,
    /// The publishing connection stands.
    pub publishing: bool,
    /// Since when `connected` is as it is.
    pub since: Option<Timestamp>,
    /// When the broker's last packet came.
    pub last_heard: Option<Timestamp>,
    /// Everything that the broker had kept for us has been handed over.
    pub drained: bool,
    /// The broker still had our session at the last connect.
    pub session_present: bool,
    /// Number of the session.
    pub epoch: u64,
    /// The last trouble of either connection, also after it is over.
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    /// Another client uses our client id; it is waited for, not fought.
    pub taken_over: bool,
    /// Each wanted filter.
    pub subscriptions: Arc<BTreeMap<String, SubscriptionStatus>>,
    /// Received and not yet settled.
    pub held_messages: usize,
    pub held_bytes: usize,
    pub received: u64,
    pub acked: u64,
    /// QoS 0 messages that came at the ceiling.
    pub shed: u64,
    /// Messages over the packet limit that were acknowledged unread.
    pub oversize: u64,
    /// Connections of the receiving side after the first.
    pub reconnects: u64,
    /// How the broker can lose messages, or did within the last day.
    pub risks: Vec<Risk>,
    /// Messages that it counted as dropped since we listen.
    pub dropped: u64,
}

/// How one wanted filter stands with the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// Not asked for yet, or not answered.
    Pending,
    Granted {
        qos: u8,
    },
    /// Asked for again every minute.
    Refused {
        code: u8,
        reason: String,
    },
}

/// Where the tasks of a link write what [`LinkStatus`] tells.
#[derive(Default)]
pub(super) struct Board {
    status: Mutex<LinkStatus>,
    pub received: AtomicU64,
    pub shed: AtomicU64,
    pub oversize: AtomicU64,
    pub last_heard: AtomicU64,
}

impl Board {
    /// Changes what is written.
    pub(super) fn update(&self, change: impl FnOnce(&mut LinkStatus)) {
        change(&mut self.lock());
    }

    /// Notes trouble in words.
    pub(super) fn trouble(&self, at: Timestamp, words: String) {
        self.update(|status| {
            status.last_error = Some(words);
            status.last_error_at = Some(at);
        });
    }

    /// Notes that the broker lives.
    pub(super) fn heard(&self, at: Timestamp) {
        self.last_heard.store(at.0, Ordering::Relaxed);
    }

    pub(super) fn last_heard(&self) -> Option<Timestamp> {
        let at = self.last_heard.load(Ordering::Relaxed);
        (at > 0).then_some(Timestamp(at))
    }

    pub(super) fn snapshot(&self) -> LinkStatus {
        let mut status = self.lock().clone();
        status.last_heard = self.last_heard();
        status.received = self.received.load(Ordering::Relaxed);
        status.shed = self.shed.load(Ordering::Relaxed);
        status.oversize = self.oversize.load(Ordering::Relaxed);
        status
    }

    fn lock(&self) -> MutexGuard<'_, LinkStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
