//! `GET /api/v1/pipelines/{name}/record`: what makes a pipeline act, as it comes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::routes::refusal;
use super::stream::Flow;
use crate::reload::Tapline;
use crate::replay::{Recording, RecordingError};

/// Pieces between the recording and its reader; what waits otherwise waits in the recording,
/// which bounds it.
const AHEAD: usize = 4;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/pipelines/{name}/record", get(record))
}

async fn record(
    State(tapline): State<Arc<Tapline>>,
    Path(name): Path<String>,
    Extension(flow): Extension<Flow>,
) -> Response {
    let mut recording = match Recording::start(&tapline, &name).await {
        Ok(recording) => recording,
        Err(error) => {
            let code = match error {
                RecordingError::Unknown(_) => StatusCode::NOT_FOUND,
                RecordingError::Ended(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            let why = format!("{error}; `tapline status` lists the pipelines");
            return refusal(code, &why).into_response();
        }
    };
    let (send, lines) = mpsc::channel(AHEAD);
    let pump = tokio::spawn(async move {
        while let Some(chunk) = recording.next().await {
            if send.send(chunk).await.is_err() {
                break;
            }
        }
    });
    flow.lines(lines, AbortOnDropHandle::new(pump))
}
