//! The stand-in over its own wire.

use serde_json::{Value, json};

use super::*;

fn event(uid: &str, seq: u64) -> Value {
    json!({
        "event_uid": uid, "event_type": "session_started", "device_id": "mill",
        "machine_name": "CNC mill", "session_uid": "s", "seq": seq, "timestamp": "t",
        "payload": {"state": "working", "started_at": "t0", "energy_wh": 1.5}, "mqtt": null,
    })
}

async fn post(url: &str, key: &str, events: Vec<Value>) -> (u16, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"schema": 1, "bridge_id": "b", "events": events});
    let url = format!("{url}/ows/iot/event");
    let answer = client.post(url).bearer_auth(key).json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn keeps_each_event_once_and_notes_what_is_out_of_order() {
    let options = StandInOptions { key: Some("k".into()), ..StandInOptions::default() };
    let odoo = StandIn::start(options).await.unwrap();
    assert_eq!(post(&odoo.url(), "wrong", vec![event("a", 1)]).await.0, 401);
    let (status, answer) = post(&odoo.url(), "k", vec![event("a", 2), event("a", 2)]).await;
    assert_eq!(status, 200);
    assert_eq!(answer["results"][0]["status"], "created");
    assert_eq!(answer["results"][1]["status"], "duplicate");
    post(&odoo.url(), "k", vec![event("b", 1)]).await;
    assert_eq!((odoo.event_count(), odoo.duplicates()), (2, 1));
    assert_eq!((odoo.event_count_of("mill"), odoo.event_count_of("saw")), (2, 0));
    let uids: Vec<_> = odoo.events_of("mill").into_iter().map(|event| event.event_uid).collect();
    assert_eq!(uids, ["a", "b"]);
    assert_eq!(odoo.violations(), ["event `b` of device `mill` has number 1 after 2"]);
    let record = odoo.records().pop().unwrap();
    assert_eq!((&*record.machine, &*record.state, record.events), ("CNC mill", "working", 2));
    assert_eq!(record.energy_wh, Some(1.5));
}

#[tokio::test]
async fn comes_back_on_the_same_port() {
    let odoo = StandIn::start(StandInOptions::default()).await.unwrap();
    odoo.go_away().await;
    assert!(tokio::net::TcpStream::connect(odoo.address()).await.is_err());
    odoo.come_back().await.unwrap();
    assert_eq!(post(&odoo.url(), "", vec![event("a", 1)]).await.0, 200);
}

#[tokio::test]
async fn refuses_single_events_and_fails_as_often_as_asked() {
    let odoo = StandIn::start(StandInOptions::default()).await.unwrap();
    odoo.refuse(Refusal::of_event("b"));
    odoo.behave(1, Behaviour::status(503));
    assert_eq!(post(&odoo.url(), "", vec![event("a", 1)]).await.0, 503);
    let (_, answer) = post(&odoo.url(), "", vec![event("a", 1), event("b", 2)]).await;
    assert_eq!(answer["results"][1]["status"], "rejected");
    assert_eq!(odoo.event_count(), 1);
}
