//! Items as JSON lines, in their order: counted time, then wake-ups by key, then inputs by
//! line; of one input by stage, and as the stage emitted them.

use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::sorted::{Sorted, WriteError};
use crate::message::{Item, Message, Publication, Reading, Timestamp};
use crate::pipeline::{Effects, Emitted, Plan};
use crate::quantity;
use crate::store::DeadLetter;

/// Lines of what a pipeline emits.
pub struct Output {
    lines: Sorted,
    clock: Clock,
}

/// What an item follows from.
enum Cause<'a> {
    /// A wake-up, or what else concerns a key without a message.
    Key(&'a str),
    /// The message of a line.
    Line(u64),
}

impl Output {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { lines: Sorted::new(), clock: Clock::default() }
    }

    /// How many lines there are.
    pub fn count(&self) -> u64 {
        self.lines.count()
    }

    /// Takes what followed from `messages`, which stand on these `lines`.
    ///
    /// # Errors
    /// If more waits than memory should hold, and the temporary directory does not take it.
    pub fn take(
        &mut self,
        plan: &Plan,
        effects: &Effects,
        messages: &[Arc<Message>],
        lines: &[u64],
    ) -> io::Result<()> {
        let line_of = |index: usize| lines.get(index).copied().unwrap_or_default();
        for item in &effects.items {
            let key = item.identity.as_ref().map_or("", |identity| &*identity.key);
            let cause = match (&item.woken, item.message) {
                (Some(key), _) => Cause::Key(key),
                (None, Some(index)) => Cause::Line(line_of(index)),
                (None, None) => Cause::Key(key),
            };
            let rank = plan.rank(&item.stage);
            let clock = &mut self.clock;
            self.lines.add(|bytes| {
                let end = order(bytes, counted(plan, item, rank), &cause, rank);
                write_item(bytes, item, clock);
                end
            })?;
        }
        for letter in &effects.dead {
            let index = letter.message.as_ref().and_then(|message| {
                // A letter's own copy of one of these.
                messages.iter().position(|one| one.id == message.id)
            });
            let line = index.map(line_of);
            let cause = line.map_or(Cause::Key(""), Cause::Line);
            self.lines.add(|bytes| {
                let end = order(bytes, letter.at, &cause, plan.rank(&letter.stage));
                write_rejection(bytes, letter, line);
                end
            })?;
        }
        Ok(())
    }

    /// Writes all lines in order.
    pub(super) fn write(self, output: &mut impl Write) -> Result<(), WriteError> {
        self.lines.write(output)
    }

    /// All lines in order, for those who have room for them.
    ///
    /// # Errors
    /// If the temporary directory cannot be read.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).map_err(|error| match error {
            WriteError::Scratch(error) | WriteError::Output(error) => error,
        })?;
        Ok(bytes)
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// When an item counts. What a parser emits has a time of its own; sinks that take it give it
/// another, which must not depend on whether there is one.
fn counted(plan: &Plan, item: &Emitted, rank: usize) -> Timestamp {
    match &item.identity {
        Some(identity) if rank >= plan.first_detector_rank() => identity.at,
        _ => item.stated.unwrap_or(item.received_at),
    }
}

/// Writes what a line is ordered by, such that bytes compare as the parts do.
fn order(bytes: &mut Vec<u8>, at: Timestamp, cause: &Cause<'_>, rank: usize) -> usize {
    bytes.extend(at.0.to_be_bytes());
    match cause {
        Cause::Key(key) => {
            bytes.push(0);
            bytes.extend(key.as_bytes());
            bytes.push(0);
        }
        Cause::Line(line) => {
            bytes.push(1);
            bytes.extend(line.to_be_bytes());
        }
    }
    // Validators have no rank and come first: what they refuse goes no further.
    let rank = u32::try_from(rank.wrapping_add(1)).unwrap_or(u32::MAX);
    bytes.extend(rank.to_be_bytes());
    bytes.len()
}

fn write_item(bytes: &mut Vec<u8>, item: &Emitted, clock: &mut Clock) {
    let at = item.stated.unwrap_or(item.received_at);
    match &item.item {
        Item::Reading(reading) => {
            begin(bytes, "reading", &item.stage);
            device(bytes, item);
            text(bytes, ",\"channel\":", &reading.channel);
            clock.write(bytes, at);
            measurements(bytes, reading);
        }
        Item::Event(event) => {
            begin(bytes, "event", &item.stage);
            text(bytes, ",\"kind\":", &event.kind);
            device(bytes, item);
            if !event.channel.is_empty() {
                text(bytes, ",\"channel\":", &event.channel);
            }
            clock.write(bytes, at);
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
    match std::str::from_utf8(&publication.payload) {
        Ok(payload) => text(bytes, ",\"payload\":", payload),
        Err(_) => text(bytes, ",\"payload_base64\":", &BASE64.encode(&publication.payload)),
    }
    bytes.extend(b",\"qos\":");
    json(bytes, &publication.qos);
    bytes.extend(b",\"retain\":");
    json(bytes, &publication.retain);
}

fn write_rejection(bytes: &mut Vec<u8>, letter: &DeadLetter, line: Option<u64>) {
    begin(bytes, "rejection", &letter.stage);
    text(bytes, ",\"code\":", &letter.code);
    text(bytes, ",\"detail\":", &letter.detail);
    if let Some(line) = line {
        bytes.extend(b",\"line\":");
        json(bytes, &line);
    }
    bytes.extend(b"}\n");
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
struct Clock {
    second: Option<u64>,
    /// Up to and with the point before the milliseconds.
    text: String,
}

impl Clock {
    fn write(&mut self, bytes: &mut Vec<u8>, at: Timestamp) {
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
                _ => return self::text(bytes, ",\"at\":", &text),
            }
        }
        bytes.extend(b",\"at\":\"");
        bytes.extend(self.text.as_bytes());
        bytes.extend([
            b'0' + (ms / 100) as u8,
            b'0' + (ms / 10 % 10) as u8,
            b'0' + (ms % 10) as u8,
        ]);
        bytes.extend(b"Z\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_everywhere_else() {
        let mut clock = Clock::default();
        for ms in [0, 999, 1_000, 1_001, 1_780_000_000_070, 1_780_000_000_700, 5] {
            let mut bytes = Vec::new();
            clock.write(&mut bytes, Timestamp(ms));
            let expected = format!(",\"at\":\"{}\"", Timestamp(ms).rfc3339());
            assert_eq!(String::from_utf8(bytes).expect("text"), expected);
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
    fn wake_ups_come_by_key_before_inputs_of_the_same_time() {
        let of = |at, cause: Cause<'_>, rank| {
            let mut bytes = Vec::new();
            order(&mut bytes, Timestamp(at), &cause, rank);
            bytes
        };
        let orders = [
            of(1, Cause::Line(900), 5),
            of(2, Cause::Key("a"), 3),
            of(2, Cause::Key("a-b"), 0),
            of(2, Cause::Key("b"), 0),
            of(2, Cause::Line(1), usize::MAX),
            of(2, Cause::Line(1), 0),
            of(2, Cause::Line(1), 1),
            of(2, Cause::Line(256), 0),
            of(256, Cause::Key(""), 0),
        ];
        assert!(orders.is_sorted(), "{orders:?}");
    }
}
