//! Runs modules natively, as the host would: for `cargo test`, not for modules.
//!
//! ```
//! use tapline_sdk::prelude::*;
//! use tapline_sdk::testing::{message, parse_all};
//! # struct Bare;
//! # impl Parser for Bare {
//! #     type Settings = NoSettings;
//! #     const NAME: &'static str = "bare";
//! #     const SUMMARY: &'static str = "";
//! #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
//! #     fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
//! #         Ok(vec![Reading::channel("").temperature_c(message.json::<f64>()?).into()])
//! #     }
//! # }
//!
//! let outcomes = parse_all::<Bare>(&NoSettings {}, &[message("t", "21.5"), message("t", "?")]);
//! assert_eq!(outcomes[0], Ok(vec![Reading::channel("").temperature_c(21.5).into()]));
//! assert_eq!(outcomes[1].as_ref().unwrap_err().code, "not-json");
//! ```

mod bench;
mod samples;

pub use bench::{Bench, Output};
pub use samples::{Sample, item_json, parse_all, samples};

use crate::item::Item;
use crate::message::{Message, Timestamp};
use crate::sink::{Content, Delivery};

/// When [`message`] pretends to have received: 2026-02-12T19:40:18.123Z.
pub const RECEIVED_AT: Timestamp = 1_770_925_218_123;

/// A message as a broker named `test` would hand it on, at QoS 1 and received at
/// [`RECEIVED_AT`]; what else matters is set by field:
/// `Message { retained: true, ..message("t", "1") }`.
pub fn message(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Message {
    Message {
        source: String::from("test"),
        topic: topic.into(),
        payload: payload.as_ref().to_vec(),
        received_at: RECEIVED_AT,
        qos: 1,
        ..Message::default()
    }
}

/// A delivery of `item` as it reaches a sink, at [`RECEIVED_AT`] and without device or origin;
/// `seq` makes its id. What else matters is set by field, as with [`message`].
pub fn delivery(seq: u64, item: impl Into<Item>) -> Delivery {
    Delivery {
        id: format!("00000000-0000-5000-8000-{seq:012x}"),
        bridge: String::from("test"),
        replayed: false,
        key: String::from("key"),
        seq,
        at: RECEIVED_AT,
        device: None,
        content: Content::Item(item.into()),
        origin: None,
    }
}
