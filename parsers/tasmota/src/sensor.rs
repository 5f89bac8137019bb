//! Every other object in a message of sensors: `{"DS18B20": {"Temperature": 20.6}}`.
//!
//! A sensor is known by its place, so its path of keys is its channel; only keys whose
//! meaning and unit are certain are taken. In particular `Power` is a power nowhere but in
//! `ENERGY` and `CTEnergy`: in what a Zigbee device says it is a switch.

use serde::de::MapAccess;
use tapline_sdk::prelude::*;

use crate::lenient::{Fields, Object, Value, skip};
use crate::topic;
use crate::units::{Units, wh};

/// One sensor, its values as published.
pub(crate) struct Sensor {
    channel: String,
    values: Vec<(Quantity, f64)>,
    units: Units,
}

impl Sensor {
    pub(crate) fn new(channel: impl Into<String>) -> Self {
        Self { channel: channel.into(), values: Vec::new(), units: Units::default() }
    }

    /// Takes the value of a key that means `quantity`.
    pub(crate) fn take(&mut self, quantity: Quantity, value: &Value<'_>) {
        let value = match quantity {
            quantity::OUTPUT_ON => value.on().map(f64::from),
            // Of a clamp; no other sensor has one.
            quantity::ENERGY_WH => value.number().map(wh),
            _ => value.number(),
        };
        self.values.extend(value.map(|value| (quantity, value)));
    }

    /// What it measured, where the message as a whole states the units `outer`.
    pub(crate) fn into_reading(self, outer: Units) -> Reading {
        let units = self.units.within(outer);
        self.values
            .into_iter()
            .fold(Reading::channel(self.channel), |reading, (quantity, value)| {
                reading.set(quantity, units.convert(quantity, value))
            })
    }
}

/// Whose object it is: the same key means different things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// A sensor of the device itself, or one that it hears by Bluetooth.
    Own,
    /// A device that a bridge hears by Zigbee (`ZbReceived`).
    Zigbee,
    /// A node that a bridge hears by LoRa (`LwReceived`).
    Lora,
    /// A current clamp at an analogue input (`ANALOG.CTEnergy1`).
    Clamp,
}

/// `None`: not a measurement of ours.
pub(crate) fn quantity_of(family: Family, key: &str) -> Option<Quantity> {
    use Family::{Clamp, Lora, Own, Zigbee};
    Some(match (family, key) {
        (Clamp, "Power") => quantity::POWER_W,
        (Clamp, "Voltage") => quantity::VOLTAGE_V,
        (Clamp, "Current") => quantity::CURRENT_A,
        (Clamp, "Energy") => quantity::ENERGY_WH,
        (Clamp, _) => return None,
        (_, "Temperature") => quantity::TEMPERATURE_C,
        (_, "Humidity") => quantity::HUMIDITY_PCT,
        (_, "DewPoint") => quantity::DEW_POINT_C,
        (_, "Pressure") => quantity::PRESSURE_HPA,
        (_, "CarbonDioxide" | "CO2") => quantity::CO2_PPM,
        // Zigbee's is the cluster's raw value, 10000 × log10(lx) + 1.
        (Own | Lora, "Illuminance") => quantity::ILLUMINANCE_LX,
        // LoRa decoders put volts here, others percent.
        (Own | Zigbee, "Battery") => quantity::BATTERY_PCT,
        (Zigbee, "BatteryPercentage") => quantity::BATTERY_PCT,
        (Zigbee, "BatteryVoltage") => quantity::BATTERY_V,
        (Zigbee, "LinkQuality") => quantity::LINK_QUALITY,
        (Zigbee, "Power") => quantity::OUTPUT_ON,
        _ => return None,
    })
}

/// Sensors lie at most this deep: `LwReceived`, a node, a part of it.
const DEEPEST: u8 = 4;

/// An object on the way in; it and the objects in it become sensors.
pub(crate) struct Node<'n> {
    path: Path<'n>,
    family: Family,
    depth: u8,
    sensors: &'n mut Vec<Sensor>,
    /// Which of `sensors` holds its own values, and those of its numbered keys.
    own: Option<usize>,
    numbered: Vec<(u8, usize)>,
}

/// Keys down to an object; a name is made only where something was measured.
#[derive(Clone, Copy)]
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    name: &'p str,
}

impl Path<'_> {
    fn channel(&self) -> String {
        match self.parent {
            Some(parent) => format!("{}.{}", parent.channel(), self.name),
            None => self.name.to_owned(),
        }
    }
}

impl<'n> Node<'n> {
    /// The object under the top-level key `name`.
    pub(crate) fn new(name: &'n str, family: Family, sensors: &'n mut Vec<Sensor>) -> Self {
        let path = Path { parent: None, name };
        Self { path, family, depth: 1, sensors, own: None, numbered: Vec::new() }
    }

    fn own(&mut self) -> &mut Sensor {
        let at = *self.own.get_or_insert_with(|| add(self.sensors, self.path.channel()));
        &mut self.sensors[at]
    }

    /// The sensor of keys that end in a number: `ANALOG.Temperature2` is channel `ANALOG:1`.
    fn numbered(&mut self, number: u8) -> &mut Sensor {
        let known = self.numbered.iter().find(|(known, _)| *known == number);
        let at = known.map(|(_, at)| *at).unwrap_or_else(|| {
            let at = add(self.sensors, format!("{}:{number}", self.path.channel()));
            self.numbered.push((number, at));
            at
        });
        &mut self.sensors[at]
    }
}

fn add(sensors: &mut Vec<Sensor>, channel: String) -> usize {
    sensors.push(Sensor::new(channel));
    sensors.len() - 1
}

impl<'de> Fields<'de> for Node<'_> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(quantity) = quantity_of(self.family, key) {
            let value = map.next_value()?;
            self.own().take(quantity, &value);
            return Ok(());
        }
        match key {
            "TempUnit" => {
                if let Some(unit) = map.next_value::<Value<'de>>()?.text() {
                    self.own().units.set_temperature(unit);
                }
                return Ok(());
            }
            "PressureUnit" => {
                if let Some(unit) = map.next_value::<Value<'de>>()?.text() {
                    self.own().units.set_pressure(unit);
                }
                return Ok(());
            }
            _ => {}
        }
        let name = key.trim_end_matches(|last: char| last.is_ascii_digit());
        let number = topic::number(&key[name.len()..]);
        if name == "CTEnergy" {
            let clamp = format!("ctenergy:{}", number.unwrap_or_default());
            let mut clamp = Node::new(&clamp, Family::Clamp, self.sensors);
            return map.next_value_seed(Object(&mut clamp)).map(|_| ());
        }
        if let (Family::Own, Some(number), Some(quantity)) =
            (self.family, number, quantity_of(self.family, name))
        {
            let value = map.next_value()?;
            self.numbered(number).take(quantity, &value);
            return Ok(());
        }
        if self.depth == DEEPEST || self.family == Family::Clamp {
            return skip(map);
        }
        let mut inner = Node {
            path: Path { parent: Some(&self.path), name: key },
            family: self.family,
            depth: self.depth + 1,
            sensors: self.sensors,
            own: None,
            numbered: Vec::new(),
        };
        map.next_value_seed(Object(&mut inner)).map(|_| ())
    }
}
