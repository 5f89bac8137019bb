//! Messages that came and went: `/api/v1/history`.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::refusal;
use crate::config::parse_duration;
use crate::config::push::parse_time;
use crate::config::topic::Pattern;
use crate::message::Timestamp;
use crate::reload::Tapline;
use crate::store::{Direction, HistoryEntry, HistoryFilter};
use crate::telemetry::{self, clock};

const LISTED: usize = 100;
const LISTED_AT_MOST: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/history", get(list))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    topic: Option<String>,
    device: Option<String>,
    broker: Option<String>,
    /// `received` or `sent`.
    direction: Option<String>,
    message: Option<String>,
    from: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    /// `next` of the answer before.
    cursor: Option<u64>,
}

impl Asked {
    fn filter(&self) -> Result<HistoryFilter, String> {
        let topic = self.topic.as_deref().map(Pattern::parse).transpose();
        let topic = topic.map_err(|error| format!("`topic`: {error}: {}", error.remedy()))?;
        let direction = match self.direction.as_deref() {
            None => None,
            Some("received") => Some(Direction::Received),
            Some("sent") => Some(Direction::Sent),
            Some(other) => {
                return Err(format!("`direction` is `received` or `sent`, not `{other}`"));
            }
        };
        Ok(HistoryFilter {
            topic,
            direction,
            device: self.device.clone(),
            broker: self.broker.clone(),
            message: self.message.clone(),
            from: self.from.as_deref().map(|text| time("from", text)).transpose()?,
            until: self.until.as_deref().map(|text| time("until", text)).transpose()?,
        })
    }
}

/// A time, or how long ago.
fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    let ago = parse_duration(text)
        .map(|ago| clock::now().minus_ms(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)));
    ago.or_else(|| parse_time(text)).ok_or_else(|| {
        format!(
            "`{name}`: `{text}` is no time: write how long ago (`2h`, `3d`), or a time \
             (`2026-02-12T19:40:18Z`)"
        )
    })
}

fn bad(why: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, why).into_response()
}

async fn list(
    State(tapline): State<Arc<Tapline>>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match query {
        Ok(Query(asked)) => asked,
        Err(why) => return bad(&why.body_text()),
    };
    let filter = match asked.filter() {
        Ok(filter) => filter,
        Err(why) => return bad(&why),
    };
    let store = tapline.store().clone();
    let limit = asked.limit.unwrap_or(LISTED).clamp(1, LISTED_AT_MOST);
    let read = tokio::task::spawn_blocking(move || {
        let page = store.history(&filter, limit, asked.cursor)?;
        let messages: Vec<_> = page.entries.iter().map(shape).collect();
        let kept = store.keeps_history();
        Ok::<_, crate::store::StoreError>(
            json!({"history": messages, "next": page.next, "kept": kept}),
        )
    });
    match read.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(error)) => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, &telemetry::words(&error)).into_response()
        }
        Err(_panicked) => {
            let why = "the store could not be read: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

fn shape(entry: &HistoryEntry) -> Value {
    let at = entry.at.rfc3339();
    let text = std::str::from_utf8(&entry.payload);
    let format = match text {
        Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => "json",
        Ok(_) => "text",
        Err(_) => "binary",
    };
    let mut shape = json!({
        "id": entry.number,
        "name": format!("{} - {} - {at}", entry.broker, entry.topic),
        "direction": entry.direction.name(),
        "at": at,
        "broker": entry.broker,
        "pipeline": entry.pipeline,
        "subscription": entry.subscription,
        "topic": entry.topic,
        "device": entry.device,
        "format": format,
        "qos": entry.qos,
        "retain": entry.retain,
        "properties": entry.properties,
        "message_id": entry.message.as_ref().map(ToString::to_string),
        "delivery_id": entry.delivery.map(|id| id.to_string()),
        "fate": entry.fate,
    });
    match text {
        Ok(text) => shape["payload"] = text.into(),
        Err(_) => shape["payload_base64"] = BASE64.encode(&entry.payload).into(),
    }
    shape
}
