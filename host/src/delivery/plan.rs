//! What a sink consists of, and what delivery asks of its neighbours.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::form::Form;
use crate::config::pipeline::Batch;
use crate::config::site::Endpoint;
use crate::config::topic::Pattern;
use crate::message::{Item, Publication};
use crate::module::sink::{Conclusion, Delivery, Encoding, Response};
use crate::store::{ModuleTag, NewDelivery, SinkId};

/// One sink, ready to run.
#[derive(Clone)]
pub struct SinkPlan {
    pub id: SinkId,
    pub way: Way,
    pub batch: Batch,
    /// For dead letters.
    pub module: Option<ModuleTag>,
    /// What becomes of the items that an answer holds; `None`: they are dropped and counted.
    pub answers: Option<Arc<dyn Answers>>,
    /// Content hash of everything above that is not compared by itself: module, settings,
    /// limits. A plan that differs from the running one replaces it, and ends a pause.
    pub fingerprint: [u8; 32],
}

/// How a sink reaches the other side.
#[derive(Clone)]
pub enum Way {
    /// A module encodes, the host sends.
    Http(HttpWay),
    /// Items are publications; the content is published as it is. With the topics that may leave
    /// the pipeline.
    Publish(Arc<dyn Publisher>, Arc<[Pattern]>),
    /// A publication is made of each item.
    Compose(Arc<dyn Publisher>, Arc<Form>),
}

#[derive(Clone)]
pub struct HttpWay {
    pub encoders: Arc<dyn Encoders>,
    pub endpoint: Arc<Endpoint>,
    /// Content hash of the endpoint's `ca`; `None`: it has none, or it cannot be used now.
    pub authorities: Option<[u8; 32]>,
}

/// Makes encoders: a fresh one at the start and after each failure.
pub trait Encoders: Send + Sync {
    /// # Errors
    /// Why the module does not start, in words for a person; the sink is paused with them.
    fn fresh(&self, patience: Patience) -> Result<Box<dyn Encoder>, String>;
}

/// How much time an encoder may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// What the stage's limits say.
    Usual,
    /// Ten times that: for a delivery that timed out alone.
    TenTimes,
}

/// A sink module's instance with its settings. Called on a blocking thread. After a failure
/// it is dropped and a fresh one is made.
pub trait Encoder: Send {
    fn encode(
        &mut self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
    ) -> Result<Encoding, EncoderFailure>;

    fn conclude(
        &mut self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Result<Conclusion, EncoderFailure>;

    /// Whether a fresh one should take over for the memory that it holds.
    fn is_worn(&self) -> bool {
        false
    }
}

/// A module that did not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncoderFailure {
    /// In words that its author understands.
    #[error("the sink module failed: {0}")]
    Trap(String),
    #[error("the sink module took longer than its limit: {0}")]
    Timeout(String),
}

/// Turns what an answer says into deliveries (a configuration to publish to a device). They
/// are committed together with the delivery that was answered.
pub trait Answers: Send + Sync {
    /// The deliveries that follow; their ids derive from those of the answered ones.
    fn accept(&self, answered: &[Delivery], outputs: Vec<Item>) -> Vec<NewDelivery>;
}

/// Publishes to a broker and waits for its acknowledgement.
pub trait Publisher: Send + Sync {
    /// `expiry` is what remains of the publication's life.
    fn publish(&self, publication: Publication, expiry: Option<Duration>) -> Publishing<'_>;
}

/// A publication on its way.
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// Why a publication is not out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// Not connected, no acknowledgement in time: tried again without end.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
    /// The broker or the library refuses this one for good.
    #[error("the broker refuses the publication: {0}")]
    Refused(String),
}

impl SinkPlan {
    /// Claims that a running sink need not be replaced by this plan.
    pub(super) fn equals(&self, running: &Self) -> bool {
        let same_way = match (&self.way, &running.way) {
            // A file that cannot be used is no reason to leave what works.
            (Way::Http(new), Way::Http(old)) => {
                let same = new.authorities.is_none() || new.authorities == old.authorities;
                same && new.endpoint == old.endpoint
            }
            (Way::Publish(new, allowed), Way::Publish(old, before)) => {
                Arc::ptr_eq(new, old) && allowed == before
            }
            (Way::Compose(new, form), Way::Compose(old, before)) => {
                Arc::ptr_eq(new, old) && form == before
            }
            _ => false,
        };
        same_way && self.batch == running.batch && self.fingerprint == running.fingerprint
    }
}
