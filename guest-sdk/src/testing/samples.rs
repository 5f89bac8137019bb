//! A parser over samples.

use serde_json::{Map, Value, json};

use crate::item::Item;
use crate::message::{Message, Rejection};
use crate::parser::Parser;

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
