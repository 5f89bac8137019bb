//! Everything that the author of a Tapline module needs.
//!
//! A module is a pure function: from what comes in, and its settings, to what goes out. It
//! has no clock, no files, no network and no randomness, and keeps nothing between calls;
//! time, state and input/output belong to the host. So recorded traffic can be replayed,
//! and a crash recovered, by running the module again.
//!
//! There are four roles, each a trait with one macro line that makes the crate such a module:
//!
//! | role | trait | macro |
//! |---|---|---|
//! | accepts or refuses messages | [`Validator`] | [`export_validator!`] |
//! | turns messages into readings and events | [`Parser`] | [`export_parser!`] |
//! | follows each device through time | [`Detector`] | [`export_detector!`] |
//! | speaks an outside system's protocol | [`Sink`] | [`export_sink!`] |
//!
//! # A whole parser
//!
//! `Cargo.toml` needs `tapline-sdk` and `crate-type = ["cdylib", "rlib"]`; this is `src/lib.rs`:
//!
//! ```
//! use tapline_sdk::prelude::*;
//!
//! tapline_sdk::settings! {
//!     /// Settings of the Brook meter's parser.
//!     struct Settings {
//!         /// What the meter's power is multiplied with.
//!         #[schemars(range(min = 0.1))]
//!         transformer_ratio: f64 = 1.0,
//!     }
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(crate = "tapline_sdk::serde")]
//! struct Telegram {
//!     watts: Option<f64>,
//!     volts: Option<f64>,
//!     relay: Option<bool>,
//! }
//!
//! /// The Brook meter: `{"watts": 12.5, "volts": 230.1, "relay": true}` on `brook/<id>/data`.
//! struct Brook(Settings);
//!
//! impl Parser for Brook {
//!     type Settings = Settings;
//!     const NAME: &'static str = "brook";
//!     const SUMMARY: &'static str = "Reads Brook power meters";
//!
//!     fn new(settings: Settings) -> Result<Self, String> {
//!         Ok(Self(settings))
//!     }
//!
//!     fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
//!         let Telegram { watts, volts, relay } = message.json()?;
//!         let watts = watts.map(|watts| watts * self.0.transformer_ratio);
//!         Ok(vec![Reading::channel("").power_w(watts).voltage_v(volts).output_on(relay).into()])
//!     }
//! }
//!
//! tapline_sdk::export_parser!(Brook);
//! #
//! # fn main() {
//! #     use tapline_sdk::testing::{message, parse_all};
//! #     let settings = Settings { transformer_ratio: 2.0 };
//! #     let sample = message("brook/7/data", r#"{"watts": 12.5, "relay": true}"#);
//! #     let expected = Reading::channel("").power_w(25.0).output_on(true);
//! #     assert_eq!(parse_all::<Brook>(&settings, &[sample]), [Ok(vec![expected.into()])]);
//! # }
//! ```
//!
//! # Good to know
//!
//! - [`settings!`] declares settings with defaults; the host checks them against the derived
//!   JSON Schema before the module sees them.
//! - What a device did not report is left out, never zero. The builder methods of [`Reading`]
//!   take an `Option` as well as a value, and leave NaN and infinity out.
//! - [`Message::json`] and [`Message::text`] answer with a [`Rejection`] that says where the
//!   payload goes wrong.
//! - A panic costs the message that caused it; its text and place go to the log.
//! - Do not use `HashMap`: its order differs from call to call. A `clippy.toml` like this
//!   crate's beside your `Cargo.toml` says so.
//! - Structs of your own that derive `Serialize` or `Deserialize` name this crate's copy with
//!   `#[serde(crate = "tapline_sdk::serde")]`, unless serde is a dependency of yours too.
//! - [`testing`] runs modules natively, with virtual time; [`log`] writes to stderr there.

// `settings!` names this crate as an author does, also where the crate itself uses it.
extern crate self as tapline_sdk;

mod detector;
#[doc(hidden)]
pub mod export;
mod item;
pub mod log;
mod message;
mod named;
mod parser;
pub mod quantity;
mod settings;
mod sink;
mod template;
pub mod testing;
pub mod time;
mod validator;

#[cfg(test)]
mod published;

pub use detector::{Detector, Input, Next, Step};
pub use item::{Event, Item, Measurement, Publication, Reading};
pub use message::{Message, Properties, Rejection, Timestamp};
pub use parser::{Companions, Parser};
pub use quantity::{OwnQuantity, Quantity};
pub use settings::NoSettings;
pub use sink::{
    Conclusion, Content, Delivery, Device, Encoding, Escaping, Origin, Outcome, Part, Plan,
    Request, Response, Sink, Verdict,
};
pub use template::{Missing, Template};
pub use validator::Validator;

pub use {schemars, serde, serde_json};

/// What nearly every module uses.
pub mod prelude {
    pub use crate::{
        Companions, Conclusion, Content, Delivery, Detector, Device, Encoding, Escaping, Event,
        Input, Item, Measurement, Message, Next, NoSettings, Origin, Outcome, OwnQuantity, Parser,
        Part, Plan, Properties, Publication, Quantity, Reading, Rejection, Request, Response, Sink,
        Step, Timestamp, Validator, Verdict,
    };
    pub use crate::{log, quantity};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}
