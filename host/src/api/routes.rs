//! The routes and their shapes, as existing Odoo sides send and expect them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::access::{self, Access};
use crate::config::site::Http;
use crate::reload::{PushError, Tapline};
use crate::telemetry::clock;

/// 100,000 devices in S3's shape are about 40 MB.
const BODY: usize = 64 << 20;
const BODY_TIME: Duration = Duration::from_secs(60);

pub(super) fn router(tapline: Arc<Tapline>, http: &Http) -> Router {
    let access = Access::new(http);
    Router::new()
        .route("/config", get(config).post(push))
        .route("/api/v1/sinks/{pipeline}/{sink}/resume", post(resume))
        .merge(super::metrics::routes())
        .layer(middleware::from_fn_with_state(access, access::check))
        .route("/health", get(health))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(tapline)
}

/// An error in the shape that S3's callers read.
#[derive(Serialize)]
pub(super) struct Refusal {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Value>,
    timestamp: String,
}

pub(super) fn refusal(code: StatusCode, message: &str) -> (StatusCode, Json<Refusal>) {
    let body = Refusal {
        status: "error",
        message: message.to_owned(),
        errors: Vec::new(),
        timestamp: clock::now().rfc3339(),
    };
    (code, Json(body))
}

async fn nothing_here() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "no such route; there are /config, /health and /api/v1/sinks/{pipeline}/{sink}/resume",
    )
    .into_response()
}

async fn health(State(tapline): State<Arc<Tapline>>) -> Response {
    let health = tapline.health();
    let code = if health.alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health)).into_response()
}

async fn config(State(tapline): State<Arc<Tapline>>) -> Response {
    Json(tapline.document()).into_response()
}

/// Ends a pause, after what it names was mended.
async fn resume(
    State(tapline): State<Arc<Tapline>>,
    Path((pipeline, sink)): Path<(String, String)>,
) -> Response {
    if tapline.resume(&pipeline, &sink) {
        return Json(json!({"status": "success", "sink": format!("{pipeline}/{sink}")}))
            .into_response();
    }
    let why = format!("there is no sink `{sink}` in a pipeline `{pipeline}`; /health lists them");
    refusal(StatusCode::NOT_FOUND, &why).into_response()
}

async fn push(State(tapline): State<Arc<Tapline>>, request: axum::extract::Request) -> Response {
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(request.into_body(), BODY));
    let body: Bytes = match read.await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {BODY} bytes, or broke off"),
            )
            .into_response();
        }
        Err(_) => {
            return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 60 s")
                .into_response();
        }
    };
    // The push goes on when its sender hangs up: half a push would be worse than either.
    let task = tokio::spawn(async move { tapline.push(&body, "POST /config").await });
    match task.await {
        Ok(Ok(applied)) => Json(json!({
            "status": "success",
            "message": "Configuration applied",
            "devices_configured": applied.devices,
            "mqtt_reconnected": applied.mqtt_reconnected,
            "timestamp": clock::now().rfc3339(),
            "revision": applied.revision,
            "added": applied.added,
            "updated": applied.updated,
            "removed": applied.removed,
        }))
        .into_response(),
        Ok(Err(error)) => refused(error),
        Err(_panicked) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the push failed: see the log")
                .into_response()
        }
    }
}

fn refused(error: PushError) -> Response {
    let code = match &error {
        PushError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        PushError::Broker { .. } => StatusCode::CONFLICT,
        PushError::Store(_) | PushError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let (code, Json(mut body)) = refusal(code, &error.to_string());
    if let PushError::Invalid(problems) = error {
        body.errors = problems
            .iter()
            .map(|p| json!({"path": p.pointer(), "problem": p.what, "remedy": p.remedy}))
            .collect();
    }
    (code, Json(body)).into_response()
}
