//! A dead letter as JSON: in short for lists, and with everything that is known of it.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::message::{Content, Item, Message, Properties, Timestamp};
use crate::store::{DeadDelivery, DeadLetter, NumberedDeadLetter};

/// What a list shows of it.
pub(super) fn summary(one: &NumberedDeadLetter) -> Value {
    Value::Object(fields(one))
}

/// Everything.
pub(super) fn whole(one: &NumberedDeadLetter) -> Value {
    let letter = &one.letter;
    let mut all = fields(one);
    let mut add = |name: &str, value: Value| all.insert(name.to_owned(), value);
    if let Some(message) = &letter.message {
        add("message", self::message(message));
    }
    if let Some(dead) = &letter.delivery {
        add("delivery", delivery(dead));
    }
    if let Some(raw) = &letter.raw {
        add("raw_hex", hex(raw).into());
    }
    add("next_step", next_step(one).into());
    Value::Object(all)
}

fn fields(one: &NumberedDeadLetter) -> Map<String, Value> {
    let letter = &one.letter;
    let message = letter.message.as_ref();
    let delivery = letter.delivery.as_ref().map(|dead| &dead.delivery);
    let origin = delivery.and_then(|delivery| delivery.origin.as_ref());
    let topic = message.map(|m| &m.topic).or(origin.map(|origin| &origin.topic));
    let received_at = message.map(|m| m.received_at).or(origin.map(|o| o.received_at));
    let id = message.map(|m| &m.id).or(delivery.and_then(|d| d.message.as_ref()));
    let module = letter.module.as_ref().map(
        |module| json!({"name": module.name, "version": module.version, "hash": hex(&module.hash)}),
    );
    let all = json!({
        "id": one.number,
        "kind": kind(one),
        "at": letter.at.rfc3339(),
        "pipeline": letter.pipeline,
        "stage": letter.stage,
        "code": letter.code,
        "detail": letter.detail,
        "device": letter.device,
        "key": letter.key,
        "attempts": letter.attempts,
        "module": module,
        "topic": topic,
        "received_at": received_at.map(Timestamp::rfc3339),
        "message_id": id.map(ToString::to_string),
        "answer": letter.answer,
        "unreadable": one.unreadable,
    });
    let Value::Object(mut all) = all else { unreachable!("it is written as an object") };
    all.retain(|_, value| !value.is_null());
    all
}

fn kind(one: &NumberedDeadLetter) -> &'static str {
    let letter = &one.letter;
    match (&letter.message, &letter.delivery) {
        _ if one.unreadable.is_some() || letter.raw.is_some() => "unreadable",
        (Some(_), _) => "message",
        (None, Some(dead)) => match dead.delivery.content {
            Content::Item(Item::Publication(_)) => "publication",
            _ => "delivery",
        },
        (None, None) => "wake-up",
    }
}

fn message(message: &Message) -> Value {
    json!({
        "id": message.id.to_string(),
        "topic": message.topic,
        "received_at": message.received_at.rfc3339(),
        "qos": message.qos,
        "retained": message.retained,
        "properties": properties(&message.properties),
        "bytes": message.payload.len(),
        "payload": text(&message.payload),
        "payload_hex": text(&message.payload).is_none().then(|| hex(&message.payload)),
    })
}

fn delivery(dead: &DeadDelivery) -> Value {
    let delivery = &dead.delivery;
    json!({
        "id": delivery.id.to_string(),
        "sink": delivery.sink.to_string(),
        "key": delivery.key,
        "seq": dead.seq,
        "at": delivery.at.rfc3339(),
        "expires_at": delivery.expires_at.map(Timestamp::rfc3339),
        "replayed": delivery.replayed,
        "content": content(&delivery.content),
        "origin": delivery.origin,
    })
}

fn content(content: &Content) -> Value {
    match content {
        Content::Message(message) => self::message(message),
        Content::Item(Item::Publication(publication)) => json!({
            "item": "publication",
            "broker": publication.broker,
            "topic": publication.topic,
            "qos": publication.qos,
            "retain": publication.retain,
            "properties": properties(&publication.properties),
            "payload": text(&publication.payload),
            "payload_hex": text(&publication.payload).is_none().then(|| hex(&publication.payload)),
        }),
        Content::Item(Item::Event(event)) => json!({
            "item": "event",
            "kind": event.kind,
            "device": event.device,
            "channel": event.channel,
            "at": event.at.map(Timestamp::rfc3339),
            "data": serde_json::from_str::<Value>(&event.data).unwrap_or_default(),
        }),
        Content::Item(reading) => json!(reading),
    }
}

fn properties(properties: &Properties) -> Value {
    let mut all = json!(properties);
    if let Some(data) = &properties.correlation_data {
        all["correlation_data"] = hex(data).into();
    }
    all
}

/// The payload as text, if that is what it is.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let readable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(readable).then_some(text)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _always = write!(text, "{byte:02x}");
    }
    text
}

/// What a person would do about it.
fn next_step(one: &NumberedDeadLetter) -> String {
    let letter = &one.letter;
    let replay = format!("then `tapline dead-letters replay {}`", one.number);
    let discard = format!("`tapline dead-letters discard {}`", one.number);
    let stage = format!("`{}` of pipeline `{}`", letter.stage, letter.pipeline);
    let module = letter.module.as_ref().map_or_else(
        || format!("stage {stage}"),
        |module| format!("module `{}` {} of stage {stage}", module.name, module.version),
    );
    match (kind(one), &*letter.code) {
        ("unreadable", _) => {
            format!("its bytes were written by another version or are damaged: {discard}")
        }
        ("wake-up", _) => format!("mend {module}; there is nothing to send again: {discard}"),
        ("publication", "expired") | ("delivery", "expired") => {
            format!("it has expired and is never sent: {discard}")
        }
        ("publication", _) => {
            format!("see why the broker refused it, {replay} --force if the device is to act")
        }
        ("delivery", _) => format!(
            "see what sink {stage} was answered; correct the data there, or the sink's settings, \
             {replay}"
        ),
        (_, "unknown-device") => format!(
            "register device `{}`, {replay}",
            letter.device.as_ref().map_or("", |device| device.as_str())
        ),
        (_, "no-device") => format!("register a device for topic `{}`, {replay}", topic(letter)),
        (_, "publish-not-allowed") => {
            format!("add the topic to [publish] allow of pipeline `{}`, {replay}", letter.pipeline)
        }
        (_, "schema") => format!("correct the schema of stage {stage}, {replay}; or {discard}"),
        (_, "settings") => format!("correct the settings of stage {stage}, {replay}"),
        (_, "unsubscribed" | "except" | "unmatched" | "retained") => format!(
            "let a source and a stage of pipeline `{}` take topic `{}`, {replay}; or {discard}",
            letter.pipeline,
            topic(letter)
        ),
        (_, "timeout") => {
            format!("give stage {stage} more `limits.time`, or mend {module}, {replay}")
        }
        _ => format!("mend {module} or its settings, {replay}; or {discard}"),
    }
}

fn topic(letter: &DeadLetter) -> &str {
    letter.message.as_ref().map_or("", |message| &*message.topic)
}
