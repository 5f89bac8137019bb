//! What a pipeline tells of itself: to those who watch it, and to devices that it asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::message::{Message, Publication, Timestamp};
use crate::pipeline::effects::Effects;
use crate::pipeline::plan::Plan;
use crate::store::DeadLetter;

/// Where effects go that no outbox keeps. Calls return at once.
pub trait Outlet: Send + Sync {
    /// A device should report now.
    fn ask(&self, broker: Option<Arc<str>>, question: Publication);
}

/// Who watches what a pipeline does. Calls return at once.
pub trait Observer: Send + Sync {
    fn observe(&self, observed: &Observed<'_>);
}

/// What made a pipeline act.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn<'a> {
    Messages,
    /// Wake-ups that were due by the clock alone, of devices whose brokers were `heard`:
    /// connected and drained.
    Clock {
        now: Timestamp,
        heard: &'a BTreeSet<Arc<str>>,
    },
    /// A source was not heard between two times of the wall clock.
    Deaf {
        broker: &'a str,
        from: Timestamp,
        until: Timestamp,
        resumed: bool,
    },
    /// A dead letter's message went through once more. It was counted when it came.
    Letter(&'a DeadLetter),
    /// Another change of a connection; it has no effects.
    Link,
    /// A plan was taken up, at the start or later. `now` is the wall clock where silence
    /// could be judged by it.
    Plan {
        now: Option<Timestamp>,
    },
}

/// One batch, or one turn of the clock, as it was.
pub struct Observed<'a> {
    pub plan: &'a Plan,
    pub turn: Turn<'a>,
    pub now: Timestamp,
    pub messages: &'a [Arc<Message>],
    /// Redelivered messages that had been committed already.
    pub duplicates: usize,
    pub effects: &'a Effects,
    pub took: Duration,
}
