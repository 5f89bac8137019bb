//! Detectors: the same events, wake-ups and memory in every language.

use serde_json::{Value, json};
use tapline::message::{
    DeviceId, Event, Item, Measurement, Message, Publication, Reading, Timestamp,
};
use tapline::module::{DetectInput, Instance, Keyed, Role, SettingsId, Step};
use tapline::quantity;

use super::{Code, SETTINGS, Same, in_every_language, instance, message, set};

/// With settings of its own.
const OTHERS: SettingsId = SettingsId(2);

/// Why a step is made, as it is written down here.
#[derive(Clone, Debug)]
enum Given {
    Power(f64),
    /// The broker had kept it.
    Kept(f64),
    Voltage(f64),
    Event,
    /// Is refused by what looks for it.
    Refuse,
    Publication,
    Message,
    Timer,
    Deaf(u64),
    Reconfigured,
    Removed,
}

/// Courses of one key each, by time: too much for too long, not for long, on the very edge, all
/// that is no news, and wake-ups that nobody asked for.
fn courses() -> Vec<Vec<(u64, Given)>> {
    use Given::{Deaf, Event, Kept, Message, Power, Reconfigured, Removed, Timer, Voltage};
    vec![
        vec![
            (1_000, Power(2500.0)),
            (5_000, Power(2600.5)),
            (11_000, Timer),
            (12_000, Power(2000.0)),
            (14_000, Power(30.0)),
            (15_000, Power(1999.9999999999998)),
        ],
        vec![(1_000, Power(2500.0)), (4_000, Power(-30.0)), (5_000, Power(2000.0))],
        vec![
            (1_770_000_000_000, Power(1e300)),
            (1_770_000_000_001, Kept(0.0)),
            (1_770_000_000_001, Voltage(230.1)),
            (1_770_000_000_002, Event),
            (1_770_000_000_003, Message),
            (1_770_000_000_004, Deaf(1_770_000_000_001)),
            (1_770_000_000_005, Reconfigured),
            (1_770_000_010_000, Timer),
            (1_770_000_010_001, Timer),
            (1_770_000_010_002, Reconfigured),
            (1_770_000_010_003, Kept(0.0)),
            (1_770_000_010_004, Power(0.0)),
            (1_770_000_010_005, Removed),
        ],
        vec![
            (1, Timer),
            (2, Event),
            (3, Deaf(1)),
            (4, Reconfigured),
            (5, Kept(9000.0)),
            (6, Removed),
            (7, Power(2000.0)),
            (8, Removed),
        ],
    ]
}

fn item(given: &Given) -> Option<Item> {
    let of = |name, value| {
        let quantity = quantity::by_name(name).expect("it is in the table");
        let measurements = vec![Measurement { quantity, value }];
        Item::Reading(Reading { device: None, channel: "switch:0".into(), at: None, measurements })
    };
    match given {
        Given::Power(value) | Given::Kept(value) => Some(of("power_w", *value)),
        Given::Voltage(value) => Some(of("voltage_v", *value)),
        Given::Publication => Some(Item::Publication(Publication {
            broker: Some("other".into()),
            topic: "out/é".into(),
            payload: vec![0, 255],
            qos: 2,
            retain: true,
            properties: tapline::message::Properties {
                correlation_data: Some(vec![7]),
                user: vec![("a".into(), "ä".into())],
                ..tapline::message::Properties::default()
            },
        })),
        Given::Event | Given::Refuse => Some(Item::Event(Event {
            kind: if matches!(given, Given::Refuse) { "refuse" } else { "door_opened" }.into(),
            device: Some(DeviceId::from("press")),
            channel: "Tür".into(),
            at: Some(Timestamp(17)),
            data: "{\"door\":3.5}".into(),
        })),
        _ => None,
    }
}

/// Every input, as the first step of a key and as a later one.
fn every_input() -> Vec<Vec<(u64, Given)>> {
    let all = [
        Given::Power(2500.0),
        Given::Kept(1.0),
        Given::Event,
        Given::Publication,
        Given::Message,
        Given::Timer,
        Given::Deaf(1_770_000_000_000),
        Given::Reconfigured,
        Given::Refuse,
        Given::Removed,
    ];
    let after = |first: &Given| {
        let course = [first.clone(), Given::Event, first.clone(), first.clone(), first.clone()];
        (1_770_000_000_001..).zip(course).collect()
    };
    all.iter().map(after).collect()
}

/// A step, and what is remembered after it in words that all languages share.
type Told = Result<(Step, Value), (String, String)>;

/// Makes a course's steps, each from what the one before remembered.
fn steps(
    detector: &mut Instance,
    settings: SettingsId,
    course: &[(u64, Given)],
    remembered: fn(&[u8]) -> Value,
) -> Vec<Told> {
    let sent: Message = message(b"{}");
    let mut state: Option<Vec<u8>> = None;
    let mut all = Vec::new();
    for (at, given) in course {
        let item = item(given);
        let input = match (given, &item) {
            (_, Some(item)) => DetectInput::Item(item),
            (Given::Message, _) => DetectInput::Message(&sent, None),
            (Given::Deaf(since), _) => DetectInput::DeafSince(Timestamp(*since)),
            (Given::Reconfigured, _) => DetectInput::Reconfigured,
            (Given::Removed, _) => DetectInput::Removed,
            _ => DetectInput::Timer,
        };
        let keyed = Keyed {
            settings,
            key: "Säge 1",
            at: Timestamp(*at),
            retained: matches!(given, Given::Kept(_)),
            state: state.as_deref(),
            input,
        };
        let mut made = detector.detect(&[keyed]).expect("nothing breaks it");
        all.push(match made.pop().expect("one step") {
            Ok(mut step) => {
                state = step.state.take();
                Ok((step, state.as_deref().map_or(Value::Null, remembered)))
            }
            Err(refused) => Err((refused.code, refused.detail)),
        });
    }
    all
}

/// Python and JavaScript write JSON; Rust writes which of the two states it is, and since when,
/// seven bits a byte.
fn of_template(state: &[u8]) -> Value {
    if let Ok(json) = serde_json::from_slice(state) {
        return json;
    }
    let (told, since) = state.split_first().expect("which it is");
    let bits = |(index, byte): (usize, &u8)| u64::from(byte & 0x7f) << (7 * index);
    let since: u64 = since.iter().enumerate().map(bits).sum();
    json!({ "since": since, "told": *told == 1 })
}

#[tokio::test]
async fn a_detector_gives_the_same_events_wake_ups_and_memory_in_every_language() {
    let courses = courses();
    let given: Vec<_> = courses.iter().flatten().cloned().collect();
    let given = [&given[..], &given[..]].concat();
    let mut same = Same(None);
    for (language, module) in in_every_language(Code::Template, Role::Detector).await {
        assert_eq!(module.state_version(), 1, "{language}");
        let mut detector = instance(&module);
        set(&mut detector, OTHERS, "{\"limit_w\": 0.0, \"hold_ms\": 0}");
        let mut found = Vec::new();
        for settings in [SETTINGS, OTHERS] {
            for course in &courses {
                found.extend(steps(&mut detector, settings, course, of_template));
            }
        }
        let events = found.iter().flatten().map(|(step, _)| step.outputs.len()).sum::<usize>();
        assert!(events >= 6, "{language}: {found:?}");
        same.take(language, found, &given);

        // What it cannot read is refused, and the next one is none the worse for it.
        let keyed = Keyed {
            settings: SETTINGS,
            key: "saw",
            at: Timestamp(1),
            retained: false,
            state: Some(b"\xff\xff\xff"),
            input: DetectInput::Timer,
        };
        let fresh = Keyed { key: "press", state: None, ..keyed };
        let made = detector.detect(&[keyed, fresh]).expect("nothing breaks it");
        let codes: Vec<_> =
            made.iter().map(|step| step.as_ref().map_err(|why| why.code.as_str())).collect();
        assert_eq!(codes[0], Err("state-unreadable"), "{language}");
        assert!(codes[1].is_ok(), "{language}: {codes:?}");
        let refused = detector.migrate(7, b"{}").expect("nothing breaks it");
        let words = "same-detector writes state of version 1 and cannot read version 7";
        assert_eq!(refused, Err(words.to_owned()), "{language}");
    }
}

#[tokio::test]
async fn all_that_a_detector_can_do_is_the_same_in_every_language() {
    let courses = every_input();
    let given: Vec<_> = courses.iter().flatten().cloned().collect();
    let given = [&given[..], &given[..]].concat();
    let mut same = Same(None);
    for (language, module) in in_every_language(Code::Whole, Role::Detector).await {
        assert_eq!(module.state_version(), 3, "{language}");
        let mut detector = instance(&module);
        set(&mut detector, OTHERS, "{\"limit\": 100}");
        let mut found = Vec::new();
        for settings in [SETTINGS, OTHERS] {
            for course in &courses {
                // What it is, the step after it tells.
                let is_there = |_: &[u8]| json!(true);
                found.extend(steps(&mut detector, settings, course, is_there));
            }
        }
        let asked = found.iter().flatten().filter(|(step, _)| step.ask).count();
        let ignored = found.iter().flatten().filter(|(step, _)| step.ignored.is_some()).count();
        let refused = found.iter().filter(|step| step.is_err()).count();
        assert!(asked > 4 && ignored > 4 && refused > 4, "{language}: {found:?}");
        same.take(language, found, &given);
        for (version, expected) in
            [(1, None), (2, Some("version 2 said nothing: Ä")), (7, Some("version 7 is unknown"))]
        {
            let made = detector.migrate(version, b"{}").expect("nothing breaks it");
            assert_eq!(made.as_ref().err().map(String::as_str), expected, "{language}");
            if let Ok(state) = made {
                let next = Keyed {
                    settings: SETTINGS,
                    key: "saw",
                    at: Timestamp(18),
                    retained: false,
                    state: Some(&state),
                    input: DetectInput::Timer,
                };
                let made = detector.detect(&[next]).expect("nothing breaks it");
                let step = made[0].as_ref().expect("it is one of its own");
                let Item::Event(event) = &step.outputs[0] else { panic!("{language}: {step:?}") };
                let before = "\"before\":{\"last\":null,\"steps\":1,\"times\":[17]}";
                assert!(event.data.contains(before), "{language}: {}", event.data);
            }
        }
    }
}
