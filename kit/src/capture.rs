//! Captured messages, to begin a module with: lines of `tapline record`, of
//! `mosquitto_sub -F %J`, or written by hand.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;

/// More messages than a person would look through are no help to begin with.
const MOST: usize = 100;
/// Bytes of the samples together; all samples of a module have room for twice as much.
const MOST_BYTES: usize = 512 << 10;
/// Bytes of one line.
const LONGEST: u64 = 1 << 20;

/// What a sample says of a message, in the order in which it is written.
const KEYS: [&str; 10] = [
    "topic",
    "payload",
    "payload_base64",
    "received_at",
    "qos",
    "retained",
    "device",
    "broker",
    "properties",
    "source",
];

/// What a sample keeps of a captured message as it is.
const KEPT: [&str; 4] = ["payload_base64", "device", "broker", "properties"];

/// Messages of a capture that differ from each other.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    lines: Vec<String>,
    bytes: usize,
    /// Messages that are no samples: equal to one that is, or too many.
    pub left_out: usize,
}

impl Capture {
    /// Reads a capture.
    ///
    /// # Errors
    /// Which line is no message, or that there is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut input = BufReader::new(File::open(path).map_err(Error::file(path, "read"))?);
        let wrong = |line: usize, what: String| Error::Manifest {
            path: path.to_owned(),
            line,
            column: 1,
            what,
            remedy: "give lines like {\"topic\": \"plant/boiler\", \"payload\": \"21.5\"}: \
                     `mosquitto_sub -t 'plant/#' -F %J` and `tapline record` write them"
                .into(),
        };
        let file = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let mut capture = Self::default();
        let mut seen = BTreeSet::new();
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            let read = (&mut input).take(LONGEST + 1).read_until(b'\n', &mut text);
            let read = read.map_err(Error::file(path, "read"))?;
            if read == 0 {
                break;
            }
            if read as u64 > LONGEST {
                return Err(wrong(number, format!("the line is longer than {LONGEST} bytes")));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let line: Map<String, Value> = serde_json::from_slice(&text)
                .map_err(|error| wrong(number, format!("this is no JSON object: {error}")))?;
            // A recording also holds what is no message: devices, states, times.
            let Some(mut sample) = sample(line) else { continue };
            let same = (sample.get("topic").cloned(), payload(&sample));
            sample.insert("source".into(), format!("{file}:{number}").into());
            let line = written(&sample);
            let is_full = capture.lines.len() == MOST || capture.bytes + line.len() > MOST_BYTES;
            if is_full || !seen.insert(format!("{same:?}")) {
                capture.left_out += 1;
                continue;
            }
            capture.bytes += line.len() + 1;
            capture.lines.push(line);
        }
        if capture.lines.is_empty() {
            return Err(wrong(1, "there is no message in it".into()));
        }
        Ok(capture)
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// A file of samples: each says what comes in, and leaves open what comes of it.
    pub(crate) fn samples(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn payload(sample: &Map<String, Value>) -> Option<Value> {
    sample.get("payload").or(sample.get("payload_base64")).cloned()
}

fn written(sample: &Map<String, Value>) -> String {
    let said = KEYS.iter().filter_map(|key| Some(format!("\"{key}\": {}", sample.get(*key)?)));
    format!("{{{}}}", said.collect::<Vec<_>>().join(", "))
}

/// The sample of a captured line; `None` where it is no message.
fn sample(mut line: Map<String, Value>) -> Option<Map<String, Value>> {
    let topic = line.remove("topic").filter(Value::is_string)?;
    let mut sample = Map::from_iter([("topic".to_owned(), topic)]);
    match line.remove("payload") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => drop(sample.insert("payload".into(), text.into())),
        // `%J` writes a payload that is JSON as it is.
        Some(json) => drop(sample.insert("payload".into(), json.to_string().into())),
    }
    for key in KEPT {
        if let Some(value) = line.remove(key).filter(|value| !value.is_null()) {
            sample.insert(key.to_owned(), value);
        }
    }
    let received = line.remove("received_at").or_else(|| line.remove("tst").and_then(mosquitto));
    if let Some(received) = received.filter(|at| !at.is_null()) {
        sample.insert("received_at".into(), received);
    }
    if let Some(qos) = line.remove("qos").filter(Value::is_u64) {
        sample.insert("qos".into(), qos);
    }
    let retained = line.remove("retained").or_else(|| line.remove("retain"));
    if retained.is_some_and(|is| is == Value::Bool(true) || is == 1) {
        sample.insert("retained".into(), true.into());
    }
    Some(sample)
}

/// Mosquitto writes `2026-02-12T19:40:18.123456Z+0000`; another zone than UTC is left out.
fn mosquitto(time: Value) -> Option<Value> {
    let utc = time.as_str()?.strip_suffix("+0000")?;
    Some(format!("{}Z", utc.trim_end_matches('Z')).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Capture, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("day.jsonl");
        std::fs::write(&path, text).unwrap();
        Capture::read(&path)
    }

    #[test]
    fn takes_messages_of_recordings_and_of_mosquitto_and_each_once() {
        let capture = read(concat!(
            r#"{"recording":{"format":1,"pipeline":"hall"}}"#,
            "\n",
            r#"{"topic":"a","payload":"1","qos":1,"received_at":"2026-02-12T19:40:18.123Z"}"#,
            "\n\n",
            r#"{"topic":"a","payload":"1","qos":1,"received_at":"2026-02-12T19:40:19.123Z"}"#,
            "\n",
            r#"{"tst":"2026-02-12T19:40:18.5Z+0000","topic":"b","qos":0,"retain":1,"payload":{"w":1.5}}"#,
            "\n",
        ))
        .unwrap();
        assert_eq!((capture.count(), capture.left_out), (2, 1));
        let lines: Vec<Value> =
            capture.samples().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let at = "2026-02-12T19:40:18.123Z";
        assert_eq!(
            lines,
            [
                serde_json::json!({"topic": "a", "payload": "1", "qos": 1, "received_at": at,
                                   "source": "day.jsonl:2"}),
                serde_json::json!({
                    "topic": "b", "payload": "{\"w\":1.5}", "retained": true,
                    "received_at": "2026-02-12T19:40:18.5Z", "qos": 0,
                    "source": "day.jsonl:5",
                }),
            ]
        );
    }

    #[test]
    fn names_the_line_that_is_no_message() {
        let error = read("{\"topic\":\"a\",\"payload\":\"1\"}\nfoo\n").unwrap_err();
        assert!(error.to_string().contains("line 2, column 1: this is no JSON object"), "{error}");
        assert!(error.remedy().unwrap().contains("mosquitto_sub"));
        let error = read("\n").unwrap_err();
        assert!(error.to_string().contains("there is no message in it"), "{error}");
    }
}
