//! Deliveries to the body of `POST /ows/iot/event`, or one alone to that of a webhook.
//!
//! Invariant: an event's `payload` is its `data` byte for byte, as the host stored it, so
//! what Odoo has can be compared with what Tapline sent.

use std::collections::BTreeMap;

use serde::Serialize;
use tapline_sdk::prelude::*;

use tapline_sdk::time::rfc3339;

use crate::conclude::Expected;

/// Everything of an event but its payload.
#[derive(Serialize)]
struct Head<'a> {
    event_uid: &'a str,
    event_type: &'a str,
    device_id: Option<&'a str>,
    machine_name: Option<&'a str>,
    labels: BTreeMap<&'a str, &'a str>,
    session_uid: Option<&'a str>,
    seq: u64,
    timestamp: String,
    /// Only where a person sends it again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    mqtt: Option<Mqtt<'a>>,
}

#[derive(Serialize)]
struct Mqtt<'a> {
    source: &'a str,
    topic: &'a str,
    qos: u8,
    retained: bool,
    received_at: String,
}

/// One delivery as an element of `events`.
fn event(delivery: &Delivery) -> Result<String, Rejection> {
    let event = match &delivery.content {
        Content::Item(Item::Event(event)) => event,
        Content::Item(Item::Reading(_)) => return Err(no_event("a reading")),
        Content::Item(Item::Publication(_)) => return Err(no_event("a publication")),
        Content::Message(_) => return Err(no_event("a message")),
    };
    let data = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&event.data)
        .map_err(|error| {
            Rejection::new(
                "not-json",
                format!("data of event `{}` is no JSON object: {error}", event.kind),
            )
        })?;
    let device = delivery.device.as_ref();
    let head = Head {
        event_uid: &delivery.id,
        event_type: &event.kind,
        device_id: device.map(|device| device.id.as_str()).or(event.device.as_deref()),
        machine_name: device.map(|device| device.name.as_str()),
        labels: device.map(labels).unwrap_or_default(),
        session_uid: data.get("session_id").and_then(|id| id.as_str()),
        seq: delivery.seq,
        timestamp: rfc3339(event.at.unwrap_or(delivery.at)),
        replayed: delivery.replayed,
        mqtt: delivery.origin.as_ref().map(|origin| Mqtt {
            source: &origin.source,
            topic: &origin.topic,
            qos: origin.qos,
            retained: origin.retained,
            received_at: rfc3339(origin.received_at),
        }),
    };
    let mut text = serde_json::to_string(&head)
        .map_err(|error| Rejection::new("not-json", error.to_string()))?;
    // Numbers would change on the way through a parser, so the data is put in as it stands.
    text.pop();
    text.push_str(",\"payload\":");
    text.push_str(&event.data);
    text.push('}');
    Ok(text)
}

/// Requests of at most `size` events each. The event endpoint answers with results and takes a
/// list; a webhook takes one event as it is.
pub(crate) fn encode(
    path: &str,
    size: Option<usize>,
    expected: Expected,
    deliveries: &[Delivery],
) -> Encoding {
    let mut encoding = Encoding::default();
    let mut events = Vec::with_capacity(deliveries.len());
    for (index, delivery) in (0..).zip(deliveries) {
        match event(delivery) {
            Ok(event) => events.push((index, event)),
            Err(why) => encoding.refuse(index, why),
        }
    }
    let bridge = deliveries.first().map_or("", |delivery| &delivery.bridge);
    let bridge = serde_json::Value::from(bridge);
    for chunk in events.chunks(size.unwrap_or(events.len()).max(1)) {
        let (indices, texts): (Vec<u32>, Vec<&str>) =
            chunk.iter().map(|(index, event)| (*index, event.as_str())).unzip();
        let body = match (expected, texts.as_slice()) {
            (Expected::Nothing, [event]) => {
                format!(r#"{{"schema":1,"bridge_id":{bridge},{}"#, &event[1..])
            }
            _ => format!(r#"{{"schema":1,"bridge_id":{bridge},"events":[{}]}}"#, texts.join(",")),
        };
        encoding.exchange(indices, request(path, body));
    }
    encoding
}

fn request(path: &str, body: String) -> Request {
    let request = Request { body: vec![Part::Bytes(body.into_bytes())], ..Request::post(path) };
    request.header("content-type", "application/json").header("accept", "application/json")
}

fn labels(device: &Device) -> BTreeMap<&str, &str> {
    device.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn no_event(what: &str) -> Rejection {
    Rejection::new(
        "not-an-event",
        format!(
            "this protocol sends events, and this is {what}; let the sink `take` only `event:…`"
        ),
    )
}
