//! `GET /api/v1/pipelines/{name}/tap`: what passes through a pipeline, while it passes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{Instant, timeout_at};

use super::routes::refusal;
use super::stream::Flow;
use crate::config::topic::Pattern;
use crate::message::DeviceId;
use crate::pipeline::{Kind, Plan, Tap, Tapped, Wanted};
use crate::reload::Tapline;

/// Lines between the tap and the connection.
const LINES: usize = 64;
/// The longest that one tap runs: a forgotten one ends by itself.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new().route("/api/v1/pipelines/{name}/tap", get(tap))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    stage: Option<String>,
    device: Option<String>,
    kind: Option<Kind>,
    topic: Option<String>,
    #[serde(default)]
    messages: bool,
    /// Lines.
    limit: Option<u64>,
    /// Seconds.
    #[serde(rename = "for")]
    seconds: Option<f64>,
}

async fn tap(
    State(tapline): State<Arc<Tapline>>,
    Extension(flow): Extension<Flow>,
    Path(name): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => {
            return refusal(StatusCode::BAD_REQUEST, &error.body_text()).into_response();
        }
    };
    let plans = tapline.plans();
    let Some((name, plan)) = plans.get_key_value(name.as_str()) else {
        let known: Vec<_> = plans.keys().map(|name| format!("`{name}`")).collect();
        let why = format!("no pipeline `{name}` runs; those that do: {}", known.join(", "));
        return refusal(StatusCode::NOT_FOUND, &why).into_response();
    };
    let (limit, seconds) = (asked.limit.unwrap_or(u64::MAX), asked.seconds);
    let wanted = match wanted(plan, asked) {
        Ok(wanted) => wanted,
        Err((code, why)) => return refusal(code, &why).into_response(),
    };
    let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(LONGEST);
    let (tap, tapped) = Tap::new(name.clone(), wanted);
    let watching = tapline.watchers().join(tap);
    let (out, lines) = mpsc::channel(LINES);
    // It ends when the reader goes: then the tap goes with `watching`, and `lines` with both.
    tokio::spawn(write(tapped, out, limit, Instant::now() + time.min(LONGEST)));
    flow.lines(lines, watching)
}

fn wanted(plan: &Plan, asked: Asked) -> Result<Wanted, (StatusCode, String)> {
    if let Some(stage) = &asked.stage {
        let stages: Vec<_> = plan.stage_names().collect();
        if !stages.iter().any(|known| known.as_ref() == stage.as_str()) {
            let known: Vec<_> = stages.iter().map(|name| format!("`{name}`")).collect();
            let pipeline = &plan.file.name;
            let known = known.join(", ");
            let why = format!("pipeline `{pipeline}` has no stage `{stage}`; it has {known}");
            return Err((StatusCode::NOT_FOUND, why));
        }
    }
    let topic = asked.topic.as_deref().map(Pattern::parse).transpose();
    let topic = topic.map_err(|e| (StatusCode::BAD_REQUEST, format!("{e}; {}", e.remedy())))?;
    Ok(Wanted {
        stage: asked.stage,
        device: asked.device.as_deref().map(DeviceId::from),
        kind: asked.kind,
        topic,
        messages: asked.messages,
    })
}

async fn write(mut tapped: Tapped, out: Sender<Bytes>, limit: u64, until: Instant) {
    for _ in 0..limit {
        let Ok(Some(line)) = timeout_at(until, tapped.next()).await else { break };
        if out.send(line.into()).await.is_err() {
            return;
        }
    }
    if let Some(missed) = tapped.missed() {
        // A reader that has gone misses nothing.
        let _gone = out.send(missed.into()).await;
    }
}
