//! `POST /config`, `GET /config` and `GET /health`: S3's shapes, and what a push does.

use serde_json::{Value, json};
use tapline::config::push::parse_time;
use tapline_tests::{Bench, COURSE, Machine, document, eventually};

/// S3's own document, for a broker on this port.
fn of_s3(port: u16) -> Value {
    json!({
        "mqtt": {
            "broker": "127.0.0.1", "port": port, "username": "", "password": "",
            "client_id": "iot_bridge", "keepalive": 60, "use_tls": false,
        },
        "devices": [{
            "device_id": "shelly-pm-workshop",
            "machine_name": "CNC Mill (Workshop)",
            "mqtt_topic": "shellypmminig3-48f6eeb73a1c/status/pm1:0",
            "parser_type": "shelly_pm",
            "session_config": {
                "standby_threshold_w": 5.0, "working_threshold_w": 50.0,
                "start_debounce_s": 3.0, "stop_debounce_s": 15.0,
                "message_timeout_s": 20.0, "heartbeat_interval_s": 300.0,
            },
        }],
        "timestamp": "2026-02-12T19:40:18Z",
        "version": "1.0",
    })
}

#[track_caller]
fn assert_is_time(value: &Value) {
    assert!(value.as_str().is_some_and(|text| parse_time(text).is_some()), "`{value}` is no time");
}

#[tokio::test]
async fn a_pushed_configuration_turns_messages_into_events_in_order() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE).await;
    let events = bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let (started, stopped) = (&events[0], &events[1]);
    assert_eq!(started.payload["started_at"], press.time(0.0).rfc3339());
    assert_eq!(started.payload["state"], "working");
    assert_eq!(parse_time(&started.timestamp), Some(press.time(3.0)));
    assert_eq!(stopped.payload["session_id"], started.payload["session_id"]);
    assert_eq!(stopped.session_uid, started.session_uid);
    assert_eq!(stopped.payload["ended_at"], press.time(40.0).rfc3339());
    assert_eq!(stopped.payload["reason"], "power");
    assert_eq!(stopped.payload["state"], "idle");
    assert_eq!(stopped.payload["working_s"], 30.0);
    assert_eq!(stopped.payload["standby_s"], 10.0);
    assert_eq!(parse_time(&stopped.timestamp), Some(press.time(55.0)));
    bench.settle(&[&press]).await;
    bench.odoo.is_content();
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn answers_have_the_shapes_that_s3_sides_read() {
    let bench = Bench::start().await;
    let health = bench.tapline.get("/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.body["devices"], 0);
    assert_eq!(health.body["last_config_update"], Value::Null);

    let sent = of_s3(bench.broker.port());
    let answer = bench.tapline.try_push(&sent).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["status"], "success");
    assert_eq!(answer.body["message"], "Configuration applied");
    assert_eq!(answer.body["devices_configured"], 1);
    assert!(answer.body["mqtt_reconnected"].is_boolean());
    assert_is_time(&answer.body["timestamp"]);

    assert_eq!(bench.tapline.get("/config").await.body, sent);

    let health = bench.tapline.subscribed(2).await;
    assert!(health["status"] == "ok" || health["status"] == "degraded");
    assert_eq!(health["devices"], 1);
    assert!(health["subscriptions"].is_u64());
    assert_is_time(&health["last_config_update"]);
}

#[tokio::test]
async fn labels_of_a_device_come_back_with_the_configuration() {
    let bench = Bench::start().await;
    let mut sent = document(&[&Machine::new("press")]);
    sent["devices"][0]["labels"] = json!({"company": "acme", "hall": "2"});
    bench.tapline.push(&sent).await;
    assert_eq!(bench.tapline.get("/config").await.body, sent);
}

#[tokio::test]
async fn a_wrong_document_is_refused_with_every_problem_and_changes_nothing() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    let before = bench.tapline.get("/config").await.body;
    let mut wrong = document(&[&press, &Machine::new("saw"), &Machine::new("saw")]);
    wrong["devices"][0]["mqtt_topic"] = json!("hall/#/press");
    wrong["devices"][1]["session_config"]["standby_threshold_w"] = json!(500.0);
    wrong["devices"][1]["parser_typ"] = json!("shelly");
    wrong["mqtt"] = json!({"broker": "mqtt://no", "port": 0});
    let answer = bench.tapline.try_push(&wrong).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert_eq!(answer.body["status"], "error");
    let errors = answer.body["errors"].as_array().expect("a list of problems").clone();
    for path in ["devices[0].mqtt_topic", "devices[1].parser_typ", "devices[2]", "mqtt.port"] {
        let named = |error: &Value| {
            error["path"].as_str().is_some_and(|named| named.starts_with(path))
                && error["problem"].is_string()
                && error["remedy"].is_string()
        };
        assert!(errors.iter().any(named), "nothing about {path} in {errors:#?}");
    }
    // What only pipelines and modules know is said as soon as the shape is right.
    let rules: [(&str, Value, &str); 3] = [
        ("parser_type", json!("no-such-parser"), "no-such-parser"),
        ("session_config", json!({"standby_threshold_w": -5.0}), "standby_threshold_w"),
        ("session_config", json!({"standby_threshold_w": 500.0}), "working_threshold_w"),
    ];
    for (field, value, part) in rules {
        let mut wrong = document(&[&press, &Machine::new("saw")]);
        wrong["devices"][1][field] = value;
        let answer = bench.tapline.try_push(&wrong).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body.to_string().contains(part), "no `{part}` in {}", answer.body);
        assert!(answer.body.to_string().contains("devices[1]"), "no place in {}", answer.body);
    }
    let answer = bench.tapline.call("POST", "/config", Some(&json!("{"))).send().await;
    assert_eq!(answer.expect("an answer").status, 422);

    assert_eq!(bench.tapline.get("/config").await.body, before);
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
}

#[tokio::test]
async fn a_device_that_is_pushed_is_heard_at_once() {
    // S3-42, case 1: create.
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::of(&[&press]).await;
    let answer = bench.tapline.take(&[&press, &saw]).await;
    assert_eq!(answer["devices_configured"], 2);
    bench.devices.report(&saw, &COURSE).await;
    bench.odoo.kinds(&saw, &["session_started", "session_stopped"]).await;
}

#[tokio::test]
async fn new_thresholds_reach_a_running_session_without_ending_it() {
    // S3-42, case 2: update.
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &[(0.0, 100.0), (10.0, 100.0)]).await;
    bench.odoo.kinds(&press, &["session_started"]).await;
    let press = press.with("working_threshold_w", 150.0);
    bench.tapline.take(&[&press]).await;
    bench.devices.report(&press, &[(20.0, 100.0), (40.0, 0.0), (60.0, 0.0)]).await;
    let events = bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let stopped = &events[1].payload;
    assert_eq!(stopped["reason"], "power");
    assert_eq!(stopped["started_at"], press.time(0.0).rfc3339());
    // The new threshold counts from the step on that made it known, not from the beginning.
    let working = stopped["working_s"].as_f64().expect("a number");
    let standby = stopped["standby_s"].as_f64().expect("a number");
    assert!((working + standby - 40.0).abs() < 1e-9, "{stopped:?}");
    assert!(standby >= 20.0 && working >= 10.0, "{stopped:?}");
    bench.odoo.is_content();
}

#[tokio::test]
async fn pushing_the_same_again_changes_nothing() {
    // S3-42, case 3: the manual push.
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &[(0.0, 100.0), (10.0, 100.0)]).await;
    bench.odoo.kinds(&press, &["session_started"]).await;
    for _ in 0..3 {
        let answer = bench.tapline.take(&[&press]).await;
        assert_eq!(answer["mqtt_reconnected"], false);
        assert_eq!([&answer["added"], &answer["updated"], &answer["removed"]], [0, 0, 0]);
    }
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    bench.settle(&[&press]).await;
    bench.odoo.is_content();
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn a_removed_device_ends_its_session_and_is_heard_no_more() {
    // S3-42, case 4: delete.
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::of(&[&press, &saw]).await;
    bench.devices.report(&press, &[(0.0, 100.0), (10.0, 100.0)]).await;
    bench.odoo.kinds(&press, &["session_started"]).await;
    let answer = bench.tapline.take(&[&saw]).await;
    assert_eq!(answer["removed"], 1);
    let events = bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let stopped = &events[1].payload;
    assert_eq!(stopped["reason"], "device_removed");
    assert_eq!(stopped["ended_at"], press.time(10.0).rfc3339());
    bench.devices.report(&press, &[(100.0, 100.0), (120.0, 100.0)]).await;
    bench.settle(&[&saw]).await;
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn a_restart_brings_the_pushed_configuration_back() {
    // S3-42, case 5: restart.
    let press = Machine::new("press");
    let mut bench = Bench::of(&[&press]).await;
    let before = bench.tapline.get("/config").await.body;
    let updated = bench.tapline.health().await["last_config_update"].clone();
    assert!(bench.tapline.terminate().await.success());
    bench.start_again(1).await;
    assert_eq!(bench.tapline.get("/config").await.body, before);
    assert_eq!(bench.tapline.health().await["last_config_update"], updated);
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
}

#[tokio::test]
async fn each_step_of_a_configuration_is_logged_under_its_name() {
    let bench = Bench::of(&[&Machine::new("press")]).await;
    bench.tapline.try_push(&json!({"devices": 5})).await;
    for event in ["config_received", "config_persist", "config_applied", "config_rejected"] {
        eventually(&format!("`{event}` is logged"), || async {
            let lines = bench.tapline.logged(event);
            let line = lines.first().ok_or("not yet")?;
            assert_is_time(&line["timestamp"]);
            assert!(line["level"].is_string());
            Ok::<_, &str>(())
        })
        .await;
    }
}
