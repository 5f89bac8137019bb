//! What came out of the module, in the form of a sample's expectation; and an expectation in
//! the one form in which the two are compared.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use tapline_kit::samples::{Difference, Outcome, Refusal, differences};

use super::super::call::Step;
use super::super::description::OwnQuantity;
use super::super::sink::{Conclusion, Encoding, Escaping, Outcome as Concluded, Part, Plan};
use super::super::sink::{Request, Verdict};
use super::given::time;
use crate::message::{Item, Properties, Rejection};
use crate::quantity;

pub(super) fn parsed(result: Result<Vec<Item>, Rejection>, own: &[OwnQuantity]) -> Outcome {
    match result {
        Ok(list) => Outcome { expect: Some(items(&list, own)), ..Outcome::default() },
        Err(rejection) => refused(rejection),
    }
}

pub(super) fn stepped(result: Result<&Step, Rejection>, own: &[OwnQuantity]) -> Outcome {
    match result {
        Ok(step) => Outcome {
            expect: Some(items(&step.outputs, own)),
            refused: None,
            wake_at: step.wake_at.map(|at| Value::from(at.rfc3339())),
            ask: step.ask,
            ignored: step.ignored.clone().map(refusal),
        },
        Err(rejection) => refused(rejection),
    }
}

fn refused(rejection: Rejection) -> Outcome {
    Outcome { refused: Some(refusal(rejection)), ..Outcome::default() }
}

fn refusal(Rejection { code, detail }: Rejection) -> Refusal {
    Refusal::Whole { code, detail }
}

fn items(items: &[Item], own: &[OwnQuantity]) -> Value {
    items.iter().map(|one| item(one, own)).collect()
}

fn item(item: &Item, own: &[OwnQuantity]) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            object.insert(name.to_owned(), value);
        }
    };
    match item {
        Item::Reading(reading) => {
            put("channel", json!(reading.channel));
            put("device", json!(reading.device));
            put("at", reading.at.map_or(Value::Null, |at| json!(at.rfc3339())));
            for measurement in &reading.measurements {
                put(&name(measurement.quantity.0, own), json!(measurement.value));
            }
        }
        Item::Event(event) => {
            put("kind", json!(event.kind));
            put("device", json!(event.device));
            put("channel", json!(Some(&event.channel).filter(|channel| !channel.is_empty())));
            put("at", event.at.map_or(Value::Null, |at| json!(at.rfc3339())));
            // It was checked when it came.
            put("data", serde_json::from_str(&event.data).unwrap_or_default());
        }
        Item::Publication(publication) => {
            put("broker", json!(publication.broker));
            put("topic", json!(publication.topic));
            match std::str::from_utf8(&publication.payload) {
                Ok(text) => put("payload", json!(text)),
                Err(_) => put("payload_base64", json!(BASE64.encode(&publication.payload))),
            }
            put("qos", json!(publication.qos));
            put("retain", json!(publication.retain));
            if publication.properties != Properties::default() {
                put("properties", json!(publication.properties));
            }
        }
    }
    Value::Object(object)
}

fn name(number: u16, own: &[OwnQuantity]) -> String {
    match quantity::entry(crate::message::Quantity(number)) {
        Some(entry) => entry.name.clone(),
        None => match own.iter().find(|own| own.number == number) {
            Some(own) => own.name.clone(),
            None => number.to_string(),
        },
    }
}

pub(super) fn encoded(encoding: &Encoding) -> Outcome {
    let mut object = Map::new();
    match &encoding.plan {
        Plan::Prepare(given) => {
            object.insert("prepare".to_owned(), Value::Object(request(given)));
        }
        Plan::Exchanges(exchanges) => {
            let exchange = |(deliveries, given): &(Vec<u32>, Request)| {
                let mut exchange = request(given);
                exchange.insert("deliveries".to_owned(), json!(deliveries));
                Value::Object(exchange)
            };
            object.insert("exchanges".to_owned(), exchanges.iter().map(exchange).collect());
        }
    }
    if !encoding.refused.is_empty() {
        let refused = encoding.refused.iter().map(
            |(index, why)| json!({ "delivery": index, "code": why.code, "detail": why.detail }),
        );
        object.insert("refused".to_owned(), refused.collect());
    }
    Outcome { expect: Some(Value::Object(object)), ..Outcome::default() }
}

fn request(given: &Request) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in &given.headers {
        // A header that comes twice says the same as one with both values (RFC 9110, 5.3).
        let before = headers.get(name).and_then(Value::as_str).map(|before| format!("{before}, "));
        let value = before.unwrap_or_default() + value;
        headers.insert(name.clone(), Value::from(value));
    }
    let mut object = Map::from_iter([
        ("method".to_owned(), json!(given.method)),
        ("path".to_owned(), json!(given.path)),
        ("headers".to_owned(), Value::Object(headers)),
    ]);
    let (key, body) = body(&given.body);
    object.insert(key.to_owned(), body);
    object
}

fn body(parts: &[Part]) -> (&'static str, Value) {
    let mut bytes = Vec::new();
    let is_plain = parts.iter().all(|part| match part {
        Part::Bytes(more) => {
            bytes.extend_from_slice(more);
            true
        }
        Part::Secret { .. } => false,
    });
    if is_plain {
        return match serde_json::from_slice(&bytes) {
            Ok(json) => ("json", json),
            Err(_) => ("text", text(&bytes)),
        };
    }
    let part = |part: &Part| match part {
        Part::Bytes(bytes) => text(bytes),
        Part::Secret { name, escaping } => {
            let escaping = match escaping {
                Escaping::Raw => "raw",
                Escaping::JsonString => "json-string",
                Escaping::UrlComponent => "url-component",
            };
            json!({ "secret": name, "escaping": escaping })
        }
    };
    ("parts", parts.iter().map(part).collect())
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": BASE64.encode(bytes) }),
    }
}

pub(super) fn concluded(conclusion: &Conclusion, own: &[OwnQuantity]) -> Outcome {
    let mut object = Map::new();
    let rejection = |why: &Rejection| json!({ "code": why.code, "detail": why.detail });
    let (key, value) = match &conclusion.outcome {
        Concluded::Verdicts(verdicts) => {
            let verdict = |verdict: &Verdict| match verdict {
                Verdict::Delivered => json!("delivered"),
                Verdict::Duplicate => json!("duplicate"),
                Verdict::Retry(after) => json!({ "retry_ms": after }),
                Verdict::Rejected(why) => json!({ "rejected": rejection(why) }),
            };
            ("verdicts", verdicts.iter().map(verdict).collect())
        }
        Concluded::Prepared => ("prepared", json!(true)),
        Concluded::Split(why) => ("split", rejection(why)),
        Concluded::Retry(after) => ("retry_ms", json!(after)),
        Concluded::Pause(why) => ("pause", json!(why)),
    };
    object.insert(key.to_owned(), value);
    if let Some(session) = &conclusion.session {
        object.insert("session".to_owned(), text(session));
    }
    if !conclusion.outputs.is_empty() {
        object.insert("outputs".to_owned(), items(&conclusion.outputs, own));
    }
    Outcome { expect: Some(Value::Object(object)), ..Outcome::default() }
}

/// Where they differ.
pub(super) fn compared(
    expected: &Outcome,
    found: &Outcome,
    own: &[OwnQuantity],
) -> Result<Vec<Difference>, String> {
    let one = |at: &str, expected: Value, found: Value| Difference {
        at: at.to_owned(),
        expected: Some(expected).filter(|value| !value.is_null()),
        found: Some(found).filter(|value| !value.is_null()),
    };
    match (&expected.refused, &found.refused) {
        (Some(expected), Some(found)) => return Ok(refusals("`refused`", expected, found)),
        (Some(expected), None) => {
            let found = found.expect.clone().unwrap_or_default();
            return Ok(vec![one("the outcome", json!({ "refused": expected }), found)]);
        }
        (None, Some(found)) => {
            let expected = expected.expect.clone().unwrap_or_default();
            return Ok(vec![one("the outcome", expected, json!({ "refused": found }))]);
        }
        (None, None) => {}
    }
    let form = |outcome: &Outcome| normal(outcome.expect.clone().unwrap_or_default(), own);
    let mut all = differences(&form(expected)?, &form(found)?);
    let at = |value: &Option<Value>| value.as_ref().map(time).transpose();
    let (wanted, got) = (at(&expected.wake_at)?, at(&found.wake_at)?);
    if wanted != got {
        let shown = |at: Option<crate::message::Timestamp>| json!(at.map(|at| at.rfc3339()));
        all.push(one("`wake_at`", shown(wanted), shown(got)));
    }
    if expected.ask != found.ask {
        all.push(one("`ask`", json!(expected.ask), json!(found.ask)));
    }
    match (&expected.ignored, &found.ignored) {
        (Some(expected), Some(found)) => all.extend(refusals("`ignored`", expected, found)),
        (None, None) => {}
        (expected, found) => all.push(one("`ignored`", json!(expected), json!(found))),
    }
    Ok(all)
}

/// Where only the code is expected, only that is compared.
fn refusals(at: &str, expected: &Refusal, found: &Refusal) -> Vec<Difference> {
    let same = match expected {
        Refusal::Code(code) => code == found.code(),
        whole @ Refusal::Whole { .. } => whole == found,
    };
    if same {
        return Vec::new();
    }
    let (expected, found) = (Some(json!(expected)), Some(json!(found)));
    vec![Difference { at: at.to_owned(), expected, found }]
}

/// What came out, as its author would have written it beside what was expected: only the code
/// of a refusal unless the words stood there.
pub(super) fn as_written(found: Outcome, expected: Option<&Outcome>) -> Outcome {
    let written = |found: Option<Refusal>, expected: Option<&Refusal>| match (found, expected) {
        (Some(found), Some(Refusal::Whole { .. })) => Some(found),
        (Some(found), _) => Some(Refusal::Code(found.code().to_owned())),
        (None, _) => None,
    };
    let refused = expected.and_then(|expected| expected.refused.as_ref());
    let ignored = expected.and_then(|expected| expected.ignored.as_ref());
    Outcome {
        refused: written(found.refused, refused),
        ignored: written(found.ignored, ignored),
        ..found
    }
}

/// Items, and what a sink gives, in one form.
fn normal(value: Value, own: &[OwnQuantity]) -> Result<Value, String> {
    match value {
        Value::Array(list) => {
            let normal = |value| match value {
                Value::Object(object) => normal_item(object, own),
                other => Ok(other),
            };
            list.into_iter().map(normal).collect()
        }
        Value::Object(mut object) => {
            if let Some(outputs) = object.remove("outputs") {
                object.insert("outputs".to_owned(), normal(outputs, own)?);
            }
            Ok(Value::Object(object))
        }
        other => Ok(other),
    }
}

fn normal_item(item: Map<String, Value>, own: &[OwnQuantity]) -> Result<Value, String> {
    let is_reading = !item.contains_key("kind") && !item.contains_key("topic");
    let mut object = Map::new();
    for (key, value) in item {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("channel", Value::String(text)) if text.is_empty() => {}
            ("data", Value::Object(data)) if data.is_empty() => {}
            ("retain", Value::Bool(false)) => {}
            ("at", at) => {
                object.insert(key, json!(time(&at)?.rfc3339()));
            }
            (_, Value::Bool(flag)) if is_reading => {
                object.insert(key, json!(f64::from(flag)));
            }
            (_, value) if is_reading => {
                let number = key.parse::<u16>();
                let key = number.map_or(key, |number| name(number, own));
                object.insert(key, value);
            }
            (_, value) => {
                object.insert(key, value);
            }
        }
    }
    Ok(Value::Object(object))
}
