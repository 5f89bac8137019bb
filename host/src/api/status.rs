//! `GET /api/v1/status`: what runs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::routes::refusal;
use crate::reload::Tapline;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/status", get(status))
}

async fn status(State(tapline): State<Arc<Tapline>>) -> Response {
    match tokio::task::spawn_blocking(move || tapline.status()).await {
        Ok(status) => Json(status).into_response(),
        Err(_) => {
            let why = "the status could not be gathered: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
