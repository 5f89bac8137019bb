//! Uses all that a parser can.

use tapline_sdk::prelude::*;
use tapline_sdk::quantity::Kind;
use tapline_sdk::serde_json::json;

tapline_sdk::settings! {
    pub struct Settings {
        pub words: Vec<String> = vec!["one".to_owned(), "zwölf".to_owned()],
    }
}

const LOAD: OwnQuantity = OwnQuantity {
    quantity: Quantity::own(40_000),
    name: "spindle_load_pct",
    unit: "%",
    kind: Kind::Gauge,
    meaning: "Load of the spindle",
};

struct Whole(Settings);

impl Parser for Whole {
    type Settings = Settings;
    const NAME: &'static str = "whole-parser";
    const SUMMARY: &'static str = "Uses all that a parser can";
    const QUANTITIES: &'static [OwnQuantity] = &[LOAD];

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.words.is_empty() {
            return Err("`words` are none".to_owned());
        }
        Ok(Self(settings))
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        let text = message.text()?;
        if let Some(code) = text.strip_prefix("refuse ") {
            return Err(Rejection::new(code, format!("`{code}` was asked for: Ä \"\\\u{1f600}")));
        }
        let given = &message.properties;
        let properties = Properties {
            payload_is_text: Some(true),
            message_expiry: Some(60),
            content_type: Some("text/plain".to_owned()),
            response_topic: Some("answers/é".to_owned()),
            correlation_data: Some(vec![0, 255]),
            subscription_identifiers: vec![],
            user: vec![("a".to_owned(), "b".to_owned()), ("a".to_owned(), String::new())],
        };
        let publication = Publication {
            broker: Some("other".to_owned()),
            topic: "out/é".to_owned(),
            payload: message.payload.clone(),
            qos: 2,
            retain: true,
            properties,
        };
        Ok(vec![
            Reading::channel("Kanal.total")
                .device("gateway/7")
                .at_ms(message.received_at)
                .set(LOAD.quantity, 1.5)
                .power_w(7.0)
                .output_on(true)
                .power_w(0.1 + 0.2)
                .into(),
            Reading::channel("").voltage_v(f64::NAN).current_a(f64::INFINITY).into(),
            Event::new("told")
                .device("gateway/7")
                .channel("c")
                .at_ms(message.received_at)
                .data(&json!({
                    "device": message.device,
                    "qos": message.qos,
                    "retained": message.retained,
                    "source": message.source,
                    "text": text,
                    "topic": message.topic,
                    "words": self.0.words,
                }))
                .into(),
            Event::new("properties")
                .data(&json!({
                    "correlation": given.correlation_data,
                    "expiry": given.message_expiry,
                    "ids": given.subscription_identifiers,
                    "is_text": given.payload_is_text,
                    "response": given.response_topic,
                    "type": given.content_type,
                    "user": given.user,
                }))
                .into(),
            publication.into(),
            Publication::new("plain", "t\u{e4}xt").into(),
        ])
    }

    fn companions(&self, topic_filter: &str) -> Companions {
        Companions {
            also: vec![format!("{topic_filter}/online")],
            channel: Some("switch:0".to_owned()),
            ask: Some(Publication::new("ask", "{}")),
        }
    }
}

tapline_sdk::export_parser!(Whole);
