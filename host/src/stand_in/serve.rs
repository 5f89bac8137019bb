//! The stand-in's HTTP side: an accept loop of its own, because a connection must be cut at
//! will.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::Room;
use super::behaviour::Behaviour;
use super::books::{Entered, ReceivedEvent};
use super::remote;

/// Connections at a time; more than any test or demo opens.
const CONNECTIONS: usize = 256;

/// Bytes of an answer that are dripped at most.
const LONGEST_DRIP: usize = 1 << 20;

/// A port that is being listened on.
pub(crate) struct Listening {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Cuts the connection that a request came on.
#[derive(Clone)]
struct Cut(CancellationToken);

impl Listening {
    pub(crate) async fn start(address: SocketAddr, room: Arc<Room>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, room, stop.clone()));
        Ok(Self { address, stop, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and all connections.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It ends by itself, and a panic in it has ended it, too.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, room: Arc<Room>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                // A caller that is gone before it was accepted is no reason to end.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, room.clone()));
                }
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, room: Arc<Room>) {
    let cut = CancellationToken::new();
    let router = axum::Router::new()
        .route("/ows/iot/event", post(event))
        .route("/jsonrpc", post(json_rpc))
        .route("/json/2/{model}/{method}", post(json_2))
        .route("/web/hook/{hook}", post(web_hook))
        .route("/", get(overview))
        .route("/records", get(records))
        .route("/events", get(events))
        .layer(DefaultBodyLimit::max(16 << 20))
        .layer(Extension(Cut(cut.clone())))
        .with_state(room);
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        // The caller may close or break it at any time.
        _ = connection => {}
        () = cut.cancelled() => {}
    }
}

async fn event(
    State(room): State<Arc<Room>>,
    Extension(Cut(cut)): Extension<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&room, &cut, refused(&room, &headers), || take(&room, &body)).await
}

/// JSON-RPC carries its key in the body, so the headers say nothing.
async fn json_rpc(
    State(room): State<Arc<Room>>,
    Extension(Cut(cut)): Extension<Cut>,
    body: Bytes,
) -> Response {
    let gone = (room.options.version >= 22).then(|| page(404, "Not Found"));
    answer(&room, &cut, gone, || Json(remote::json_rpc(&room, &body)).into_response()).await
}

async fn json_2(
    State(room): State<Arc<Room>>,
    Extension(Cut(cut)): Extension<Cut>,
    Path((model, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let missing = (room.options.version < 19).then(|| page(404, "Not Found"));
    let refused = missing.or_else(|| refused(&room, &headers));
    answer(&room, &cut, refused, || match remote::json_2(&room, &model, &method, &body) {
        Ok(value) => Json(value).into_response(),
        Err((name, message)) => error(500, name, &message),
    })
    .await
}

async fn web_hook(
    State(room): State<Arc<Room>>,
    Extension(Cut(cut)): Extension<Cut>,
    Path(hook): Path<String>,
    body: Bytes,
) -> Response {
    let unknown = (room.options.hook != hook)
        .then(|| (StatusCode::NOT_FOUND, Json(json!({"status": "error"}))).into_response());
    answer(&room, &cut, unknown, || {
        // A webhook gives no reason, and no results.
        if take(&room, &body).status().is_success() {
            Json(json!({"status": "ok"})).into_response()
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"status": "error"}))).into_response()
        }
    })
    .await
}

/// Counts a request and answers it: as the script says, else with a refusal, else by acting.
async fn answer(
    room: &Room,
    cut: &CancellationToken,
    refused: Option<Response>,
    act: impl Fn() -> Response,
) -> Response {
    let behaviour = {
        let mut state = room.lock();
        state.requests += 1;
        state.script.next()
    };
    let answer = match refused {
        Some(answer) => answer,
        None => meet(behaviour, room, cut, act).await,
    };
    room.changed();
    answer
}

/// Who is not let in.
fn refused(room: &Room, headers: &HeaderMap) -> Option<Response> {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let key = room.options.key.as_ref().map(|key| format!("Bearer {key}"));
    if key.is_some() && said("authorization") != key.as_deref() {
        let message = "the key is wrong or missing";
        return Some(error(401, "odoo.exceptions.AccessDenied", message));
    }
    let database = room.options.database.as_deref();
    if database.is_some() && said("x-odoo-database") != database {
        return Some(page(404, "Not Found"));
    }
    None
}

async fn meet(
    behaviour: Behaviour,
    room: &Room,
    cut: &CancellationToken,
    act: impl Fn() -> Response,
) -> Response {
    match behaviour {
        Behaviour::Normal => act(),
        Behaviour::Status { status, name, retry_after } => {
            let mut answer = error(status, &name, "as the script says");
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            answer
        }
        Behaviour::Answer(body) => {
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Behaviour::Html { status } => page(status, "Odoo"),
        Behaviour::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Behaviour::HangAfterHeaders => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (json, Body::new(Silence)).into_response()
        }
        Behaviour::Hang => {
            room.changed();
            std::future::pending().await
        }
        Behaviour::CutBefore => hang_up(room, cut).await,
        Behaviour::CutAfterCommit => {
            act();
            hang_up(room, cut).await
        }
        Behaviour::Huge(bytes) => {
            act();
            "x".repeat(bytes).into_response()
        }
        Behaviour::Slow { wait, drip } => {
            tokio::time::sleep(wait).await;
            slow(act(), drip).await
        }
        Behaviour::Held => {
            room.changed();
            room.gate.notified().await;
            act()
        }
    }
}

async fn hang_up(room: &Room, cut: &CancellationToken) -> Response {
    room.changed();
    cut.cancel();
    std::future::pending().await
}

/// Takes the events of a request in, all or, where one breaks it, none.
fn take(room: &Room, body: &[u8]) -> Response {
    let (bridge, events) = match read(body) {
        Ok(read) => read,
        Err(message) => return error(400, "werkzeug.exceptions.BadRequest", &message),
    };
    let mut state = room.lock();
    let state = &mut *state;
    let device = |event: &ReceivedEvent| event.device_id.clone().unwrap_or_default();
    for event in &events {
        let refusal = state.script.refusal(&device(event), &event.event_uid);
        if let Some(refusal) = refusal.filter(|refusal| refusal.breaks_request) {
            return error(500, &refusal.code, &refusal.message);
        }
    }
    let mut results = Vec::with_capacity(events.len());
    for mut event in events {
        let uid = event.event_uid.clone();
        results.push(match state.script.refusal(&device(&event), &uid) {
            Some(refusal) => json!({
                "event_uid": uid,
                "status": "rejected",
                "code": refusal.code,
                "message": refusal.message,
            }),
            None => {
                event.bridge_id.clone_from(&bridge);
                let status = match state.books.enter(event) {
                    Entered::Created => "created",
                    Entered::Duplicate => "duplicate",
                };
                json!({"event_uid": uid, "status": status})
            }
        });
    }
    Json(json!({"status": "ok", "results": results})).into_response()
}

/// A batch, or one bare event.
fn read(body: &[u8]) -> Result<(String, Vec<ReceivedEvent>), String> {
    let document: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let bridge = document["bridge_id"].as_str().unwrap_or_default().to_owned();
    let events = match document.get("events") {
        Some(events) => events.clone(),
        None => Value::Array(vec![document]),
    };
    let events = serde_json::from_value(events).map_err(|error| error.to_string())?;
    Ok((bridge, events))
}

async fn overview(State(room): State<Arc<Room>>) -> Json<Value> {
    let state = room.lock();
    Json(json!({
        "sessions": state.books.records().len(),
        "events": state.books.events().len(),
        "duplicates": state.books.duplicates(),
        "violations": state.books.violations(),
        "requests": state.requests,
    }))
}

async fn records(State(room): State<Arc<Room>>) -> Json<Value> {
    Json(json!(room.lock().books.records()))
}

async fn events(State(room): State<Arc<Room>>) -> Json<Value> {
    Json(json!(room.lock().books.events()))
}

fn error(status: u16, name: &str, message: &str) -> Response {
    let body = json!({
        "name": name, "message": message, "arguments": [message], "context": {}, "debug": "",
    });
    (code(status), Json(body)).into_response()
}

fn page(status: u16, title: &str) -> Response {
    let page = format!("<!DOCTYPE html>\n<html><title>{title}</title><h1>{title}</h1></html>");
    (code(status), Html(page)).into_response()
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The same answer, a byte at a time.
async fn slow(answer: Response, every: Duration) -> Response {
    let (mut head, body) = answer.into_parts();
    // Our own answers are short and complete; one that cannot be read would be empty.
    let bytes = axum::body::to_bytes(body, LONGEST_DRIP).await.unwrap_or_default();
    head.headers.remove(header::CONTENT_LENGTH);
    let next = Box::pin(tokio::time::sleep(every));
    Response::from_parts(head, Body::new(Drip { bytes, every, next }))
}

/// A body that comes byte by byte.
struct Drip {
    bytes: Bytes,
    every: Duration,
    next: Pin<Box<Sleep>>,
}

impl hyper::body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        std::task::ready!(self.next.as_mut().poll(context));
        let after = Instant::now() + self.every;
        self.next.as_mut().reset(after);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(1)))))
    }
}

/// A body that never comes.
struct Silence;

impl hyper::body::Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
