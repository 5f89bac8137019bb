//! Tapline between a broker that tells what was acknowledged and an Odoo.

use rusqlite::Connection;
use tapline::broker::fake::{Delivery, Entry, FakeBroker, Packet};

use crate::bench::Odoo;
use crate::machine::Machine;
use crate::tapline::{Setup, Tapline};
use crate::wait::PATIENCE;

/// Acknowledgements are judged by the broker's log, never by Tapline's own word.
pub struct Scripted {
    pub broker: FakeBroker,
    pub odoo: Odoo,
    pub tapline: Tapline,
    pub press: Machine,
}

impl Scripted {
    /// Tapline's client id.
    pub const CLIENT: &str = "iot_bridge";

    /// With these changes to how Tapline is started, which it is not yet.
    pub async fn prepare(change: impl FnOnce(Setup) -> Setup) -> Self {
        let broker = FakeBroker::start().await.expect("a port is free");
        let odoo = Odoo::start().await;
        let setup = Setup::new().port(broker.address().port()).odoo(&odoo.0);
        let tapline = change(setup).env("MQTT_CLIENT_ID", Self::CLIENT).prepare();
        Self { broker, odoo, tapline, press: Machine::new("press") }
    }

    /// Starts Tapline and gives it the machine.
    pub async fn start(&mut self) {
        self.tapline.start_again().await;
        self.tapline.take(&[&self.press]).await;
    }

    /// The machine's report under a packet id.
    pub fn message(&self, packet_id: u16, second: f64, power_w: f64) -> Delivery {
        Delivery::new(&self.press.topic(), self.press.report(second, power_w), packet_id)
    }

    /// Sends it to Tapline.
    ///
    /// # Panics
    /// If Tapline is not connected.
    pub fn deliver(&self, delivery: &Delivery) {
        assert!(self.broker.deliver(Self::CLIENT, delivery), "Tapline is not connected");
    }

    /// The packet ids that Tapline has acknowledged, in order.
    pub fn acked(&self) -> Vec<u16> {
        self.broker.acked_by(Self::CLIENT).into_iter().map(|(_, packet_id)| packet_id).collect()
    }

    /// Waits until exactly these are acknowledged, in this order.
    ///
    /// # Panics
    /// If that does not come to hold.
    pub async fn until_acked(&self, expected: &[u16]) {
        let acked = |log: &[Entry]| {
            let acks = log.iter().filter(|entry| entry.client_id == Self::CLIENT);
            acks.filter_map(|entry| match entry.packet {
                Packet::PubAck { packet_id } if packet_id < 40_000 => Some(packet_id),
                _ => None,
            })
            .eq(expected.iter().copied())
        };
        if let Err(log) = self.broker.wait_for(PATIENCE, acked).await {
            panic!("{expected:?} are not what is acknowledged: {log}");
        }
    }

    /// Waits until so many messages have come to an end.
    pub async fn until_taken(&self, messages: u64) {
        let what = format!("{messages} messages are taken in");
        self.tapline
            .until(&what, |health| {
                let counts = &health["pipelines"]["workshop"];
                let of = |name: &str| counts[name].as_u64().unwrap_or_default();
                of("committed") + of("duplicates") + of("dead_lettered") >= messages
            })
            .await;
    }

    /// Keeps Tapline from committing: somebody else writes to its database.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn occupy(&self) -> Connection {
        let path = self.tapline.data().join("tapline.db");
        let connection = Connection::open(path).expect("the database is there");
        connection.busy_timeout(PATIENCE).expect("a time-out can be set");
        connection.execute_batch("BEGIN IMMEDIATE").expect("the write lock comes in time");
        connection
    }

    /// Waits until Tapline says so.
    pub async fn until_the_store_waits(&self) {
        self.tapline
            .until("the store says that it cannot write", |health| {
                health["problems"].to_string().contains("the store cannot write")
            })
            .await;
    }

    /// Cuts the connection and waits for the next; gives the number of the one that was cut.
    ///
    /// # Panics
    /// If Tapline does not come back.
    pub async fn reconnected(&self) -> usize {
        let number = |log: &[Entry]| {
            let ours = log.iter().filter(|entry| entry.client_id == Self::CLIENT);
            let connects = ours.filter(|entry| matches!(entry.packet, Packet::Connect { .. }));
            connects.map(|entry| entry.connection).max().unwrap_or_default()
        };
        let cut = number(&self.broker.log());
        self.broker.cut(Self::CLIENT);
        let back = self.broker.wait_for(PATIENCE, |log| number(log) > cut).await;
        back.unwrap_or_else(|log| panic!("Tapline does not come back: {log}"));
        cut
    }

    /// Starts Tapline again with what it has.
    pub async fn comes_back(&mut self) {
        self.tapline.start_again().await;
        self.tapline.subscribed(2).await;
    }
}
