//! Generation 1: one value per topic under `shellies/<id>/…`, mostly plain numbers.
//!
//! Topics and units: <https://shelly-api-docs.shelly.cloud/gen1/>. Two things are easily
//! got wrong there: `energy` counts watt-minutes since the last restart while `total`
//! counts watt-hours for ever, and 999 is what an unplugged probe reports.

use tapline_sdk::prelude::*;

use crate::topic::{Gen1, Leaf};
use crate::{DEVICE, DEVICE_EVENT, error_event, shortened, unknown_value};

/// Reads one message of a generation 1 device.
pub(crate) fn parse(topic: &Gen1<'_>, message: &Message) -> Result<Vec<Item>, Rejection> {
    match topic.leaf {
        Leaf::Measure { measure: "status", .. } => light(topic, message),
        Leaf::State { kind: "input_event", .. } => input_event(topic, message),
        Leaf::State { kind: "relay" | "light" | "white" | "color", .. } => output(topic, message),
        _ => scalar(topic, message),
    }
}

impl Gen1<'_> {
    /// The channel of the readings that come on this topic; none where there are none.
    pub(crate) fn channel(&self) -> Option<String> {
        match self.leaf {
            Leaf::Measure { kind, index, .. }
                if matches!(kind, "relay" | "light" | "white" | "color" | "roller" | "emeter") =>
            {
                Some(format!("{kind}:{index}"))
            }
            Leaf::State { kind: "input_event", index } => Some(format!("input:{index}")),
            Leaf::State { kind, index }
                if matches!(
                    kind,
                    "relay"
                        | "light"
                        | "white"
                        | "color"
                        | "input"
                        | "adc"
                        | "ext_temperature"
                        | "ext_humidity"
                ) =>
            {
                Some(format!("{kind}:{index}"))
            }
            // One meter behind both relays (Shelly 2): their sum.
            Leaf::Part { kind: "relay", .. } => Some("relay:total".into()),
            Leaf::Part { kind: "sensor", measure: "battery" } => Some(DEVICE.into()),
            Leaf::Part { kind: "sensor", measure: "temperature" | "humidity" | "lux" } => {
                Some("sensor".into())
            }
            Leaf::Part { kind: "sensor", measure } if is_alarm(measure) => Some(measure.into()),
            Leaf::Device {
                measure: "temperature" | "temperature_f" | "overtemperature" | "voltage",
            } => Some(DEVICE.into()),
            _ => None,
        }
    }
}

/// What a plain number or flag means.
enum Meaning {
    Number(Quantity, fn(f64) -> Option<f64>),
    Flag(Quantity),
}

impl Leaf<'_> {
    /// `None`: of no interest, or told better on another topic.
    fn meaning(&self) -> Option<Meaning> {
        use Meaning::{Flag, Number};
        Some(match *self {
            // `emeter/<i>/energy` and `returned_energy` are left out: they count the same
            // as `total`, but from the last restart on, and one channel with two counters
            // would look like one that is reset all the time.
            Leaf::Measure { kind: "emeter", measure, .. } => match measure {
                "power" => Number(quantity::POWER_W, as_is),
                "reactive_power" => Number(quantity::REACTIVE_POWER_VAR, as_is),
                "pf" => Number(quantity::POWER_FACTOR, as_is),
                "voltage" => Number(quantity::VOLTAGE_V, as_is),
                "current" => Number(quantity::CURRENT_A, as_is),
                "total" => Number(quantity::ENERGY_WH, as_is),
                "total_returned" => Number(quantity::ENERGY_EXPORTED_WH, as_is),
                _ => return None,
            },
            Leaf::Measure { kind: "roller", measure: "pos", .. } => {
                Number(quantity::POSITION_PCT, calibrated)
            }
            Leaf::Measure { measure, .. } | Leaf::Part { kind: "relay", measure } => {
                match measure {
                    "power" => Number(quantity::POWER_W, as_is),
                    "energy" => Number(quantity::ENERGY_WH, from_watt_minutes),
                    _ => return None,
                }
            }
            Leaf::State { kind: "input", .. } => Flag(quantity::INPUT_ON),
            Leaf::State { kind: "ext_temperature", .. } => Number(quantity::TEMPERATURE_C, plugged),
            Leaf::State { kind: "ext_humidity", .. } => Number(quantity::HUMIDITY_PCT, plugged),
            Leaf::State { kind: "adc", .. } => Number(quantity::VOLTAGE_V, as_is),
            Leaf::State { .. } => return None,
            Leaf::Part { measure: "temperature", .. } => Number(quantity::TEMPERATURE_C, plugged),
            Leaf::Part { measure: "humidity", .. } => Number(quantity::HUMIDITY_PCT, plugged),
            Leaf::Part { measure: "lux", .. } => Number(quantity::ILLUMINANCE_LX, measured),
            Leaf::Part { measure: "battery", .. } => Number(quantity::BATTERY_PCT, measured),
            Leaf::Part { measure, .. } if is_alarm(measure) => Flag(quantity::INPUT_ON),
            Leaf::Part { .. } => return None,
            Leaf::Device { measure } => match measure {
                "temperature" => Number(quantity::DEVICE_TEMPERATURE_C, plugged),
                "temperature_f" => Number(quantity::DEVICE_TEMPERATURE_C, from_fahrenheit),
                "overtemperature" => Flag(quantity::OVERTEMPERATURE),
                "voltage" => Number(quantity::VOLTAGE_V, as_is),
                _ => return None,
            },
        })
    }
}

/// Sensors that say yes or no; each is a channel of its own.
fn is_alarm(measure: &str) -> bool {
    matches!(measure, "flood" | "motion" | "smoke" | "vibration" | "state")
}

fn as_is(value: f64) -> Option<f64> {
    Some(value)
}

fn from_watt_minutes(value: f64) -> Option<f64> {
    Some(value / 60.0)
}

fn plugged(celsius_or_percent: f64) -> Option<f64> {
    (celsius_or_percent != 999.0).then_some(celsius_or_percent)
}

fn from_fahrenheit(value: f64) -> Option<f64> {
    // An unplugged probe is 999 in both units, or 999 °C converted.
    (value != 999.0 && value != 1830.2).then_some((value - 32.0) / 1.8)
}

/// A sensor that has not measured yet says -1.
fn measured(value: f64) -> Option<f64> {
    (value >= 0.0).then_some(value)
}

/// A roller without calibration says -1 or 101.
fn calibrated(percent: f64) -> Option<f64> {
    (0.0..=100.0).contains(&percent).then_some(percent)
}

fn scalar(topic: &Gen1<'_>, message: &Message) -> Result<Vec<Item>, Rejection> {
    let (Some(meaning), Some(channel)) = (topic.leaf.meaning(), topic.channel()) else {
        return Ok(Vec::new());
    };
    let text = message.text()?.trim();
    let (quantity, value) = match meaning {
        Meaning::Flag(quantity) => (quantity, Some(f64::from(u8::from(flag(text)?)))),
        Meaning::Number(quantity, value) => (quantity, value(number(text)?)),
    };
    Ok(match value {
        Some(value) => vec![Reading::channel(channel).set(quantity, value).into()],
        None => Vec::new(),
    })
}

fn number(text: &str) -> Result<f64, Rejection> {
    // Rust also reads `nan` and `inf`, which no device means as a value.
    text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| {
        let detail = format!("the topic carries a number, this is `{}`", shortened(text));
        Rejection::new("not-a-number", detail)
    })
}

fn flag(text: &str) -> Result<bool, Rejection> {
    match text {
        "1" | "true" | "on" | "open" => Ok(true),
        "0" | "false" | "off" | "close" => Ok(false),
        other => Err(unknown_value("a flag is 0 or 1", other)),
    }
}

/// `on`, `off`, or `overpower`: switched off to protect itself, which also is an event.
fn output(topic: &Gen1<'_>, message: &Message) -> Result<Vec<Item>, Rejection> {
    let Some(channel) = topic.channel() else { return Ok(Vec::new()) };
    let text = message.text()?.trim();
    let on = match text {
        "on" => true,
        "off" | "overpower" => false,
        other => return Err(unknown_value("an output is `on`, `off` or `overpower`", other)),
    };
    let mut items = vec![Reading::channel(channel.clone()).output_on(on).into()];
    if text == "overpower" && !message.retained {
        items.push(error_event(&channel, text).into());
    }
    Ok(items)
}

/// `light/<i>/status` and its like: the one JSON report that carries measurements.
#[derive(Deserialize)]
struct Light {
    ison: Option<bool>,
    power: Option<f64>,
}

fn light(topic: &Gen1<'_>, message: &Message) -> Result<Vec<Item>, Rejection> {
    let Some(channel) = topic.channel() else { return Ok(Vec::new()) };
    let light: Light = message.json()?;
    let reading = Reading::channel(channel).output_on(light.ison).power_w(light.power);
    Ok(if reading.is_empty() { Vec::new() } else { vec![reading.into()] })
}

/// A press of a button. The letters are the device's: `S` short, `L` long.
#[derive(Deserialize)]
struct InputEvent {
    #[serde(default)]
    event: String,
    event_cnt: Option<u64>,
}

#[derive(Serialize)]
struct Press {
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

fn input_event(topic: &Gen1<'_>, message: &Message) -> Result<Vec<Item>, Rejection> {
    let Some(channel) = topic.channel() else { return Ok(Vec::new()) };
    let InputEvent { event, event_cnt } = message.json()?;
    // Devices retain this topic, so the last press comes again on every subscription; and
    // an empty text says that there was none.
    if event.is_empty() || message.retained {
        return Ok(Vec::new());
    }
    let data = Press { event, count: event_cnt };
    Ok(vec![Event::new(DEVICE_EVENT).channel(channel).data(&data).into()])
}

#[cfg(test)]
mod tests {
    use tapline_sdk::testing::{item_json, message};

    use super::*;
    use crate::Shelly;

    fn check(topic: &str, payload: &str, expected: &str) {
        let outcome = Shelly.parse(&message(format!("shellies/x/{topic}"), payload));
        let shown = match outcome {
            Ok(items) => items.iter().map(|item| item_json(item).to_string()).collect(),
            Err(refused) => vec![refused.code],
        };
        assert_eq!(shown.join(" "), expected, "{topic}: {payload}");
    }

    #[test]
    fn energy_is_counted_in_watt_minutes_and_total_in_watt_hours() {
        check("relay/0/energy", "120", r#"{"channel":"relay:0","energy_wh":2.0}"#);
        check("relay/energy", "120", r#"{"channel":"relay:total","energy_wh":2.0}"#);
        check("emeter/1/total", "120", r#"{"channel":"emeter:1","energy_wh":120.0}"#);
    }

    #[test]
    fn a_meter_with_totals_has_one_counter_alone() {
        check("emeter/0/energy", "120", "");
        check("emeter/0/returned_energy", "120", "");
    }

    #[test]
    fn what_a_sensor_says_without_a_value_is_no_value() {
        check(
            "ext_temperature/0",
            "21.5",
            r#"{"channel":"ext_temperature:0","temperature_c":21.5}"#,
        );
        check("ext_temperature/0", "999", "");
        check("ext_temperature/0", "999.0", "");
        check("ext_humidity/0", "999", "");
        check("temperature", "999", "");
        check("temperature_f", "1830.2", "");
        check("sensor/temperature", "999", "");
        check("sensor/lux", "-1", "");
        check("roller/0/pos", "-1", "");
        check("roller/0/pos", "40", r#"{"channel":"roller:0","position_pct":40.0}"#);
    }

    #[test]
    fn a_battery_sensor_tells_its_parts() {
        check("sensor/temperature", "19.2", r#"{"channel":"sensor","temperature_c":19.2}"#);
        check("sensor/humidity", "54", r#"{"channel":"sensor","humidity_pct":54.0}"#);
        check("sensor/battery", "88", r#"{"battery_pct":88.0,"channel":"device"}"#);
        check("sensor/flood", "true", r#"{"channel":"flood","input_on":1.0}"#);
        check("sensor/flood", "false", r#"{"channel":"flood","input_on":0.0}"#);
    }

    #[test]
    fn overpower_switches_off_and_is_an_event_unless_it_was_kept() {
        let off = r#"{"channel":"relay:0","output_on":0.0}"#;
        let event = r#"{"channel":"relay:0","data":{"error":"overpower"},"kind":"device_error"}"#;
        check("relay/0", "overpower", &format!("{off} {event}"));
        let kept = Message { retained: true, ..message("shellies/x/relay/0", "overpower") };
        assert_eq!(Shelly.parse(&kept).unwrap().len(), 1);
    }

    #[test]
    fn a_kept_press_of_a_button_does_not_happen_again() {
        let press = message("shellies/x/input_event/0", r#"{"event":"S","event_cnt":3}"#);
        assert_eq!(Shelly.parse(&press).unwrap().len(), 1);
        assert_eq!(Shelly.parse(&Message { retained: true, ..press }).unwrap(), []);
    }

    #[test]
    fn a_value_that_the_topic_does_not_have_is_refused() {
        for number in ["", " ", "nan", "inf", "-inf", "1e999", "on", "12,5", "0x10", "12 W"] {
            let expected = if number.is_empty() { "" } else { "not-a-number" };
            check("relay/0/power", number, expected);
        }
        check("relay/0/power", " -12.5\n", r#"{"channel":"relay:0","power_w":-12.5}"#);
        check("relay/0", "ON", "unknown-value");
        check("input/0", "2", "unknown-value");
        check("online", "yes", "unknown-value");
        check("input_event/0", "S", "not-json");
        check("input_event/0", r#"{"event":7}"#, "wrong-shape");
        check("color/0/status", "{", "not-json");
        let not_text = message("shellies/x/relay/0/power", b"12\xff.5");
        assert_eq!(Shelly.parse(&not_text).unwrap_err().code, "not-utf8");
    }

    #[test]
    fn what_tells_of_no_measurement_is_left_aside_whatever_it_holds() {
        for topic in [
            "relay/0/command",
            "relay/0/overpower_value",
            "roller/0",
            "longpush/0",
            "info",
            "announce",
            "command",
            "loaderror",
            "sensor/error",
            "ext_temperatures",
            "nonsense",
            "relay/0/power/set",
            "relay/9999/power",
        ] {
            check(topic, "\u{0}{[", "");
        }
    }
}
