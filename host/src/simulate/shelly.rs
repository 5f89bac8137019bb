//! What a Shelly of Gen2 and later publishes; shapes as recorded from a PM Mini and a Plus 1PM.

use serde_json::{Value, json};

use super::device::{Device, DeviceOptions, Meter, message, rounded};
use crate::broker::Presence;
use crate::message::{Publication, Timestamp};

fn prefix(options: &DeviceOptions) -> &str {
    options.topic_prefix.as_deref().unwrap_or(&options.id)
}

pub(super) fn topic(options: &DeviceOptions) -> String {
    format!("{}/status/{}", prefix(options), options.component)
}

pub(super) fn presence(options: &DeviceOptions) -> Presence {
    Presence {
        topic: format!("{}/online", prefix(options)),
        online: b"true".to_vec(),
        offline: b"false".to_vec(),
        qos: 0,
    }
}

pub(super) fn announce(device: &Device, at: Timestamp, meter: Meter) -> Vec<Publication> {
    let mut said = vec![status(device, at, meter)];
    if device.options.rpc {
        let component = component(device, at, meter);
        said.push(notify(&device.options, "NotifyFullStatus", at, component));
    }
    said
}

pub(super) fn publish(device: &Device, at: Timestamp, meter: Meter) -> Vec<Publication> {
    let mut said = vec![status(device, at, meter)];
    if device.options.rpc {
        let delta = json!({
            "id": id(&device.options),
            "apower": rounded(meter.power_w, 1),
            "current": rounded(meter.current_a, 3),
        });
        said.push(notify(&device.options, "NotifyStatus", at, delta));
    }
    said
}

fn status(device: &Device, at: Timestamp, meter: Meter) -> Publication {
    message(topic(&device.options), &component(device, at, meter), 1)
}

fn component(device: &Device, at: Timestamp, meter: Meter) -> Value {
    let [_, whole @ ..] = device.minutes;
    let mut component = json!({
        "id": id(&device.options),
        "voltage": rounded(meter.voltage_v, 1),
        "freq": rounded(meter.frequency_hz, 1),
        "apower": rounded(meter.power_w, 1),
        "current": rounded(meter.current_a, 3),
        "aenergy": {
            "total": rounded(device.energy_wh, 3),
            "by_minute": whole.map(|mwh| rounded(mwh, 3)),
            "minute_ts": at.0 / 60_000 * 60,
        },
    });
    if device.options.component.starts_with("switch")
        && let Some(object) = component.as_object_mut()
    {
        let celsius = 32.0 + meter.power_w / 100.0;
        object.insert("source".into(), json!("init"));
        object.insert("output".into(), json!(true));
        object.insert(
            "temperature".into(),
            json!({ "tC": rounded(celsius, 1), "tF": rounded(celsius * 1.8 + 32.0, 1) }),
        );
    }
    component
}

fn notify(options: &DeviceOptions, method: &str, at: Timestamp, component: Value) -> Publication {
    let prefix = prefix(options);
    let mut params = json!({ "ts": rounded(at.0 as f64 / 1000.0, 2) });
    params[options.component.as_str()] = component;
    let frame = json!({
        "src": options.id,
        "dst": format!("{prefix}/events"),
        "method": method,
        "params": params,
    });
    message(format!("{prefix}/events/rpc"), &frame, 1)
}

/// The number in `pm1:0`.
fn id(options: &DeviceOptions) -> u32 {
    options.component.rsplit(':').next().and_then(|id| id.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::{Device, DeviceOptions, Family};
    use super::*;

    #[test]
    fn speaks_like_a_pm_mini() {
        let mut device = Device::new(DeviceOptions::new(Family::Shelly, "shellypmminig3-sim"));
        let said = device.publish(Timestamp(1_700_000_000_250), 120.0);
        assert_eq!(said[0].topic, "shellypmminig3-sim/status/pm1:0");
        let status: Value = serde_json::from_slice(&said[0].payload).unwrap();
        let keys: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["aenergy", "apower", "current", "freq", "id", "voltage"]);
        assert!((status["apower"].as_f64().unwrap() - 120.0).abs() < 3.0);
        assert_eq!(said[1].topic, "shellypmminig3-sim/events/rpc");
        let frame: Value = serde_json::from_slice(&said[1].payload).unwrap();
        assert_eq!(frame["method"], "NotifyStatus");
        assert_eq!(frame["params"]["ts"], json!(1_700_000_000.25));
        assert_eq!(frame["params"]["pm1:0"]["apower"], status["apower"]);
    }

    #[test]
    fn a_relay_says_that_it_is_on_and_how_warm_it_is() {
        let options = DeviceOptions {
            component: "switch:1".into(),
            topic_prefix: Some("hall/saw".into()),
            rpc: false,
            ..DeviceOptions::new(Family::Shelly, "shellyplus1pm-sim")
        };
        let mut device = Device::new(options);
        let said = device.publish(Timestamp(0), 0.0);
        assert_eq!((said.len(), said[0].topic.as_str()), (1, "hall/saw/status/switch:1"));
        let status: Value = serde_json::from_slice(&said[0].payload).unwrap();
        assert_eq!(
            (&status["id"], &status["output"], &status["apower"]),
            (&json!(1), &json!(true), &json!(0.0))
        );
        assert_eq!(device.presence().topic, "hall/saw/online");
    }
}
