//! `GET /api/v1/logs`: the last lines of the log.

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::reload::Tapline;
use crate::telemetry::recent;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/logs", get(logs))
}

async fn logs() -> Json<Value> {
    Json(json!({ "lines": recent::lines() }))
}
