//! Reads devices that run Tasmota: what they publish under `tele` and `stat`, in any order
//! of FullTopic, becomes readings; commands, discovery and what else they say is ignored.
//!
//! The topic decides first ([`topic`]); only what can carry a measurement is read as JSON
//! ([`document`]), in one pass and without a tree. Nothing is remembered between messages.

mod clock;
mod companions;
mod document;
mod energy;
mod lenient;
mod sensor;
#[cfg(test)]
mod tests;
mod topic;
mod units;

use tapline_sdk::prelude::*;

use crate::lenient::Value;
use crate::topic::Kind;

/// The channel of what concerns the device as a whole: `online`, its Wi-Fi.
const DEVICE: &str = "device";

/// The parser; it has nothing to set.
pub struct Tasmota;

impl Parser for Tasmota {
    type Settings = NoSettings;
    const NAME: &'static str = "tasmota";
    const SUMMARY: &'static str =
        "Reads energy, sensors, switches and availability of Tasmota devices";

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        let Some(kind) = topic::kind_of(&message.topic) else { return Ok(Vec::new()) };
        // An empty payload takes a retained message away; it says nothing.
        if message.payload.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        match kind {
            Kind::Document(shape) => document::read(&message.payload, shape),
            Kind::Will => availability(message),
            // With SetOption4 the answer to a command comes as JSON on a topic of its name.
            Kind::Relay(_) if message.payload.starts_with(b"{") => {
                document::read(&message.payload, document::Shape::Result)
            }
            Kind::Relay(relay) => Ok(switched(message)?
                .map(|on| Reading::channel(format!("relay:{relay}")).output_on(on).into())
                .into_iter()
                .collect()),
            Kind::Margin(name) => {
                Ok(switched(message)?.map(|active| margin(name, active)).into_iter().collect())
            }
        }
    }

    fn companions(&self, topic_filter: &str) -> Companions {
        companions::of(topic_filter)
    }
}

tapline_sdk::export_parser!(Tasmota);

fn availability(message: &Message) -> Result<Vec<Item>, Rejection> {
    let online = match message.text()?.trim() {
        "Online" => true,
        "Offline" => false,
        other => return Err(unknown_state(other, "Online nor Offline")),
    };
    Ok(vec![Reading::channel(DEVICE).online(online).into()])
}

/// `None`: a press of a button, not a state.
fn switched(message: &Message) -> Result<Option<bool>, Rejection> {
    let text = message.text()?.trim();
    if ["TOGGLE", "HOLD"].iter().any(|press| text.eq_ignore_ascii_case(press)) {
        return Ok(None);
    }
    match Value::Text(text.into()).on() {
        Some(on) => Ok(Some(on)),
        None => Err(unknown_state(text, "ON nor OFF")),
    }
}

/// The event for a limit (`PowerLow`, …) that was crossed. Tasmota watches the first phase.
fn margin(name: &str, active: bool) -> Item {
    #[derive(Serialize)]
    struct Margin {
        active: bool,
    }
    Event::new(name).channel("energy:0").data(&Margin { active }).into()
}

fn unknown_state(text: &str, expected: &str) -> Rejection {
    const SHOWN: usize = 40;
    let shown: String = text.chars().take(SHOWN).collect();
    Rejection::new("unknown-state", format!("`{}` is neither {expected}", shown.escape_debug()))
}
