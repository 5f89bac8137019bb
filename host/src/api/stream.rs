//! Answers without an end: one JSON object a line, for as long as somebody reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::CancellationToken;

use super::routes::refusal;

/// Streams at a time; each may be held up by its reader.
const STREAMS: usize = 16;
/// An empty line tells both sides that the other is still there.
const BEAT: Duration = Duration::from_secs(15);

/// The places for streams.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

/// What a connection allows; an extension of each of its requests.
#[derive(Clone)]
pub(super) struct Flow {
    streams: Streams,
    stop: CancellationToken,
    is_stream: Arc<AtomicBool>,
}

impl Flow {
    pub(super) fn new(streams: Streams, stop: CancellationToken) -> Self {
        Self { streams, stop, is_stream: Arc::default() }
    }

    /// Whether an answer without an end has begun.
    pub(super) fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    /// Answers with what comes through `lines`, each with its line end; ends when its sender
    /// goes, when nobody reads any more, or when the API stops. `held` is kept until then.
    pub(super) fn lines<T: Send + Unpin + 'static>(
        &self,
        lines: mpsc::Receiver<Bytes>,
        held: T,
    ) -> Response {
        let Ok(place) = self.streams.0.clone().try_acquire_owned() else {
            let why = format!("{STREAMS} streams are open already: end one of them first");
            return refusal(StatusCode::SERVICE_UNAVAILABLE, &why).into_response();
        };
        self.is_stream.store(true, Ordering::Relaxed);
        let stop = self.stop.clone();
        let body = Lines {
            lines,
            stopped: Box::pin(async move { stop.cancelled_owned().await }),
            beat: interval_at(Instant::now() + BEAT, BEAT),
            _held: held,
            _place: place,
        };
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        (kind, Body::new(body)).into_response()
    }
}

struct Lines<T> {
    lines: mpsc::Receiver<Bytes>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    beat: Interval,
    _held: T,
    _place: OwnedSemaphorePermit,
}

impl<T: Send + Unpin> HttpBody for Lines<T> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(line) = self.lines.poll_recv(context) {
            return Poll::Ready(line.map(|line| Ok(Frame::data(line))));
        }
        if self.beat.poll_tick(context).is_ready() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"\n")))));
        }
        Poll::Pending
    }
}
