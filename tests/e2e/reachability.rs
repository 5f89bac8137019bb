//! Devices that say nothing because nothing changes: their last will tells whether they live.

use serde_json::{Value, json};
use tapline::stand_in::ReceivedEvent;
use tapline_tests::{Bench, eventually};

/// A device that is known by one topic alone, and how it says that it is there or gone.
struct Quiet {
    parser: &'static str,
    topic: &'static str,
    will: &'static str,
    there: &'static str,
    gone: &'static str,
    report: &'static str,
    /// Its own topic and its companions'.
    filters: u64,
}

const SHELLY: Quiet = Quiet {
    parser: "shelly_pm",
    topic: "shellypmminig3-48f6eeb73a1c/status/pm1:0",
    will: "shellypmminig3-48f6eeb73a1c/online",
    there: "true",
    gone: "false",
    report: r#"{"id":0,"voltage":238.3,"current":0.42,"apower":100.0,"freq":50.0}"#,
    filters: 2,
};

const TASMOTA: Quiet = Quiet {
    parser: "tasmota",
    topic: "tele/sonoff-pow/SENSOR",
    will: "tele/sonoff-pow/LWT",
    there: "Online",
    gone: "Offline",
    report: r#"{"Time":"2018-02-14T21:51:31","ENERGY":{"Total":0.984,"Power":100,"Voltage":220}}"#,
    filters: 4,
};

fn document(quiet: &Quiet, max_silence_s: f64) -> Value {
    json!({"devices": [{
        "device_id": "press", "machine_name": "Press", "mqtt_topic": quiet.topic,
        "parser_type": quiet.parser,
        "session_config": {
            "start_debounce_s": 0.2, "message_timeout_s": 1.0, "heartbeat_interval_s": 0.0,
            "max_silence_s": max_silence_s,
        },
    }]})
}

async fn kinds(bench: &Bench, expected: &[&str]) -> Vec<ReceivedEvent> {
    eventually(&format!("the events are {expected:?}"), || async {
        let events = bench.odoo.0.events();
        let kinds: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
        assert!(kinds.len() <= expected.len(), "{kinds:?} where {expected:?} was expected");
        if kinds == expected { Ok(events) } else { Err(format!("{kinds:?}")) }
    })
    .await
}

async fn keeps_one_session_until_the_last_will(quiet: &Quiet) {
    let bench = Bench::start().await;
    bench.devices.retain(quiet.will, quiet.there).await;
    bench.tapline.push(&document(quiet, 3600.0)).await;
    bench.tapline.subscribed(quiet.filters).await;
    bench.devices.send(quiet.topic, quiet.report).await;
    kinds(&bench, &["session_started"]).await;
    // The time-out has passed when the silent device is asked, more than once.
    eventually("the device is asked", || async {
        let asked = bench.tapline.logged("device_asked").len();
        if asked >= 2 { Ok(()) } else { Err(format!("asked {asked} times")) }
    })
    .await;
    kinds(&bench, &["session_started"]).await;
    bench.devices.retain(quiet.will, quiet.gone).await;
    let events = kinds(&bench, &["session_started", "session_timeout"]).await;
    assert_eq!(events[1].payload["reason"], "message_timeout");
    assert_eq!(events[1].session_uid, events[0].session_uid);
    bench.odoo.is_content();
}

#[tokio::test]
async fn constant_load_of_a_shelly_that_is_online_stays_one_session() {
    keeps_one_session_until_the_last_will(&SHELLY).await;
}

#[tokio::test]
async fn constant_load_of_a_tasmota_that_is_online_stays_one_session() {
    keeps_one_session_until_the_last_will(&TASMOTA).await;
}

#[tokio::test]
async fn a_session_outlasts_no_more_silence_than_allowed_though_the_device_is_online() {
    let bench = Bench::start().await;
    bench.devices.retain(SHELLY.will, SHELLY.there).await;
    bench.tapline.push(&document(&SHELLY, 3.0)).await;
    bench.tapline.subscribed(2).await;
    bench.devices.send(SHELLY.topic, SHELLY.report).await;
    let events = kinds(&bench, &["session_started", "session_timeout"]).await;
    assert_eq!(events[1].payload["reason"], "max_silence");
}

#[tokio::test]
async fn a_device_of_which_nothing_is_known_times_out() {
    let bench = Bench::start().await;
    bench.tapline.push(&document(&SHELLY, 3600.0)).await;
    bench.tapline.subscribed(2).await;
    bench.devices.send(SHELLY.topic, SHELLY.report).await;
    let events = kinds(&bench, &["session_started", "session_timeout"]).await;
    assert_eq!(events[1].payload["reason"], "message_timeout");
    assert_eq!(events[1].payload["state"], "idle");
}

#[tokio::test]
async fn a_retained_power_starts_no_session() {
    let bench = Bench::start().await;
    bench.devices.retain(SHELLY.topic, SHELLY.report).await;
    bench.tapline.push(&document(&SHELLY, 3600.0)).await;
    bench.tapline.subscribed(2).await;
    bench
        .tapline
        .until("it has come", |health| health["pipelines"]["workshop"]["received"] == 1)
        .await;
    bench.settle_beside(document(&SHELLY, 3600.0)).await;
    let of_press = |event: &&ReceivedEvent| event.device_id.as_deref() == Some("press");
    assert_eq!(bench.odoo.0.events().iter().filter(of_press).count(), 0);
}
