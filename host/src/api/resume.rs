//! A pipeline that halts goes on.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::access::Caller;
use super::routes::refusal;
use crate::pipeline::Resume;
use crate::reload::Tapline;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/pipelines/{pipeline}/resume", post(resume))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct How {
    /// Let what it halted on go to the dead letters.
    set_aside: bool,
}

async fn resume(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    Path(pipeline): Path<String>,
    body: Bytes,
) -> Response {
    let how: How = match serde_json::from_slice(&body) {
        Ok(how) => how,
        Err(_) if body.is_empty() => How::default(),
        Err(error) => {
            let why = format!("the body is not what this takes: {error}");
            return refusal(StatusCode::BAD_REQUEST, &why).into_response();
        }
    };
    let how = if how.set_aside { Resume::SetAside } else { Resume::Retry };
    match tapline.resume_pipeline(&pipeline, how, &caller.to_string()).await {
        Some(halted) => {
            let halted = halted.map(|halted| halted.to_string());
            Json(json!({"status": "success", "pipeline": pipeline, "halted": halted}))
                .into_response()
        }
        None => {
            let why = format!("no pipeline `{pipeline}` runs; /health lists them");
            refusal(StatusCode::NOT_FOUND, &why).into_response()
        }
    }
}
