//! A sink's encoder: one call at a time, on a blocking thread, fresh after each failure.

use std::sync::Arc;

use super::plan::{Encoder, EncoderFailure, Encoders, Patience};
use crate::module::sink::{Conclusion, Delivery, Encoding, Plan, Response};

/// What a sink module may remember between calls.
const LONGEST_SESSION: usize = 64 * 1024;

/// Why an encoder gave no answer.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum CoderError {
    /// The module does not start.
    Start(String),
    Failed(EncoderFailure),
}

pub(super) struct Coder {
    encoders: Arc<dyn Encoders>,
    encoder: Option<Box<dyn Encoder>>,
    /// What the module remembers: a user id, a cookie; nothing secret.
    session: Option<Vec<u8>>,
}

impl Coder {
    pub(super) fn new(encoders: Arc<dyn Encoders>) -> Self {
        Self { encoders, encoder: None, session: None }
    }

    /// A plan for `deliveries` in which each of them stands exactly once.
    pub(super) async fn encode(
        &mut self,
        deliveries: Arc<[Delivery]>,
        patience: Patience,
    ) -> Result<Encoding, CoderError> {
        if patience != Patience::Usual {
            self.encoder = None;
        }
        let count = deliveries.len();
        let session = self.session.clone();
        let encoding = self
            .call(patience, move |encoder| encoder.encode(session.as_deref(), &deliveries))
            .await?;
        if patience != Patience::Usual {
            self.encoder = None;
        }
        check(&encoding, count).map_err(|wrong| CoderError::Failed(EncoderFailure::Trap(wrong)))?;
        Ok(encoding)
    }

    /// What `response` means for `deliveries`.
    pub(super) async fn conclude(
        &mut self,
        deliveries: Arc<[Delivery]>,
        response: Arc<Response>,
    ) -> Result<Conclusion, CoderError> {
        let session = self.session.clone();
        let mut conclusion = self
            .call(Patience::Usual, move |encoder| {
                encoder.conclude(session.as_deref(), &deliveries, &response)
            })
            .await?;
        self.session = conclusion.session.take();
        if self.session.as_ref().is_some_and(|session| session.len() > LONGEST_SESSION) {
            self.session = None;
            let wrong = format!("it wants to remember more than {LONGEST_SESSION} bytes");
            return Err(CoderError::Failed(EncoderFailure::Trap(wrong)));
        }
        Ok(conclusion)
    }

    async fn call<T: Send + 'static>(
        &mut self,
        patience: Patience,
        call: impl FnOnce(&mut dyn Encoder) -> Result<T, EncoderFailure> + Send + 'static,
    ) -> Result<T, CoderError> {
        let encoders = self.encoders.clone();
        let kept = self.encoder.take();
        let called = tokio::task::spawn_blocking(move || {
            let mut encoder = match kept {
                Some(encoder) => encoder,
                None => encoders.fresh(patience).map_err(CoderError::Start)?,
            };
            let answer = call(&mut *encoder).map_err(CoderError::Failed)?;
            Ok((encoder, answer))
        });
        let panicked = |_| CoderError::Failed(EncoderFailure::Trap("the host panicked".into()));
        let (encoder, answer) = called.await.map_err(panicked)??;
        self.encoder = Some(encoder).filter(|encoder| !encoder.is_worn());
        Ok(answer)
    }
}

/// Each delivery is in exactly one exchange or refused; `prepare` may leave all of them.
fn check(encoding: &Encoding, count: usize) -> Result<(), String> {
    let mut seen = vec![false; count];
    let mut see = |index: u32| match seen.get_mut(index as usize) {
        None => Err(format!("it names delivery {index} of {count}")),
        Some(true) => Err(format!("it names delivery {index} twice")),
        Some(seen) => {
            *seen = true;
            Ok(())
        }
    };
    encoding.refused.iter().try_for_each(|(index, _)| see(*index))?;
    let Plan::Exchanges(exchanges) = &encoding.plan else { return Ok(()) };
    for (indices, _) in exchanges {
        if indices.is_empty() {
            return Err("it plans an exchange without deliveries".into());
        }
        indices.iter().try_for_each(|index| see(*index))?;
    }
    match seen.iter().position(|seen| !seen) {
        Some(index) => Err(format!("it leaves delivery {index} of {count} out of its plan")),
        None => Ok(()),
    }
}
