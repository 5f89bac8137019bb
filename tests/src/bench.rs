//! The usual bench: a broker, an Odoo, the devices' client, and Tapline between them.

use serde_json::Value;
use tapline::stand_in::{ReceivedEvent, StandIn, StandInOptions};

use crate::machine::{Machine, document};
use crate::mosquitto::Mosquitto;
use crate::places::free_port;
use crate::publisher::Publisher;
use crate::tapline::{Setup, Tapline};
use crate::wait::{eventually, eventually_moving};

/// A machine that works for 30 s, stands by for 10 and stops: seconds of its own, and power.
pub const COURSE: [(f64, f64); 6] =
    [(0.0, 100.0), (10.0, 100.0), (20.0, 20.0), (30.0, 100.0), (40.0, 0.0), (60.0, 0.0)];

/// Everything that S3 stood between.
pub struct Bench {
    pub broker: Mosquitto,
    pub odoo: Odoo,
    pub devices: Publisher,
    pub tapline: Tapline,
}

/// Our stand-in, with what tests ask of it.
pub struct Odoo(pub StandIn);

impl Bench {
    /// With S3's environment variables and nothing else; no device yet.
    pub async fn start() -> Self {
        Self::with(|setup| setup).await
    }

    /// The same with changes to how Tapline is started.
    pub async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
        let devices = Publisher::connect(broker.port()).await;
        let tapline = change(Setup::s3(&broker, &odoo.0)).start().await;
        Self { broker, odoo, devices, tapline }
    }

    /// With these machines configured and subscribed.
    pub async fn of(machines: &[&Machine]) -> Self {
        let bench = Self::start().await;
        bench.tapline.take(machines).await;
        bench
    }

    /// Starts Tapline again and waits until it listens to `machines`.
    pub async fn start_again(&mut self, machines: usize) {
        self.tapline.start_again().await;
        self.tapline.subscribed(2 * machines as u64).await;
    }

    /// Waits until everything that was published has been worked off and delivered: a course
    /// of a machine of its own goes the whole way behind it.
    pub async fn settle(&self, machines: &[&Machine]) {
        self.settle_beside(document(machines)).await;
    }

    /// The same beside the devices of any document.
    pub async fn settle_beside(&self, mut document: Value) {
        let last = Machine::new("last-of-all");
        let devices = document["devices"].as_array_mut().expect("a document lists devices");
        devices.push(last.entry());
        let filters = 2 * devices.len() as u64;
        self.tapline.push(&document).await;
        self.tapline.subscribed(filters).await;
        self.devices.report(&last, &COURSE).await;
        self.odoo.kinds(&last, &["session_started", "session_stopped"]).await;
        self.tapline.until("nothing waits", nothing_waits).await;
    }
}

fn nothing_waits(health: &Value) -> bool {
    let sinks = health["sinks"].as_object();
    sinks.is_some_and(|sinks| sinks.values().all(|sink| sink["waiting"] == 0))
}

impl Odoo {
    /// On a port that it keeps while it is away.
    pub async fn start() -> Self {
        Self::with(StandInOptions::default()).await
    }

    /// With the key or the database that it asks for.
    pub async fn with(options: StandInOptions) -> Self {
        let listen = ([127, 0, 0, 1], free_port()).into();
        let started = StandIn::start(StandInOptions { listen, ..options }).await;
        Self(started.expect("the port is free"))
    }

    /// A machine's events in the order in which they came.
    pub fn of(&self, machine: &Machine) -> Vec<ReceivedEvent> {
        self.0.events_of(machine.id())
    }

    /// Everything of a machine's events but the message at which each was noticed.
    pub fn account(&self, machine: &Machine) -> Vec<ReceivedEvent> {
        let mut events = self.of(machine);
        for event in &mut events {
            event.rest.remove("mqtt");
        }
        events
    }

    /// Waits until a machine's events are these, in this order; more than these is wrong at once.
    pub async fn kinds(&self, machine: &Machine, expected: &[&str]) -> Vec<ReceivedEvent> {
        let what = format!("{} sends {expected:?}", machine.id());
        eventually(&what, || async {
            let events = self.of(machine);
            let kinds: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
            assert!(kinds.len() <= expected.len(), "{what}; it has sent {kinds:?}");
            if kinds == expected { Ok(events) } else { Err(format!("{kinds:?}")) }
        })
        .await
    }

    /// Waits until so many events of a machine have come, as long as any come at all.
    pub async fn count(&self, machine: &Machine, expected: usize) {
        let what = format!("{} sends {expected} events", machine.id());
        eventually_moving(
            &what,
            || self.0.event_count(),
            || async {
                let there = self.0.event_count_of(machine.id());
                if there >= expected { Ok(()) } else { Err(format!("{there} have come")) }
            },
        )
        .await
    }

    /// Fails if anything came twice or out of order.
    pub fn is_content(&self) {
        assert_eq!(self.0.violations(), Vec::<String>::new());
        assert_eq!(self.0.duplicates(), 0, "{:#?}", self.0.events());
    }

    /// Fails if anything came out of order or with two contents; the same again is allowed, as
    /// after an answer that was lost.
    pub fn is_in_order(&self) {
        assert_eq!(self.0.violations(), Vec::<String>::new());
    }
}
