//! A delivery to a request.
//!
//! Invariant: a value that is filled in stays in its place: it ends no path segment, no header
//! line and no JSON string.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tapline_sdk::Template;
use tapline_sdk::prelude::*;
use tapline_sdk::time::rfc3339;

use crate::settings::{Method, Settings};

/// How every request is made.
#[derive(Debug)]
pub(crate) struct Form {
    method: Method,
    path: Template,
    headers: Vec<(String, Template)>,
    body: Option<Template>,
    /// What is filled into the body stands in JSON strings.
    is_json: bool,
}

const CONTENT_TYPE: &str = "content-type";
/// The same on every attempt and after a replay, so the other side can tell a repeat.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl Form {
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        if !settings.path.starts_with('/') {
            return Err(format!("`path` is `{}`: begin it with `/`", settings.path));
        }
        if settings.body.is_some() && !settings.method.has_body() {
            let method = settings.method.as_str();
            return Err(format!("a {method} carries no `body`: remove it, or use POST"));
        }
        let mut headers = Vec::with_capacity(settings.headers.len() + 2);
        for (name, text) in &settings.headers {
            let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.!#$%&'*+^`|~".contains(c);
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(format!("`headers.{name}` is no name of a header"));
            }
            let template = named(&format!("headers.{name}"), text)?;
            headers.push((name.to_ascii_lowercase(), template));
        }
        let says = |name: &str| headers.iter().any(|(known, _)| known == name);
        let (has_type, has_key) = (says(CONTENT_TYPE), says(IDEMPOTENCY_KEY));
        let mut add = |name: &str, text: &str| -> Result<(), String> {
            headers.push((name.to_owned(), Template::parse(text)?));
            Ok(())
        };
        if settings.method.has_body() && !has_type {
            let plain = settings.body.is_some();
            let kind = if plain { "text/plain; charset=utf-8" } else { "application/json" };
            add(CONTENT_TYPE, kind)?;
        }
        if !has_key {
            add(IDEMPOTENCY_KEY, "{id}")?;
        }
        let is_json = headers
            .iter()
            .any(|(name, value)| name == CONTENT_TYPE && value.text().contains("json"));
        Ok(Self {
            method: settings.method,
            path: named("path", &settings.path)?,
            headers,
            body: settings.body.as_deref().map(|text| named("body", text)).transpose()?,
            is_json,
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.path.text()
    }

    /// Whether all deliveries go to one address, so that a missing one is nobody's own fault.
    pub(crate) fn is_same_for_all(&self) -> bool {
        !self.path.text().contains('{')
    }

    pub(crate) fn request(&self, delivery: &Delivery) -> Result<Request, Rejection> {
        let missing = |missing: tapline_sdk::Missing| {
            Rejection::new("no-field", format!("{missing} in what is to be sent"))
        };
        let path = self.path.fill_with(delivery, &mut |value| percent(&value)).map_err(missing)?;
        let mut request =
            Request { method: self.method.as_str().to_owned(), path, ..Request::default() };
        for (name, template) in &self.headers {
            let one_line = |value: String| value.replace(|c: char| c.is_control(), " ");
            let value = template.fill_with(delivery, &mut { one_line }).map_err(missing)?;
            request = request.header(name, value);
        }
        if self.method.has_body() {
            let text = match &self.body {
                None => as_json(delivery).to_string(),
                Some(body) if self.is_json => {
                    body.fill_with(delivery, &mut |value| in_json(&value)).map_err(missing)?
                }
                Some(body) => body.fill(delivery).map_err(missing)?,
            };
            request.body = vec![Part::Bytes(text.into_bytes())];
        }
        Ok(request)
    }
}

fn named(name: &str, text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|why| format!("`{name}`: {why}"))
}

/// RFC 3986: everything but unreserved characters.
fn percent(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _always = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// As it stands between the quotes of a JSON string.
fn in_json(value: &str) -> String {
    let quoted = Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn as_json(delivery: &Delivery) -> Value {
    let device = delivery.device.as_ref();
    let mut all = Map::new();
    let mut add = |name: &str, value: Value| all.insert(name.to_owned(), value);
    add("id", delivery.id.clone().into());
    add("bridge", delivery.bridge.clone().into());
    add("at", rfc3339(delivery.at).into());
    add("seq", delivery.seq.into());
    add("replayed", delivery.replayed.into());
    if let Some(device) = device {
        add("device", device.id.clone().into());
        add("machine", device.name.clone().into());
    }
    match &delivery.content {
        Content::Item(Item::Event(event)) => {
            add("event", event.kind.clone().into());
            add("data", serde_json::from_str(&event.data).unwrap_or_default());
        }
        Content::Item(Item::Reading(reading)) => {
            add("channel", reading.channel.clone().into());
            for measurement in &reading.measurements {
                let name = measurement.quantity.name();
                let number = || format!("quantity_{}", measurement.quantity.number());
                add(&name.map_or_else(number, str::to_owned), json!(measurement.value));
            }
        }
        Content::Item(Item::Publication(publication)) => {
            add("topic", publication.topic.clone().into());
            add("payload", String::from_utf8_lossy(&publication.payload).into());
        }
        Content::Message(message) => {
            add("topic", message.topic.clone().into());
            add("payload", String::from_utf8_lossy(&message.payload).into());
        }
    }
    Value::Object(all)
}
