//! MQTT sessions: receive, acknowledge, publish, subscribe.
//!
//! [`Link`] keeps two connections to one broker: one receives (`<id>`), one publishes
//! (`<id>-pub`), so that acknowledgements never wait behind publications. What comes in goes to
//! an [`Intake`] with a [`Ticket`]; what goes out is confirmed by the broker before
//! [`Link::publish`] returns. Neighbours: `config` and `message` below; `pipeline`, `delivery`
//! and `simulate` above. This is the only place that names rumqttc and rumqttd.
//!
//! Invariant: a message of QoS 1 or 2 is acknowledged only after every clone of its ticket is
//! done, in order of receipt, and only on the connection that brought it.

use std::sync::Arc;

use crate::message::{Message, Timestamp};

mod admission;
mod backoff;
mod drain;
mod drops;
mod embedded;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
mod hash;
mod link;
mod listen;
mod outlet;
mod probe;
mod receive;
mod risk;
mod self_check;
mod session;
mod status;
mod subscriptions;
#[cfg(test)]
mod tests;
mod ticket;
mod wire;

pub use embedded::{EmbeddedBroker, EmbeddedError};
pub use link::{Farewell, Link, LinkOptions};
pub use listen::{Heard, ListenError, Listener};
pub use outlet::{Outlet, OutletOptions, Presence, PublishError};
pub use probe::{Handover, ProbeError};
pub use risk::Risk;
pub use session::{InMemory, Memory, MemoryError};
pub use status::{LinkStatus, SubscriptionStatus};
pub use ticket::Ticket;

/// Takes what a link receives. Called on the polling task: both return at once.
pub trait Intake: Send + Sync {
    /// Takes one message, in order of receipt.
    fn message(&self, received: Received);
    /// Takes a change of the connection, in order with the messages.
    fn link(&self, event: LinkEvent);
}

/// One message as the broker handed it over.
#[derive(Debug)]
pub struct Received {
    pub message: Message,
    /// `None` at QoS 0.
    pub packet: Option<PacketMark>,
    pub ticket: Ticket,
}

/// By what a redelivery is recognised: the same packet id, session and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketMark {
    pub packet_id: u16,
    /// Number of the broker's session.
    pub epoch: u64,
    /// The broker says that it may have sent this before.
    pub dup: bool,
    /// Of topic and payload; the same for the same bytes, also across restarts.
    pub hash: u64,
}

/// What happened to the receiving connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Connected. `resumed`: the broker kept our session, so nothing of QoS 1 or 2 was missed.
    Up { resumed: bool, at: Timestamp },
    /// Everything that the broker had kept for us has been handed over.
    Drained { at: Timestamp },
    /// Not connected; `last_heard` is when the broker's last packet came.
    Down { at: Timestamp, last_heard: Timestamp },
}

/// How one topic filter is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub qos: u8,
    /// MQTT 5: not what we published ourselves. Left out for shared subscriptions, where it is
    /// an error of the protocol.
    pub no_local: bool,
    /// MQTT 5: the retain flag stays as the publisher set it; a message's `retained` then no
    /// longer tells whether it is old.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        }
    }
}

/// Which retained messages the broker sends on subscribing (MQTT 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainHandling {
    Always,
    /// Only where the subscription is new to the session.
    IfNew,
    Never,
}

/// Reads the wall clock; passed in so that tests can stop it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
