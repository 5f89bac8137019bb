//! Shadows: what came of comparing them, and the end of one.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::access::Caller;
use super::routes::refusal;
use crate::reload::{ShadowError, ShadowVerdict, Tapline};

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new()
        .route("/api/v1/shadow", get(shadows))
        .route("/api/v1/shadow/{pipeline}/{stage}/promote", post(promote))
        .route("/api/v1/shadow/{pipeline}/{stage}/drop", post(give_up))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Only those of this pipeline.
    pipeline: Option<String>,
}

async fn shadows(
    State(tapline): State<Arc<Tapline>>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let wish = match wish {
        Ok(Query(wish)) => wish,
        Err(error) => {
            return refusal(StatusCode::BAD_REQUEST, &error.body_text()).into_response();
        }
    };
    if let Some(pipeline) = wish.pipeline.as_ref().filter(|name| tapline.shard(name).is_none()) {
        let error = ShadowError::NoPipeline(pipeline.clone());
        return refused(&error);
    }
    Json(json!({"shadows": tapline.shadows(wish.pipeline.as_deref())})).into_response()
}

type Stage = Path<(String, String)>;

async fn promote(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    Path(stage): Stage,
) -> Response {
    decide(tapline, stage, ShadowVerdict::Promote, &caller).await
}

async fn give_up(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    Path(stage): Stage,
) -> Response {
    decide(tapline, stage, ShadowVerdict::Drop, &caller).await
}

async fn decide(
    tapline: Arc<Tapline>,
    (pipeline, stage): (String, String),
    verdict: ShadowVerdict,
    caller: &Caller,
) -> Response {
    let author = caller.to_string();
    // It goes on when its sender hangs up: a file that is changed and not taken up would be
    // worse than either.
    let task =
        tokio::spawn(
            async move { tapline.decide_shadow(&pipeline, &stage, verdict, &author).await },
        );
    match task.await {
        Ok(Ok(decided)) => Json(decided).into_response(),
        Ok(Err(error)) => refused(&error),
        Err(_panicked) => {
            let why = "it failed: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

fn refused(error: &ShadowError) -> Response {
    let code = match error {
        ShadowError::NoPipeline(_) | ShadowError::NoShadow { .. } => StatusCode::NOT_FOUND,
        ShadowError::Reload(_) | ShadowError::Audit(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    refusal(code, &crate::telemetry::words(error)).into_response()
}
