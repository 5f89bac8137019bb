//! Single devices, sessions and topics: `/api/v1/devices`, `/sessions`, `/explain`.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::refusal;
use crate::pipeline::{Question, Session};
use crate::reload::Tapline;
use crate::store::StoreError;
use crate::telemetry::{self, clock};

const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1_000;
/// Unknown topics of a page: each is tried on every parser.
const LONGEST_UNKNOWN_PAGE: usize = 200;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new()
        .route("/api/v1/devices", get(devices))
        .route("/api/v1/devices/unknown", get(unknown))
        .route("/api/v1/devices/{id}", get(device))
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/explain", post(explain))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    limit: Option<usize>,
    /// The `next` of the answer before.
    next: Option<String>,
    /// Only sessions of this device.
    device: Option<String>,
}

type Asked = Result<Query<Pages>, QueryRejection>;

impl Pages {
    fn limit(&self, longest: usize) -> usize {
        self.limit.unwrap_or(PAGE).clamp(1, longest)
    }
}

fn bad_query(error: &QueryRejection) -> Response {
    refusal(StatusCode::BAD_REQUEST, &error.body_text()).into_response()
}

/// Runs what waits for the disk or for modules off the async runtime.
async fn apart(work: impl FnOnce() -> Result<Response, StoreError> + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let why = telemetry::words(&error);
            refusal(StatusCode::SERVICE_UNAVAILABLE, &why).into_response()
        }
        Err(_panicked) => {
            let why = "looking failed: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

async fn devices(State(tapline): State<Arc<Tapline>>, asked: Asked) -> Response {
    let pages = match asked {
        Ok(Query(pages)) => pages,
        Err(error) => return bad_query(&error),
    };
    apart(move || {
        let limit = pages.limit(LONGEST_PAGE);
        let devices = tapline.devices(pages.next.as_deref(), limit)?;
        let next = devices.last().filter(|_| devices.len() == limit);
        let next = next.map(|last| last.device_id.clone());
        // There are few of them, so they come with the first page.
        let strangers = if pages.next.is_none() { tapline.strangers()? } else { Vec::new() };
        let strangers: Vec<_> = strangers.into_iter().take(LONGEST_PAGE).collect();
        let answer = json!({"devices": devices, "unregistered": strangers, "next": next});
        Ok(Json(answer).into_response())
    })
    .await
}

async fn device(State(tapline): State<Arc<Tapline>>, Path(id): Path<String>) -> Response {
    apart(move || {
        Ok(match tapline.device(&id)? {
            Some(device) => Json(device).into_response(),
            None => {
                let why = format!(
                    "device `{id}` is not registered and was not heard; `tapline devices \
                     --unknown` lists topics that belong to no device"
                );
                refusal(StatusCode::NOT_FOUND, &why).into_response()
            }
        })
    })
    .await
}

async fn unknown(State(tapline): State<Arc<Tapline>>, asked: Asked) -> Response {
    let pages = match asked {
        Ok(Query(pages)) => pages,
        Err(error) => return bad_query(&error),
    };
    apart(move || {
        let limit = pages.limit(LONGEST_UNKNOWN_PAGE);
        let (topics, unfollowed) = tapline.unknown_topics(pages.next.as_deref(), limit);
        let next = topics.last().filter(|_| topics.len() == limit).map(|last| last.topic.clone());
        let answer = json!({"topics": topics, "unfollowed_messages": unfollowed, "next": next});
        Ok(Json(answer).into_response())
    })
    .await
}

/// Where a session stands in the list.
fn place(session: &Session) -> String {
    format!("{}/{}/{}", session.pipeline, session.stage, session.key)
}

async fn sessions(State(tapline): State<Arc<Tapline>>, asked: Asked) -> Response {
    let pages = match asked {
        Ok(Query(pages)) => pages,
        Err(error) => return bad_query(&error),
    };
    let limit = pages.limit(LONGEST_PAGE);
    let of = |session: &Session| {
        let device = session.device.as_ref().map(|device| device.as_str());
        pages.device.is_none() || pages.device.as_deref() == device
    };
    let (mut running, mut ended) = tapline.sessions();
    running.retain(of);
    ended.retain(of);
    running.sort_by_cached_key(place);
    let after = |session: &Session| pages.next.as_ref().is_none_or(|next| place(session) > *next);
    let page: Vec<_> = running.into_iter().filter(after).take(limit).collect();
    let next = page.last().filter(|_| page.len() == limit).map(place);
    if pages.next.is_some() {
        ended.clear();
    }
    Json(json!({"sessions": page, "ended": ended, "next": next})).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    topic: String,
    payload_base64: Option<String>,
    payload: Option<String>,
    pipeline: Option<String>,
    broker: Option<String>,
    #[serde(default)]
    retained: bool,
}

async fn explain(
    State(tapline): State<Arc<Tapline>>,
    body: Result<Json<Value>, JsonRejection>,
) -> Response {
    let asked = body
        .map_err(|error| error.body_text())
        .and_then(|Json(body)| Topic::deserialize(body).map_err(|error| error.to_string()));
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => {
            let why = format!("{why}; send {{\"topic\": …, \"payload_base64\": …}}");
            return refusal(StatusCode::BAD_REQUEST, &why).into_response();
        }
    };
    let payload = match asked.payload_base64.map(|text| BASE64.decode(text)).transpose() {
        Ok(payload) => payload.or(asked.payload.map(String::into_bytes)),
        Err(error) => {
            let why = format!("`payload_base64` is not base64: {error}");
            return refusal(StatusCode::BAD_REQUEST, &why).into_response();
        }
    };
    let question = Question {
        topic: asked.topic.into(),
        payload: payload.map(Bytes::from),
        broker: asked.broker.map(Arc::from),
        pipeline: asked.pipeline.map(Arc::from),
        retained: asked.retained,
        received_at: clock::now(),
    };
    if let Some(why) = question.unfit(tapline.plans().values()) {
        return refusal(StatusCode::BAD_REQUEST, &why).into_response();
    }
    apart(move || Ok(Json(tapline.explain(&question)?).into_response())).await
}
