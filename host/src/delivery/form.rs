//! What a sink publishes of an item: topic and payload by template, or the item as JSON.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::config::template::{Place, Template};
use crate::message::{Content, Event, Item, Properties, Publication, Reading, Rejection};
use crate::module::sink::Delivery;
use crate::quantity;

/// How a publication is made of a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Form {
    /// Where it goes.
    pub broker: Arc<str>,
    pub topic: Template,
    /// `None`: the item as JSON, a message as it came.
    pub payload: Option<Template>,
    pub qos: u8,
    pub retain: bool,
}

/// MQTT allows no longer topics.
const TOPIC: usize = 65_535;

impl Form {
    /// The publication for `delivery`.
    ///
    /// # Errors
    /// If it lacks what a template names, or a value makes no topic.
    pub(super) fn compose(&self, delivery: &Delivery) -> Result<Publication, Rejection> {
        let data = match &delivery.content {
            Content::Item(Item::Event(event)) => serde_json::from_str(&event.data).ok(),
            _ => None,
        };
        let value = |place: &Place| value(place, delivery, data.as_ref());
        let missing = |place: &Place| {
            Rejection::new("no-field", format!("there is no `{place}` in what is to be published"))
        };
        let topic = self.topic.fill(|place| value(place).filter(|text| is_level(text)));
        let topic = topic.map_err(|place| match value(place) {
            None => missing(place),
            Some(text) => {
                let what = format!("`{text}` of `{place}` cannot stand in a topic");
                Rejection::new("bad-topic", what)
            }
        })?;
        if topic.len() > TOPIC {
            return Err(Rejection::new("bad-topic", "the topic is longer than MQTT allows"));
        }
        let payload = match &self.payload {
            Some(template) => template.fill(value).map_err(missing)?.into_bytes(),
            None => as_it_is(delivery, data.as_ref()),
        };
        Ok(Publication {
            broker: None,
            topic,
            payload,
            qos: self.qos,
            retain: self.retain,
            properties: Properties::default(),
        })
    }
}

/// One level of a topic, so that a value cannot reach beyond its place.
fn is_level(text: &str) -> bool {
    !text.is_empty() && !text.contains(['/', '+', '#']) && !text.contains(char::is_control)
}

fn value(place: &Place, delivery: &Delivery, data: Option<&Value>) -> Option<String> {
    let device = delivery.device.as_deref();
    let event = match &delivery.content {
        Content::Item(Item::Event(event)) => Some(event),
        _ => None,
    };
    let reading = match &delivery.content {
        Content::Item(Item::Reading(reading)) => Some(reading),
        _ => None,
    };
    let message = match &delivery.content {
        Content::Message(message) => Some(message),
        Content::Item(_) => None,
    };
    match place {
        Place::Id => Some(delivery.id.clone()),
        Place::Bridge => Some(delivery.bridge.to_string()),
        Place::Key => Some(delivery.key.to_string()),
        Place::Seq => Some(delivery.seq.to_string()),
        Place::At => Some(delivery.at.rfc3339()),
        Place::Device => device.map(|device| device.id.clone()),
        Place::Machine => device.map(|device| device.name.clone()),
        Place::Label(name) => {
            let label = device?.labels.iter().find(|(label, _)| label == name);
            label.map(|(_, value)| value.clone())
        }
        Place::Kind => event.map(|event| event.kind.clone()),
        Place::Data(path) => {
            let field = path.iter().try_fold(data?, |value, field| value.get(field))?;
            match field {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }
        }
        Place::Channel => {
            event.map(|event| &event.channel).or(reading.map(|reading| &reading.channel)).cloned()
        }
        Place::Measurement(name) => {
            let quantity = quantity::by_name(name)?;
            let measured = reading?.measurements.iter().find(|m| m.quantity == quantity);
            measured.map(|m| json!(m.value).to_string())
        }
        Place::Topic => message
            .map(|message| message.topic.to_string())
            .or_else(|| delivery.origin.as_ref().map(|origin| origin.topic.to_string())),
        Place::Payload => {
            message.map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        }
    }
}

fn as_it_is(delivery: &Delivery, data: Option<&Value>) -> Vec<u8> {
    let json = match &delivery.content {
        Content::Message(message) => return message.payload.to_vec(),
        Content::Item(Item::Publication(publication)) => return publication.payload.clone(),
        Content::Item(Item::Event(event)) => of_event(event, data),
        Content::Item(Item::Reading(reading)) => of_reading(reading),
    };
    let mut json = json;
    json.insert("id".to_owned(), delivery.id.clone().into());
    json.insert("at".to_owned(), delivery.at.rfc3339().into());
    if let Some(device) = &delivery.device {
        json.insert("device".to_owned(), device.id.clone().into());
    }
    Value::Object(json).to_string().into_bytes()
}

fn of_event(event: &Event, data: Option<&Value>) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("event".to_owned(), event.kind.clone().into());
    if !event.channel.is_empty() {
        json.insert("channel".to_owned(), event.channel.clone().into());
    }
    json.insert("data".to_owned(), data.cloned().unwrap_or_default());
    json
}

fn of_reading(reading: &Reading) -> Map<String, Value> {
    let mut json = Map::new();
    json.insert("channel".to_owned(), reading.channel.clone().into());
    for measurement in &reading.measurements {
        let name = quantity::entry(measurement.quantity).map_or_else(
            || format!("quantity_{}", measurement.quantity.0),
            |entry| entry.name.clone(),
        );
        json.insert(name, json!(measurement.value));
    }
    json
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::message::{DeviceId, Measurement, Timestamp};
    use crate::module::sink::Device;

    fn delivery(content: Item) -> Delivery {
        let labels = vec![("area".to_owned(), "cold".to_owned())];
        Delivery {
            id: "6a1f".into(),
            bridge: "box".into(),
            replayed: false,
            key: "f1".into(),
            seq: 3,
            at: Timestamp(1_000),
            device: Some(Arc::new(Device { id: "f1".into(), name: "Freezer".into(), labels })),
            content: Content::Item(content),
            origin: None,
        }
    }

    fn alarm() -> Item {
        Item::Event(Event {
            kind: "alarm_raised".into(),
            device: Some(DeviceId::from("f1")),
            channel: String::new(),
            at: None,
            data: r#"{"level":"critical","value":-12.5,"where":{"room":"a/b"}}"#.into(),
        })
    }

    fn form(topic: &str, payload: Option<&str>) -> Form {
        Form {
            broker: "main".into(),
            topic: Template::parse_topic(topic).unwrap(),
            payload: payload.map(|text| Template::parse(text).unwrap()),
            qos: 1,
            retain: false,
        }
    }

    #[test]
    fn fills_topic_and_payload_from_the_item_and_its_device() {
        let form = form(
            "cmnd/{labels.area}/{device}/POWER",
            Some("{machine}: {data.level} {data.value} at {at}"),
        );
        let publication = form.compose(&delivery(alarm())).unwrap();
        assert_eq!(publication.topic, "cmnd/cold/f1/POWER");
        let payload = String::from_utf8(publication.payload).unwrap();
        assert_eq!(payload, "Freezer: critical -12.5 at 1970-01-01T00:00:01.000Z");
    }

    #[test]
    fn without_a_template_the_item_is_json() {
        let json = |item| {
            let publication = form("t", None).compose(&delivery(item)).unwrap();
            serde_json::from_slice::<Value>(&publication.payload).unwrap()
        };
        let event = json(alarm());
        assert_eq!((&event["event"], &event["device"]), (&json!("alarm_raised"), &json!("f1")));
        assert_eq!(event["data"]["value"], -12.5);
        let power = quantity::by_name("power_w").unwrap();
        let measurements = vec![Measurement { quantity: power, value: 7.0 }];
        let channel = "switch:0".to_owned();
        let reading =
            json(Item::Reading(Reading { device: None, channel, at: None, measurements }));
        assert_eq!((&reading["power_w"], &reading["channel"]), (&json!(7.0), &json!("switch:0")));
    }

    #[test]
    fn what_is_missing_or_makes_no_topic_is_refused_with_its_name() {
        for (topic, payload, code, word) in [
            ("t", Some("{data.colour}"), "no-field", "data.colour"),
            ("t/{labels.line}", None, "no-field", "labels.line"),
            ("t/{data.where.room}", None, "bad-topic", "a/b"),
            ("t", Some("{power_w}"), "no-field", "power_w"),
        ] {
            let refused = form(topic, payload).compose(&delivery(alarm())).unwrap_err();
            assert_eq!(refused.code, code, "{topic}");
            assert!(refused.detail.contains(word), "{}", refused.detail);
        }
    }
}
