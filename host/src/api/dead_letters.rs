//! Dead letters over HTTP: list, show, replay, discard.

mod shape;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::access::Caller;
use super::routes::refusal;
use crate::config::parse_duration;
use crate::config::push::parse_time;
use crate::message::Timestamp;
use crate::reload::{Chosen, TURN, Tapline, Turned};
use crate::store::{LetterFilter, StoreError};
use crate::telemetry::clock;

/// Letters of one answer, where the request does not say.
const LISTED: usize = 100;
const LISTED_AT_MOST: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new()
        .route("/api/v1/dead-letters", get(list))
        .route("/api/v1/dead-letters/replay", post(replay))
        .route("/api/v1/dead-letters/discard", post(discard))
        .route("/api/v1/dead-letters/{id}", get(show))
        .route("/api/v1/audit", get(audit))
}

/// Which letters, in words.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilterText {
    pipeline: Option<String>,
    stage: Option<String>,
    code: Option<String>,
    device: Option<String>,
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    pipeline: Option<String>,
    stage: Option<String>,
    code: Option<String>,
    device: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
    /// `next` of the answer before.
    cursor: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    limit: Option<usize>,
    cursor: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActText {
    ids: Option<Vec<u64>>,
    filter: Option<FilterText>,
    #[serde(default)]
    force: bool,
    /// `next` of the answer before, where there is more than one turn.
    next: Option<crate::reload::Next>,
}

impl FilterText {
    fn parse(self, now: Timestamp) -> Result<LetterFilter, String> {
        let since = match self.since.as_deref() {
            None => None,
            Some(text) => Some(since(text, now)?),
        };
        let Self { pipeline, stage, code, device, .. } = self;
        Ok(LetterFilter { pipeline, stage, code, device, since })
    }
}

/// A time, or how long ago.
fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let ago = parse_duration(text).map(|ago| {
        let ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        now.minus_ms(ms)
    });
    ago.or_else(|| parse_time(text)).ok_or_else(|| {
        format!(
            "`{text}` is no time: write how long ago (`2h`, `3d`), or a time \
             (`2026-02-12T19:40:18Z`)"
        )
    })
}

fn bad(why: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, why).into_response()
}

impl ActText {
    fn read(body: &[u8]) -> Result<(Chosen, bool), String> {
        let act: Self = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not what this takes: {error}"))?;
        let force = act.force;
        Ok((act.chosen()?, force))
    }

    fn chosen(self) -> Result<Chosen, String> {
        match (self.ids, self.filter) {
            (Some(ids), None) if ids.len() > TURN => {
                Err(format!("{} ids at once are too many: send at most {TURN}", ids.len()))
            }
            (Some(ids), None) => Ok(Chosen::Numbers(ids)),
            (None, Some(filter)) => {
                let filter = filter.parse(clock::now())?;
                let (after, up_to) =
                    self.next.map_or((0, None), |next| (next.after, Some(next.up_to)));
                Ok(Chosen::Matching { filter, after, up_to })
            }
            _ => Err("send either `ids`, or a `filter` ({} for all)".to_owned()),
        }
    }
}

async fn list(
    State(tapline): State<Arc<Tapline>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(why) => return bad(&why.body_text()),
    };
    let ListQuery { pipeline, stage, code, device, since, limit, cursor } = query;
    let filter = FilterText { pipeline, stage, code, device, since };
    let filter = match filter.parse(clock::now()) {
        Ok(filter) => filter,
        Err(why) => return bad(&why),
    };
    let limit = limit.unwrap_or(LISTED).clamp(1, LISTED_AT_MOST);
    let store = tapline.store().clone();
    answer(move || {
        let (count, _) = store.dead_letters_matching(&filter)?;
        let letters = store.dead_letters(&filter, limit, cursor)?;
        let next = letters.last().filter(|_| letters.len() == limit).map(|last| last.number);
        let letters: Vec<_> = letters.iter().map(shape::summary).collect();
        Ok(Some(json!({"dead_letters": letters, "next": next, "count": count})))
    })
    .await
}

async fn show(State(tapline): State<Arc<Tapline>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else { return bad(&format!("`{id}` is no number of a dead letter")) };
    let store = tapline.store().clone();
    answer(move || Ok(store.dead_letter(id)?.as_ref().map(shape::whole))).await
}

async fn audit(
    State(tapline): State<Arc<Tapline>>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(why) => return bad(&why.body_text()),
    };
    let limit = query.limit.unwrap_or(LISTED).clamp(1, LISTED_AT_MOST);
    let store = tapline.store().clone();
    answer(move || {
        let entries = store.audit(limit, query.cursor)?;
        let next = entries.last().filter(|_| entries.len() == limit).map(|last| last.number);
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                json!({
                    "id": entry.number,
                    "at": entry.at.rfc3339(),
                    "author": entry.author,
                    "action": entry.action,
                    "what": entry.what,
                })
            })
            .collect();
        Ok(Some(json!({"audit": entries, "next": next})))
    })
    .await
}

async fn replay(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let (chosen, force) = match ActText::read(&body) {
        Ok(read) => read,
        Err(why) => return bad(&why),
    };
    // It goes on when its sender hangs up, so that the count it logs is right.
    let task =
        tokio::spawn(
            async move { tapline.replay_letters(chosen, force, &caller.to_string()).await },
        );
    turned(task.await)
}

async fn discard(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    let chosen = match ActText::read(&body) {
        Ok((chosen, _)) => chosen,
        Err(why) => return bad(&why),
    };
    let task =
        tokio::spawn(async move { tapline.discard_letters(chosen, &caller.to_string()).await });
    turned(task.await)
}

fn turned(done: Result<Result<Turned, StoreError>, tokio::task::JoinError>) -> Response {
    match done {
        Ok(Ok(turned)) => Json(turned).into_response(),
        Ok(Err(error)) => unavailable(&error),
        Err(_panicked) => {
            let why = "the request failed: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

/// Reads the store where waiting is allowed; nothing found is 404.
async fn answer(
    read: impl FnOnce() -> Result<Option<serde_json::Value>, StoreError> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(Some(value))) => Json(value).into_response(),
        Ok(Ok(None)) => {
            let why = "there is no such dead letter; GET /api/v1/dead-letters lists them";
            refusal(StatusCode::NOT_FOUND, why).into_response()
        }
        Ok(Err(error)) => unavailable(&error),
        Err(_panicked) => {
            let why = "the store could not be read: see the log";
            refusal(StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

fn unavailable(error: &StoreError) -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, &crate::telemetry::words(error)).into_response()
}
