//! The routes and their shapes, as existing Odoo sides send and expect them.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Serialize;
use serde_json::{Value, json};

use super::access::{self, Gate};
use super::floods::Floods;
use super::{config, reload};
use crate::config::site::Http;
use crate::reload::Tapline;
use crate::telemetry::clock;

pub(super) fn router(tapline: Arc<Tapline>, http: &Http) -> Router {
    let floods = Arc::new(Floods::new(http.rate_limit));
    let gate = Gate { tapline: tapline.clone(), floods };
    Router::new()
        .merge(config::routes())
        .merge(reload::routes())
        .route("/api/v1/sinks/{pipeline}/{sink}/resume", post(resume))
        .merge(super::dead_letters::routes())
        .merge(super::history::routes())
        .merge(super::logs::routes())
        .merge(super::look::routes())
        .merge(super::metrics::routes())
        .merge(super::record::routes())
        .merge(super::resume::routes())
        .merge(super::shadow::routes())
        .merge(super::status::routes())
        .merge(super::tap::routes())
        .layer(middleware::from_fn_with_state(gate, access::check))
        .route("/health", get(health))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(config::BODY))
        .with_state(tapline)
}

/// An error in the shape that S3's callers read.
#[derive(Serialize)]
pub(super) struct Refusal {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<Value>,
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
        "no such route; there are /config, /health and those below /api/v1",
    )
    .into_response()
}

async fn health(State(tapline): State<Arc<Tapline>>) -> Response {
    let health = tapline.health();
    let code = if health.alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health)).into_response()
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
