//! Text with placeholders that an item fills in: `{device}: {data.level}`. The same language as
//! `Template` of the module SDK, for what the host composes itself.
//!
//! Invariant: a placeholder of a parsed template is one that some item can fill.

use super::schema::{nearest, ticked};
use super::topic::Pattern;
use crate::quantity;

/// A checked text with placeholders; `{{` and `}}` are braces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Place(Place),
}

/// What a placeholder stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    Id,
    Bridge,
    Key,
    Seq,
    At,
    Device,
    /// The device's name.
    Machine,
    Label(String),
    /// Of an event.
    Kind,
    /// A field of an event's data, and fields within.
    Data(Vec<String>),
    Channel,
    /// A measurement of a reading, by the name of its quantity.
    Measurement(String),
    Topic,
    Payload,
}

/// What is wrong with a text, and what to do about it.
pub type Wrong = (String, String);

const NAMES: [&str; 13] = [
    "id", "bridge", "key", "seq", "at", "device", "machine", "labels", "kind", "data", "channel",
    "topic", "payload",
];

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A placeholder that nothing fills, or a brace without its other.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let brace = &from[..1];
            if from[1..].starts_with(brace) {
                plain.push_str(brace);
                rest = &from[2..];
                continue;
            }
            let end = (brace == "{").then(|| from.find('}')).flatten();
            // Another `{` before it: this one was meant as a brace, in JSON say.
            let Some(end) = end.filter(|end| !from[1..*end].contains('{')) else {
                let what = format!("`{brace}` has no other brace");
                return Err((what, format!("write `{brace}{brace}` for a brace itself")));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Place(Place::read(&from[1..end])?));
            rest = &from[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// Reads the template of a topic that is published to.
    ///
    /// # Errors
    /// As [`Template::parse`], and if no broker takes such a topic.
    pub fn parse_topic(text: &str) -> Result<Self, Wrong> {
        let template = Self::parse(text)?;
        if text.is_empty() {
            return Err(("topic is empty".to_owned(), "write a topic".to_owned()));
        }
        for piece in &template.pieces {
            match piece {
                Piece::Text(text) if text.contains(['+', '#']) => {
                    let what =
                        format!("`{text}` holds a wildcard, and nothing is published to one");
                    return Err((what, "write a topic; `{device}` and such are filled in".into()));
                }
                Piece::Text(text) if text.contains(char::is_control) => {
                    let what = "the topic contains a control character".to_owned();
                    return Err((what, "remove the character".to_owned()));
                }
                Piece::Place(Place::Topic | Place::Payload) => {
                    let what = "a topic cannot be made of another topic or a payload".to_owned();
                    return Err((what, "use `{device}` or fields of the event".to_owned()));
                }
                _ => {}
            }
        }
        Ok(template)
    }

    /// Every topic that it can become, as a filter: a value never holds more than a level.
    pub fn topic_filter(&self) -> Option<Pattern> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                // No topic holds it, so it marks where a value stands.
                Piece::Place(_) => text.push('+'),
            }
        }
        let levels = text.split('/').map(|level| if level.contains('+') { "+" } else { level });
        Pattern::parse(&levels.collect::<Vec<_>>().join("/")).ok()
    }

    /// The text with what `value` says for each placeholder.
    ///
    /// # Errors
    /// The first placeholder for which it has nothing.
    pub fn fill(&self, mut value: impl FnMut(&Place) -> Option<String>) -> Result<String, &Place> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(place) => filled.push_str(&value(place).ok_or(place)?),
            }
        }
        Ok(filled)
    }
}

impl Place {
    fn read(name: &str) -> Result<Self, Wrong> {
        let (first, rest) = match name.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (name, None),
        };
        let place = match (first, rest) {
            ("id", None) => Self::Id,
            ("bridge", None) => Self::Bridge,
            ("key", None) => Self::Key,
            ("seq", None) => Self::Seq,
            ("at", None) => Self::At,
            ("device", None) => Self::Device,
            ("machine", None) => Self::Machine,
            ("labels", Some(label)) if !label.is_empty() => Self::Label(label.to_owned()),
            ("kind", None) => Self::Kind,
            ("data", Some(path)) if path.split('.').all(|field| !field.is_empty()) => {
                Self::Data(path.split('.').map(str::to_owned).collect())
            }
            ("channel", None) => Self::Channel,
            ("topic", None) => Self::Topic,
            ("payload", None) => Self::Payload,
            (quantity, None) if quantity::by_name(quantity).is_some() => {
                Self::Measurement(quantity.to_owned())
            }
            _ => return Err(unknown(name, first)),
        };
        Ok(place)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = match self {
            Self::Label(name) => return write!(f, "labels.{name}"),
            Self::Data(path) => return write!(f, "data.{}", path.join(".")),
            Self::Measurement(name) => name,
            Self::Id => "id",
            Self::Bridge => "bridge",
            Self::Key => "key",
            Self::Seq => "seq",
            Self::At => "at",
            Self::Device => "device",
            Self::Machine => "machine",
            Self::Kind => "kind",
            Self::Channel => "channel",
            Self::Topic => "topic",
            Self::Payload => "payload",
        };
        f.write_str(plain)
    }
}

fn unknown(name: &str, first: &str) -> Wrong {
    let what = format!("nothing fills `{{{name}}}`");
    let quantities = quantity::all().iter().map(|entry| entry.name.as_str());
    let known: Vec<&str> = NAMES.into_iter().chain(quantities).collect();
    let remedy = match (first, nearest(first, &known)) {
        ("labels", _) => "name the label: `{labels.area}`".to_owned(),
        ("data", _) => "name a field of the event's data: `{data.level}`".to_owned(),
        (_, Some(near)) if near != first => format!("did you mean `{{{near}}}`?"),
        _ => format!(
            "possible are {}, measurements such as `power_w`, and `{{{{` for a brace itself",
            ticked(&NAMES)
        ),
    };
    (what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_placeholders_and_keeps_doubled_braces() {
        let template = Template::parse("{{\"level\": {data.level}}} of {device}").unwrap();
        let filled = template.fill(|place| Some(format!("<{place}>"))).unwrap();
        assert_eq!(filled, "{\"level\": <data.level>} of <device>");
        let missing = template.fill(|place| (*place == Place::Device).then(String::new));
        assert_eq!(missing.unwrap_err().to_string(), "data.level");
    }

    #[test]
    fn says_what_nothing_can_fill() {
        for (text, what, remedy) in [
            ("{devise}", "nothing fills `{devise}`", "did you mean `{device}`?"),
            ("{data}", "nothing fills `{data}`", "`{data.level}`"),
            ("{labels.}", "nothing fills `{labels.}`", "`{labels.area}`"),
            ("{\"a\": 1}", "nothing fills", "`{{` for a brace itself"),
            ("{device", "no other brace", "`{{`"),
            ("100 }", "no other brace", "`}}`"),
        ] {
            let (said, mended) = Template::parse(text).unwrap_err();
            assert!(said.contains(what) && mended.contains(remedy), "{text}: {said}; {mended}");
        }
        assert!(Template::parse("{power_w} W").is_ok());
    }

    #[test]
    fn a_topic_is_one_that_can_be_published_to() {
        let filter =
            |text: &str| Template::parse_topic(text).unwrap().topic_filter().unwrap().filter();
        assert_eq!(filter("cmnd/siren/POWER"), "cmnd/siren/POWER");
        assert_eq!(filter("cmnd/{device}/POWER{data.n}"), "cmnd/+/+");
        for wrong in ["", "a/+/b", "a/#", "a/{topic}", "a/{payload}", "a/\u{7}"] {
            assert!(Template::parse_topic(wrong).is_err(), "{wrong:?}");
        }
    }
}
