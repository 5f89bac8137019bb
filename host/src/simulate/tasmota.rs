//! What a plug with Tasmota publishes; shapes as recorded from one with current firmware.

use serde_json::json;

use super::device::{Device, DeviceOptions, Meter, message, rounded};
use crate::broker::Presence;
use crate::message::{Properties, Publication, Timestamp};

/// Tasmota says how its Wi-Fi is with every tenth reading.
const STATE_EVERY: u64 = 10;

fn full_topic(options: &DeviceOptions, kind: &str, last: &str) -> String {
    match &options.topic_prefix {
        Some(prefix) => format!("{prefix}/{kind}/{}/{last}", options.id),
        None => format!("{kind}/{}/{last}", options.id),
    }
}

pub(super) fn topic(options: &DeviceOptions) -> String {
    full_topic(options, "tele", "SENSOR")
}

pub(super) fn presence(options: &DeviceOptions) -> Presence {
    Presence {
        topic: full_topic(options, "tele", "LWT"),
        online: b"Online".to_vec(),
        offline: b"Offline".to_vec(),
        qos: 1,
    }
}

pub(super) fn announce(device: &Device, at: Timestamp, meter: Meter) -> Vec<Publication> {
    // At boot it also asks itself for commands that were retained, with an empty payload.
    let empty = |topic: String, payload: &[u8]| Publication {
        broker: None,
        topic,
        payload: payload.to_vec(),
        qos: 0,
        retain: false,
        properties: Properties::default(),
    };
    vec![
        empty(full_topic(&device.options, "cmnd", "POWER"), b""),
        empty(full_topic(&device.options, "stat", "POWER"), b"ON"),
        state(device, at),
        sensor(device, at, meter),
    ]
}

pub(super) fn publish(device: &Device, at: Timestamp, meter: Meter) -> Vec<Publication> {
    let mut said = vec![sensor(device, at, meter)];
    if device.steps.is_multiple_of(STATE_EVERY) {
        said.push(state(device, at));
    }
    said
}

fn sensor(device: &Device, at: Timestamp, meter: Meter) -> Publication {
    let apparent = meter.power_w.abs() / meter.factor;
    let reactive = (apparent * apparent - meter.power_w * meter.power_w).max(0.0).sqrt();
    let total = rounded(device.energy_wh / 1000.0, 3);
    let reading = json!({
        "Time": local(at),
        "ENERGY": {
            "TotalStartTime": "2026-01-01T00:00:00",
            "Total": total,
            "Yesterday": 0.0,
            "Today": total,
            "Period": rounded(device.minutes[0] / 1000.0, 0) as i64,
            "Power": rounded(meter.power_w, 0) as i64,
            "ApparentPower": rounded(apparent, 0) as i64,
            "ReactivePower": rounded(reactive, 0) as i64,
            "Factor": rounded(if meter.power_w == 0.0 { 0.0 } else { meter.factor }, 2),
            "Voltage": rounded(meter.voltage_v, 0) as i64,
            "Current": rounded(meter.current_a, 3),
        },
    });
    // Tasmota publishes at QoS 0 and can nothing else.
    message(topic(&device.options), &reading, 0)
}

fn state(device: &Device, at: Timestamp) -> Publication {
    let state = json!({
        "Time": local(at),
        "Uptime": "0T01:00:00",
        "POWER": "ON",
        "Wifi": { "AP": 1, "SSId": "workshop", "RSSI": 74, "Signal": -63 },
    });
    message(full_topic(&device.options, "tele", "STATE"), &state, 0)
}

/// Local time without a zone, as Tasmota states it; this one lives in UTC.
fn local(at: Timestamp) -> String {
    at.rfc3339().split('.').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{Device, DeviceOptions, Family};
    use super::*;

    #[test]
    fn speaks_like_a_plug() {
        let mut device = Device::new(DeviceOptions::new(Family::Tasmota, "saw"));
        let said = device.publish(Timestamp(1_700_000_000_000), 120.0);
        assert_eq!(said.len(), 1);
        assert_eq!((said[0].topic.as_str(), said[0].qos), ("tele/saw/SENSOR", 0));
        let reading: Value = serde_json::from_slice(&said[0].payload).unwrap();
        assert_eq!(reading["Time"], "2023-11-14T22:13:20");
        assert!((reading["ENERGY"]["Power"].as_i64().unwrap() - 120).abs() <= 3);
        assert_eq!(device.presence().topic, "tele/saw/LWT");
        let later: usize =
            (1..10).map(|second| device.publish(Timestamp(second * 1000), 1.0).len()).sum();
        assert_eq!(later, 10);
    }

    #[test]
    fn a_prefix_stands_before_tele() {
        let options = DeviceOptions {
            topic_prefix: Some("hall/1".into()),
            ..DeviceOptions::new(Family::Tasmota, "saw")
        };
        assert_eq!(Device::new(options).topic(), "hall/1/tele/saw/SENSOR");
    }
}
