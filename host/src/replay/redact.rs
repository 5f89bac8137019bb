//! Takes out of captured messages what nobody else should see, such that they replay all the
//! same: each value becomes a pseudonym, the same one wherever it stands, so that devices can
//! still be told apart.
//!
//! A payload keeps every byte but those of the values. A text that is taken out is looked for in
//! the rest of its message as well: devices like to say their own name. Invariant: without the
//! key, no pseudonym leads back to its value.

use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use crate::message::{Message, Properties};

/// Shorter texts are taken out only where they stand alone: `on` is part of too much.
const SHORT: usize = 4;

/// What is to be taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redaction {
    /// The values of this key in a JSON payload, at any depth.
    Key(String),
    /// The value at this JSON pointer.
    Pointer(String),
    /// This level of the topic, from 1.
    Level(usize),
}

impl FromStr for Redaction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(level) = text.strip_prefix("topic:") {
            return match level.parse() {
                Ok(level) if level > 0 => Ok(Self::Level(level)),
                _ => Err(format!("`{level}` is no level of a topic; the first one is `topic:1`")),
            };
        }
        match text {
            "" => Err("name a key, a JSON pointer (`/wifi/ssid`) or `topic:1`".to_owned()),
            pointer if pointer.starts_with('/') => Ok(Self::Pointer(pointer.to_owned())),
            key => Ok(Self::Key(key.to_owned())),
        }
    }
}

/// Takes values out of messages.
pub struct Redactor {
    what: Vec<Redaction>,
    key: [u8; 32],
}

/// What became of a message's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Everything that was asked for was looked for.
    Through,
    /// It is no JSON, so no key was looked for.
    NotJson,
}

impl Redactor {
    /// Who knows the `key` gets the same pseudonyms again.
    pub fn new(what: Vec<Redaction>, key: &str) -> Self {
        Self { what, key: Sha256::digest(key.as_bytes()).into() }
    }

    /// Whether it takes out nothing.
    pub fn is_idle(&self) -> bool {
        self.what.is_empty()
    }

    /// Takes out what is to be.
    pub fn apply(&self, message: &mut Message) -> Looked {
        if self.is_idle() {
            return Looked::Through;
        }
        let mut known = Known { redactor: self, texts: Vec::new() };
        for (index, level) in message.topic.split('/').enumerate() {
            if self.what.contains(&Redaction::Level(index + 1)) {
                known.add(level);
            }
        }
        // What cannot be looked into is left out where something is to be hidden.
        message.properties = Arc::new(Properties {
            payload_is_text: message.properties.payload_is_text,
            message_expiry: message.properties.message_expiry,
            content_type: message.properties.content_type.clone(),
            ..Properties::default()
        });
        let text = std::str::from_utf8(&message.payload).ok();
        let json = text.filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let payload = match (json, text) {
            (Some(json), _) => Some(self.json(json, &mut known)),
            (None, Some(text)) => known.hide(text),
            (None, None) => None,
        };
        let topic = message.topic.split('/').enumerate().map(|(index, level)| {
            let whole = self.what.contains(&Redaction::Level(index + 1));
            if whole { self.text(level) } else { known.hide(level).unwrap_or(level.to_owned()) }
        });
        let topic = topic.collect::<Vec<_>>().join("/");
        let looks_for_keys = self.what.iter().any(|what| !matches!(what, Redaction::Level(_)));
        let is_opaque = json.is_none() && looks_for_keys && !message.payload.is_empty();
        if let Some(payload) = payload {
            message.payload = payload.into_bytes().into();
        }
        message.topic = topic.into();
        if is_opaque { Looked::NotJson } else { Looked::Through }
    }

    fn json(&self, text: &str, known: &mut Known<'_>) -> String {
        let tokens = tokens(text, &self.what);
        for token in tokens.iter().filter(|token| token.is_asked) {
            if let Some(value) = unescaped(&text[token.span.clone()]) {
                known.add(&value);
            }
        }
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for token in tokens {
            let written = &text[token.span.clone()];
            let value = unescaped(written);
            let instead = match (token.is_asked, &value) {
                (true, Some(value)) => Some(quoted(&self.text(value))),
                (true, None) => self.scalar(written),
                (false, Some(value)) => known.hide(value).map(|hidden| quoted(&hidden)),
                (false, None) => None,
            };
            if let Some(instead) = instead {
                out.push_str(&text[at..token.span.start]);
                out.push_str(&instead);
                at = token.span.end;
            }
        }
        out.push_str(&text[at..]);
        out
    }

    fn hash(&self, value: &str) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.key).chain_update(value.to_lowercase());
        hash.finalize().into()
    }

    /// The pseudonym of a text.
    fn text(&self, value: &str) -> String {
        if value.is_empty() {
            return String::new();
        }
        let mut name = "redacted-".to_owned();
        for byte in &self.hash(value)[..5] {
            // Writing into a text cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    /// In place of a number another one of nine digits, and of `true` and `false` the latter.
    fn scalar(&self, written: &str) -> Option<String> {
        match written {
            "null" => None,
            "true" | "false" => Some("false".to_owned()),
            number => {
                let hash = self.hash(number);
                let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
                Some((100_000_000 + number % 900_000_000).to_string())
            }
        }
    }
}

/// Texts of one message that were taken out.
struct Known<'a> {
    redactor: &'a Redactor,
    /// In small letters, the longest first.
    texts: Vec<String>,
}

impl Known<'_> {
    fn add(&mut self, text: &str) {
        let text = text.to_ascii_lowercase();
        if !text.is_empty() && !self.texts.contains(&text) {
            self.texts.push(text);
            self.texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
    }

    /// `text` without them; `None`: it holds none.
    fn hide(&self, text: &str) -> Option<String> {
        let lower = text.to_ascii_lowercase();
        let mut out = String::new();
        let (mut at, mut done) = (0, 0);
        while at < text.len() {
            let here = |known: &&String| {
                lower.as_bytes()[at..].starts_with(known.as_bytes())
                    && (known.len() >= SHORT || known.len() == text.len())
            };
            match self.texts.iter().find(here) {
                Some(known) => {
                    out.push_str(&text[done..at]);
                    out.push_str(&self.redactor.text(known));
                    at += known.len();
                    done = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        (done > 0).then(|| out + &text[done..])
    }
}

fn unescaped(written: &str) -> Option<String> {
    if written.starts_with('"') { serde_json::from_str(written).ok() } else { None }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A key or a value that is no object and no array.
struct Token {
    span: Range<usize>,
    is_asked: bool,
}

enum Frame {
    Object { key: String, at_key: bool },
    Array(usize),
}

/// Where keys and values stand in what is JSON. Not recursive: the depth is the device's.
fn tokens(text: &str, what: &[Redaction]) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => frames.push(Frame::Object { key: String::new(), at_key: true }),
            b'[' => frames.push(Frame::Array(0)),
            b'}' | b']' => drop(frames.pop()),
            b',' => match frames.last_mut() {
                Some(Frame::Object { at_key, .. }) => *at_key = true,
                Some(Frame::Array(index)) => *index += 1,
                None => {}
            },
            b':' | b' ' | b'\t' | b'\r' | b'\n' => {}
            first => {
                let end = at + length(&bytes[at..], first);
                let span = at..end;
                at = end;
                if let Some(Frame::Object { key, at_key }) = frames.last_mut()
                    && *at_key
                {
                    (*key, *at_key) = (unescaped(&text[span.clone()]).unwrap_or_default(), false);
                    tokens.push(Token { span, is_asked: false });
                } else {
                    tokens.push(Token { span, is_asked: is_asked(&frames, what) });
                }
                continue;
            }
        }
        at += 1;
    }
    tokens
}

/// How long the text, number or word at the beginning is.
fn length(bytes: &[u8], first: u8) -> usize {
    if first != b'"' {
        let ends = |byte: &u8| b",]} \t\r\n".contains(byte);
        return bytes.iter().position(ends).unwrap_or(bytes.len());
    }
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_asked(frames: &[Frame], what: &[Redaction]) -> bool {
    let named = |wanted: &str| {
        frames.iter().any(|frame| matches!(frame, Frame::Object { key, .. } if key == wanted))
    };
    let below = |pointer: &str| {
        let mut own = String::new();
        for frame in frames {
            own.push('/');
            match frame {
                Frame::Object { key, .. } => {
                    own.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                Frame::Array(index) => own.push_str(&index.to_string()),
            }
        }
        own.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    what.iter().any(|what| match what {
        Redaction::Key(key) => named(key),
        Redaction::Pointer(pointer) => below(pointer),
        Redaction::Level(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, Timestamp};

    fn redacted(what: &[&str], topic: &str, payload: &[u8]) -> (String, String, Looked) {
        let what = what.iter().map(|what| what.parse().unwrap()).collect();
        let mut message = Message {
            id: MessageId { source: "main".into(), epoch: 0, sequence: 1 },
            topic: topic.into(),
            payload: payload.to_vec().into(),
            received_at: Timestamp(0),
            qos: 1,
            retained: false,
            properties: Arc::new(Properties {
                user: vec![("owner".to_owned(), "me".to_owned())],
                ..Properties::default()
            }),
        };
        let looked = Redactor::new(what, "a key").apply(&mut message);
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        (message.topic.to_string(), payload, looked)
    }

    fn name(value: &str) -> String {
        Redactor::new(Vec::new(), "a key").text(value)
    }

    #[test]
    fn keys_pointers_and_levels_of_the_topic_are_taken_out_and_every_other_byte_stays() {
        let payload = br#"{ "id":0.000, "wifi":{"ssid":"Home\t1","rssi":-60}, "n":[1,{"ssid":null}], "big":1e400 }"#;
        let (topic, found, looked) = redacted(&["ssid", "/n/0"], "hall/press/status", payload);
        let number = Redactor::new(Vec::new(), "a key").scalar("1").unwrap();
        let expected = format!(
            r#"{{ "id":0.000, "wifi":{{"ssid":"{}","rssi":-60}}, "n":[{number},{{"ssid":null}}], "big":1e400 }}"#,
            name("Home\t1")
        );
        assert_eq!(
            (topic.as_str(), found, looked),
            ("hall/press/status", expected, Looked::Through)
        );
    }

    #[test]
    fn a_device_has_the_same_pseudonym_in_its_topic_and_wherever_it_names_itself() {
        let payload = br#"{"src":"Press-01","note":"this is press-01!","press-01":true,"on":"o"}"#;
        let (topic, found, _) = redacted(&["topic:2"], "hall/press-01/events/press-01", payload);
        let press = name("press-01");
        assert_eq!(topic, format!("hall/{press}/events/{press}"));
        let expected =
            format!(r#"{{"src":"{press}","note":"this is {press}!","{press}":true,"on":"o"}}"#);
        assert_eq!(found, expected);
        assert_ne!(press, name("press-02"));
        assert!(!press.contains("press"));
        // What is taken out of the payload goes from the topic, too.
        let (topic, ..) = redacted(&["src"], "hall/press-01/x", br#"{"src":"press-01"}"#);
        assert_eq!(topic, format!("hall/{press}/x"));
    }

    #[test]
    fn below_an_object_everything_is_taken_out_and_short_texts_only_where_they_stand_alone() {
        let payload = br#"{"who":{"a":"on","b":true,"c":[1.5]},"say":"on","so":"alone"}"#;
        let (_, found, _) = redacted(&["/who"], "t", payload);
        let (on, number) = (name("on"), Redactor::new(Vec::new(), "a key").scalar("1.5").unwrap());
        let expected = format!(
            r#"{{"who":{{"a":"{on}","b":false,"c":[{number}]}},"say":"{on}","so":"alone"}}"#
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_json_is_reported_and_loses_the_levels_of_its_topic() {
        let (_, found, looked) = redacted(&["ssid", "topic:1"], "press-01/x", b"press-01;12.5");
        assert_eq!((found, looked), (format!("{};12.5", name("press-01")), Looked::NotJson));
        assert_eq!(redacted(&["topic:1"], "a/x", b"\xff").2, Looked::Through);
        assert_eq!(redacted(&["ssid"], "a/x", b"").2, Looked::Through);
        assert_eq!(redacted(&["ssid"], "a/x", b"\xff").2, Looked::NotJson);
    }

    #[test]
    fn another_key_gives_other_pseudonyms_and_no_depth_is_too_deep() {
        assert_ne!(Redactor::new(Vec::new(), "another").text("press"), name("press"));
        let deep = "[".repeat(100_000) + "\"x\"" + &"]".repeat(100_000);
        assert_eq!(redacted(&["ssid"], "a", deep.as_bytes()).1, deep);
    }

    #[test]
    fn what_cannot_be_taken_out_is_refused_with_a_remedy() {
        for (text, expected) in [("topic:0", "the first one is `topic:1`"), ("", "name a key")] {
            let error = text.parse::<Redaction>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
