//! The pushed configuration: S3's `POST /config` and `GET /config`, what a push would change,
//! and what was configured before.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Caller;
use super::routes::refusal;
use crate::reload::{Applied, IfMatch, PushError, Tapline};
use crate::telemetry::clock;

/// 100,000 devices in S3's shape are about 40 MB.
pub(super) const BODY: usize = 64 << 20;
const BODY_TIME: Duration = Duration::from_secs(60);
/// Lines of the journal in one answer.
const LINES: usize = 100;
const MOST_LINES: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Tapline>> {
    Router::new()
        .route("/config", get(document).post(push))
        .route("/api/v1/config", get(in_force))
        .route("/api/v1/config/revisions", get(revisions))
        .route("/api/v1/config/revisions/{revision}", get(revision))
        .route("/api/v1/config/diff", get(diff))
        .route("/api/v1/config/rollback", post(roll_back))
}

async fn document(State(tapline): State<Arc<Tapline>>) -> Response {
    with_tag(tapline.revision(), Json(tapline.document()))
}

/// The revision as `ETag`, for `If-Match` of the push that should follow it.
fn with_tag(revision: u64, answer: impl IntoResponse) -> Response {
    ([(header::ETAG, format!("\"{revision}\""))], answer).into_response()
}

#[derive(Deserialize)]
struct PushQuery {
    /// `1`: say what would change, and change nothing.
    #[serde(default)]
    plan: Option<String>,
}

async fn push(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<PushQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let is_plan = match query.map(|Query(query)| query.plan) {
        Ok(None) => false,
        Ok(Some(plan)) if ["0", "false"].contains(&plan.as_str()) => false,
        Ok(Some(plan)) if ["", "1", "true"].contains(&plan.as_str()) => true,
        Ok(Some(plan)) => {
            let why =
                format!("`plan={plan}` is neither yes nor no: write `plan=1` or leave it out");
            return refusal(StatusCode::BAD_REQUEST, &why).into_response();
        }
        Err(rejection) => return bad_query(&rejection),
    };
    let expected = match if_match(request.headers()) {
        Ok(expected) => expected,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why).into_response(),
    };
    let body = match body(request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    if is_plan {
        return match tapline.plan_push(&body, &expected).await {
            Ok(changes) => Json(json!({
                "status": "success",
                "message": format!("It would change: {}", changes.in_short()),
                "revision": tapline.revision(),
                "changes": changes,
                "timestamp": clock::now().rfc3339(),
            }))
            .into_response(),
            Err(error) => refused(error),
        };
    }
    // The push goes on when its sender hangs up: half a push would be worse than either.
    let author = caller.to_string();
    applied(tokio::spawn(async move { tapline.push(&body, &author, &expected).await }).await)
}

async fn body(request: Request) -> Result<Bytes, Response> {
    let read = tokio::time::timeout(BODY_TIME, axum::body::to_bytes(request.into_body(), BODY));
    match read.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the body is larger than {BODY} bytes, or broke off"),
        )
        .into_response()),
        Err(_) => {
            let why = "the body did not arrive within 60 s";
            Err(refusal(StatusCode::REQUEST_TIMEOUT, why).into_response())
        }
    }
}

/// Revisions in quotes, as `ETag` has them; `*` is any.
fn if_match(headers: &HeaderMap) -> Result<IfMatch, String> {
    let mut revisions = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().unwrap_or_default();
        for tag in text.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(IfMatch::Any);
            }
            let number = tag.trim_start_matches("W/").trim_matches('"').parse();
            revisions.push(number.map_err(|_| {
                format!("`If-Match: {text}` names no revision: send the ETag of GET /config")
            })?);
        }
    }
    Ok(if revisions.is_empty() { IfMatch::Any } else { IfMatch::OneOf(revisions) })
}

type Joined = Result<Result<Applied, PushError>, tokio::task::JoinError>;

fn applied(joined: Joined) -> Response {
    match joined {
        Ok(Ok(applied)) => with_tag(
            applied.revision,
            Json(json!({
                "status": "success",
                "message": "Configuration applied",
                "devices_configured": applied.devices,
                "mqtt_reconnected": applied.mqtt_reconnected,
                "timestamp": clock::now().rfc3339(),
                "revision": applied.revision,
                "added": applied.added,
                "updated": applied.updated,
                "removed": applied.removed,
            })),
        ),
        Ok(Err(error)) => refused(error),
        Err(_panicked) => {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "the push failed: see the log")
                .into_response()
        }
    }
}

fn refused(error: PushError) -> Response {
    let code = match &error {
        PushError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        PushError::Superseded { .. } => StatusCode::PRECONDITION_FAILED,
        PushError::Broker { .. } | PushError::TakenBack(_) => StatusCode::CONFLICT,
        PushError::NoRevision { .. } => StatusCode::NOT_FOUND,
        PushError::Keep(_) | PushError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let errors = match &error {
        PushError::Invalid(problems) => problems
            .iter()
            .map(|p| json!({"path": p.pointer(), "problem": p.what, "remedy": p.remedy}))
            .collect(),
        _ => Vec::new(),
    };
    let (code, Json(mut body)) = refusal(code, &error.to_string());
    body.errors = errors;
    let answer = (code, Json(body));
    match error {
        PushError::Superseded { current } => with_tag(current, answer),
        _ => answer.into_response(),
    }
}

fn bad_query(rejection: &QueryRejection) -> Response {
    let why = format!("the query cannot be read: {}", rejection.body_text());
    refusal(StatusCode::BAD_REQUEST, &why).into_response()
}

/// The site's values in force, and where each comes from.
async fn in_force(State(tapline): State<Arc<Tapline>>) -> Response {
    Json(json!({
        "revision": tapline.revision(),
        "devices": tapline.config().devices.by_id.len(),
        "values": tapline.in_force(),
    }))
    .into_response()
}

#[derive(Deserialize)]
struct Pages {
    limit: Option<usize>,
    /// The `next` of the answer before.
    next: Option<u64>,
}

async fn revisions(
    State(tapline): State<Arc<Tapline>>,
    query: Result<Query<Pages>, QueryRejection>,
) -> Response {
    let pages = match query {
        Ok(Query(pages)) => pages,
        Err(rejection) => return bad_query(&rejection),
    };
    let limit = pages.limit.unwrap_or(LINES).clamp(1, MOST_LINES);
    match tapline.journal(limit, pages.next).await {
        Ok(entries) => {
            let next = entries.last().filter(|last| entries.len() == limit && last.number > 1);
            let next = next.map(|last| last.number);
            Json(json!({"revisions": entries, "next": next})).into_response()
        }
        Err(error) => refused(error.into()),
    }
}

async fn revision(State(tapline): State<Arc<Tapline>>, Path(revision): Path<u64>) -> Response {
    match tapline.revision_document(revision).await {
        Ok(document) => Json(document).into_response(),
        Err(error) => refused(error),
    }
}

#[derive(Deserialize)]
struct DiffQuery {
    from: Option<u64>,
    to: Option<u64>,
}

async fn diff(
    State(tapline): State<Arc<Tapline>>,
    query: Result<Query<DiffQuery>, QueryRejection>,
) -> Response {
    let DiffQuery { from, to } = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return bad_query(&rejection),
    };
    match tapline.revision_changes(from, to).await {
        Ok((from, to, changes)) => {
            Json(json!({"from": from, "to": to, "changes": changes})).into_response()
        }
        Err(error) => refused(error),
    }
}

#[derive(Deserialize)]
struct Rollback {
    revision: u64,
}

async fn roll_back(
    State(tapline): State<Arc<Tapline>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let wanted = body.ok().and_then(|Json(body)| Rollback::deserialize(body).ok());
    let Some(Rollback { revision }) = wanted else {
        let why = "say which revision to go back to: {\"revision\": 3}";
        return refusal(StatusCode::BAD_REQUEST, why).into_response();
    };
    let expected = match if_match(&headers) {
        Ok(expected) => expected,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why).into_response(),
    };
    let author = caller.to_string();
    let task = async move { tapline.roll_back(revision, &author, &expected).await };
    applied(tokio::spawn(task).await)
}
