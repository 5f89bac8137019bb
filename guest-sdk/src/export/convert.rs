//! Between the generated types and the author's; every field is moved, none copied.

use super::bindings::tapline::module::types as wit;
use super::bindings::{detector, module, sink};
use crate::detector::Input;
use crate::item::{Event, Item, Measurement, Publication, Reading};
use crate::message::{Message, Properties, Rejection};
use crate::quantity::{Kind, OwnQuantity, Quantity};
use crate::sink::{
    Conclusion, Content, Delivery, Device, Encoding, Escaping, Origin, Outcome, Part, Plan,
    Request, Response, Verdict,
};

use detector::exports::tapline::module::detector as wit_detector;
use module::exports::tapline::module::module as wit_module;
use sink::exports::tapline::module::sink as wit_sink;

/// Converts structs whose fields have the same names, in the directions that are named.
macro_rules! same_fields {
    ($from:path => $into:path { $($field:ident),* $(,)? }) => {
        impl From<$from> for $into {
            fn from(value: $from) -> Self {
                let $from { $($field),* } = value;
                Self { $($field: $field.into()),* }
            }
        }
    };
}

same_fields!(wit::Properties => Properties {
    payload_is_text, message_expiry, content_type, response_topic, correlation_data,
    subscription_identifiers, user,
});
same_fields!(Properties => wit::Properties {
    payload_is_text, message_expiry, content_type, response_topic, correlation_data,
    subscription_identifiers, user,
});
same_fields!(wit::Message => Message {
    source, topic, payload, received_at, qos, retained, device, properties,
});
same_fields!(wit::Event => Event { kind, device, channel, at, data });
same_fields!(Event => wit::Event { kind, device, channel, at, data });
same_fields!(wit::Publication => Publication { broker, topic, payload, qos, retain, properties });
same_fields!(Publication => wit::Publication { broker, topic, payload, qos, retain, properties });
same_fields!(Rejection => wit::Rejection { code, detail });
same_fields!(wit_sink::Origin => Origin { source, topic, received_at, qos, retained });
same_fields!(wit_sink::Device => Device { id, name, labels });
same_fields!(wit_sink::Response => Response { status, headers, body });

impl From<wit::Reading> for Reading {
    fn from(reading: wit::Reading) -> Self {
        let wit::Reading { device, channel, at, measurements } = reading;
        let measurements = measurements
            .into_iter()
            .map(|wit::Measurement { quantity, value }| Measurement {
                quantity: Quantity(quantity),
                value,
            })
            .collect();
        Self { device, channel, at, measurements }
    }
}

impl From<Reading> for wit::Reading {
    fn from(reading: Reading) -> Self {
        let Reading { device, channel, at, measurements } = reading;
        let measurements = measurements
            .into_iter()
            .map(|Measurement { quantity, value }| wit::Measurement {
                quantity: quantity.number(),
                value,
            })
            .collect();
        Self { device, channel, at, measurements }
    }
}

impl From<wit::Item> for Item {
    fn from(item: wit::Item) -> Self {
        match item {
            wit::Item::Reading(reading) => Self::Reading(reading.into()),
            wit::Item::Event(event) => Self::Event(event.into()),
            wit::Item::Publication(publication) => Self::Publication(publication.into()),
        }
    }
}

impl From<Item> for wit::Item {
    fn from(item: Item) -> Self {
        match item {
            Item::Reading(reading) => Self::Reading(reading.into()),
            Item::Event(event) => Self::Event(event.into()),
            Item::Publication(publication) => Self::Publication(publication.into()),
        }
    }
}

impl From<wit_detector::Input> for Input {
    fn from(input: wit_detector::Input) -> Self {
        match input {
            wit_detector::Input::Item(item) => Self::Item(item.into()),
            wit_detector::Input::Message(message) => Self::Message(message.into()),
            wit_detector::Input::Timer => Self::Timer,
            wit_detector::Input::DeafSince(since) => Self::DeafSince(since),
            wit_detector::Input::Reconfigured => Self::Reconfigured,
            wit_detector::Input::Removed => Self::Removed,
        }
    }
}

impl From<&OwnQuantity> for wit_module::OwnQuantity {
    fn from(own: &OwnQuantity) -> Self {
        let kind = match own.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Flag => "flag",
        };
        Self {
            number: own.quantity.number(),
            name: own.name.to_owned(),
            unit: own.unit.to_owned(),
            kind: kind.to_owned(),
            meaning: own.meaning.to_owned(),
        }
    }
}

impl From<wit_sink::Delivery> for Delivery {
    fn from(delivery: wit_sink::Delivery) -> Self {
        let wit_sink::Delivery { id, bridge, replayed, key, seq, at, device, content, origin } =
            delivery;
        let content = match content {
            wit_sink::Content::Item(item) => Content::Item(item.into()),
            wit_sink::Content::Message(message) => Content::Message(message.into()),
        };
        let (device, origin) = (device.map(Into::into), origin.map(Into::into));
        Self { id, bridge, replayed, key, seq, at, device, content, origin }
    }
}

impl From<Part> for wit_sink::Part {
    fn from(part: Part) -> Self {
        match part {
            Part::Bytes(bytes) => Self::Bytes(bytes),
            Part::Secret { name, escaping } => {
                let escaping = match escaping {
                    Escaping::Raw => wit_sink::Escaping::Raw,
                    Escaping::JsonString => wit_sink::Escaping::JsonString,
                    Escaping::UrlComponent => wit_sink::Escaping::UrlComponent,
                };
                Self::Secret(wit_sink::Secret { name, escaping })
            }
        }
    }
}

impl From<Request> for wit_sink::Request {
    fn from(request: Request) -> Self {
        let Request { method, path, headers, body } = request;
        Self { method, path, headers, body: body.into_iter().map(Into::into).collect() }
    }
}

impl From<Encoding> for wit_sink::Encoding {
    fn from(encoding: Encoding) -> Self {
        let plan = match encoding.plan {
            Plan::Prepare(request) => wit_sink::Plan::Prepare(request.into()),
            Plan::Exchanges(exchanges) => wit_sink::Plan::Exchanges(
                exchanges.into_iter().map(|(indices, request)| (indices, request.into())).collect(),
            ),
        };
        let refused = encoding.refused.into_iter().map(|(index, why)| (index, why.into()));
        Self { plan, refused: refused.collect() }
    }
}

impl From<Verdict> for wit_sink::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Delivered => Self::Delivered,
            Verdict::Duplicate => Self::Duplicate,
            Verdict::Retry(after) => Self::Retry(after),
            Verdict::Rejected(why) => Self::Rejected(why.into()),
        }
    }
}

impl From<Conclusion> for wit_sink::Conclusion {
    fn from(conclusion: Conclusion) -> Self {
        let outcome = match conclusion.outcome {
            Outcome::Verdicts(verdicts) => {
                wit_sink::Outcome::Verdicts(verdicts.into_iter().map(Into::into).collect())
            }
            Outcome::Prepared => wit_sink::Outcome::Prepared,
            Outcome::Split(why) => wit_sink::Outcome::Split(why.into()),
            Outcome::Retry(after) => wit_sink::Outcome::Retry(after),
            Outcome::Pause(reason) => wit_sink::Outcome::Pause(reason),
        };
        Self {
            outcome,
            session: conclusion.session,
            outputs: conclusion.outputs.into_iter().map(Into::into).collect(),
        }
    }
}
