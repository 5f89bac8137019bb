//! The meters of the demo's machines: simulated devices, and a three-phase one that is the
//! demo's own.

use serde_json::json;

use crate::broker::Presence;
use crate::message::{Properties, Publication, Timestamp};
use crate::simulate::{Device, DeviceOptions, Family};

/// A kind of meter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Model {
    /// Shelly PM Mini Gen3: one meter, `pm1:0`.
    ShellyPm1,
    /// Shelly Plus Plug S: a switch that meters, `switch:0`.
    ShellyPlug,
    /// Shelly Pro 3EM: three phases and their total, `em:0`.
    Shelly3Em,
    /// A plug with Tasmota.
    Tasmota,
}

/// A meter with what it has counted.
#[derive(Debug)]
pub(super) enum Meter {
    Simulated(Device),
    ThreePhase { prefix: String },
}

impl Model {
    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ShellyPm1 => "Shelly PM Mini",
            Self::ShellyPlug => "Shelly Plug S",
            Self::Shelly3Em => "Shelly Pro 3EM",
            Self::Tasmota => "Tasmota plug",
        }
    }

    /// The parser that reads it.
    pub(super) fn parser_type(self) -> &'static str {
        match self {
            Self::Tasmota => "tasmota",
            _ => "shelly_pm",
        }
    }

    /// A meter of this kind that calls itself `id`.
    pub(super) fn meter(self, id: &str) -> Meter {
        let simulated = |family, component: &str| {
            let options = DeviceOptions::new(family, id);
            let component = component.to_owned();
            // One kind of notification: with both, each change is said twice, and the second
            // goes to a topic that nobody here listens to.
            Meter::Simulated(Device::new(DeviceOptions { component, rpc: false, ..options }))
        };
        match self {
            Self::ShellyPm1 => simulated(Family::Shelly, "pm1:0"),
            Self::ShellyPlug => simulated(Family::Shelly, "switch:0"),
            Self::Tasmota => simulated(Family::Tasmota, "pm1:0"),
            Self::Shelly3Em => Meter::ThreePhase { prefix: id.to_owned() },
        }
    }
}

impl Meter {
    /// The topic with its power.
    pub(super) fn topic(&self) -> String {
        match self {
            Self::Simulated(device) => device.topic(),
            Self::ThreePhase { prefix } => format!("{prefix}/status/em:0"),
        }
    }

    /// Birth and will.
    pub(super) fn presence(&self) -> Presence {
        match self {
            Self::Simulated(device) => device.presence(),
            Self::ThreePhase { prefix } => Presence {
                topic: format!("{prefix}/online"),
                online: b"true".to_vec(),
                offline: b"false".to_vec(),
                qos: 0,
            },
        }
    }

    /// What it publishes when it draws about `watts`. All of it with QoS 1, also where the real
    /// one would use 0: so that every message can be accounted for.
    pub(super) fn publish(&mut self, at: Timestamp, watts: f64) -> Vec<Publication> {
        let mut said = match self {
            Self::Simulated(device) => device.publish(at, watts),
            Self::ThreePhase { .. } => vec![publication(self.topic(), &three_phases(watts))],
        };
        for publication in &mut said {
            publication.qos = 1;
        }
        said
    }

    /// A report that breaks off, as of a device that reboots while it writes.
    pub(super) fn broken(&self) -> Publication {
        publication(self.topic(), r#"{"id":0,"source":"init","output":true,"apower":91"#)
    }
}

fn three_phases(watts: f64) -> String {
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    // Coils and single-phase parts: no real machine loads its phases alike.
    let [a, b, c] = [0.36, 0.33, 0.31].map(|share| tenths(watts * share));
    let amperes = |watts: f64| (watts / 230.0 * 1000.0).round() / 1000.0;
    json!({
        "id": 0,
        "a_current": amperes(a), "a_voltage": 230.8, "a_act_power": a, "a_freq": 50.0,
        "b_current": amperes(b), "b_voltage": 231.1, "b_act_power": b, "b_freq": 50.0,
        "c_current": amperes(c), "c_voltage": 231.4, "c_act_power": c, "c_freq": 50.0,
        "n_current": null, "total_current": amperes(watts), "total_act_power": tenths(a + b + c),
        "user_calibrated_phase": [],
    })
    .to_string()
}

fn publication(topic: String, payload: &str) -> Publication {
    Publication {
        broker: None,
        topic,
        payload: payload.as_bytes().to_vec(),
        qos: 1,
        retain: false,
        properties: Properties::default(),
    }
}
