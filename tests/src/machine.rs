//! A machine with a power meter that states its own times, so that no test waits for one.

use serde_json::{Value, json};
use tapline::message::Timestamp;
use tapline::telemetry::clock;

/// A Shelly of generation 2 that reports by notifications, which carry the device's time.
#[derive(Clone)]
pub struct Machine {
    id: String,
    prefix: String,
    begin: Timestamp,
    settings: Value,
}

impl Machine {
    /// A machine whose second 0 lies an hour back, so that whole sessions fit before now.
    pub fn new(id: &str) -> Self {
        let settings = json!({
            "standby_threshold_w": 5.0,
            "working_threshold_w": 50.0,
            "start_debounce_s": 3.0,
            "stop_debounce_s": 15.0,
            // Nothing that a test does to Tapline may last long enough to end a session.
            "message_timeout_s": 7200.0,
            "heartbeat_interval_s": 0.0,
        });
        let begin = clock::now().minus_ms(3_600_000);
        Self { id: id.to_owned(), prefix: format!("hall/{id}"), begin, settings }
    }

    /// The same with another setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings[name] = value.into();
        self
    }

    /// The same with its second 0 so many seconds before now.
    #[must_use]
    pub fn beginning(mut self, seconds_ago: u64) -> Self {
        self.begin = clock::now().minus_ms(seconds_ago * 1000);
        self
    }

    /// The same with a clock that is so many seconds fast.
    #[must_use]
    pub fn ahead(mut self, seconds: u64) -> Self {
        self.begin = clock::now().plus_ms(seconds * 1000);
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The topic that it reports on.
    pub fn topic(&self) -> String {
        format!("{}/events/rpc", self.prefix)
    }

    /// The wall clock's time at one of its seconds.
    pub fn time(&self, second: f64) -> Timestamp {
        // Tests count a few thousand seconds, exact in milliseconds.
        self.begin.plus_ms((second * 1000.0) as u64)
    }

    /// What it reports at a second of its own.
    pub fn report(&self, second: f64, power_w: f64) -> Vec<u8> {
        let ts = self.time(second).0 as f64 / 1000.0;
        let report = json!({
            "src": format!("shellyplus1pm-{}", self.id),
            "dst": format!("{}/events", self.prefix),
            "method": "NotifyStatus",
            "params": {"ts": ts, "switch:0": {"id": 0, "apower": power_w}},
        });
        report.to_string().into_bytes()
    }

    /// Its entry in `devices` of `POST /config`.
    pub fn entry(&self) -> Value {
        json!({
            "device_id": self.id,
            "machine_name": format!("Machine {}", self.id),
            "mqtt_topic": self.topic(),
            "parser_type": "shelly_pm",
            "session_config": self.settings,
        })
    }
}

/// A document of `POST /config` for these machines, without a broker.
pub fn document(machines: &[&Machine]) -> Value {
    json!({
        "devices": machines.iter().map(|machine| machine.entry()).collect::<Vec<_>>(),
        "timestamp": "2026-02-12T19:40:18Z",
        "version": "1.0",
    })
}
