//! Sends one batch: encode, exchange, conclude, and halves where one of several is to blame.
//!
//! Invariant: of a key, nothing is sent behind a delivery that has not been accepted or
//! refused for good.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::coder::{Coder, CoderError};
use super::http::{SendError, Transport};
use super::plan::{Answers, EncoderFailure, Patience};
use super::verdict::{Judged, Judgement, judge, may_be_success, summary};
use crate::message::Rejection;
use crate::module::sink::{Delivery, Outcome, Plan, Request, Response};
use crate::store::NewDelivery;
use crate::telemetry::failpoint;

/// Preparations in a row that may go by without an accepted exchange.
const PREPARES: u32 = 3;

/// Deliveries that may fail alone, one after the other, before the other side is to blame.
const ALONE: u32 = 2;

/// Why a batch ended before all of it was judged.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The sink as a whole has to wait.
    Again {
        error: String,
        at_least: Duration,
    },
    /// Nobody knows what became of these deliveries.
    Unknown {
        error: String,
        members: Vec<usize>,
    },
    Pause(String),
}

/// A verdict on one delivery of the batch, by index.
pub(super) struct Settled {
    pub(super) index: usize,
    pub(super) judged: Judged,
    /// What the other side answered; `None` where it was not asked.
    pub(super) answer: Option<String>,
}

/// Takes verdicts as they come, so that what was accepted is durable before the next request.
pub(super) trait Ledger {
    /// `follow`: deliveries that the answer gave rise to.
    async fn enter(&mut self, settled: Vec<Settled>, follow: Vec<NewDelivery>) -> Result<(), Stop>;
}

/// What a sink keeps between batches.
pub(super) struct Exchanger {
    pub(super) coder: Coder,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) answers: Option<Arc<dyn Answers>>,
    /// Preparations since the last accepted exchange.
    pub(super) prepares: u32,
}

/// One batch on its way.
struct Batch<'a, L> {
    deliveries: &'a [Delivery],
    ledger: &'a mut L,
    /// Parts that still have to be sent, in order.
    parts: VecDeque<Vec<usize>>,
    /// Keys with a delivery that has to be sent again.
    blocked: HashSet<Arc<str>>,
    /// Deliveries that failed alone since the last one that was accepted.
    failed_alone: u32,
}

impl Exchanger {
    /// Sends `deliveries`, at most one per key unless the other side keeps to the order.
    pub(super) async fn send(
        &mut self,
        deliveries: &[Delivery],
        ledger: &mut impl Ledger,
    ) -> Result<(), Stop> {
        let mut batch = Batch {
            deliveries,
            ledger,
            parts: VecDeque::from([(0..deliveries.len()).collect()]),
            blocked: HashSet::new(),
            failed_alone: 0,
        };
        while let Some(mut part) = batch.parts.pop_front() {
            part.retain(|index| !batch.blocked.contains(&deliveries[*index].key));
            if !part.is_empty() {
                self.send_part(part, &mut batch).await?;
            }
        }
        Ok(())
    }

    async fn send_part<L: Ledger>(
        &mut self,
        mut part: Vec<usize>,
        batch: &mut Batch<'_, L>,
    ) -> Result<(), Stop> {
        let encoding = match self.encode(&part, batch).await {
            Ok(encoding) => encoding,
            Err(CoderError::Start(reason)) => return Err(Stop::Pause(reason)),
            Err(CoderError::Failed(failure)) => {
                return batch.halve_or_refuse(part, rejection(&failure)).await;
            }
        };
        if !encoding.refused.is_empty() {
            let settled = encoding.refused.into_iter().map(|(index, rejection)| Settled {
                index: part[index as usize],
                judged: Judged::Refused(rejection),
                answer: None,
            });
            let settled: Vec<_> = settled.collect();
            let refused: HashSet<usize> = settled.iter().map(|settled| settled.index).collect();
            batch.ledger.enter(settled, Vec::new()).await?;
            if matches!(encoding.plan, Plan::Prepare(_)) {
                part.retain(|index| !refused.contains(index));
            }
        }
        match encoding.plan {
            Plan::Prepare(_) if part.is_empty() => Ok(()),
            Plan::Prepare(request) => {
                self.prepare(request).await?;
                batch.parts.push_front(part);
                Ok(())
            }
            Plan::Exchanges(exchanges) => {
                let mut exchanges: VecDeque<(Vec<usize>, Request)> = exchanges
                    .into_iter()
                    .map(|(indices, request)| {
                        (indices.into_iter().map(|index| part[index as usize]).collect(), request)
                    })
                    .collect();
                while let Some((members, request)) = exchanges.pop_front() {
                    let planned = members.len();
                    let free = members.iter().filter(|i| !batch.is_blocked(**i)).count();
                    let whole = free == planned;
                    if !whole || !self.exchange(members.clone(), request, batch).await? {
                        // What follows is encoded anew, behind the halves, without blocked keys.
                        let rest = exchanges.into_iter().flat_map(|(members, _)| members);
                        let rest = if whole {
                            rest.collect()
                        } else {
                            members.into_iter().chain(rest).collect()
                        };
                        batch.after_halves(whole, rest);
                        return Ok(());
                    }
                }
                Ok(())
            }
        }
    }

    async fn encode<L>(
        &mut self,
        part: &[usize],
        batch: &Batch<'_, L>,
    ) -> Result<crate::module::sink::Encoding, CoderError> {
        let deliveries = batch.select(part);
        match self.coder.encode(deliveries.clone(), Patience::Usual).await {
            // Alone it gets one more chance, for the machine may have been busy.
            Err(CoderError::Failed(EncoderFailure::Timeout(_))) if part.len() == 1 => {
                self.coder.encode(deliveries, Patience::TenTimes).await
            }
            encoding => encoding,
        }
    }

    /// A login, say.
    async fn prepare(&mut self, request: Request) -> Result<(), Stop> {
        if self.prepares >= PREPARES {
            self.prepares = 0;
            return Err(Stop::Pause(format!(
                "{PREPARES} logins in a row were followed by no accepted request"
            )));
        }
        let again = |error| Stop::Again { error, at_least: Duration::ZERO };
        let response = match self.transport.send(request).await {
            Ok(response) => Arc::new(response),
            Err(SendError::Forbidden(rejection)) => return Err(Stop::Pause(rejection.detail)),
            Err(SendError::Unreachable(error) | SendError::Unknown(error)) => {
                return Err(again(error));
            }
        };
        let conclusion = self.coder.conclude(Arc::from([]), response.clone()).await;
        match conclusion.map(|conclusion| conclusion.outcome) {
            Ok(Outcome::Prepared) if may_be_success(&response) => {
                self.prepares += 1;
                Ok(())
            }
            Ok(Outcome::Pause(reason)) => Err(Stop::Pause(reason)),
            Ok(Outcome::Retry(_)) => match judge(Outcome::Retry(0), &response, &["", ""]) {
                Judgement::Again { error, at_least } => Err(Stop::Again { error, at_least }),
                _ => Err(again(summary(&response))),
            },
            Ok(Outcome::Split(rejection)) => {
                self.prepares += 1;
                Err(again(rejection.detail))
            }
            Ok(Outcome::Prepared | Outcome::Verdicts(_)) => {
                self.prepares += 1;
                Err(again(summary(&response)))
            }
            Err(CoderError::Start(reason)) => Err(Stop::Pause(reason)),
            Err(CoderError::Failed(failure)) => {
                self.prepares += 1;
                Err(again(failure.to_string()))
            }
        }
    }

    /// One request. `false`: its deliveries are to be sent in halves.
    async fn exchange<L: Ledger>(
        &mut self,
        members: Vec<usize>,
        request: Request,
        batch: &mut Batch<'_, L>,
    ) -> Result<bool, Stop> {
        failpoint::pass("before-delivery");
        let response = match self.transport.send(request).await {
            Ok(response) => {
                failpoint::pass("delivered");
                Arc::new(response)
            }
            Err(SendError::Unreachable(error)) => {
                return Err(Stop::Again { error, at_least: Duration::ZERO });
            }
            Err(SendError::Unknown(error)) => return Err(Stop::Unknown { error, members }),
            Err(SendError::Forbidden(rejection)) => {
                let halved = members.len() > 1;
                batch.halve_or_refuse(members, rejection).await?;
                return Ok(!halved);
            }
        };
        let deliveries = batch.select(&members);
        let conclusion = match self.coder.conclude(deliveries.clone(), response.clone()).await {
            Ok(conclusion) => conclusion,
            Err(CoderError::Start(reason)) => return Err(Stop::Pause(reason)),
            // It was sent, and nobody can say what became of it.
            Err(CoderError::Failed(failure)) if members.len() == 1 => {
                let judgement = Judgement::Each(vec![Some(Judged::Tried(failure.to_string()))]);
                return self.apply(judgement, members, &response, Vec::new(), batch).await;
            }
            Err(CoderError::Failed(failure)) => {
                return Err(Stop::Unknown { error: failure.to_string(), members });
            }
        };
        let keys: Vec<&str> = deliveries.iter().map(|delivery| &*delivery.key).collect();
        let judgement = judge(conclusion.outcome, &response, &keys);
        let follow = match (&self.answers, may_be_success(&response)) {
            (Some(answers), true) if !conclusion.outputs.is_empty() => {
                answers.accept(&deliveries, conclusion.outputs)
            }
            _ => Vec::new(),
        };
        self.apply(judgement, members, &response, follow, batch).await
    }

    async fn apply<L: Ledger>(
        &mut self,
        judgement: Judgement,
        members: Vec<usize>,
        response: &Response,
        follow: Vec<NewDelivery>,
        batch: &mut Batch<'_, L>,
    ) -> Result<bool, Stop> {
        let judged = match judgement {
            Judgement::Each(judged) => judged,
            Judgement::Halves => {
                batch.halve(members);
                return Ok(false);
            }
            Judgement::Again { error, at_least } => return Err(Stop::Again { error, at_least }),
            Judgement::Unknown(error) => return Err(Stop::Unknown { error, members }),
            Judgement::Pause(reason) => return Err(Stop::Pause(reason)),
        };
        let alone = members.len() == 1;
        let mut suspect = None;
        let mut settled = Vec::with_capacity(members.len());
        for (index, judged) in members.into_iter().zip(judged) {
            let Some(judged) = judged else { continue };
            match &judged {
                Judged::Delivered { .. } => {
                    self.prepares = 0;
                    batch.failed_alone = 0;
                }
                Judged::Tried(error) => {
                    batch.block(index);
                    if alone {
                        batch.failed_alone += 1;
                        suspect = Some(error.clone());
                    }
                }
                Judged::Later { .. } => batch.block(index),
                Judged::Refused(_) => {}
            }
            settled.push(Settled { index, judged, answer: Some(summary(response)) });
        }
        batch.ledger.enter(settled, follow).await?;
        match suspect {
            // Several that fail alone are not all bad: the other side is. No storm of halves.
            Some(error) if batch.failed_alone >= ALONE => {
                Err(Stop::Again { error, at_least: Duration::ZERO })
            }
            _ => Ok(true),
        }
    }
}

impl<L> Batch<'_, L> {
    fn select(&self, part: &[usize]) -> Arc<[Delivery]> {
        part.iter().map(|index| self.deliveries[*index].clone()).collect()
    }

    fn is_blocked(&self, index: usize) -> bool {
        self.blocked.contains(&self.deliveries[index].key)
    }

    fn block(&mut self, index: usize) {
        self.blocked.insert(self.deliveries[index].key.clone());
    }

    fn halve(&mut self, mut part: Vec<usize>) {
        let rest = part.split_off(part.len() / 2);
        self.parts.push_front(rest);
        self.parts.push_front(part);
    }

    /// Puts `rest` behind the two halves that were just put in front, or in front of all.
    fn after_halves(&mut self, halved: bool, rest: Vec<usize>) {
        if !rest.is_empty() {
            self.parts.insert(if halved { 2 } else { 0 }, rest);
        }
    }
}

impl<L: Ledger> Batch<'_, L> {
    async fn halve_or_refuse(
        &mut self,
        part: Vec<usize>,
        rejection: Rejection,
    ) -> Result<(), Stop> {
        if let [index] = part[..] {
            let judged = Judged::Refused(rejection);
            return self.ledger.enter(vec![Settled { index, judged, answer: None }], vec![]).await;
        }
        self.halve(part);
        Ok(())
    }
}

fn rejection(failure: &EncoderFailure) -> Rejection {
    let code = match failure {
        EncoderFailure::Trap(_) => "trap",
        EncoderFailure::Timeout(_) => "timeout",
    };
    Rejection::new(code, failure.to_string())
}
