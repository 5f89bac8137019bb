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
        act(message.text()?)
    }

    fn companions(&self, topic_filter: &str) -> Companions {
        Companions {
            also: vec![format!("{topic_filter}/online")],
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
        "refuse" => Err(Rejection::new("refused-on-demand", rest)),
        number => match number.parse::<f64>() {
            Ok(watts) => Ok(vec![Reading::channel("").power_w(watts).into()]),
            Err(_) => Err(Rejection::new("not-a-number", format!("`{number}` is no number"))),
        },
    }
}

/// A reading with a measurement that the builder would leave out.
fn bare(quantity: Quantity, value: f64) -> Item {
    let measurements = vec![Measurement { quantity, value }];
    Reading { measurements, ..Reading::channel("") }.into()
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
