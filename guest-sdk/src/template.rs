//! Text with placeholders, which settings of a sink are made of: `{device}: {data.level}`.

use std::fmt;

use serde_json::Value;

use crate::item::Item;
use crate::quantity::Quantity;
use crate::sink::{Content, Delivery};

/// A text with placeholders that a delivery fills in.
///
/// | placeholder | what it becomes |
/// |---|---|
/// | `{id}`, `{bridge}`, `{key}`, `{seq}`, `{at}` | of the delivery; the time in RFC 3339 |
/// | `{device}`, `{machine}` | id and name of the device |
/// | `{labels.NAME}` | a label of the device |
/// | `{kind}`, `{data.NAME}`, `{data.NAME.NAME}` | kind and data of an event |
/// | `{channel}` | of an event or a reading |
/// | `{power_w}`, `{temperature_c}`, … | a measurement of a reading |
/// | `{topic}`, `{payload}` | of a message or a publication |
///
/// `{{` and `}}` are braces.
///
/// ```
/// use tapline_sdk::prelude::*;
/// use tapline_sdk::serde_json::json;
/// use tapline_sdk::{Template, testing};
///
/// let template = Template::parse("{kind} of {device}: {data.level}").unwrap();
/// let alarm = Event::new("alarm").device("cellar").data(&json!({"level": "high"}));
/// assert_eq!(template.fill(&testing::delivery(1, alarm)).unwrap(), "alarm of cellar: high");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Id,
    Bridge,
    Key,
    Seq,
    At,
    Device,
    Machine,
    Label(String),
    Kind,
    Data(Vec<String>),
    Channel,
    Measurement(Quantity, String),
    Topic,
    Payload,
}

/// What a delivery lacks for a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no `{}`", self.0)
    }
}

impl std::error::Error for Missing {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// In words for a person: a placeholder that nothing fills, a brace without its other.
    pub fn parse(text: &str) -> Result<Self, String> {
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
            let Some(end) = end else {
                return Err(format!(
                    "`{text}` has a `{brace}` without its other; write `{brace}{brace}` for a \
                     brace itself"
                ));
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
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text for `delivery`.
    ///
    /// # Errors
    /// If the delivery lacks what a placeholder stands for.
    pub fn fill(&self, delivery: &Delivery) -> Result<String, Missing> {
        self.fill_with(delivery, &mut |value| value)
    }

    /// The text for `delivery`, with each value escaped for where it stands.
    ///
    /// # Errors
    /// If the delivery lacks what a placeholder stands for.
    pub fn fill_with(
        &self,
        delivery: &Delivery,
        escape: &mut dyn FnMut(String) -> String,
    ) -> Result<String, Missing> {
        let data = event_data(delivery);
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(place) => {
                    let value = place.value(delivery, data.as_ref());
                    let value = value.ok_or_else(|| Missing(place.to_string()))?;
                    filled.push_str(&escape(value));
                }
            }
        }
        Ok(filled)
    }
}

fn event_data(delivery: &Delivery) -> Option<Value> {
    match &delivery.content {
        Content::Item(Item::Event(event)) => event.read().ok(),
        _ => None,
    }
}

impl Place {
    fn read(name: &str) -> Result<Self, String> {
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
            ("kind", None) => Self::Kind,
            ("channel", None) => Self::Channel,
            ("topic", None) => Self::Topic,
            ("payload", None) => Self::Payload,
            ("labels", Some(label)) if !label.is_empty() => Self::Label(label.to_owned()),
            ("data", Some(path)) if path.split('.').all(|step| !step.is_empty()) => {
                Self::Data(path.split('.').map(str::to_owned).collect())
            }
            (quantity, None) => match Quantity::from_name(quantity) {
                Some(known) => Self::Measurement(known, quantity.to_owned()),
                None => return Err(unknown(name)),
            },
            _ => return Err(unknown(name)),
        };
        Ok(place)
    }

    fn value(&self, delivery: &Delivery, data: Option<&Value>) -> Option<String> {
        let item = match &delivery.content {
            Content::Item(item) => Some(item),
            Content::Message(_) => None,
        };
        match self {
            Self::Id => Some(delivery.id.clone()),
            Self::Bridge => Some(delivery.bridge.clone()),
            Self::Key => Some(delivery.key.clone()),
            Self::Seq => Some(delivery.seq.to_string()),
            Self::At => Some(crate::time::rfc3339(match item {
                Some(Item::Event(event)) => event.at.unwrap_or(delivery.at),
                Some(Item::Reading(reading)) => reading.at.unwrap_or(delivery.at),
                _ => delivery.at,
            })),
            Self::Device => match (&delivery.device, item) {
                (Some(device), _) => Some(device.id.clone()),
                (None, Some(Item::Event(event))) => event.device.clone(),
                (None, Some(Item::Reading(reading))) => reading.device.clone(),
                _ => None,
            },
            Self::Machine => delivery.device.as_ref().map(|device| device.name.clone()),
            Self::Label(name) => {
                let labels = &delivery.device.as_ref()?.labels;
                labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            }
            Self::Kind => match item? {
                Item::Event(event) => Some(event.kind.clone()),
                _ => None,
            },
            Self::Data(path) => {
                let mut value = data?;
                for step in path {
                    value = value.get(step)?;
                }
                match value {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    value => Some(value.to_string()),
                }
            }
            Self::Channel => match item? {
                Item::Event(event) => Some(event.channel.clone()),
                Item::Reading(reading) => Some(reading.channel.clone()),
                Item::Publication(_) => None,
            },
            Self::Measurement(quantity, _) => match item? {
                Item::Reading(reading) => reading.get(*quantity).map(|value| value.to_string()),
                _ => None,
            },
            Self::Topic => match &delivery.content {
                Content::Message(message) => Some(message.topic.clone()),
                Content::Item(Item::Publication(publication)) => Some(publication.topic.clone()),
                Content::Item(_) => delivery.origin.as_ref().map(|origin| origin.topic.clone()),
            },
            Self::Payload => match &delivery.content {
                Content::Message(message) => String::from_utf8(message.payload.clone()).ok(),
                Content::Item(Item::Publication(publication)) => {
                    String::from_utf8(publication.payload.clone()).ok()
                }
                Content::Item(_) => None,
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Bridge => f.write_str("bridge"),
            Self::Key => f.write_str("key"),
            Self::Seq => f.write_str("seq"),
            Self::At => f.write_str("at"),
            Self::Device => f.write_str("device"),
            Self::Machine => f.write_str("machine"),
            Self::Label(name) => write!(f, "labels.{name}"),
            Self::Kind => f.write_str("kind"),
            Self::Data(path) => write!(f, "data.{}", path.join(".")),
            Self::Channel => f.write_str("channel"),
            Self::Measurement(_, name) => f.write_str(name),
            Self::Topic => f.write_str("topic"),
            Self::Payload => f.write_str("payload"),
        }
    }
}

fn unknown(name: &str) -> String {
    format!(
        "`{{{name}}}` is no placeholder; there are {{id}}, {{bridge}}, {{key}}, {{seq}}, {{at}}, \
         {{device}}, {{machine}}, {{labels.NAME}}, {{kind}}, {{data.NAME}}, {{channel}}, {{topic}}, \
         {{payload}} and the names of quantities, {{power_w}} say"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Event, Reading};
    use crate::sink::Device;

    fn delivery(item: impl Into<Item>) -> Delivery {
        let labels = vec![("hall".to_owned(), "7".to_owned())];
        let device = Device { id: "lathe".into(), name: "Lathe A".into(), labels };
        let at = 1_770_925_218_123;
        Delivery { at, device: Some(device), ..crate::testing::delivery(1, item) }
    }

    #[test]
    fn fills_in_what_a_delivery_has() {
        let data = serde_json::json!({"level": "high", "of": {"limit": 7.5}, "none": null});
        let event = delivery(Event::new("alarm").channel("t").data(&data));
        let reading = delivery(Reading::channel("s").power_w(12.5));
        let cases = [
            (&event, "plain", Ok("plain")),
            (&event, "{device} {machine} {labels.hall}", Ok("lathe Lathe A 7")),
            (&event, "{kind}/{channel}: {data.level} {data.of.limit}", Ok("alarm/t: high 7.5")),
            (&event, "{{{data.level}}}", Ok("{high}")),
            (&event, "{at}", Ok("2026-02-12T19:40:18.123Z")),
            (&reading, "{channel} {power_w} W", Ok("s 12.5 W")),
            (&event, "{power_w}", Err("power_w")),
            (&event, "{data.none}", Err("data.none")),
            (&event, "{data.of.other}", Err("data.of.other")),
            (&event, "{labels.cell}", Err("labels.cell")),
            (&reading, "{kind}", Err("kind")),
        ];
        for (delivery, text, expected) in cases {
            let filled = Template::parse(text).expect(text).fill(delivery);
            let expected = expected.map(str::to_owned).map_err(|m: &str| Missing(m.to_owned()));
            assert_eq!(filled, expected, "{text}");
        }
    }

    #[test]
    fn names_what_is_no_placeholder() {
        for (text, word) in [
            ("{devise}", "devise"),
            ("{data}", "data"),
            ("{data.}", "data."),
            ("{labels.}", "labels."),
            ("{device", "without its other"),
            ("device}", "without its other"),
            ("{}", "no placeholder"),
        ] {
            let error = Template::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
