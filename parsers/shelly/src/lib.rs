//! Readings and events of Shelly devices, generations 1 to 4.
//!
//! A topic alone decides what a message is (`topic`): generation 1 publishes one value per
//! topic under `shellies/…` (`gen1`), later ones JSON below a prefix that the user chose
//! (`gen2`). What is not a report of the device (commands, RPC, announcements) yields
//! nothing. Invariant: only what a message states becomes a reading; a key that is not
//! there, or `null`, is never taken for 0.

mod companions;
mod gen1;
mod gen2;
mod topic;

use tapline_sdk::prelude::*;
use tapline_sdk::quantity::Kind;

use crate::topic::Topic;

/// Channel of what concerns the device as a whole: reachability, Wi-Fi, its own heat.
const DEVICE: &str = "device";

/// What an event of the device itself is called: a button, an update, a script's own.
const DEVICE_EVENT: &str = "device_event";

/// Runs on mains power, where a device also has a battery.
const EXTERNAL_POWER: Quantity = Quantity::own(32768);

/// What a virtual component of the kind `boolean` holds.
const VALUE: Quantity = Quantity::own(32769);

/// The parser of Shelly's MQTT messages.
pub struct Shelly;

impl Parser for Shelly {
    // There is nothing to set: the topics say all that the parser must know.
    type Settings = NoSettings;

    const NAME: &'static str = "shelly";
    const SUMMARY: &'static str = "Readings and events of Shelly devices, generations 1 to 4";
    const QUANTITIES: &'static [OwnQuantity] = &[
        OwnQuantity {
            quantity: EXTERNAL_POWER,
            name: "external_power",
            unit: "flag",
            kind: Kind::Flag,
            meaning: "the device runs on external power",
        },
        OwnQuantity {
            quantity: VALUE,
            name: "value",
            unit: "flag",
            kind: Kind::Flag,
            meaning: "value of a virtual component of the kind boolean",
        },
    ];

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        // An empty payload clears a retained message; it reports nothing.
        if message.payload.is_empty() {
            return Ok(Vec::new());
        }
        match Topic::of(&message.topic) {
            Topic::Online { .. } => online(message),
            Topic::Status { component, .. } => gen2::status(component, message),
            Topic::Notification { .. } => gen2::notification(message),
            Topic::Gen1(topic) => gen1::parse(&topic, message),
            Topic::Other => Ok(Vec::new()),
        }
    }

    fn companions(&self, topic_filter: &str) -> Companions {
        companions::of(topic_filter)
    }
}

/// `true` when the device connects, `false` by its last will; all generations alike.
fn online(message: &Message) -> Result<Vec<Item>, Rejection> {
    let online = match message.text()?.trim() {
        "true" => true,
        "false" => false,
        other => return Err(unknown_value("`online` is `true` or `false`", other)),
    };
    Ok(vec![Reading::channel(DEVICE).online(online).into()])
}

/// A condition that a component is in, e.g. `overpower`. Devices repeat it with every
/// report as long as it lasts.
fn error_event(channel: &str, error: &str) -> Event {
    #[derive(Serialize)]
    struct Condition<'a> {
        error: &'a str,
    }
    Event::new("device_error").channel(channel).data(&Condition { error })
}

/// Refuses a value outside the ones that a topic has.
fn unknown_value(rule: &str, value: &str) -> Rejection {
    Rejection::new("unknown-value", format!("{rule}, this is `{}`", shortened(value)))
}

/// Text of the device as a person may be shown it; a payload may be long.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

tapline_sdk::export_parser!(Shelly);
