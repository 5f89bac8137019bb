//! Changed files: what they would change, and taking them up.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use serde::Deserialize;

use super::access::Caller;
use super::routes::refusal;
use crate::reload::{ReloadError, Tapline};

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/reload", get(plan).post(reload))
}

async fn plan(State(tapline): State<Arc<Tapline>>) -> Response {
    match tapline.reload_plan().await {
        Ok(plan) => Json(plan).into_response(),
        Err(error) => refused(&error),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// State that loses its owner may go.
    #[serde(default)]
    drop_state: bool,
}

async fn reload(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let wish = match body.is_empty() {
        true => Ok(Wish::default()),
        false => serde_json::from_slice::<Wish>(&body),
    };
    let wish = match wish {
        Ok(wish) => wish,
        Err(error) => {
            let why = format!("the body is not {{\"drop_state\": true}} or empty: {error}");
            return refusal(StatusCode::BAD_REQUEST, &why).into_response();
        }
    };
    let author = caller.to_string();
    // It goes on when its sender hangs up: half a reload would be worse than either.
    let task = tokio::spawn(async move { tapline.reload(&author, wish.drop_state).await });
    match task.await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(error)) => refused(&error),
        Err(_panicked) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the reload failed: see the log")
                .into_response()
        }
    }
}

fn refused(error: &ReloadError) -> Response {
    let why = format!("nothing was reloaded: {}", crate::telemetry::words(error));
    refusal(StatusCode::SERVICE_UNAVAILABLE, &why).into_response()
}
