//! Delivery against the Odoo stand-in, with an encoder in place of a module.

mod http;
mod outage;
mod publish;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::config::pipeline::Batch;
use crate::config::site::{Endpoint, Secret};
use crate::message::{Content, DeviceId, Event, Item, Rejection};
use crate::module::sink::{
    Conclusion, Delivery as Out, Encoding, Outcome, Part, Plan, Request, Response, Verdict,
};
use crate::store::{Commit, LetterFilter, NewDelivery, StoreOptions};

/// What the encoder does beside its work.
#[derive(Clone, Default)]
struct Quirks {
    /// Panics like a module would on deliveries of this device.
    traps_on: Option<String>,
    /// Asks for a login each time.
    always_logs_in: bool,
    /// Calls everything delivered.
    believes_anything: bool,
    /// Puts several requests into one plan, of this many deliveries each.
    chunk: Option<usize>,
}

/// Speaks our event endpoint as `sinks/odoo` does, in short.
struct Fake(Quirks);

impl Encoders for Quirks {
    fn fresh(&self, _: Patience) -> Result<Box<dyn Encoder>, String> {
        Ok(Box::new(Fake(self.clone())))
    }
}

impl Encoder for Fake {
    fn encode(&mut self, _: Option<&[u8]>, out: &[Out]) -> Result<Encoding, EncoderFailure> {
        if self.0.always_logs_in {
            return Ok(Encoding { plan: Plan::Prepare(request(&[])), refused: Vec::new() });
        }
        let trap = self.0.traps_on.as_deref();
        if out.iter().any(|out| trap.is_some() && device(out) == trap) {
            return Err(EncoderFailure::Trap("index out of bounds at src/lib.rs:7".into()));
        }
        let indices: Vec<u32> = (0..out.len() as u32).collect();
        let exchanges = indices
            .chunks(self.0.chunk.unwrap_or(out.len()))
            .map(|chunk| {
                let members: Vec<Out> = chunk.iter().map(|i| out[*i as usize].clone()).collect();
                (chunk.to_vec(), request(&members))
            })
            .collect();
        Ok(Encoding { plan: Plan::Exchanges(exchanges), refused: Vec::new() })
    }

    fn conclude(
        &mut self,
        _: Option<&[u8]>,
        out: &[Out],
        response: &Response,
    ) -> Result<Conclusion, EncoderFailure> {
        let outcome = if out.is_empty() {
            Outcome::Prepared
        } else if self.0.believes_anything {
            Outcome::Verdicts(vec![Verdict::Delivered; out.len()])
        } else {
            conclude(out.len(), response)
        };
        Ok(Conclusion { outcome, session: None, outputs: Vec::new() })
    }
}

fn conclude(count: usize, response: &Response) -> Outcome {
    match response.status {
        200 => {}
        400 | 413 | 422 => return Outcome::Split(Rejection::new("http", "refused")),
        401 | 403 | 404 | 300..=399 => return Outcome::Pause(format!("{}", response.status)),
        _ => return Outcome::Retry(0),
    }
    let Ok(answer) = serde_json::from_slice::<Value>(&response.body) else {
        return Outcome::Pause("not JSON".into());
    };
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(results.len(), count);
    let verdict = |result: &Value| match result["status"].as_str() {
        Some("created") => Verdict::Delivered,
        Some("duplicate") => Verdict::Duplicate,
        _ => Verdict::Rejected(Rejection::new(
            result["code"].as_str().unwrap_or_default(),
            result["message"].as_str().unwrap_or_default(),
        )),
    };
    Outcome::Verdicts(results.iter().map(verdict).collect())
}

fn request(out: &[Out]) -> Request {
    let events: Vec<Value> = out
        .iter()
        .map(|out| {
            json!({
                "event_uid": out.id, "event_type": "x", "device_id": device(out),
                "seq": out.seq, "timestamp": out.at.rfc3339(),
            })
        })
        .collect();
    let body = json!({"schema": 1, "bridge_id": "box", "events": events}).to_string();
    Request {
        method: "POST".into(),
        path: "/ows/iot/event".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: vec![Part::Bytes(body.into_bytes())],
    }
}

fn device(out: &Out) -> Option<&str> {
    out.device.as_ref().map(|device| &*device.id)
}

fn sink_id() -> SinkId {
    SinkId::new("workshop", "odoo")
}

fn delivery(sink: SinkId, device: &str, number: u128) -> NewDelivery {
    NewDelivery {
        sink,
        id: Uuid::from_u128(number),
        key: device.into(),
        at: Timestamp(1_000),
        device: Some(DeviceId::from(device)),
        content: Content::Item(Item::Event(Event {
            kind: "x".into(),
            device: None,
            channel: String::new(),
            at: None,
            data: "{}".into(),
        })),
        origin: None,
        message: None,
        expires_at: None,
        replayed: false,
    }
}

fn endpoint(url: Option<String>) -> Endpoint {
    Endpoint {
        name: "odoo".into(),
        url,
        database: Some("acme".into()),
        login: None,
        key: Some(Secret::new("topsecret")),
        headers: Vec::new(),
        ca: None,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(130),
        in_order: false,
        key_in_body: false,
    }
}

fn plan(endpoint: Endpoint, quirks: Quirks, max: usize) -> SinkPlan {
    SinkPlan {
        id: sink_id(),
        way: Way::Http(HttpWay {
            encoders: Arc::new(quirks),
            endpoint: Arc::new(endpoint),
            authorities: None,
        }),
        batch: Batch { max, wait: Duration::ZERO },
        module: None,
        answers: None,
        fingerprint: [0; 32],
    }
}

/// A clock that stands unless it is set.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn options(&self) -> Options {
        let clock = self.clone();
        let waits = Waits { shortest: Duration::from_millis(1), longest: Duration::from_millis(8) };
        Options {
            clock: Arc::new(move || Timestamp(clock.0.load(Ordering::SeqCst))),
            sink_waits: waits,
            key_waits: waits,
        }
    }
}

fn surroundings() -> Surroundings {
    Surroundings { bridge: "box".into(), devices: Arc::default() }
}

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), StoreOptions::default()).unwrap()
}

async fn enqueue(store: &Store, outbox: Vec<NewDelivery>) {
    store.submit_async(Commit { outbox, ..Commit::default() }).await.unwrap();
}

impl Delivery {
    /// Waits until the status of the sink is so; looks again whenever others had their turn.
    async fn until(&self, holds: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status().into_values().next().unwrap();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "still {status:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
