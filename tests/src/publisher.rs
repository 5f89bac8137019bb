//! The devices' side of the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tapline::broker::{Outlet, OutletOptions, PublishError};
use tapline::config::{Around, Texts, check};
use tapline::message::{Properties, Publication};
use tapline::telemetry::clock;

use crate::machine::Machine;
use crate::wait::PATIENCE;

/// A client that publishes; it reconnects by itself when the broker comes back.
pub struct Publisher {
    outlet: Outlet,
}

impl Publisher {
    /// Connects to a port on this machine.
    pub async fn connect(port: u16) -> Self {
        Self::with(&[("MQTT_BROKER", "127.0.0.1"), ("MQTT_PORT", &port.to_string())]).await
    }

    /// Connects to the broker that these variables describe.
    pub async fn with(env: &[(&str, &str)]) -> Self {
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let around =
            Around { env: &env, pushed: None, generated_name: "devices", now: clock::now() };
        let site = check(&Texts::default(), around).site.expect("the variables describe a broker");
        let outlet = Outlet::start(OutletOptions {
            broker: site.brokers["main"].clone(),
            client_id: format!("devices-{:x}", rand_of(&env)),
            presence: None,
            clock: Arc::new(clock::now),
        });
        let connected = outlet.connected(PATIENCE).await;
        connected.unwrap_or_else(|error| panic!("devices cannot reach the broker: {error}"));
        Self { outlet }
    }

    /// Publishes at QoS 1 and waits until the broker has it.
    pub async fn send(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish(topic, payload, 1, false).await;
    }

    /// Publishes a message that the broker keeps.
    pub async fn retain(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.publish(topic, payload, 1, true).await;
    }

    /// Publishes and waits until the broker has it.
    pub async fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, qos: u8, retain: bool) {
        let publication = Publication {
            broker: None,
            topic: topic.to_owned(),
            payload: payload.into(),
            qos,
            retain,
            properties: Properties::default(),
        };
        let published = self.outlet.publish(&publication, None, PATIENCE).await;
        published.unwrap_or_else(|error| panic!("`{topic}` cannot be published: {error}"));
    }

    /// Publishes what is good for `seconds`, and says where its answer is to go.
    pub async fn ask(&self, topic: &str, payload: &str, response_topic: &str, seconds: u32) {
        let properties = Properties {
            response_topic: Some(response_topic.to_owned()),
            correlation_data: Some(payload.as_bytes().to_vec()),
            ..Properties::default()
        };
        let publication = Publication {
            broker: None,
            topic: topic.to_owned(),
            payload: payload.as_bytes().to_vec(),
            qos: 1,
            retain: false,
            properties,
        };
        let life = Some(Duration::from_secs(seconds.into()));
        let published = self.outlet.publish(&publication, life, PATIENCE).await;
        published.unwrap_or_else(|error| panic!("`{topic}` cannot be published: {error}"));
    }

    /// Publishes at QoS 1 as often as it takes until the broker acknowledges it; how often it
    /// had to be published once more.
    pub async fn insist(&self, topic: &str, payload: &[u8]) -> u64 {
        let publication = Publication {
            broker: None,
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            qos: 1,
            retain: false,
            properties: Properties::default(),
        };
        let begun = Instant::now();
        let mut again = 0;
        loop {
            match self.outlet.publish(&publication, None, PATIENCE).await {
                Ok(()) => return again,
                Err(PublishError::NotConnected(_)) if begun.elapsed() < PATIENCE => {}
                // It may have arrived all the same.
                Err(PublishError::Broken) if begun.elapsed() < PATIENCE => again += 1,
                Err(error) => panic!("`{topic}` cannot be published: {error}"),
            }
        }
    }

    /// A machine reports: pairs of its own second and power.
    pub async fn report(&self, machine: &Machine, course: &[(f64, f64)]) {
        for (second, power_w) in course {
            self.send(&machine.topic(), machine.report(*second, *power_w)).await;
        }
    }
}

/// Client ids differ between publishers of one broker.
fn rand_of(env: &BTreeMap<String, String>) -> usize {
    std::ptr::from_ref(env).addr() ^ clock::now().0 as usize
}
