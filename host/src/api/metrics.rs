//! `GET /metrics`, for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::routes::refusal;
use crate::reload::Tapline;
use crate::telemetry::metrics::Page;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(tapline): State<Arc<Tapline>>) -> Response {
    let gathered = tokio::task::spawn_blocking(move || tapline.metrics().text()).await;
    match gathered {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, Page::CONTENT_TYPE)], text).into_response(),
        Ok(Err(_)) | Err(_) => {
            let why = "the metrics could not be gathered: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
