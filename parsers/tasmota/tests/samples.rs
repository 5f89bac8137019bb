//! The parser over `samples/tasmota.jsonl`: messages of real devices, each with its source.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tapline_sdk::prelude::*;
use tapline_sdk::testing::{item_json, message, parse_all};
use tapline_tasmota::Tasmota;

const SAMPLES: &str = include_str!("../samples/tasmota.jsonl");

/// Samples whose `expect` is wrong: id, and the byte or vendor text that shows it. None is.
const WRONG_EXPECTATIONS: [(&str, &str); 0] = [];

/// The times that samples state with a zone or as an epoch, worked out by hand; the others
/// state none.
const STATED_TIMES: [(&str, u64); 4] = [
    ("c179", 1_624_799_024_000), // 2021-06-27T15:03:44+02:00
    ("c180", 1_624_799_024_000),
    ("c182", 1_567_595_328_000), // "Epoch":1567595328
    ("c183", 1_567_595_328_000),
];

struct Sample {
    id: String,
    message: Message,
    expect: Option<Map<String, Value>>,
}

fn samples() -> Vec<Sample> {
    SAMPLES
        .lines()
        .map(|line| {
            let sample: Map<String, Value> = serde_json::from_str(line).unwrap();
            let text = |name: &str| sample[name].as_str().unwrap();
            assert!(!sample.contains_key("encoding"), "every payload is text");
            let retained = sample.get("retain").is_some_and(|retain| retain == true);
            Sample {
                id: text("id").to_owned(),
                message: Message { retained, ..message(text("topic"), text("payload")) },
                expect: sample.get("expect").map(|expect| expect.as_object().unwrap().clone()),
            }
        })
        .collect()
}

/// What must come out, by channel: `{"power_w": 145.0}`, and events by `event:` and kind.
/// `None`: a rejection.
fn expected(expect: &Map<String, Value>) -> Option<BTreeMap<String, Map<String, Value>>> {
    let mut items: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut add = |channel: &str, quantities: &Map<String, Value>| {
        for (name, value) in quantities.iter().filter(|(name, _)| *name != "channel") {
            let value = value.as_bool().map_or(value.clone(), |flag| json!(f64::from(flag)));
            items.entry(channel.to_owned()).or_default().insert(name.clone(), value);
        }
    };
    let list = |name: &str| expect.get(name).and_then(Value::as_array).into_iter().flatten();
    match expect["kind"].as_str().unwrap() {
        "error" => return None,
        "measurement" | "state" | "availability" | "event" => {}
        "command" | "discovery" | "info" => assert!(!expect.contains_key("readings")),
        kind => panic!("no sample has the kind `{kind}`"),
    }
    for reading in list("readings") {
        add(reading["channel"].as_str().unwrap(), reading.as_object().unwrap());
    }
    for event in list("events") {
        let mut data = event.as_object().unwrap().clone();
        data.remove("event");
        add(&format!("{}:{}", event["channel"].as_str().unwrap(), event["event"]), &data);
    }
    for (name, value) in expect.get("device_attrs").and_then(Value::as_object).into_iter().flatten()
    {
        add("device", &Map::from_iter([(name.clone(), value.clone())]));
    }
    if let Some(online) = expect.get("online") {
        add("device", &Map::from_iter([("online".to_owned(), online.clone())]));
    }
    Some(items)
}

/// What came out, in the same form.
fn found(id: &str, items: &[Item]) -> BTreeMap<String, Map<String, Value>> {
    let stated = STATED_TIMES.iter().find(|(known, _)| *known == id).map(|(_, at)| *at);
    let mut found = BTreeMap::new();
    for item in items {
        let Value::Object(mut object) = item_json(item) else { unreachable!("an item is one") };
        let mut key = object.remove("channel").unwrap().as_str().unwrap().to_owned();
        match item {
            Item::Reading(reading) => {
                assert_eq!(object.remove("at").and_then(|at| at.as_u64()), stated, "{id}: time");
                assert!(!reading.is_empty() && reading.device.is_none(), "{id}");
            }
            Item::Event(event) => {
                let Some(Value::Object(data)) = object.remove("data") else { panic!("{id}") };
                key = format!("{key}:{}", json!(event.kind));
                object = data;
                for (_, value) in &mut object {
                    *value = value.as_bool().map_or(value.clone(), |flag| json!(f64::from(flag)));
                }
            }
            Item::Publication(_) => panic!("{id}: a parser publishes nothing"),
        }
        assert!(found.insert(key.clone(), object).is_none(), "{id}: `{key}` comes twice");
    }
    found
}

fn equal(expected: &Value, found: &Value) -> bool {
    match (expected.as_f64(), found.as_f64()) {
        (Some(expected), Some(found)) => (expected - found).abs() <= 1e-9 * expected.abs(),
        _ => expected == found,
    }
}

#[test]
fn every_sample_gives_exactly_what_it_must() {
    let samples = samples();
    let messages: Vec<_> = samples.iter().map(|sample| sample.message.clone()).collect();
    let outcomes = parse_all::<Tasmota>(&NoSettings {}, &messages);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (Sample { id, expect, .. }, outcome) in samples.iter().zip(&outcomes) {
        let Some(expect) = expect else { continue };
        if WRONG_EXPECTATIONS.iter().any(|(known, _)| known == id) {
            continue;
        }
        compared += 1;
        match (expected(expect), outcome) {
            (None, Err(why)) => assert_eq!(why.code, "not-json", "{id}"),
            (Some(expected), Ok(items)) => {
                let found = found(id, items);
                let same = expected.len() == found.len()
                    && expected.iter().zip(&found).all(|(expected, found)| {
                        expected.0 == found.0
                            && expected.1.len() == found.1.len()
                            && expected.1.iter().all(|(name, value)| {
                                found.1.get(name).is_some_and(|found| equal(value, found))
                            })
                    });
                if !same {
                    wrong.push(format!("{id}:\n expected {expected:?}\n found    {found:?}"));
                }
            }
            (expected, outcome) => wrong.push(format!("{id}: {expected:?}, but {outcome:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((samples.len(), compared), (120, 78));
}

#[test]
fn a_sample_cut_or_spoilt_at_any_byte_never_panics() {
    let parser = Tasmota;
    for Sample { message, .. } in samples() {
        for at in 0..message.payload.len() {
            let cut = Message { payload: message.payload[..at].to_vec(), ..message.clone() };
            let _ = parser.parse(&cut);
            let mut spoilt = message.clone();
            spoilt.payload[at] = 0xff;
            let _ = parser.parse(&spoilt);
        }
    }
}
