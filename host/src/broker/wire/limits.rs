//! What a broker says of itself in CONNACK.

use std::time::Duration;

use super::{Refusal, reason};

/// What the broker does and does not do (MQTT 5). One of 3.1.1 says nothing, and so has no
/// limit here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Limits {
    /// How long it keeps the session, in seconds; `None`: as long as it was asked to.
    pub session_expiry: Option<u32>,
    pub most_qos: u8,
    pub retains: bool,
    pub wildcards: bool,
    pub shared: bool,
    /// The largest packet that it takes.
    pub largest_packet: Option<u32>,
    /// What it wants in place of our keep-alive.
    pub keep_alive: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_expiry: None,
            most_qos: 2,
            retains: true,
            wildcards: true,
            shared: true,
            largest_packet: None,
            keep_alive: None,
        }
    }
}

impl Limits {
    /// Why the broker must not even be asked for this filter: to ask nevertheless is an error of
    /// the protocol, and ends the connection (MQTT 5, 3.2.2.3.11 and 3.2.2.3.13).
    pub(in crate::broker) fn rules_out(&self, filter: &str) -> Option<Refusal> {
        if !self.shared && is_shared(filter) {
            return Some(reason::refusal(0x9e));
        }
        (!self.wildcards && has_wildcard(filter)).then(|| reason::refusal(0xa2))
    }
}

/// Whether several clients share what comes for the filter.
pub(in crate::broker) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// Whether the filter stands for more than one topic.
pub(in crate::broker) fn has_wildcard(filter: &str) -> bool {
    filter.contains(['+', '#'])
}
