//! The Odoo sink as the host uses it: what it sends, and what it reads from answers.

mod answers;
mod records;
mod requests;

use serde_json::{Value, json};
use tapline_odoo::{Odoo, Settings};
use tapline_sdk::prelude::*;

fn sink(settings: Value) -> Result<Odoo, String> {
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    Odoo::new(settings)
}

/// A `session_started` of `lathe` with this id.
fn delivery(id: &str) -> Delivery {
    let data = json!({"session_id": "s-1", "started_at": "2026-02-12T19:40:15.123Z", "x": 1.5});
    Delivery {
        id: id.into(),
        bridge: "hall-7".into(),
        replayed: false,
        key: "lathe".into(),
        seq: 42,
        at: 1_770_925_299_000,
        device: Some(Device {
            id: "lathe".into(),
            name: "Lathe \"A\"".into(),
            labels: vec![("hall".into(), "7".into()), ("cell".into(), "b".into())],
        }),
        content: Content::Item(
            Event::new("session_started").at_ms(1_770_925_218_123).data(&data).into(),
        ),
        origin: Some(Origin {
            source: "main".into(),
            topic: "lathe/status/pm1:0".into(),
            received_at: 1_770_925_218_500,
            qos: 1,
            retained: false,
        }),
    }
}

fn deliveries(ids: &[&str]) -> Vec<Delivery> {
    ids.iter().map(|id| delivery(id)).collect()
}
