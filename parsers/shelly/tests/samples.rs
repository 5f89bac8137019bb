//! Messages of real devices, `samples/shelly.jsonl`, each with what it must yield and where
//! it was published. Compared both ways: nothing missing, nothing more.
//!
//! `samples/wrong-expectations.jsonl` lists what no parser could yield, and why.

#![allow(clippy::unwrap_used)] // a broken sample is to stop the test

use std::collections::BTreeMap;

use serde_json::Value;
use tapline_sdk::prelude::*;
use tapline_sdk::testing::{message, parse_all};
use tapline_shelly::Shelly;

const SAMPLES: &str = include_str!("../samples/shelly.jsonl");
const WRONG: &str = include_str!("../samples/wrong-expectations.jsonl");

/// Channel → quantity → value.
type Readings = BTreeMap<String, BTreeMap<String, f64>>;

#[derive(Deserialize)]
struct Sample {
    id: String,
    topic: String,
    payload: String,
    #[serde(default)]
    retain: bool,
    expect: Option<Expectation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Measurement,
    State,
    Availability,
    Event,
    Info,
    Command,
    RpcResponse,
    None,
    Error,
}

#[derive(Deserialize)]
struct Expectation {
    kind: Kind,
    #[serde(default)]
    readings: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    device_attrs: BTreeMap<String, f64>,
    online: Option<bool>,
    #[serde(default)]
    events: Vec<ExpectedEvent>,
    #[serde(default)]
    errors: Vec<String>,
    ts: Option<f64>,
}

#[derive(Deserialize)]
struct ExpectedEvent {
    channel: String,
    event: String,
    count: Option<u64>,
    ts: Option<f64>,
}

#[derive(Deserialize)]
struct Wrong {
    id: String,
    channel: String,
    quantity: String,
}

fn lines<T: for<'a> Deserialize<'a>>(text: &'static str) -> Vec<T> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn messages() -> Vec<(Sample, Message)> {
    let with_message = |sample: Sample| {
        let retained = sample.retain;
        let message = Message { retained, ..message(&*sample.topic, &sample.payload) };
        (sample, message)
    };
    lines::<Sample>(SAMPLES).into_iter().map(with_message).collect()
}

fn outcomes() -> Vec<(Sample, Result<Vec<Item>, Rejection>)> {
    let (samples, messages): (Vec<_>, Vec<_>) = messages().into_iter().unzip();
    samples.into_iter().zip(parse_all::<Shelly>(&NoSettings {}, &messages)).collect()
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(|on| f64::from(u8::from(on))))
}

/// The readings that the sample calls for; what is listed as wrong is left out.
fn expected_readings(id: &str, expectation: &Expectation) -> Readings {
    let wrong: Vec<_> = lines::<Wrong>(WRONG).into_iter().filter(|wrong| wrong.id == id).collect();
    let mut readings = Readings::new();
    for reading in &expectation.readings {
        let channel = reading["channel"].as_str().unwrap();
        for (quantity, value) in reading.iter().filter(|(key, _)| *key != "channel") {
            if wrong.iter().any(|it| it.channel == channel && it.quantity == *quantity) {
                continue;
            }
            let value = number(value).unwrap_or_else(|| panic!("{id}: {quantity} is {value}"));
            readings.entry(channel.into()).or_default().insert(quantity.clone(), value);
        }
    }
    for (quantity, value) in &expectation.device_attrs {
        readings.entry("device".into()).or_default().insert(quantity.clone(), *value);
    }
    if let Some(online) = expectation.online {
        let device = readings.entry("device".into()).or_default();
        device.insert("online".into(), f64::from(u8::from(online)));
    }
    readings
}

fn name(quantity: Quantity) -> String {
    let own = Shelly::QUANTITIES.iter().find(|own| own.quantity == quantity);
    own.map(|own| own.name).or_else(|| quantity.name()).unwrap().into()
}

/// The readings among `items`, all at `at`.
fn readings(id: &str, items: &[Item], at: Option<u64>) -> Readings {
    let mut readings = Readings::new();
    for item in items {
        let Item::Reading(reading) = item else { continue };
        assert_eq!(reading.at, at, "{id}: time of {reading:?}");
        assert_eq!(reading.device, None, "{id}");
        assert!(!reading.is_empty(), "{id}: an empty reading");
        let channel = readings.entry(reading.channel.clone()).or_default();
        for measured in &reading.measurements {
            let twice = channel.insert(name(measured.quantity), measured.value);
            assert_eq!(twice, None, "{id}: {measured:?} of {} comes twice", reading.channel);
        }
    }
    readings
}

/// Samples state converted values with six decimals.
fn rounded(readings: &Readings) -> Readings {
    let round = |value: &f64| (value * 1e6).round() / 1e6;
    let channel = |measured: &BTreeMap<String, f64>| {
        measured.iter().map(|(quantity, value)| (quantity.clone(), round(value))).collect()
    };
    readings.iter().map(|(name, measured)| (name.clone(), channel(measured))).collect()
}

#[test]
fn every_sample_yields_exactly_what_it_must() {
    let outcomes = outcomes();
    assert_eq!(outcomes.len(), 94);
    for (sample, outcome) in outcomes {
        let Sample { id, expect, .. } = &sample;
        let Some(expectation) = expect else {
            assert!(outcome.is_ok(), "{id}: {outcome:?}");
            continue;
        };
        if matches!(expectation.kind, Kind::Error) {
            assert!(outcome.is_err(), "{id}");
            continue;
        }
        let items = outcome.unwrap_or_else(|refused| panic!("{id}: {refused}"));
        let at = expectation.ts.map(milliseconds);
        let expected = expected_readings(id, expectation);
        assert_eq!(rounded(&readings(id, &items, at)), rounded(&expected), "{id}");

        let events: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Event(event) => Some((
                    event.kind.as_str(),
                    event.channel.as_str(),
                    event.at,
                    event.read::<Value>().unwrap(),
                )),
                _ => None,
            })
            .collect();
        let mut expected: Vec<_> = expectation
            .events
            .iter()
            .map(|it| {
                let mut data = serde_json::json!({ "event": it.event });
                if let Some(count) = it.count {
                    data["count"] = count.into();
                }
                ("device_event", it.channel.as_str(), it.ts.map(milliseconds), data)
            })
            .collect();
        for error in &expectation.errors {
            let channel = expectation.readings[0]["channel"].as_str().unwrap();
            expected.push(("device_error", channel, at, serde_json::json!({ "error": error })));
        }
        assert_eq!(events, expected, "{id}");

        let says_nothing =
            matches!(expectation.kind, Kind::Info | Kind::Command | Kind::RpcResponse | Kind::None);
        assert!(!says_nothing || items.is_empty(), "{id}: {items:?}");
        assert!(!matches!(expectation.kind, Kind::Event) || !items.is_empty(), "{id}");
    }
}

#[test]
fn what_is_listed_as_wrong_is_expected_and_is_no_number() {
    let samples = lines::<Sample>(SAMPLES);
    for wrong in lines::<Wrong>(WRONG) {
        let sample = samples.iter().find(|sample| sample.id == wrong.id).unwrap();
        let readings = &sample.expect.as_ref().unwrap().readings;
        let reading = readings.iter().find(|it| it["channel"] == wrong.channel.as_str()).unwrap();
        assert_eq!(number(&reading[&wrong.quantity]), None, "{}", wrong.id);
    }
}

#[test]
fn a_total_comes_before_its_parts() {
    for (sample, outcome) in outcomes() {
        let items = outcome.unwrap_or_default();
        let part = |item: &Item| match item {
            Item::Reading(reading) => reading.channel.strip_prefix("em:0.").map(str::to_owned),
            _ => None,
        };
        let parts: Vec<_> = items.iter().filter_map(part).collect();
        let total = parts.iter().position(|part| part == "total");
        assert!(total.is_none_or(|at| at == 0), "{}: {parts:?}", sample.id);
    }
}

/// No panic, and a report that was cut off never passes for a whole one.
#[test]
fn a_sample_cut_off_anywhere_is_refused_or_of_no_interest() {
    for (sample, whole) in messages() {
        for end in 0..sample.payload.trim_end().len() {
            let payload = whole.payload[..end].to_vec();
            let outcome = Shelly.parse(&Message { payload, ..whole.clone() });
            if sample.payload.starts_with('{') {
                let items = outcome.unwrap_or_default();
                assert!(items.is_empty(), "{} cut at {end}: {items:?}", sample.id);
            }
        }
    }
}

#[test]
fn a_damaged_byte_never_panics_nor_yields_what_is_not_finite() {
    let damage = [0x00, 0x22, 0x2d, 0x39, 0x5b, 0x65, 0x7b, 0xff];
    for (_, whole) in messages() {
        for at in 0..whole.payload.len() {
            for byte in damage {
                let mut message = whole.clone();
                message.payload[at] = byte;
                for item in Shelly.parse(&message).unwrap_or_default() {
                    if let Item::Reading(reading) = item {
                        assert!(reading.measurements.iter().all(|it| it.value.is_finite()));
                    }
                }
            }
        }
    }
}
