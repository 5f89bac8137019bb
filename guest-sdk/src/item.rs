//! What goes out: readings, events, publications.

use serde::{Deserialize, Serialize};

use crate::log;
use crate::message::{Properties, Timestamp};
use crate::quantity::{self, Quantity};

/// What a module emits.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    Reading(Reading),
    Event(Event),
    Publication(Publication),
}

/// One value of one quantity; always finite when made by [`Reading::set`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measurement {
    pub quantity: Quantity,
    pub value: f64,
}

/// What one channel of one device measured at one time.
///
/// ```
/// use tapline_sdk::prelude::*;
///
/// let reading = Reading::channel("switch:0").power_w(125.5).voltage_v(None).output_on(true);
/// assert_eq!(reading.get(quantity::POWER_W), Some(125.5));
/// assert_eq!(reading.get(quantity::VOLTAGE_V), None); // absent is not zero
/// ```
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Reading {
    /// `None`: the device that the message is bound to.
    pub device: Option<String>,
    /// e.g. `switch:0`, `em:0.a`; empty where a device has only one. A total has a channel
    /// that ends in `.total` or `:total`.
    pub channel: String,
    /// As the device states it; `None`: it states none.
    pub at: Option<Timestamp>,
    /// Each quantity at most once.
    pub measurements: Vec<Measurement>,
}

include!(concat!(env!("OUT_DIR"), "/reading.rs"));

impl Reading {
    /// An empty reading of `channel`; `""` where the device has only one.
    pub fn channel(channel: impl Into<String>) -> Self {
        Self { channel: channel.into(), ..Self::default() }
    }

    /// Says which device measured it, where that is not the one the message is bound to.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Says when it was measured, in milliseconds since the epoch; only what the device
    /// itself states.
    #[must_use]
    pub fn at_ms(mut self, at: impl Into<Option<Timestamp>>) -> Self {
        self.at = at.into();
        self
    }

    /// Sets `quantity`, replacing an earlier value; `None` and what is not finite are left out.
    #[must_use]
    pub fn set(mut self, quantity: Quantity, value: impl Into<Option<f64>>) -> Self {
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            match self.measurements.iter_mut().find(|known| known.quantity == quantity) {
                Some(known) => known.value = value,
                None => self.measurements.push(Measurement { quantity, value }),
            }
        }
        self
    }

    /// The value of `quantity`, if it was measured.
    pub fn get(&self, quantity: Quantity) -> Option<f64> {
        self.measurements.iter().find(|known| known.quantity == quantity).map(|known| known.value)
    }

    /// Whether nothing was measured; such a reading is not worth emitting.
    pub fn is_empty(&self) -> bool {
        self.measurements.is_empty()
    }
}

impl From<Reading> for Item {
    fn from(reading: Reading) -> Self {
        Self::Reading(reading)
    }
}

/// Something that happened, in words the business uses.
///
/// ```
/// use tapline_sdk::prelude::*;
/// use tapline_sdk::serde_json::json;
///
/// let event = Event::new("door_opened").at_ms(1_770_000_000_000).data(&json!({ "door": 3 }));
/// assert_eq!(event.data, r#"{"door":3}"#);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// e.g. `session_started`. Names the JSON Schema that `data` must satisfy.
    pub kind: String,
    /// As in [`Reading`].
    pub device: Option<String>,
    /// As in [`Reading`].
    pub channel: String,
    pub at: Option<Timestamp>,
    /// A JSON object, as text.
    pub data: String,
}

impl Event {
    /// An event of `kind` without data.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            device: None,
            channel: String::new(),
            at: None,
            data: String::from("{}"),
        }
    }

    /// Says to which device it happened, where that is not the one of the input.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Says to which channel it happened.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// Says when it happened, in milliseconds since the epoch.
    #[must_use]
    pub fn at_ms(mut self, at: impl Into<Option<Timestamp>>) -> Self {
        self.at = at.into();
        self
    }

    /// Carries `data`, which must serialise to a JSON object.
    ///
    /// Anything else is carried as it is (`null` where it cannot be serialised at all) and
    /// makes the host refuse the input, so that the fault shows.
    #[must_use]
    pub fn data(mut self, data: &impl Serialize) -> Self {
        self.data = serde_json::to_string(data).unwrap_or_else(|error| {
            log::error!("the data of event `{}` cannot be written as JSON: {error}", self.kind);
            String::from("null")
        });
        self
    }

    /// Reads `data` back, as a sink does.
    ///
    /// # Errors
    /// What serde_json says.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}

impl From<Event> for Item {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// A message to publish, within the topics that the pipeline allows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Publication {
    /// `None`: the broker that the input came from.
    pub broker: Option<String>,
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

impl Publication {
    /// A message with `payload` for `topic`, at QoS 1 and not retained.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: 1, ..Self::default() }
    }
}

impl From<Publication> for Item {
    fn from(publication: Publication) -> Self {
        Self::Publication(publication)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_out_what_is_absent_or_not_finite() {
        let reading =
            Reading::channel("").power_w(f64::NAN).voltage_v(None).current_a(f64::INFINITY);
        assert!(reading.is_empty());
    }

    #[test]
    fn a_quantity_set_twice_has_the_last_value() {
        let reading = Reading::channel("").online(false).online(true);
        assert_eq!(reading.measurements, [Measurement { quantity: quantity::ONLINE, value: 1.0 }]);
    }

    #[test]
    fn data_that_cannot_be_written_is_no_object_so_the_host_refuses_it() {
        let keys_are_no_strings = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(Event::new("x").data(&keys_are_no_strings).data, "null");
    }
}
