//! Each role through the modules that ship.

use std::time::Duration;

use super::*;
use crate::message::{Content, DeviceId, Event, Item, Measurement, Origin, Quantity, Reading};
use crate::module::sink::{Delivery, Device, Outcome, Part, Plan, Response, Verdict};

#[test]
fn a_validator_judges_each_message() {
    let mut instance =
        module("payload-format").instantiate(Limits::default(), log_context()).unwrap();
    instance.configure(SETTINGS, r#"{"format":"json"}"#).unwrap().unwrap();
    let messages = [message("t", r#"{"a":1}"#), message("t", r#"{"a":"#)];
    let verdicts = instance.validate(&inputs(&messages)).unwrap();
    assert_eq!(verdicts[0], Ok(()));
    assert!(verdicts[1].as_ref().unwrap_err().detail.contains("line 1"), "{verdicts:?}");
}

#[test]
fn a_parser_reads_a_message_and_knows_its_companions() {
    let mut instance = instance("shelly");
    let status = message("cellar/status/switch:0", r#"{"id":0,"output":true,"apower":125.5}"#);
    let bound = DeviceId::from("saw");
    let input = Input { settings: SETTINGS, message: &status, device: Some(&bound) };
    let items = instance.parse(&[input]).unwrap().remove(0).unwrap();
    let Item::Reading(reading) = &items[0] else { panic!("{items:?}") };
    assert_eq!(reading.channel, "switch:0");
    let power = Measurement { quantity: Quantity(1), value: 125.5 };
    assert!(reading.measurements.contains(&power), "{reading:?}");
    let companions = instance.companions_of(SETTINGS, "cellar/status/switch:0").unwrap();
    assert!(companions.also.contains(&"cellar/online".to_owned()), "{companions:?}");
    assert_eq!(companions.channel.as_deref(), Some("switch:0"));
}

#[test]
fn a_detector_takes_its_state_back() {
    let mut instance = instance("session");
    let reading = Item::Reading(Reading {
        device: Some("saw".into()),
        channel: "switch:0".into(),
        at: None,
        measurements: vec![Measurement { quantity: Quantity(1), value: 500.0 }],
    });
    let mut keyed = Keyed {
        settings: SETTINGS,
        key: "saw",
        at: Timestamp(1_770_000_000_000),
        retained: false,
        state: None,
        input: DetectInput::Item(&reading),
    };
    let first = instance.detect(&[keyed]).unwrap().remove(0).unwrap();
    let state = first.state.unwrap();
    assert!(state.len() <= 200);
    keyed.at = first.wake_at.unwrap();
    keyed.state = Some(&state);
    keyed.input = DetectInput::Timer;
    // Another instance goes on as this one would have.
    let second = super::instance("session").detect(&[keyed]).unwrap().remove(0).unwrap();
    let Some(Item::Event(event)) = second.outputs.first() else { panic!("{second:?}") };
    assert_eq!(event.kind, "session_started");
    assert!(event.data.starts_with('{'));
    let refused = instance.migrate(0, &state).unwrap().unwrap_err();
    assert!(refused.contains("version 0"), "{refused}");
}

#[test]
fn a_sink_encodes_deliveries_and_reads_the_answer() {
    let mut instance = instance("odoo");
    let delivery = Delivery {
        id: "7d444840-9dc0-11d1-b245-5ffdce74fad2".into(),
        bridge: "workshop".into(),
        replayed: false,
        key: "saw".into(),
        seq: 1,
        at: Timestamp(1_770_000_000_000),
        device: Some(Arc::new(Device {
            id: "saw".into(),
            name: "Saw".into(),
            labels: vec![("hall".into(), "2".into())],
        })),
        content: Content::Item(Item::Event(Event {
            kind: "session_started".into(),
            device: Some("saw".into()),
            channel: String::new(),
            at: Some(Timestamp(1_770_000_000_000)),
            data: r#"{"session_id":"s1","state":"working"}"#.into(),
        })),
        origin: Some(Origin::from(&message("cellar/status/switch:0", "{}"))),
    };
    let encoding = instance.encode(SETTINGS, None, std::slice::from_ref(&delivery)).unwrap();
    assert_eq!(encoding.refused, []);
    let Plan::Exchanges(exchanges) = &encoding.plan else { panic!("{encoding:?}") };
    assert_eq!(exchanges[0].0, [0]);
    let Part::Bytes(body) = &exchanges[0].1.body[0] else { panic!("{encoding:?}") };
    assert!(String::from_utf8_lossy(body).contains("session_started"));
    let response = Response { status: 200, headers: vec![], body: br#"{"status":"ok"}"#.to_vec() };
    let conclusion = instance.conclude(SETTINGS, None, &[delivery], &response).unwrap();
    assert_eq!(conclusion.outcome, Outcome::Verdicts(vec![Verdict::Delivered]));
}

#[test]
fn a_call_of_another_role_harms_nothing() {
    let mut instance = instance("shelly");
    let wrong = CallError::WrongRole { is: Role::Parser, wanted: Role::Validator };
    assert_eq!(instance.validate(&[]), Err(wrong));
    assert!(!instance.is_dead());
    assert_eq!(instance.parse(&[]), Ok(vec![]));
}

#[test]
fn settings_are_refused_by_the_module_in_its_own_words() {
    let mut instance = module("session").instantiate(Limits::default(), log_context()).unwrap();
    let refused = instance.configure(SETTINGS, r#"{"standby_threshold_w":"ten"}"#).unwrap();
    let words = refused.unwrap_err();
    assert!(words.contains("\"ten\""), "{words}");
    assert!(!instance.is_dead());
    instance.configure(SETTINGS, "{}").unwrap().unwrap();
    instance.forget(SETTINGS).unwrap();
}

/// Not a benchmark: only that a batch costs microseconds, not milliseconds.
#[test]
fn a_batch_is_cheap() {
    let mut instance = instance("shelly");
    let status = message("cellar/status/switch:0", r#"{"id":0,"output":true,"apower":125.5}"#);
    let messages = vec![status; 256];
    let batch = inputs(&messages);
    let from = std::time::Instant::now();
    for _ in 0..20 {
        instance.parse(&batch).unwrap();
    }
    let each = from.elapsed() / (20 * 256);
    eprintln!("{each:?} a message");
    assert!(each < Duration::from_millis(1));
}
