//! What stages emit, as JSON lines: the one shape in which replay, tap and explain print it.
//!
//! Field order is fixed, numbers are shortest round-trip, an event's data stands as it is
//! (RFC 8785): equal items are equal bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::item::Emitted;
use crate::message::{Item, Message, Publication, Reading, Timestamp};
use crate::quantity;

/// Writes an item as one line, with its line end.
pub fn write_item(bytes: &mut Vec<u8>, item: &Emitted, clock: &mut Clock) {
    let at = item.stated.unwrap_or(item.received_at);
    match &item.item {
        Item::Reading(reading) => {
            begin(bytes, "reading", &item.stage);
            device(bytes, item);
            text(bytes, ",\"channel\":", &reading.channel);
            clock.write(bytes, ",\"at\":", at);
            measurements(bytes, reading);
        }
        Item::Event(event) => {
            begin(bytes, "event", &item.stage);
            text(bytes, ",\"kind\":", &event.kind);
            device(bytes, item);
            if !event.channel.is_empty() {
                text(bytes, ",\"channel\":", &event.channel);
            }
            clock.write(bytes, ",\"at\":", at);
            bytes.extend(b",\"data\":");
            bytes.extend(event.data.as_bytes());
        }
        Item::Publication(publication) => {
            begin(bytes, "publication", &item.stage);
            write_publication(bytes, publication);
        }
    }
    bytes.extend(b"}\n");
}

/// Writes why a stage refused an input; `line` is the input's, where it came from a file.
pub fn write_rejection(
    bytes: &mut Vec<u8>,
    stage: &str,
    code: &str,
    detail: &str,
    line: Option<u64>,
) {
    begin(bytes, "rejection", stage);
    text(bytes, ",\"code\":", code);
    text(bytes, ",\"detail\":", detail);
    if let Some(line) = line {
        bytes.extend(b",\"line\":");
        json(bytes, &line);
    }
    bytes.extend(b"}\n");
}

/// Writes a message as it came, in the shape that replay reads.
pub fn write_message(bytes: &mut Vec<u8>, message: &Message, clock: &mut Clock) {
    bytes.extend(b"{\"item\":\"message\"");
    text(bytes, ",\"broker\":", &message.id.source);
    text(bytes, ",\"topic\":", &message.topic);
    payload(bytes, &message.payload);
    clock.write(bytes, ",\"received_at\":", message.received_at);
    bytes.extend(b",\"qos\":");
    json(bytes, &message.qos);
    bytes.extend(b",\"retained\":");
    json(bytes, &message.retained);
    bytes.extend(b"}\n");
}

fn begin(bytes: &mut Vec<u8>, kind: &str, stage: &str) {
    bytes.extend(b"{\"item\":\"");
    bytes.extend(kind.as_bytes());
    bytes.push(b'"');
    text(bytes, ",\"stage\":", stage);
}

fn device(bytes: &mut Vec<u8>, item: &Emitted) {
    if let Some(device) = &item.device {
        text(bytes, ",\"device\":", device.as_str());
    }
}

fn measurements(bytes: &mut Vec<u8>, reading: &Reading) {
    bytes.extend(b",\"measurements\":{");
    for (index, measurement) in reading.measurements.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        match quantity::entry(measurement.quantity) {
            Some(entry) => json(bytes, &entry.name),
            // A module's own quantity has a number only.
            None => json(bytes, &measurement.quantity.0.to_string()),
        }
        bytes.push(b':');
        json(bytes, &measurement.value);
    }
    bytes.push(b'}');
}

fn write_publication(bytes: &mut Vec<u8>, publication: &Publication) {
    if let Some(broker) = &publication.broker {
        text(bytes, ",\"broker\":", broker);
    }
    text(bytes, ",\"topic\":", &publication.topic);
    payload(bytes, &publication.payload);
    bytes.extend(b",\"qos\":");
    json(bytes, &publication.qos);
    bytes.extend(b",\"retain\":");
    json(bytes, &publication.retain);
}

fn payload(bytes: &mut Vec<u8>, payload: &[u8]) {
    match std::str::from_utf8(payload) {
        Ok(payload) => text(bytes, ",\"payload\":", payload),
        Err(_) => text(bytes, ",\"payload_base64\":", &BASE64.encode(payload)),
    }
}

fn text(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend(name.as_bytes());
    json(bytes, value);
}

fn json<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(bytes, value).expect("plain values are written into memory");
}

/// Writes times; most lines are of the same second as the one before.
#[derive(Default)]
pub struct Clock {
    second: Option<u64>,
    /// Up to and with the point before the milliseconds.
    text: String,
}

impl Clock {
    fn write(&mut self, bytes: &mut Vec<u8>, name: &str, at: Timestamp) {
        let (second, ms) = (at.0 / 1000, at.0 % 1000);
        if self.second != Some(second) {
            let text = at.rfc3339();
            match text.strip_suffix('Z').and_then(|text| text.len().checked_sub(3)) {
                Some(end) if text.is_char_boundary(end) => {
                    self.second = Some(second);
                    self.text.clear();
                    self.text.push_str(&text[..end]);
                }
                // A time that RFC 3339 cannot write.
                _ => return self::text(bytes, name, &text),
            }
        }
        bytes.extend(name.as_bytes());
        bytes.push(b'"');
        bytes.extend(self.text.as_bytes());
        // Each is one digit.
        let digits = [ms / 100, ms / 10 % 10, ms % 10];
        bytes.extend(digits.map(|digit| b'0' + u8::try_from(digit).unwrap_or(0)));
        bytes.extend(b"Z\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{DeviceId, Measurement, Quantity};
    use crate::pipeline::item::Position;

    #[test]
    fn a_time_reads_as_everywhere_else() {
        let mut clock = Clock::default();
        for ms in [0, 999, 1_000, 1_001, 1_780_000_000_070, 1_780_000_000_700, 5] {
            let mut bytes = Vec::new();
            clock.write(&mut bytes, "", Timestamp(ms));
            assert_eq!(
                String::from_utf8(bytes).unwrap(),
                format!("\"{}\"", Timestamp(ms).rfc3339())
            );
        }
    }

    #[test]
    fn a_publication_is_text_or_base64() {
        let of = |payload: &[u8], broker: Option<&str>| {
            let mut bytes = Vec::new();
            begin(&mut bytes, "publication", "commands");
            let publication = Publication {
                broker: broker.map(str::to_owned),
                topic: "command/\"a\"".to_owned(),
                payload: payload.to_vec(),
                qos: 1,
                retain: false,
                properties: crate::message::Properties::default(),
            };
            write_publication(&mut bytes, &publication);
            bytes.push(b'}');
            serde_json::from_slice::<serde_json::Value>(&bytes).expect("a JSON object")
        };
        let expected = serde_json::json!({
            "item": "publication", "stage": "commands", "topic": "command/\"a\"",
            "payload": "st\"op", "qos": 1, "retain": false,
        });
        assert_eq!(of(b"st\"op", None), expected);
        let other = of(b"\xff", Some("hall"));
        assert_eq!((&other["payload_base64"], &other["broker"]), (&"/w==".into(), &"hall".into()));
    }

    #[test]
    fn a_reading_is_written_with_the_names_of_its_quantities() {
        let reading = Reading {
            device: None,
            channel: "switch:0".to_owned(),
            at: None,
            measurements: vec![
                Measurement { quantity: Quantity(1), value: 125.5 },
                Measurement { quantity: Quantity(60_000), value: 1e-7 },
            ],
        };
        let item = Emitted {
            item: Item::Reading(reading),
            stage: "shelly".into(),
            device: Some(DeviceId::from("press-01")),
            bound: None,
            stated: None,
            received_at: Timestamp(1_780_000_000_070),
            qos: 1,
            retained: false,
            message: Some(0),
            woken: None,
            position: Position { input: 0, stage: 0, output: 0 },
            identity: None,
            counts: true,
        };
        let mut bytes = Vec::new();
        write_item(&mut bytes, &item, &mut Clock::default());
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"item\":\"reading\",\"stage\":\"shelly\",\"device\":\"press-01\",\
             \"channel\":\"switch:0\",\"at\":\"2026-05-28T20:26:40.070Z\",\
             \"measurements\":{\"power_w\":125.5,\"60000\":1e-7}}\n"
        );
    }
}
