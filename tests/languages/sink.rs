//! Uses all that a sink can.

use tapline_sdk::prelude::*;
use tapline_sdk::serde_json::{Value, json};

tapline_sdk::settings! {
    pub struct Settings {
        pub deep: bool = true,
    }
}

struct Whole(Settings);

impl Sink for Whole {
    type Settings = Settings;
    const NAME: &'static str = "whole-sink";
    const SUMMARY: &'static str = "Uses all that a sink can";

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn encode(&self, session: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
        let Some(session) = session else {
            let secret = |escaping| Part::Secret { name: "key".to_owned(), escaping };
            let mut login = Request::post("/login").header("a", "1").header("A", "2");
            login.method = "PUT".to_owned();
            login.body = vec![
                Part::Bytes(b"k=\xff".to_vec()),
                secret(Escaping::Raw),
                secret(Escaping::JsonString),
                Part::Bytes("é".into()),
                secret(Escaping::UrlComponent),
            ];
            return Encoding::prepare(login);
        };
        let mut encoding = Encoding::default();
        let mut batch = Vec::new();
        for (index, delivery) in (0..).zip(deliveries) {
            let content = match &delivery.content {
                Content::Item(Item::Event(event)) if event.kind == "refuse" => {
                    encoding.refuse(index, Rejection::new("no-such", format!("{index}: Ä")));
                    continue;
                }
                Content::Item(Item::Event(event)) => {
                    let data: Value = event.read().unwrap_or_default();
                    json!([event.kind, event.device, event.channel, event.at, data])
                }
                Content::Item(Item::Reading(reading)) => {
                    let measured: Vec<_> = reading
                        .measurements
                        .iter()
                        .map(|one| json!([one.quantity.number(), one.value as i64]))
                        .collect();
                    json!([reading.device, reading.channel, reading.at, measured])
                }
                Content::Item(Item::Publication(sent)) => {
                    json!([sent.broker, sent.topic, sent.payload, sent.qos, sent.retain])
                }
                Content::Message(message) => json!([
                    message.source,
                    message.topic,
                    message.payload,
                    message.received_at,
                    message.qos,
                    message.retained
                ]),
            };
            let device = delivery.device.as_ref().map(|d| json!([d.id, d.name, d.labels]));
            let origin = delivery.origin.as_ref().map(|origin| {
                json!([origin.source, origin.topic, origin.received_at, origin.qos, origin.retained])
            });
            let body = json!({
                "at": delivery.at,
                "bridge": delivery.bridge,
                "content": content,
                "device": device,
                "id": delivery.id,
                "key": delivery.key,
                "origin": origin,
                "replayed": delivery.replayed,
                "seq": delivery.seq,
            });
            if self.0.deep {
                let session = String::from_utf8_lossy(session).into_owned();
                let request = Request::post("/deep?ä=1").header("session", session).json(&body);
                encoding.exchange([index], request);
            } else {
                batch.push(index);
            }
        }
        if !batch.is_empty() {
            encoding.exchange(batch, Request::post("/flat"));
        }
        encoding
    }

    fn conclude(&self, session: Option<&[u8]>, sent: &[Delivery], response: &Response) -> Conclusion {
        if sent.is_empty() {
            return match response.json::<Value>() {
                Ok(json) => Conclusion::prepared().remember(json["session"].to_string()),
                Err(_) => Conclusion::split("no-login", response.text()),
            };
        }
        match response.header("X-JUDGE") {
            Some("retry") => Conclusion::retry_after_ms(1500),
            Some("pause") => Conclusion::pause(response.text()),
            Some("split") => Conclusion::split("bad", response.text()),
            Some(_) => {
                let every = [
                    Verdict::Delivered,
                    Verdict::Duplicate,
                    Verdict::Retry(250),
                    Verdict::Rejected(Rejection::new("rejected", response.text())),
                ];
                let verdicts = every.into_iter().cycle().take(sent.len()).collect();
                Conclusion::verdicts(verdicts)
                    .remember(session.unwrap_or(b"none".as_slice()))
                    .emit(Event::new("judged").channel("c").data(&json!({ "of": sent.len() })))
                    .emit(Reading::channel("").at_ms(5).online(true))
                    .emit(Publication::new("told/é", response.body.clone()))
            }
            None => Conclusion::retry_after_ms(0),
        }
    }
}

tapline_sdk::export_sink!(Whole);
