//! Somebody who listens at the broker: a device, or whoever is told something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tapline::broker::{
    Farewell, InMemory, Intake, Link, LinkEvent, LinkOptions, Received, RetainHandling,
    Subscription,
};
use tapline::config::{Around, Texts, check};
use tapline::telemetry::clock;

use crate::wait::eventually;

/// Topic and payload.
pub type Heard = (String, Vec<u8>);

/// A client that subscribes and remembers what it hears.
pub struct Listener {
    link: Link,
    ears: Arc<Ears>,
}

#[derive(Default)]
struct Ears {
    heard: Mutex<Vec<Heard>>,
    drained: Mutex<bool>,
}

impl Intake for Ears {
    fn message(&self, received: Received) {
        let message = &received.message;
        let heard = (message.topic.to_string(), message.payload.to_vec());
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
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
        let options = LinkOptions {
            broker: site.brokers["main"].clone(),
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
        let listener = Self { link: Link::start(options, wanted), ears };
        eventually("the listener is subscribed", || async {
            let drained = *listener.ears.drained.lock().unwrap_or_else(PoisonError::into_inner);
            if drained { Ok(()) } else { Err("not yet") }
        })
        .await;
        listener
    }

    /// Everything so far, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.ears.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
