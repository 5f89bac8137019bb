//! A link against the scripted broker. What was acknowledged is read from the broker's log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::fake::{Delivery, Entry, FakeBroker, Packet};
use super::*;
use crate::config::site::{Broker, Ceiling, MqttVersion, Transport};
use crate::message::{Properties, Publication};

mod leaving;
mod publishing;
mod receiving;
mod self_check;
mod subscribing;

const SOON: Duration = Duration::from_secs(15);
const BOTH: [MqttVersion; 2] = [MqttVersion::V5, MqttVersion::V311];

/// Keeps what comes, tickets and all.
struct Desk {
    received: Mutex<Vec<Received>>,
    events: Mutex<Vec<LinkEvent>>,
    changed: watch::Sender<()>,
}

impl Intake for Desk {
    fn message(&self, received: Received) {
        self.received.lock().unwrap().push(received);
        self.changed.send_replace(());
    }

    fn link(&self, event: LinkEvent) {
        self.events.lock().unwrap().push(event);
        self.changed.send_replace(());
    }
}

struct Bench {
    broker: FakeBroker,
    desk: Arc<Desk>,
    memory: Arc<InMemory>,
    config: Broker,
}

impl Bench {
    async fn new(version: MqttVersion) -> Self {
        let broker = FakeBroker::start().await.unwrap();
        let config = Broker {
            name: "main".into(),
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: broker.address().port(),
            version,
            path: "/mqtt".into(),
            client_id: "t".into(),
            username: Some("u".into()),
            password: None,
            keep_alive: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            clean_start: false,
            session_expiry: Duration::from_secs(3600),
            tls: None,
            max_packet: 10_000,
            ceiling: Ceiling { messages: 100, bytes: 1 << 20 },
            status_topic: "tapline/s/status".into(),
            sys_topics: true,
            pushed: false,
        };
        let desk = Arc::new(Desk {
            received: Mutex::default(),
            events: Mutex::default(),
            changed: watch::channel(()).0,
        });
        Self { broker, desk, memory: Arc::default(), config }
    }

    fn link(&self, filters: &[&str]) -> Link {
        static NOW: AtomicU64 = AtomicU64::new(1_700_000_000_000);
        let options = LinkOptions {
            broker: Arc::new(self.config.clone()),
            site: "s".into(),
            intake: Arc::clone(&self.desk) as Arc<dyn Intake>,
            memory: Arc::clone(&self.memory) as Arc<dyn Memory>,
            clock: Arc::new(|| crate::message::Timestamp(NOW.fetch_add(1, Ordering::Relaxed))),
        };
        Link::start(options, wanted(filters))
    }

    async fn until(&self, what: impl Fn(&Desk) -> bool) {
        let mut changed = self.desk.changed.subscribe();
        let reached = tokio::time::timeout(SOON, async {
            while !what(&self.desk) {
                changed.changed().await.unwrap();
            }
        });
        assert!(reached.await.is_ok(), "{:?}\n{:#?}", self.desk.events(), self.broker.log());
    }

    async fn drained(&self, times: usize) {
        self.until(|desk| desk.count(|event| matches!(event, LinkEvent::Drained { .. })) >= times)
            .await;
    }

    async fn messages(&self, count: usize) {
        self.until(|desk| desk.received.lock().unwrap().len() >= count).await;
    }

    async fn logged(&self, what: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        self.broker.wait_for(SOON, what).await.unwrap()
    }

    async fn acked(&self, acks: &[(usize, u16)]) {
        let broker = &self.broker;
        broker.wait_for(SOON, |_| broker.acked_by("t").len() >= acks.len()).await.unwrap();
        let ids: Vec<_> = broker.acked_by("t");
        assert_eq!(
            ids.iter().map(|ack| ack.1).collect::<Vec<_>>(),
            acks.iter().map(|ack| ack.1).collect::<Vec<_>>()
        );
    }
}

impl Desk {
    fn count(&self, what: impl Fn(&LinkEvent) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| what(event)).count()
    }

    fn events(&self) -> Vec<LinkEvent> {
        self.events.lock().unwrap().clone()
    }

    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

fn wanted(filters: &[&str]) -> BTreeMap<String, Subscription> {
    filters.iter().map(|filter| ((*filter).to_owned(), Subscription::default())).collect()
}

fn subscribes(log: &[Entry]) -> Vec<(usize, Vec<String>)> {
    // The publishing connection asks for what the broker dropped.
    log.iter()
        .filter(|entry| entry.client_id == "t")
        .filter_map(|entry| match &entry.packet {
            Packet::Subscribe { filters, .. } => {
                Some((entry.connection, filters.iter().map(|(filter, _)| filter.clone()).collect()))
            }
            _ => None,
        })
        .collect()
}

fn publication(topic: &str, qos: u8) -> Publication {
    Publication {
        broker: None,
        topic: topic.into(),
        payload: b"on".to_vec(),
        qos,
        retain: false,
        properties: Properties::default(),
    }
}

fn published(log: &[Entry]) -> Vec<&Entry> {
    log.iter()
        .filter(|entry| matches!(&entry.packet, Packet::Publish { topic, .. } if topic == "out"))
        .collect()
}
