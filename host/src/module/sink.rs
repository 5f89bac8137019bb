//! What the host and a sink module say to each other, as plain types.
//!
//! They mirror the `sink` interface of `wit/module.wit`; only the conversion beside them
//! knows the generated ones. Invariant: nothing here holds a secret's value, so nothing
//! that a module returns or is given can leak one.

use std::sync::Arc;

use crate::message::{Content, Item, Origin, Rejection, Timestamp};

/// What the registry knows of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub id: String,
    pub name: String,
    pub labels: Vec<(String, String)>,
}

/// Something on its way out.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    /// The same on every attempt and after a replay.
    pub id: String,
    /// Name of the Tapline that sends it.
    pub bridge: Arc<str>,
    /// A dead letter or recording that is sent again on a person's word.
    pub replayed: bool,
    pub key: Arc<str>,
    /// Counts up by one per key and sink, in commit order.
    pub seq: u64,
    pub at: Timestamp,
    pub device: Option<Arc<Device>>,
    pub content: Content,
    /// `None` where a wake-up or a call caused it.
    pub origin: Option<Origin>,
}

/// How a secret is written into a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escaping {
    Raw,
    JsonString,
    UrlComponent,
}

/// A stretch of a request's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    Bytes(Vec<u8>),
    /// Filled in by the host on the way out, by name.
    Secret {
        name: String,
        escaping: Escaping,
    },
}

/// A request below the endpoint's base URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, starting with `/`.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<Part>,
}

/// The other side's answer, whatever its status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What to send for a batch of deliveries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Do this first (a login), conclude it, then encode the same deliveries again.
    Prepare(Request),
    /// Each delivery in at most one exchange, by index; sent in this order.
    Exchanges(Vec<(Vec<u32>, Request)>),
}

/// A sink module's answer to a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoding {
    pub plan: Plan,
    /// Deliveries, by index, that can never be expressed.
    pub refused: Vec<(u32, Rejection)>,
}

/// What became of one delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Delivered,
    /// The other side has it already.
    Duplicate,
    /// Again, not before this many milliseconds; 0 leaves it to the host.
    Retry(u32),
    /// Refused for good.
    Rejected(Rejection),
}

/// What became of one exchange.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// One per delivery of the exchange, in order.
    Verdicts(Vec<Verdict>),
    /// `prepare` succeeded.
    Prepared,
    /// Refused as a whole, nothing took effect: halves are sent; what is refused alone is
    /// rejected with this.
    Split(Rejection),
    /// Nothing took effect: all again, not before this many milliseconds.
    Retry(u32),
    /// Nothing will be accepted until a person acts.
    Pause(String),
}

/// A sink module's reading of an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Conclusion {
    pub outcome: Outcome,
    /// Replaces what the sink remembers between calls; `None` forgets it.
    pub session: Option<Vec<u8>>,
    /// What the answer itself says, e.g. a configuration to publish to a device.
    pub outputs: Vec<Item>,
}
