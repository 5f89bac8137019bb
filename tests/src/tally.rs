//! One judge for all faults: what the publisher had acknowledged arrived exactly once.

use serde_json::Value;

use crate::bench::Odoo;
use crate::machine::Machine;
use crate::publisher::Publisher;
use crate::tapline::Tapline;

/// Seconds of its own time from one message to the next, longer than either debounce.
const APART: u64 = 10;

/// A machine that is switched on and off in turn, so that each of its messages is exactly one
/// event that carries the message's own time: none can go missing or count twice unseen.
pub struct Tally {
    machine: Machine,
    acknowledged: u64,
    again: u64,
}

impl Tally {
    /// Nothing said yet.
    pub fn new(id: &str) -> Self {
        let machine = Machine::new(id).with("start_debounce_s", 1.0).with("stop_debounce_s", 1.0);
        // Days of a device's own time are believed.
        Self { machine: machine.beginning(5 * 86_400), acknowledged: 0, again: 0 }
    }

    /// The machine, to be configured.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Messages that the broker has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Messages that were published once more because their acknowledgement did not come, so
    /// that the broker may have them twice.
    pub fn again(&self) -> u64 {
        self.again
    }

    /// The next messages with their topic, as if each was acknowledged.
    pub fn take(&mut self, count: u64) -> impl Iterator<Item = (String, Vec<u8>)> + use<> {
        let first = self.acknowledged;
        self.acknowledged += count;
        let messages = (first..first + count).map(|n| (self.machine.topic(), self.message(n)));
        messages.collect::<Vec<_>>().into_iter()
    }

    /// Publishes so many more, each until the broker acknowledges it.
    pub async fn publish(&mut self, devices: &Publisher, count: u64) {
        for _ in 0..count {
            let message = self.message(self.acknowledged);
            self.again += devices.insist(&self.machine.topic(), &message).await;
            self.acknowledged += 1;
        }
    }

    /// Switches off what is on, and says so once more when the debounce is over.
    pub async fn finish(&mut self, devices: &Publisher) {
        let open = self.acknowledged % 2;
        self.publish(devices, open).await;
        let later = self.machine.report((self.acknowledged * APART) as f64, 0.0);
        self.again += devices.insist(&self.machine.topic(), &later).await;
    }

    /// Waits until every message that was acknowledged has arrived at Odoo, with its own time
    /// and in order; fails at once if more came.
    ///
    /// # Panics
    /// If that does not come to hold.
    pub async fn arrives(&self, odoo: &Odoo) {
        let kinds: Vec<_> = (0..self.acknowledged).map(kind).collect();
        // Counting first: to compare thousands of events again and again would hold Odoo up.
        odoo.count(&self.machine, kinds.len()).await;
        let events = odoo.kinds(&self.machine, &kinds).await;
        for (n, event) in (0..).zip(&events) {
            assert_eq!(event.payload[dated(n)], self.time(n), "message {n}: {:?}", event.payload);
        }
    }

    /// What has arrived: numbers of messages.
    ///
    /// # Panics
    /// If an event belongs to no message of this machine.
    pub fn arrived(&self, odoo: &Odoo) -> Vec<u64> {
        let numbers = odoo.of(&self.machine).into_iter().map(|event| {
            let started = u64::from(event.event_type == "session_stopped");
            let at = event.payload[dated(started)].clone();
            (0..self.acknowledged)
                .find(|n| n % 2 == started && self.time(*n) == at)
                .unwrap_or_else(|| panic!("no message was at {at}: {event:?}"))
        });
        numbers.collect()
    }

    fn message(&self, n: u64) -> Vec<u8> {
        let power = if n.is_multiple_of(2) { 100.0 } else { 0.0 };
        self.machine.report((n * APART) as f64, power)
    }

    fn time(&self, n: u64) -> Value {
        self.machine.time((n * APART) as f64).rfc3339().into()
    }
}

fn kind(n: u64) -> &'static str {
    if n.is_multiple_of(2) { "session_started" } else { "session_stopped" }
}

fn dated(n: u64) -> &'static str {
    if n.is_multiple_of(2) { "started_at" } else { "ended_at" }
}

/// What Tapline says became of what it received.
#[derive(Debug, PartialEq, Eq)]
pub struct Flow {
    pub committed: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    pub duplicates: u64,
}

impl Tapline {
    /// The books of a pipeline. They must balance: nothing came in that did not end in one of
    /// these ways or is still under way.
    ///
    /// # Panics
    /// If they do not.
    pub async fn flow(&self, pipeline: &str) -> Flow {
        let page = self.scrape().await;
        let of =
            |name: &str| page.sum(&format!("tapline_pipeline_{name}"), &[("pipeline", pipeline)]);
        let flow = Flow {
            committed: of("committed_total"),
            filtered: of("filtered_total"),
            dead_lettered: of("dead_lettered_total"),
            duplicates: of("duplicates_total"),
        };
        let ended = flow.committed + flow.filtered + flow.dead_lettered + flow.duplicates;
        let under_way = of("in_flight") + of("returned_total");
        assert_eq!(of("received_total"), ended + under_way, "{flow:?}");
        flow
    }
}
