//! The parser's trait.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::item::{Item, Publication};
use crate::message::{Message, Rejection};
use crate::quantity::OwnQuantity;

/// Turns the messages of one device family into readings and events.
///
/// A parser knows the message and its settings and nothing else: what must remember
/// something between messages is a [`Detector`](crate::Detector).
///
/// ```
/// use tapline_sdk::prelude::*;
///
/// /// One number per topic: `plant/boiler/temperature` → `21.5`.
/// struct Bare;
///
/// impl Parser for Bare {
///     type Settings = NoSettings;
///     const NAME: &'static str = "bare";
///     const SUMMARY: &'static str = "Reads topics that carry a bare number";
///
///     fn new(_: NoSettings) -> Result<Self, String> {
///         Ok(Self)
///     }
///
///     fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
///         let text = message.text()?.trim();
///         let value: f64 = text
///             .parse()
///             .map_err(|_| Rejection::new("not-a-number", format!("`{text}` is no number")))?;
///         Ok(vec![Reading::channel("").temperature_c(value).into()])
///     }
/// }
///
/// tapline_sdk::export_parser!(Bare);
/// # fn main() {}
/// ```
pub trait Parser: Sized + 'static {
    /// What a pipeline may set; see [`settings!`](crate::settings!).
    type Settings: DeserializeOwned + JsonSchema + Default;
    /// The name that pipelines and devices (`parser_type`) use.
    const NAME: &'static str;
    /// One sentence for a person.
    const SUMMARY: &'static str;
    /// Quantities that `wit/quantities.toml` lacks.
    const QUANTITIES: &'static [OwnQuantity] = &[];

    /// Takes one set of settings. Called once per distinct set, so what is costly to
    /// prepare belongs here.
    ///
    /// # Errors
    /// What is wrong with settings that satisfy the schema (one field against another).
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// Reads one message. An empty list: nothing in it is of interest.
    ///
    /// A total's reading comes before its parts.
    ///
    /// # Errors
    /// Why the message is refused for good; it then goes to the dead letters.
    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection>;

    /// What belongs to a device whose messages come on `topic_filter`. Called when a device
    /// is added or changed.
    fn companions(&self, topic_filter: &str) -> Companions {
        let _ = topic_filter;
        Companions::default()
    }
}

/// What belongs to a device whose messages come on a topic.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Companions {
    /// Topic filters to subscribe to beside it: its last will, say.
    pub also: Vec<String>,
    /// The one channel that the topic itself names (`…/status/pm1:0`); `None`: it names none.
    pub channel: Option<String>,
    /// The question that makes it report now.
    pub ask: Option<Publication>,
}
