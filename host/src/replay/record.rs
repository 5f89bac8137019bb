//! Writes down what makes a running pipeline act, so that it can be replayed exactly.
//!
//! A recording begins in the middle of life: on the pipeline's own thread, between two turns,
//! it takes what every key remembers, and watches from there on. Invariant: a recording has
//! no holes. Whoever reads it too slowly gets an end that says so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::head::modules;
use super::print::Output;
use super::written::{self, Deaf, End, FORMAT, Key, Line, STOPPED, Start, Time, Wake};
use crate::message::Timestamp;
use crate::pipeline::{Observed, Observer, Plan, Turn, Watching};
use crate::reload::Tapline;
use crate::store::StoredKey;
use crate::telemetry::clock;

/// Bytes that wait for a reader before the recording ends.
const WAITING: usize = 32 << 20;
/// Lines of the beginning that are made at a time.
const AT_ONCE: usize = 256;

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("there is no pipeline `{0}`")]
    Unknown(String),
    #[error("pipeline `{0}` has ended")]
    Ended(String),
}

/// A recording under way.
pub struct Recording {
    recorder: Arc<Recorder>,
    plan: Arc<Plan>,
    at: Timestamp,
    rows: std::vec::IntoIter<StoredKey>,
    /// How many devices are written; `None`: nothing is.
    devices: Option<usize>,
    _watching: Watching,
}

/// Watches a pipeline and writes its lines into a queue.
pub struct Recorder {
    pipeline: Arc<str>,
    state: Mutex<State>,
    filled: Notify,
}

struct State {
    chunks: VecDeque<Bytes>,
    waiting: usize,
    limit: usize,
    ended: bool,
    /// The number of the last line.
    line: u64,
    /// What the pipeline emits as it runs, for a comparison.
    live: Option<Output>,
}

impl Recording {
    /// Begins to record a pipeline after what it is doing now.
    ///
    /// # Errors
    /// If there is no such pipeline, or it ends.
    pub async fn start(tapline: &Tapline, pipeline: &str) -> Result<Self, RecordingError> {
        Self::begin(tapline, pipeline, None).await
    }

    /// The same, which also keeps what the pipeline emits meanwhile: see [`Recorder::live`].
    ///
    /// # Errors
    /// As [`Recording::start`].
    pub async fn with_items(tapline: &Tapline, pipeline: &str) -> Result<Self, RecordingError> {
        Self::begin(tapline, pipeline, Some(Output::new())).await
    }

    async fn begin(
        tapline: &Tapline,
        pipeline: &str,
        live: Option<Output>,
    ) -> Result<Self, RecordingError> {
        let shard =
            tapline.shard(pipeline).ok_or_else(|| RecordingError::Unknown(pipeline.to_owned()))?;
        if !shard.is_alive() {
            return Err(RecordingError::Ended(pipeline.to_owned()));
        }
        let recorder = Arc::new(Recorder::new(pipeline.into(), WAITING, live));
        let (send, begun) = oneshot::channel();
        let (watchers, watcher) = (tapline.watchers().clone(), recorder.clone());
        shard.visit(move |worker| {
            let (plan, rows) = (worker.plan().clone(), worker.rows());
            watcher.lock().line = 1 + (plan.directory.bound.len() + rows.len()) as u64;
            let watching = watchers.join(watcher.clone());
            // Nobody waits any more where the request is gone.
            let _gone = send.send((plan, rows, watching));
        });
        drop(shard);
        let begun = begun.await.map_err(|_| RecordingError::Ended(pipeline.to_owned()))?;
        let (plan, rows, watching) = begun;
        Ok(Self {
            recorder,
            plan,
            at: clock::now(),
            rows: rows.into_iter(),
            devices: None,
            _watching: watching,
        })
    }

    /// What writes it.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// The next lines, each with its line end; `None` once it has ended. What is not there yet
    /// is waited for.
    pub async fn next(&mut self) -> Option<Bytes> {
        match self.beginning() {
            Some(chunk) => Some(chunk),
            None => self.recorder.next().await,
        }
    }

    fn beginning(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        let bound = &self.plan.directory.bound;
        let Some(written) = self.devices else {
            self.devices = Some(0);
            let start = Start {
                format: FORMAT,
                pipeline: self.plan.file.name.to_string(),
                at: Time(self.at),
                modules: modules(&self.plan),
            };
            let line = Line { recording: Some(Box::new(start)), ..Line::default() };
            written::write(&mut chunk, &line);
            return Some(chunk.into());
        };
        if written < bound.len() {
            let some = &bound[written..bound.len().min(written + AT_ONCE)];
            self.devices = Some(written + some.len());
            for bound in some {
                let device = Some(Box::new(written::device(&bound.device)));
                written::write(&mut chunk, &Line { registered: device, ..Line::default() });
            }
            return Some(chunk.into());
        }
        for row in self.rows.by_ref().take(AT_ONCE) {
            let line = Line { key: Some(Box::new(Key::new(row))), ..Line::default() };
            written::write(&mut chunk, &line);
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }
}

impl Recorder {
    fn new(pipeline: Arc<str>, limit: usize, live: Option<Output>) -> Self {
        let state =
            State { chunks: VecDeque::new(), waiting: 0, limit, ended: false, line: 0, live };
        Self { pipeline, state: Mutex::new(state), filled: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pipeline emitted since the recording began, as a replay prints it; `None` if
    /// it was not kept.
    pub fn live(&self) -> Option<Output> {
        self.lock().live.take()
    }

    /// Ends the recording: what comes later is not written.
    pub fn end(&self) {
        let mut state = self.lock();
        if !state.ended {
            state.end(STOPPED, "the recording was ended".to_owned());
        }
        drop(state);
        self.filled.notify_one();
    }

    async fn next(&self) -> Option<Bytes> {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.lock();
                if let Some(chunk) = state.chunks.pop_front() {
                    state.waiting -= chunk.len();
                    return Some(chunk);
                }
                if state.ended {
                    return None;
                }
            }
            filled.await;
        }
    }
}

impl State {
    fn push(&mut self, chunk: Vec<u8>) {
        if self.waiting + chunk.len() > self.limit {
            let detail = format!(
                "more than {} MiB waited for the reader: write the recording to a faster place",
                self.limit >> 20
            );
            return self.end("too-slow", detail);
        }
        self.waiting += chunk.len();
        self.chunks.push_back(chunk.into());
    }

    fn end(&mut self, reason: &str, detail: String) {
        let mut chunk = Vec::new();
        let end = End { reason: reason.to_owned(), detail };
        written::write(&mut chunk, &Line { end: Some(Box::new(end)), ..Line::default() });
        self.waiting += chunk.len();
        self.chunks.push_back(chunk.into());
        self.ended = true;
    }
}

impl Observer for Recorder {
    fn observe(&self, observed: &Observed<'_>) {
        if observed.plan.file.name != self.pipeline {
            return;
        }
        let mut state = self.lock();
        if state.ended {
            return;
        }
        let mut chunk = Vec::new();
        let first = state.line + 1;
        match observed.turn {
            Turn::Messages | Turn::Letter(_) => {
                let letter = match observed.turn {
                    Turn::Letter(letter) => Some(letter),
                    _ => None,
                };
                for message in observed.messages {
                    written::write_message(&mut chunk, message, letter);
                }
                state.line += observed.messages.len() as u64;
            }
            // The clock came round, and nothing was both due and heard.
            Turn::Clock { .. } if observed.effects.keys.is_empty() => return,
            Turn::Clock { now, heard } => {
                let wake = Wake { now: Time(now), heard: heard.iter().cloned().collect() };
                let wake = Some(Box::new(wake));
                written::write(&mut chunk, &Line { wake, ..Line::default() });
                state.line += 1;
            }
            Turn::Deaf { broker, from, until, resumed } => {
                let (from, until) = (Time(from), Time(until));
                let deaf = Deaf { broker: Some(broker.into()), from, until, resumed };
                let deaf = Some(Box::new(deaf));
                written::write(&mut chunk, &Line { deaf, ..Line::default() });
                state.line += 1;
            }
            Turn::Link => return,
            Turn::Plan { .. } => {
                let detail = "the pipeline or its devices were changed: record again";
                state.end("changed", detail.to_owned());
                drop(state);
                self.filled.notify_one();
                return;
            }
        }
        if chunk.is_empty() {
            return;
        }
        state.push(chunk);
        if let Some(live) = &mut state.live {
            let lines: Vec<u64> = (first..).take(observed.messages.len()).collect();
            if let Err(error) =
                live.take(observed.plan, observed.effects, observed.messages, &lines)
            {
                let detail = format!("what the pipeline emits cannot be kept: {error}");
                state.end("failed", detail);
            }
        }
        drop(state);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_is_too_slow_gets_an_end_in_place_of_a_hole() {
        let recorder = Recorder::new("workshop".into(), 10, None);
        recorder.lock().push(b"12345\n".to_vec());
        recorder.lock().push(b"67890\n".to_vec());
        assert_eq!(recorder.next().await.as_deref(), Some(&b"12345\n"[..]));
        let end = recorder.next().await.expect("it says why it ends");
        let end = String::from_utf8_lossy(&end).into_owned();
        assert!(end.starts_with("{\"end\":{\"reason\":\"too-slow\""), "{end}");
        assert_eq!(recorder.next().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_keeps_up_is_never_ended() {
        let recorder = Recorder::new("workshop".into(), 10, None);
        for _ in 0..100 {
            recorder.lock().push(b"12345\n".to_vec());
            assert_eq!(recorder.next().await.as_deref(), Some(&b"12345\n"[..]));
        }
        recorder.end();
        let end = recorder.next().await.expect("it says why it ends");
        assert!(end.starts_with(b"{\"end\":{\"reason\":\"stopped\""));
        assert_eq!(recorder.next().await, None);
    }
}
