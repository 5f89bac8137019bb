//! A parser that misbehaves on demand, for tests of the host's limits.
//!
//! The payload's first word says how, an optional second word how much. Everything else is
//! read as a number and becomes one reading, so that a well-behaved message can stand
//! beside a bad one in a batch. The same words in `at_configure` misbehave there.
//!
//! | payload | what happens |
//! |---|---|
//! | `21.5` | `[{"channel": "", "power_w": 21.5}]` |
//! | `loop` | never returns |
//! | `panic TEXT` | panics with TEXT |
//! | `memory` | allocates until it is stopped |
//! | `recursion` | calls itself until the stack ends |
//! | `output MIB` | emits a publication of so many MiB (8) |
//! | `items N` | emits N readings (100000) |
//! | `log N` | writes N lines of 1 KiB each (10000) |
//! | `line MIB` | writes one line of so many MiB (8) |
//! | `third` | works twice in an instance, then panics each time |
//! | `nan` | emits a measurement that is no number |
//! | `quantity` | emits a quantity that nobody declared |
//! | `data` | emits an event whose data is JSON, but no object |
//! | `broken-data` | emits an event whose data is no JSON |
//! | `deep-data` | emits an event whose data is 10,000 arrays within each other |
//! | `huge-number` | emits an event whose data holds a number beyond all floats |
//! | `kind BYTES` | emits an event whose kind has so many bytes (100000) |
//! | `channel BYTES` | emits a reading whose channel has so many bytes (100000) |
//! | `device BYTES` | emits a reading whose device's id has so many bytes (100000) |
//! | `not-utf8` | emits a reading whose channel is no UTF-8 |
//! | `long-ago` | emits a reading of 1970 |
//! | `far-ahead` | emits a reading of the last millisecond that there is |
//! | `publish TOPIC` | emits a publication to TOPIC |
//! | `order BROKER TOPIC` | passes a command on to TOPIC at BROKER, with the life and the response topic that its sender gave it |
//! | `long-topic BYTES` | emits a publication whose topic has so many bytes (70000) |
//! | `qos` | emits a publication with QoS 7 |
//! | `leak KIB` | keeps so many KiB (256) for good, then emits one reading of 7 W |
//! | `outside` | reads far outside its memory |
//! | `silent` | stops itself without a word |
//! | `code BYTES` | a rejection whose code and detail have so many bytes (100000) |
//! | `refuse` | a plain rejection, `refused-on-demand` |

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use tapline_sdk::prelude::*;

tapline_sdk::settings! {
    /// Settings of the hostile parser.
    pub struct Settings {
        /// What to do while the settings are taken; nothing when empty.
        pub at_configure: String = String::new(),
    }
}

/// The parser.
pub struct Hostile;

impl Parser for Hostile {
    type Settings = Settings;
    const NAME: &'static str = "hostile";
    const SUMMARY: &'static str = "Misbehaves as the payload says";

    fn new(settings: Settings) -> Result<Self, String> {
        if !settings.at_configure.is_empty() {
            act(&settings.at_configure).map_err(|why| why.detail)?;
        }
        Ok(Self)
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        match message.text()?.strip_prefix("order ").and_then(|to| to.split_once(' ')) {
            Some((broker, topic)) => Ok(vec![passed_on(message, broker, topic).into()]),
            None => act(message.text()?),
        }
    }

    fn companions(&self, topic_filter: &str) -> Companions {
        Companions {
            also: match topic_filter {
                "flood" => (0..10_000).map(|number| format!("flood/{number}")).collect(),
                filter => vec![format!("{filter}/online")],
            },
            channel: topic_filter.rsplit_once('/').map(|(_, last)| last.to_owned()),
            ask: Some(Publication::new(format!("{topic_filter}/ask"), "now")),
        }
    }
}

tapline_sdk::export_parser!(Hostile);

fn act(payload: &str) -> Result<Vec<Item>, Rejection> {
    let (word, rest) = payload.split_once(' ').unwrap_or((payload, ""));
    let amount = |default: usize| rest.parse().unwrap_or(default);
    match word {
        "loop" => loop {
            black_box(());
        },
        "panic" => panic!("{rest}"),
        "memory" => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 64 * 1024]);
                black_box(&eaten);
            }
        }
        "recursion" => Ok(vec![Reading::channel("").power_w(descend(0.0)).into()]),
        "output" => Ok(vec![Publication::new("hostile", vec![b'x'; amount(8) << 20]).into()]),
        "items" => Ok(vec![Reading::channel("").power_w(1.0).into(); amount(100_000)]),
        "log" => {
            let text = "x".repeat(1024);
            for line in 0..amount(10_000) {
                log::info!("{line} {text}");
            }
            Ok(Vec::new())
        }
        "line" => {
            log::info!("{}", "x".repeat(amount(8) << 20));
            Ok(Vec::new())
        }
        "third" => {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(call < 3, "this was call {call} of this instance");
            Ok(Vec::new())
        }
        "nan" => Ok(vec![bare(quantity::POWER_W, f64::NAN)]),
        "quantity" => Ok(vec![bare(Quantity::own(40_000), 1.0)]),
        "data" => Ok(vec![Event::new("hostile").data(&[1, 2]).into()]),
        "broken-data" => {
            Ok(vec![Event { data: String::from("{\"a\":"), ..Event::new("hostile") }.into()])
        }
        "deep-data" => {
            let data = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
            Ok(vec![Event { data, ..Event::new("hostile") }.into()])
        }
        "huge-number" => {
            Ok(vec![Event { data: String::from("{\"a\":1e999}"), ..Event::new("hostile") }.into()])
        }
        "kind" => Ok(vec![Event::new("k".repeat(amount(100_000))).into()]),
        "channel" => Ok(vec![Reading::channel("c".repeat(amount(100_000))).power_w(1.0).into()]),
        "device" => {
            let device = Some("d".repeat(amount(100_000)));
            Ok(vec![Reading { device, ..Reading::channel("").power_w(1.0) }.into()])
        }
        "not-utf8" => Ok(vec![Reading { channel: not_utf8(), ..Reading::channel("") }.into()]),
        "long-ago" => Ok(vec![Reading { at: Some(0), ..Reading::channel("").power_w(1.0) }.into()]),
        "far-ahead" => {
            Ok(vec![Reading { at: Some(u64::MAX), ..Reading::channel("").power_w(1.0) }.into()])
        }
        "publish" => Ok(vec![Publication::new(rest, "on").into()]),
        "long-topic" => Ok(vec![Publication::new("t".repeat(amount(70_000)), "on").into()]),
        "qos" => Ok(vec![Publication { qos: 7, ..Publication::new("hostile/out", "on") }.into()]),
        "leak" => {
            std::mem::forget(black_box(vec![1_u8; amount(256) << 10]));
            Ok(vec![Reading::channel("").power_w(7.0).into()])
        }
        "outside" => Ok(vec![Reading::channel("").power_w(outside()).into()]),
        "silent" => std::process::abort(),
        "code" => Err(Rejection::new("c".repeat(amount(100_000)), "d".repeat(amount(100_000)))),
        "refuse" => Err(Rejection::new("refused-on-demand", rest)),
        number => match number.parse::<f64>() {
            Ok(watts) => Ok(vec![Reading::channel("").power_w(watts).into()]),
            Err(_) => Err(Rejection::new("not-a-number", format!("`{number}` is no number"))),
        },
    }
}

/// What a sender asked of a device, as its own publication.
fn passed_on(message: &Message, broker: &str, topic: &str) -> Publication {
    let properties = Properties {
        message_expiry: message.properties.message_expiry,
        response_topic: message.properties.response_topic.clone(),
        correlation_data: message.properties.correlation_data.clone(),
        ..Properties::default()
    };
    Publication { broker: Some(broker.to_owned()), properties, ..Publication::new(topic, "on") }
}

/// A reading with a measurement that the builder would leave out.
fn bare(quantity: Quantity, value: f64) -> Item {
    let measurements = vec![Measurement { quantity, value }];
    Reading { measurements, ..Reading::channel("") }.into()
}

/// What no safe module makes: a text that is none.
#[allow(unsafe_code)]
fn not_utf8() -> String {
    // SAFETY: nothing here reads it as text; it leaves the module as a pointer and a length,
    // as it would from a language that does not look.
    unsafe { String::from_utf8_unchecked(black_box(vec![0xff, 0xfe, 0x80])) }
}

/// Reads where no memory is.
#[allow(unsafe_code)]
fn outside() -> f64 {
    let far = black_box(0xffff_fff0_usize) as *const u8;
    // SAFETY: there is none; that the host survives it is what is tested.
    f64::from(unsafe { far.read_volatile() })
}

/// Uses the value after the call, so that it cannot become a loop.
fn descend(depth: f64) -> f64 {
    if black_box(depth) < 0.0 { depth } else { black_box(descend(depth + 1.0)) + 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapline_sdk::testing::{item_json, message};

    #[test]
    fn behaves_where_the_payload_is_a_number() {
        let items = Hostile.parse(&message("t", "21.5")).unwrap();
        assert_eq!(item_json(&items[0]).to_string(), r#"{"channel":"","power_w":21.5}"#);
    }

    #[test]
    fn says_what_no_builder_would_say() {
        let item = |payload| Hostile.parse(&message("t", payload)).unwrap().remove(0);
        assert!(matches!(item("nan"), Item::Reading(r) if r.measurements[0].value.is_nan()));
        assert!(matches!(item("data"), Item::Event(e) if e.data == "[1,2]"));
        assert!(matches!(item("output 1"), Item::Publication(p) if p.payload.len() == 1 << 20));
    }
}
