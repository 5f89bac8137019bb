//! The demo's site as a user would write it: `tapline.toml`, and the document that Odoo pushes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use super::machines::{
    MACHINES, MESSAGE_TIMEOUT_S, RAISED, RAISED_W, STANDBY_W, START_DEBOUNCE_S, STOP_DEBOUNCE_S,
    WORKING_W,
};
use crate::config::site::Broker;
use crate::config::{Around, Texts, check};
use crate::telemetry::clock;

/// What the demo's Odoo asks for; the environment hands it to Tapline, as it would a real one.
pub(super) const DATABASE: &str = "demo";

/// Where the parts of the demo are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) broker: u16,
    pub(super) odoo: String,
    pub(super) api: SocketAddr,
}

/// The text of `tapline.toml`.
pub(super) fn text(places: &Places) -> String {
    let Places { broker, odoo, api } = places;
    format!(
        r#"format = 1
site   = "demo"

[broker.main]
url       = "mqtt://127.0.0.1:{broker}"
version   = "3.1.1"     # all that the embedded broker speaks
keepalive = "10s"
sys_topics = false      # it closes connections that ask for them
pushed    = true

[endpoint.odoo]
url      = "{odoo}"
database = "{DATABASE}"
key      = {{ env = "ODOO_API_KEY" }}

[http]
listen = "{api}"
token  = {{ env = "BRIDGE_API_TOKEN" }}

[log]
format = "json"
"#
    )
}

/// The broker as that text describes it, for the machines to connect to.
pub(super) fn broker(text: &str) -> anyhow::Result<Arc<Broker>> {
    let texts = Texts { site: Some(text.into()), ..Texts::default() };
    // Machines need no secrets, and an empty one would count as missing.
    let env = environment("-", "-");
    let around = Around { env: &env, pushed: None, generated_name: "demo", now: clock::now() };
    let site = check(&texts, around).site.map_err(|problems| {
        let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the demo's own tapline.toml is wrong: {}", words.join("; "))
    })?;
    site.brokers.get("main").cloned().context("the demo's own tapline.toml has no broker")
}

/// The secrets, as the environment hands them over.
pub(super) fn environment(key: &str, token: &str) -> BTreeMap<String, String> {
    [("ODOO_API_KEY", key), ("BRIDGE_API_TOKEN", token)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// What Odoo pushes: the five machines, with short times and, for one of them, perhaps a
/// raised threshold.
pub(super) fn document(is_raised: bool) -> Value {
    let devices: Vec<Value> = MACHINES
        .iter()
        .map(|machine| {
            let is_raised = is_raised && machine.id == RAISED;
            json!({
                "device_id": machine.id,
                "machine_name": machine.name,
                "mqtt_topic": machine.model.meter(machine.meter).topic(),
                "parser_type": machine.model.parser_type(),
                "labels": {"site": "demo"},
                "session_config": {
                    "standby_threshold_w": STANDBY_W,
                    "working_threshold_w": if is_raised { RAISED_W } else { WORKING_W },
                    "start_debounce_s": START_DEBOUNCE_S,
                    "stop_debounce_s": STOP_DEBOUNCE_S,
                    "message_timeout_s": MESSAGE_TIMEOUT_S,
                    "heartbeat_interval_s": if machine.id == MACHINES[0].id { 31.0 } else { 300.0 },
                },
            })
        })
        .collect();
    json!({"devices": devices})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Format;
    use crate::config::push::Pushed;

    #[test]
    fn what_the_demo_writes_and_pushes_is_accepted() {
        let places = Places {
            broker: 1883,
            odoo: "http://127.0.0.1:8069".into(),
            api: ([127, 0, 0, 1], 8080).into(),
        };
        let broker = broker(&text(&places)).unwrap();
        assert_eq!((broker.host.as_str(), broker.port), ("127.0.0.1", 1883));
        assert!(!broker.sys_topics, "rumqttd would end the connection");
        for is_raised in [false, true] {
            let text = document(is_raised).to_string();
            let pushed = Pushed::parse("POST /config", &text, Format::Json).unwrap();
            assert_eq!(pushed.devices().len(), MACHINES.len());
        }
    }
}
