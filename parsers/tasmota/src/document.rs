//! The JSON messages, read in one pass: which keys count depends on the kind of message.

use serde::de::{DeserializeSeed, MapAccess};
use tapline_sdk::prelude::*;

use crate::clock::Clock;
use crate::energy::Energy;
use crate::lenient::{Fields, Object, Value, skip, without_bare_nan};
use crate::sensor::{Family, Node, Sensor, quantity_of};
use crate::units::Units;
use crate::{DEVICE, margin, topic};

/// Which keys a message has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// `SENSOR`: energy, sensors, switches.
    Sensors,
    /// `STATE`: relays and Wi-Fi.
    State,
    /// `RESULT`: what a command changed, or what a bridge heard.
    Result,
    /// `ENERGY`, before 5.12: the fields of that block at the top.
    Energy,
    /// `STATUS`, `STATUS<n>`: the others, each under a key of its own.
    Status,
    /// `MARGINS`: limits that were crossed.
    Margins,
}

/// Reads a payload that has to be JSON.
///
/// # Errors
/// `not-json`, with the place; `wrong-shape` where it is JSON but no object.
pub(crate) fn read(payload: &[u8], shape: Shape) -> Result<Vec<Item>, Rejection> {
    let document = match Document::read(payload, shape) {
        // Looked for only now, so that good messages pay nothing for it.
        Err(error) if error.is_syntax() => match without_bare_nan(payload) {
            Some(repaired) => Document::read(&repaired, shape),
            None => Err(error),
        },
        read => read,
    };
    match document {
        Ok(Some(document)) => Ok(document.into_items()),
        Ok(None) => Err(Rejection::new("wrong-shape", "the payload is JSON, but no object")),
        Err(error) => Err(Rejection::new("not-json", error.to_string())),
    }
}

/// What a message said, before units and time are known to apply: they may come last.
#[derive(Default)]
struct Document {
    clock: Clock,
    units: Units,
    energy: Energy,
    sensors: Vec<Sensor>,
    /// What stands at the top, in no object: the Sonoff SC, for one, has it there.
    main: Option<Sensor>,
    /// Numbers from 0.
    relays: Vec<(u8, bool)>,
    switches: Vec<(u8, bool)>,
    shutters: Vec<(u8, f64)>,
    wifi: Wifi,
    margins: Vec<(&'static str, bool)>,
}

impl Document {
    /// `None`: JSON, but no object.
    fn read(payload: &[u8], shape: Shape) -> Result<Option<Self>, serde_json::Error> {
        let mut document = Self::default();
        let mut json = serde_json::Deserializer::from_slice(payload);
        let is_object =
            Object(&mut Part { document: &mut document, shape }).deserialize(&mut json)?;
        json.end()?;
        Ok(is_object.then_some(document))
    }

    fn into_items(self) -> Vec<Item> {
        let at = self.clock.at();
        let units = self.units;
        let relay = |(number, on)| Reading::channel(format!("relay:{number}")).output_on(on);
        let switch = |(number, on)| Reading::channel(format!("switch:{number}")).input_on(on);
        let shutter =
            |(number, open)| Reading::channel(format!("shutter:{number}")).position_pct(open);
        let wifi =
            Reading::channel(DEVICE).wifi_quality_pct(self.wifi.quality).rssi_dbm(self.wifi.signal);
        let mut items: Vec<Item> = self
            .energy
            .into_readings()
            .chain(
                self.main.into_iter().chain(self.sensors).map(|sensor| sensor.into_reading(units)),
            )
            .chain(self.relays.into_iter().map(relay))
            .chain(self.switches.into_iter().map(switch))
            .chain(self.shutters.into_iter().map(shutter))
            .chain([wifi])
            .filter(|reading| !reading.is_empty())
            .map(|reading| reading.at_ms(at).into())
            .collect();
        items.extend(self.margins.into_iter().map(|(name, active)| margin(name, active)));
        items
    }
}

/// A message, or the part of a status that has the shape of one.
struct Part<'d> {
    document: &'d mut Document,
    shape: Shape,
}

impl<'de> Fields<'de> for Part<'_> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "Time" => self.document.clock.set(&map.next_value()?),
            "Epoch" => self.document.clock.set_epoch(map.next_value::<Value<'de>>()?.number()),
            "TempUnit" => {
                if let Some(unit) = map.next_value::<Value<'de>>()?.text() {
                    self.document.units.set_temperature(unit);
                }
            }
            "PressureUnit" => {
                if let Some(unit) = map.next_value::<Value<'de>>()?.text() {
                    self.document.units.set_pressure(unit);
                }
            }
            _ => match self.shape {
                Shape::Sensors => self.sensors(key, map)?,
                Shape::State => self.state(key, map)?,
                Shape::Result => self.result(key, map)?,
                Shape::Energy => self.document.energy.field(key, map)?,
                Shape::Status => self.status(key, map)?,
                Shape::Margins => self.margins(key, map)?,
            },
        }
        Ok(())
    }
}

impl Part<'_> {
    fn sensors<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let family = match key {
            "ENERGY" => {
                return map.next_value_seed(Object(&mut self.document.energy)).map(|_| ());
            }
            // The coordinator's memory of a device, however old.
            "ZbInfo" => return skip(map),
            "ZbReceived" => Family::Zigbee,
            "LwReceived" | "LwDecoded" => Family::Lora,
            _ if self.switched(key, map)? => return Ok(()),
            _ => match quantity_of(Family::Own, key) {
                Some(quantity) => {
                    let main = self.document.main.get_or_insert_with(|| Sensor::new("main"));
                    main.take(quantity, &map.next_value()?);
                    return Ok(());
                }
                None => Family::Own,
            },
        };
        let mut node = Node::new(key, family, &mut self.document.sensors);
        map.next_value_seed(Object(&mut node)).map(|_| ())
    }

    fn state<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "Wifi" => map.next_value_seed(Object(&mut self.document.wifi)).map(|_| ()),
            _ => match topic::relay(key) {
                Some(_) => self.switched(key, map).map(|_| ()),
                None => skip(map),
            },
        }
    }

    fn result<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "ZbReceived" => self.sensors(key, map),
            _ if self.switched(key, map)? => Ok(()),
            _ => skip(map),
        }
    }

    fn status<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let shape = match key {
            "StatusSNS" => Shape::Sensors,
            "StatusSTS" => Shape::State,
            // Before 5.12.
            "StatusPWR" => Shape::Energy,
            _ => return skip(map),
        };
        map.next_value_seed(Object(&mut Part { document: self.document, shape })).map(|_| ())
    }

    fn margins<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "MARGINS" {
            return map
                .next_value_seed(Object(&mut Part {
                    document: self.document,
                    shape: Shape::Margins,
                }))
                .map(|_| ());
        }
        match topic::MARGINS.iter().find(|(_, known, _)| *known == key) {
            // A number is the limit itself, not whether it is crossed.
            Some((.., name)) => {
                let value = map.next_value::<Value<'de>>()?;
                let active = value.text().and_then(|_| value.on());
                self.document.margins.extend(active.map(|active| (*name, active)));
                Ok(())
            }
            None => skip(map),
        }
    }

    /// Takes a relay, switch or shutter; tells whether it was one.
    fn switched<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        let numbered = |name: &str| key.strip_prefix(name).and_then(topic::number);
        if let Some(relay) = topic::relay(key) {
            let on = map.next_value::<Value<'de>>()?.on();
            self.document.relays.extend(on.map(|on| (relay, on)));
        } else if let Some(switch) = numbered("Switch") {
            let mut input = Input::default();
            map.next_value_seed(Object(&mut input))?;
            self.document.switches.extend(input.on.map(|on| (switch, on)));
        } else if let Some(number) = numbered("Shutter") {
            let mut shutter = Shutter::default();
            map.next_value_seed(Object(&mut shutter))?;
            self.document.shutters.extend(shutter.position.map(|position| (number, position)));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// `"Switch1": "ON"`, or `"Switch1": {"Action": "ON"}`.
#[derive(Default)]
struct Input {
    on: Option<bool>,
}

impl<'de> Fields<'de> for Input {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "Action" => self.on = map.next_value::<Value<'de>>()?.on(),
            _ => skip(map)?,
        }
        Ok(())
    }

    fn scalar(&mut self, value: &Value<'de>) {
        self.on = value.on();
    }
}

#[derive(Default)]
struct Shutter {
    position: Option<f64>,
}

impl<'de> Fields<'de> for Shutter {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "Position" => self.position = map.next_value::<Value<'de>>()?.number(),
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Wifi {
    quality: Option<f64>,
    signal: Option<f64>,
}

impl<'de> Fields<'de> for Wifi {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            // Per cent in spite of its name.
            "RSSI" => self.quality = map.next_value::<Value<'de>>()?.number(),
            "Signal" => self.signal = map.next_value::<Value<'de>>()?.number(),
            _ => skip(map)?,
        }
        Ok(())
    }
}
