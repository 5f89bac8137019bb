//! The components of a device: their names, and which shape each one reports in.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Visitor};

use super::meter::{Em1Data, Meter};
use super::phases::{Phases, PhasesData};
use super::report::Report;
use super::sensor::{
    Alarm, Boolean, DevicePower, Humidity, Illuminance, Input, Mqtt, RadiatorValve, Temperature,
    Thermostat, Voltmeter, Wifi,
};

/// A component that the parser knows, e.g. `switch:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    kind: Kind,
    id: u32,
}

/// The first part of a component's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Pm1,
    Cover,
    Light,
    Cct,
    Rgb,
    Rgbw,
    Em,
    EmData,
    Em1,
    Em1Data,
    Input,
    Temperature,
    Humidity,
    Illuminance,
    DevicePower,
    Voltmeter,
    Boolean,
    Thermostat,
    RadiatorValve,
    Flood,
    Smoke,
    Mqtt,
    Wifi,
}

impl Component {
    /// Reads a name; `None`: no component that measures.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let Some((kind, id)) = name.split_once(':') else {
            let kind = match name {
                "mqtt" => Kind::Mqtt,
                "wifi" => Kind::Wifi,
                _ => return None,
            };
            return Some(Self { kind, id: 0 });
        };
        let kind = match kind {
            "switch" => Kind::Switch,
            "pm1" => Kind::Pm1,
            "cover" => Kind::Cover,
            "light" => Kind::Light,
            "cct" => Kind::Cct,
            "rgb" => Kind::Rgb,
            "rgbw" => Kind::Rgbw,
            "em" => Kind::Em,
            "emdata" => Kind::EmData,
            "em1" => Kind::Em1,
            "em1data" => Kind::Em1Data,
            "input" => Kind::Input,
            "temperature" => Kind::Temperature,
            "humidity" => Kind::Humidity,
            "illuminance" => Kind::Illuminance,
            "devicepower" => Kind::DevicePower,
            "voltmeter" => Kind::Voltmeter,
            "boolean" => Kind::Boolean,
            "thermostat" => Kind::Thermostat,
            "blutrv" => Kind::RadiatorValve,
            "flood" => Kind::Flood,
            "smoke" => Kind::Smoke,
            _ => return None,
        };
        // `parse` alone would take a sign.
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { kind, id: id.parse().ok()? })
    }

    /// The one channel of its power, or of its only reading; `None` for what concerns the
    /// device. Of three phases it is their total; energy belongs to the meter's channel.
    pub(crate) fn channel(self) -> Option<String> {
        match self.kind {
            Kind::Mqtt | Kind::Wifi => None,
            Kind::Em | Kind::EmData => Some(format!("{self}.total")),
            _ => Some(self.to_string()),
        }
    }

    /// Reads the component's status into `report`.
    pub(super) fn into_report(self, report: &mut Report) -> IntoReport<'_> {
        IntoReport { component: self, report }
    }
}

/// The name as readings show it: counters under the name of their meter.
impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Switch => "switch",
            Kind::Pm1 => "pm1",
            Kind::Cover => "cover",
            Kind::Light => "light",
            Kind::Cct => "cct",
            Kind::Rgb => "rgb",
            Kind::Rgbw => "rgbw",
            Kind::Em | Kind::EmData => "em",
            Kind::Em1 | Kind::Em1Data => "em1",
            Kind::Input => "input",
            Kind::Temperature => "temperature",
            Kind::Humidity => "humidity",
            Kind::Illuminance => "illuminance",
            Kind::DevicePower => "devicepower",
            Kind::Voltmeter => "voltmeter",
            Kind::Boolean => "boolean",
            Kind::Thermostat => "thermostat",
            Kind::RadiatorValve => "blutrv",
            Kind::Flood => "flood",
            Kind::Smoke => "smoke",
            Kind::Mqtt => return f.write_str("mqtt"),
            Kind::Wifi => return f.write_str("wifi"),
        };
        write!(f, "{kind}:{}", self.id)
    }
}

/// A status that knows which readings it makes.
pub(super) trait Status {
    fn report(self, channel: String, report: &mut Report);
}

/// Reads the JSON of one component; `null` says nothing.
pub(super) struct IntoReport<'a> {
    component: Component,
    report: &'a mut Report,
}

impl<'de> DeserializeSeed<'de> for IntoReport<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.component.kind {
            Kind::Switch
            | Kind::Pm1
            | Kind::Cover
            | Kind::Light
            | Kind::Cct
            | Kind::Rgb
            | Kind::Rgbw
            | Kind::Em1 => self.read::<Meter, D>(json),
            Kind::Em => self.read::<Phases, D>(json),
            Kind::EmData => self.read::<PhasesData, D>(json),
            Kind::Em1Data => self.read::<Em1Data, D>(json),
            Kind::Input => self.read::<Input, D>(json),
            Kind::Temperature => self.read::<Temperature, D>(json),
            Kind::Humidity => self.read::<Humidity, D>(json),
            Kind::Illuminance => self.read::<Illuminance, D>(json),
            Kind::DevicePower => self.read::<DevicePower, D>(json),
            Kind::Voltmeter => self.read::<Voltmeter, D>(json),
            Kind::Boolean => self.read::<Boolean, D>(json),
            Kind::Thermostat => self.read::<Thermostat, D>(json),
            Kind::RadiatorValve => self.read::<RadiatorValve, D>(json),
            Kind::Flood | Kind::Smoke => self.read::<Alarm, D>(json),
            Kind::Mqtt => self.read::<Mqtt, D>(json),
            Kind::Wifi => self.read::<Wifi, D>(json),
        }
    }
}

impl IntoReport<'_> {
    fn read<'de, S, D>(self, json: D) -> Result<(), D::Error>
    where
        S: Status + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        if let Some(status) = Option::<S>::deserialize(json)? {
            status.report(self.component.to_string(), self.report);
        }
        Ok(())
    }
}

/// A key of a frame, looked at without copying it.
pub(super) enum Key {
    Ts,
    Events,
    Sys,
    Component(Component),
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a component")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "ts" => Key::Ts,
                    "events" => Key::Events,
                    "sys" => Key::Sys,
                    _ => Component::of(key).map_or(Key::Other, Key::Component),
                })
            }
        }

        json.deserialize_identifier(KeyVisitor)
    }
}
