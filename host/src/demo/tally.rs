//! The sums: what came in against what became of it, and what Odoo has against what it was
//! sent.
//!
//! Invariant: nothing here is taken on Tapline's word alone. What was sent is counted by the
//! machines, what arrived by the stand-in; only what lies between comes from `/health`, and at
//! the end from the database itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use crate::stand_in::ReceivedEvent;

/// What the demo reads of `/health`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Seen {
    pub(super) subscriptions: usize,
    #[serde(default)]
    pub(super) problems: Vec<String>,
    brokers: BTreeMap<String, SeenBroker>,
    pipelines: BTreeMap<String, SeenPipeline>,
    sinks: BTreeMap<String, SeenSink>,
    pub(super) dead_letters: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SeenBroker {
    connected: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SeenPipeline {
    received: u64,
    committed: u64,
    filtered: BTreeMap<String, u64>,
    dead_lettered: u64,
    duplicates: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SeenSink {
    waiting: u64,
    #[serde(default)]
    last_error: Option<String>,
    #[serde(default)]
    paused: Option<String>,
}

impl Seen {
    /// Whether every broker is connected.
    pub(super) fn is_connected(&self) -> bool {
        !self.brokers.is_empty() && self.brokers.values().all(|broker| broker.connected)
    }

    /// Deliveries that wait in the outbox.
    pub(super) fn waiting(&self) -> u64 {
        self.sinks.values().map(|sink| sink.waiting).sum()
    }

    /// Why a sink does not get rid of what it has.
    pub(super) fn sink_trouble(&self) -> Option<&str> {
        let trouble = |sink: &'_ SeenSink| sink.paused.is_some() || sink.last_error.is_some();
        let sink = self.sinks.values().find(|sink| trouble(sink))?;
        sink.paused.as_deref().or(sink.last_error.as_deref())
    }

    /// What became of the messages of this process.
    pub(super) fn messages(&self) -> Messages {
        let mut all = Messages::default();
        for pipeline in self.pipelines.values() {
            all = all.and(Messages {
                received: pipeline.received,
                committed: pipeline.committed,
                filtered: pipeline.filtered.values().sum(),
                dead_lettered: pipeline.dead_lettered,
                duplicates: pipeline.duplicates,
            });
        }
        all
    }
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    pub(super) received: u64,
    pub(super) committed: u64,
    pub(super) filtered: u64,
    pub(super) dead_lettered: u64,
    pub(super) duplicates: u64,
}

impl Messages {
    /// These and those; of processes that ran one after the other.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            committed: self.committed + other.committed,
            filtered: self.filtered + other.filtered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            duplicates: self.duplicates + other.duplicates,
        }
    }

    /// Received = committed + filtered + dead-lettered + duplicates.
    pub(super) fn adds_up(&self) -> bool {
        self.received == self.committed + self.filtered + self.dead_lettered + self.duplicates
    }
}

/// What Odoo has, judged by what came over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrivals {
    /// Events, each once.
    pub(super) delivered: u64,
    /// Numbers that are missing in the sequence of a device.
    pub(super) gaps: u64,
    /// Events that are there again under another id.
    pub(super) twice: u64,
}

/// Judges the stand-in's events. Tapline numbers what it sends for a device from 1 on without
/// a gap, inside the transaction that queues it: so what is lost leaves a hole, and what was
/// queued twice has the same content under two numbers.
pub(super) fn arrivals(events: &[ReceivedEvent]) -> Arrivals {
    let mut numbers: HashMap<&str, HashSet<u64>> = HashMap::new();
    let mut contents = HashSet::new();
    let mut twice = 0;
    for event in events {
        let device = event.device_id.as_deref().unwrap_or_default();
        let is_new_number = numbers.entry(device).or_default().insert(event.seq);
        let session = event.session_uid.as_deref().unwrap_or_default();
        let is_new = contents.insert((device, session, &event.event_type, &event.timestamp));
        twice += u64::from(!is_new || !is_new_number);
    }
    let gaps = numbers
        .values()
        .map(|seen| seen.iter().max().copied().unwrap_or(0) - seen.len() as u64)
        .sum();
    Arrivals { delivered: events.len() as u64, gaps, twice }
}

/// The whole account, at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Confirmed by the broker to the machines.
    pub(super) sent: u64,
    pub(super) messages: Messages,
    pub(super) arrivals: Arrivals,
    /// By the database: ever queued for Odoo, still waiting, set aside.
    pub(super) queued: u64,
    pub(super) waiting: u64,
    pub(super) set_aside: u64,
    /// Repeats that Odoo recognised by their id.
    pub(super) recognised: u64,
    /// Events of a device out of order, or one id with two contents.
    pub(super) violations: u64,
}

impl Account {
    /// Queued, and neither in Odoo nor waiting nor set aside.
    pub(super) fn lost(&self) -> u64 {
        let accounted = self.arrivals.delivered + self.waiting + self.set_aside;
        self.queued.saturating_sub(accounted).max(self.arrivals.gaps)
    }

    /// Messages that the broker took from the machines and that Tapline never saw.
    pub(super) fn missed(&self) -> u64 {
        self.sent.saturating_sub(self.messages.received)
    }

    /// Whether all of it is as it must be.
    pub(super) fn is_right(&self) -> bool {
        self.lost() == 0
            && self.arrivals.twice == 0
            && self.violations == 0
            && self.missed() == 0
            && self.messages.adds_up()
    }

    /// The account in words, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let Messages { received, committed, filtered, dead_lettered, duplicates } = self.messages;
        let equals = if self.messages.adds_up() { "=" } else { "≠" };
        let mut lines = vec![
            format!(
                "received {received} {equals} committed {committed} + filtered {filtered} + \
                 dead-lettered {dead_lettered} + duplicates {duplicates}"
            ),
            format!("machines sent {}, Tapline missed {} of them", self.sent, self.missed()),
            format!(
                "queued for Odoo {}: delivered {}, waiting {}, dead-lettered {}, lost {}, twice {}",
                self.queued,
                self.arrivals.delivered,
                self.waiting,
                self.set_aside,
                self.lost(),
                self.arrivals.twice
            ),
        ];
        if self.recognised > 0 {
            let n = self.recognised;
            lines.push(format!("Odoo recognised {n} repeat(s) by their id and kept one of each"));
        }
        if self.violations > 0 {
            lines.push(format!("{} event(s) came out of order", self.violations));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(device: &str, seq: u64, kind: &str) -> ReceivedEvent {
        serde_json::from_value(serde_json::json!({
            "event_uid": format!("{device}-{seq}-{kind}"), "event_type": kind,
            "device_id": device, "session_uid": "s", "seq": seq, "timestamp": "t",
        }))
        .unwrap()
    }

    #[test]
    fn a_hole_in_a_device_s_numbers_is_a_loss_and_equal_content_is_a_double() {
        let cases = [
            (vec![], (0, 0)),
            (vec![event("a", 1, "x"), event("a", 2, "y"), event("b", 1, "x")], (0, 0)),
            (vec![event("a", 1, "x"), event("a", 4, "y")], (2, 0)),
            (vec![event("a", 2, "x")], (1, 0)),
            (vec![event("a", 1, "x"), event("a", 2, "x")], (0, 1)),
            (vec![event("a", 1, "x"), event("a", 1, "y")], (0, 1)),
        ];
        for (events, (gaps, twice)) in cases {
            let arrivals = arrivals(&events);
            assert_eq!((arrivals.gaps, arrivals.twice), (gaps, twice), "{events:?}");
        }
    }

    fn account() -> Account {
        Account {
            sent: 9,
            messages: Messages {
                received: 10,
                committed: 6,
                filtered: 2,
                dead_lettered: 1,
                duplicates: 1,
            },
            arrivals: Arrivals { delivered: 4, gaps: 0, twice: 0 },
            queued: 5,
            waiting: 1,
            set_aside: 0,
            recognised: 0,
            violations: 0,
        }
    }

    #[test]
    fn the_account_is_right_only_if_every_sum_is() {
        assert!(account().is_right());
        let wrong = [
            Account { sent: 11, ..account() },
            Account { queued: 6, ..account() },
            Account { violations: 1, ..account() },
            Account { arrivals: Arrivals { gaps: 1, ..account().arrivals }, ..account() },
            Account { arrivals: Arrivals { twice: 1, ..account().arrivals }, ..account() },
            Account { messages: Messages { received: 11, ..account().messages }, ..account() },
        ];
        for account in wrong {
            assert!(!account.is_right(), "{account:?}");
        }
        let first = &account().lines()[0];
        assert_eq!(
            first,
            "received 10 = committed 6 + filtered 2 + dead-lettered 1 + duplicates 1"
        );
    }

    #[test]
    fn health_is_read_as_it_is_served() {
        let seen: Seen = serde_json::from_str(
            r#"{"status":"ok","devices":5,"subscriptions":9,"last_config_update":null,
                "version":"0","bridge_id":"demo","uptime_s":1,"dead_letters":1,
                "brokers":{"main":{"connected":true,"subscriptions":9}},
                "pipelines":{"workshop":{"running":true,"devices":5,"received":3,"committed":1,
                    "filtered":{"unmatched":1},"dead_lettered":1,"duplicates":0,"late":0,
                    "unclaimed":0,"deliveries":1}},
                "sinks":{"workshop/odoo":{"waiting":4,"delivered":1,"dead_lettered":0,
                    "last_error":"refused"}}}"#,
        )
        .unwrap();
        assert!(seen.is_connected() && seen.messages().adds_up());
        assert_eq!((seen.waiting(), seen.sink_trouble()), (4, Some("refused")));
    }
}
