//! The same for sinks: deliveries go out, requests and verdicts come back. Indices are
//! checked here, so that nobody else need look whether they are in range.

use super::super::bindings::exports::tapline::module::sink as wit;
use super::super::description::OwnQuantity;
use super::super::error::CallError;
use super::super::sink::{
    Conclusion, Delivery, Encoding, Escaping, Outcome, Part, Plan, Request, Verdict,
};
use super::{Shaped, item, pairs, rejection};
use crate::message::{Content, DeviceId};

/// What a delivery needs in another shape while it is lent.
pub(in super::super) struct ShapedDelivery<'a> {
    delivery: &'a Delivery,
    content: Shaped<'a>,
    labels: Vec<(&'a str, &'a str)>,
    device: Option<DeviceId>,
}

pub(in super::super) fn shaped(deliveries: &[Delivery]) -> Vec<ShapedDelivery<'_>> {
    deliveries
        .iter()
        .map(|delivery| ShapedDelivery {
            delivery,
            content: match &delivery.content {
                Content::Item(item) => Shaped::item(item),
                Content::Message(message) => Shaped::message(message),
            },
            labels: delivery.device.as_ref().map_or_else(Vec::new, |d| pairs(&d.labels)),
            device: match &delivery.content {
                Content::Item(_) => None,
                Content::Message(_) => {
                    delivery.device.as_ref().map(|device| device.id.as_str().into())
                }
            },
        })
        .collect()
}

pub(in super::super) fn lend<'a>(shaped: &'a [ShapedDelivery<'a>]) -> Vec<wit::Delivery<'a>> {
    shaped.iter().map(ShapedDelivery::lend).collect()
}

impl<'a> ShapedDelivery<'a> {
    fn lend(&'a self) -> wit::Delivery<'a> {
        let delivery = self.delivery;
        wit::Delivery {
            id: &delivery.id,
            bridge: &delivery.bridge,
            replayed: delivery.replayed,
            key: &delivery.key,
            seq: delivery.seq,
            at: delivery.at.0,
            device: delivery.device.as_ref().map(|device| wit::Device {
                id: &device.id,
                name: &device.name,
                labels: &self.labels,
            }),
            content: match &delivery.content {
                Content::Item(item) => wit::Content::Item(self.content.lend_item(item)),
                Content::Message(message) => {
                    wit::Content::Message(self.content.lend_message(message, self.device.as_ref()))
                }
            },
            origin: delivery.origin.as_ref().map(|origin| wit::Origin {
                source: &origin.source,
                topic: &origin.topic,
                received_at: origin.received_at.0,
                qos: origin.qos,
                retained: origin.retained,
            }),
        }
    }
}

/// Takes an encoding of `count` deliveries: every index is in range and occurs at most once.
pub(in super::super) fn encoding(
    given: wit::Encoding,
    count: usize,
) -> Result<Encoding, CallError> {
    let mut seen = vec![false; count];
    let mut checked = |index: u32| match seen.get_mut(index as usize) {
        Some(seen) if !*seen => {
            *seen = true;
            Ok(index)
        }
        Some(_) => Err(CallError::Nonsense { what: format!("delivery {index} is encoded twice") }),
        None => {
            Err(CallError::Nonsense { what: format!("there is no delivery {index} among {count}") })
        }
    };
    let mut refused = Vec::with_capacity(given.refused.len());
    for (index, why) in given.refused {
        refused.push((checked(index)?, rejection(why)));
    }
    let plan = match given.plan {
        wit::Plan::Prepare(given) => Plan::Prepare(request(given)?),
        wit::Plan::Exchanges(given) => {
            let mut exchanges = Vec::with_capacity(given.len());
            for (indices, given) in given {
                let indices = indices.into_iter().map(&mut checked).collect::<Result<_, _>>()?;
                exchanges.push((indices, request(given)?));
            }
            Plan::Exchanges(exchanges)
        }
    };
    Ok(Encoding { plan, refused })
}

fn request(given: wit::Request) -> Result<Request, CallError> {
    if !given.path.starts_with('/') {
        return Err(CallError::Nonsense {
            what: format!("the path `{}` of a request does not start with `/`", given.path),
        });
    }
    let part = |part| match part {
        wit::Part::Bytes(bytes) => Part::Bytes(bytes),
        wit::Part::Secret(secret) => Part::Secret {
            name: secret.name,
            escaping: match secret.escaping {
                wit::Escaping::Raw => Escaping::Raw,
                wit::Escaping::JsonString => Escaping::JsonString,
                wit::Escaping::UrlComponent => Escaping::UrlComponent,
            },
        },
    };
    Ok(Request {
        method: given.method,
        path: given.path,
        headers: given.headers,
        body: given.body.into_iter().map(part).collect(),
    })
}

/// Takes the conclusion of an exchange of `count` deliveries. An output that does not pass
/// the checks spoils the whole: nobody would hear of it otherwise.
pub(in super::super) fn conclusion(
    given: wit::Conclusion,
    count: usize,
    own: &[OwnQuantity],
) -> Result<Conclusion, CallError> {
    let outcome = match given.outcome {
        wit::Outcome::Verdicts(given) if given.len() != count => {
            return Err(CallError::WrongLength { expected: count, got: given.len() });
        }
        wit::Outcome::Verdicts(given) => {
            Outcome::Verdicts(given.into_iter().map(verdict).collect())
        }
        wit::Outcome::Prepared => Outcome::Prepared,
        wit::Outcome::Split(given) => Outcome::Split(rejection(given)),
        wit::Outcome::Retry(after_ms) => Outcome::Retry(after_ms),
        wit::Outcome::Pause(why) => Outcome::Pause(why),
    };
    let outputs = given
        .outputs
        .into_iter()
        .map(|given| item(given, own))
        .collect::<Result<_, _>>()
        .map_err(|why| CallError::Nonsense { what: why.detail })?;
    Ok(Conclusion { outcome, session: given.session, outputs })
}

fn verdict(given: wit::Verdict) -> Verdict {
    match given {
        wit::Verdict::Delivered => Verdict::Delivered,
        wit::Verdict::Duplicate => Verdict::Duplicate,
        wit::Verdict::Retry(after_ms) => Verdict::Retry(after_ms),
        wit::Verdict::Rejected(given) => Verdict::Rejected(rejection(given)),
    }
}
