//! Somebody who listens at the broker: a device, or whoever is told something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tapline::broker::{
    Farewell, InMemory, Intake, Link, LinkEvent, LinkOptions, LinkStatus, PacketMark, PublishError,
    Received, RetainHandling, Subscription,
};
use tapline::config::site::Broker;
use tapline::config::{Around, Texts, check};
use tapline::message::{Properties, Publication};
use tapline::telemetry::clock;

use crate::wait::eventually;

/// Topic and payload.
pub type Heard = (String, Vec<u8>);

/// A payload, with what tells a redelivery.
pub type Mark = (Vec<u8>, Option<PacketMark>);

/// A client that subscribes and remembers what it hears.
pub struct Listener {
    link: Link,
    ears: Arc<Ears>,
}

#[derive(Default)]
struct Ears {
    heard: Mutex<Vec<Heard>>,
    marks: Mutex<Vec<Mark>>,
    /// When each came.
    at: Mutex<Vec<Instant>>,
    drained: Mutex<bool>,
}

impl Intake for Ears {
    fn message(&self, received: Received) {
        let message = &received.message;
        let heard = (message.topic.to_string(), message.payload.to_vec());
        self.at.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
        let mark = (message.payload.to_vec(), received.packet);
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
        received.ticket.done();
    }

    fn link(&self, event: LinkEvent) {
        if let LinkEvent::Drained { .. } = event {
            *self.drained.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
    }
}

impl Listener {
    /// Listens to these filters at a port of this machine; returns once it does.
    pub async fn start(port: u16, filters: &[&str]) -> Self {
        let listener = Self::with(port, filters, |_| {});
        eventually("the listener is subscribed", || async {
            let drained = *listener.ears.drained.lock().unwrap_or_else(PoisonError::into_inner);
            if drained { Ok(()) } else { Err("not yet") }
        })
        .await;
        listener
    }

    /// The same with changes to how it connects; it need not be connected yet.
    pub fn with(port: u16, filters: &[&str], change: impl FnOnce(&mut Broker)) -> Self {
        let env: BTreeMap<String, String> = [
            ("MQTT_BROKER", "127.0.0.1".to_owned()),
            ("MQTT_PORT", port.to_string()),
            ("MQTT_CLIENT_ID", "listener".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let around =
            Around { env: &env, pushed: None, generated_name: "listener", now: clock::now() };
        let site = check(&Texts::default(), around).site.expect("the variables describe a broker");
        let ears = Arc::new(Ears::default());
        let mut broker = Broker::clone(&site.brokers["main"]);
        change(&mut broker);
        let options = LinkOptions {
            broker: Arc::new(broker),
            site: "listener".to_owned(),
            intake: ears.clone(),
            memory: Arc::new(InMemory::default()),
            clock: Arc::new(clock::now),
        };
        let wish = Subscription {
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        };
        let wanted = filters.iter().map(|filter| ((*filter).to_owned(), wish)).collect();
        Self { link: Link::start(options, wanted), ears }
    }

    /// Everything so far, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.ears.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything so far, with what tells a redelivery.
    pub fn marks(&self) -> Vec<Mark> {
        self.ears.marks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it stands with the broker.
    pub fn status(&self) -> LinkStatus {
        self.link.status()
    }

    /// As [`Link::publish`].
    ///
    /// # Errors
    /// As there.
    pub async fn publish(
        &self,
        topic: &str,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<(), PublishError> {
        let publication = Publication {
            broker: None,
            topic: topic.to_owned(),
            payload,
            qos: 1,
            retain: false,
            properties: Properties::default(),
        };
        self.link.publish(&publication, None, limit).await
    }

    /// When each of them came, in the same order.
    pub fn times(&self) -> Vec<Instant> {
        self.ears.at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a message on this topic; its payload.
    pub async fn until(&self, topic: &str) -> Vec<u8> {
        eventually(&format!("something comes on {topic}"), || async {
            let heard = self.heard();
            let found = heard.iter().find(|(other, _)| other == topic);
            found.map(|(_, payload)| payload.clone()).ok_or_else(|| format!("{heard:?}"))
        })
        .await
    }

    /// Leaves.
    pub async fn stop(&self) {
        self.link.stop(Farewell::EndSession, Duration::from_secs(5)).await;
    }
}
