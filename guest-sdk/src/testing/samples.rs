//! A parser over samples.

use serde_json::{Map, Value, json};

use crate::item::Item;
use crate::message::{Message, Rejection};
use crate::parser::Parser;
use crate::quantity::OwnQuantity;
use crate::time::parse_rfc3339;

/// What a parser makes of `messages`, in their order.
///
/// Each message is parsed by a fresh parser, then all of them by one in order and in
/// reverse, because an outcome depends on the message and the settings alone.
///
/// # Panics
/// If the settings are refused, or an outcome depends on what was parsed before.
pub fn parse_all<P: Parser>(
    settings: &P::Settings,
    messages: &[Message],
) -> Vec<Result<Vec<Item>, Rejection>>
where
    P::Settings: Clone,
{
    let fresh = || match P::new(settings.clone()) {
        Ok(parser) => parser,
        Err(why) => panic!("{} refuses the settings: {why}", P::NAME),
    };
    let alone: Vec<_> = messages.iter().map(|message| fresh().parse(message)).collect();
    let one = fresh();
    let in_order: Vec<_> = messages.iter().map(|message| one.parse(message)).collect();
    let mut in_reverse: Vec<_> = messages.iter().rev().map(|message| one.parse(message)).collect();
    in_reverse.reverse();
    for (index, message) in messages.iter().enumerate() {
        let same = alone[index] == in_order[index] && alone[index] == in_reverse[index];
        assert!(same, "the outcome for message {index} on `{}` depends on others", message.topic);
    }
    alone
}

/// A line of a parser's `samples/*.jsonl` (`docs/guides/samples.md`): a message, and what the
/// parser is to make of it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its `id`, or the number of its line.
    pub name: String,
    pub message: Message,
    /// The items, or the code of the rejection.
    pub expect: Result<Vec<Value>, String>,
}

impl Sample {
    /// Where items differ from what is expected; `None`: nowhere. `tapline test` says it in
    /// finer words.
    pub fn difference<P: Parser>(&self, outcome: &Result<Vec<Item>, Rejection>) -> Option<String> {
        let found = outcome.as_ref().map_err(|why| &why.code).map(|items| {
            items.iter().map(|item| plain(&item_json(item), P::QUANTITIES)).collect::<Vec<_>>()
        });
        let expected = self
            .expect
            .as_ref()
            .map(|items| items.iter().map(|item| plain(item, P::QUANTITIES)).collect::<Vec<_>>());
        (found != expected)
            .then(|| format!("{}:\n expected {expected:?}\n found    {found:?}", self.name))
    }
}

/// Reads the samples of a parser.
///
/// # Panics
/// If a line is no sample of a parser with default settings and a payload that is text.
pub fn samples(lines: &str) -> Vec<Sample> {
    let sample = |(index, line): (usize, &str)| {
        let name = format!("line {}", index + 1);
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            panic!("{name} is no sample")
        };
        let text = |key: &str| line.get(key).and_then(Value::as_str);
        let topic = text("topic").unwrap_or_else(|| panic!("{name} has no `topic`"));
        let payload = text("payload").unwrap_or_default();
        let device = text("device").map(str::to_owned);
        let retained = line.get("retained") == Some(&Value::Bool(true));
        let expect = match (line.get("expect").and_then(Value::as_array), line.get("refused")) {
            (Some(items), None) => Ok(items.clone()),
            (None, Some(refused)) => {
                let code = refused.get("code").unwrap_or(refused).as_str();
                Err(code.unwrap_or_else(|| panic!("{name}: `refused` has no code")).to_owned())
            }
            _ => panic!("{name} has one of `expect` and `refused`"),
        };
        Sample {
            name: text("id").map_or(name, str::to_owned),
            message: Message { device, retained, ..super::message(topic, payload) },
            expect,
        }
    };
    lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(sample).collect()
}

/// An item such that equal ones are equal however they were written.
fn plain(item: &Value, own: &[OwnQuantity]) -> Value {
    let Value::Object(item) = item else { return item.clone() };
    let is_reading = !item.contains_key("kind") && !item.contains_key("topic");
    let mut object = Map::new();
    for (key, value) in item {
        let key = match key.parse::<u16>() {
            Ok(number) => own.iter().find(|own| own.quantity.number() == number).map(|o| o.name),
            Err(_) => None,
        }
        .unwrap_or(key);
        let value = match value {
            Value::String(text) if key == "at" => floats(&json!(parse_rfc3339(text))),
            Value::Bool(flag) if is_reading => json!(f64::from(u8::from(*flag))),
            Value::String(text) if key == "channel" && text.is_empty() => continue,
            Value::Object(data) if key == "data" && data.is_empty() => continue,
            Value::Bool(false) if key == "retain" => continue,
            value => floats(value),
        };
        object.insert(key.to_owned(), value);
    }
    Value::Object(object)
}

/// Numbers by value.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), |f| json!(f)),
        Value::Array(list) => list.iter().map(floats).collect(),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, v)| (key.clone(), floats(v))).collect())
        }
        other => other.clone(),
    }
}

/// An item as JSON, to compare with samples: quantities by name, flags as 0 or 1, absent
/// fields left out.
///
/// A reading is `{"channel": "switch:0", "power_w": 125.5}` with `device` and `at` where it
/// has them; own quantities are named by number.
pub fn item_json(item: &Item) -> Value {
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
            put("at", json!(reading.at));
            for measurement in &reading.measurements {
                let quantity = measurement.quantity;
                let number = quantity.number().to_string();
                put(quantity.name().unwrap_or(&number), json!(measurement.value));
            }
        }
        Item::Event(event) => {
            put("kind", json!(event.kind));
            put("device", json!(event.device));
            put("channel", json!(event.channel));
            put("at", json!(event.at));
            put("data", event.read().unwrap_or_else(|_| json!(event.data)));
        }
        Item::Publication(publication) => {
            put("broker", json!(publication.broker));
            put("topic", json!(publication.topic));
            put("payload", json!(String::from_utf8_lossy(&publication.payload)));
            put("qos", json!(publication.qos));
            put("retain", json!(publication.retain));
        }
    }
    Value::Object(object)
}
