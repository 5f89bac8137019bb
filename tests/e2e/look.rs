//! What a person sees of single devices, sessions and topics.

use serde_json::Value;
use tapline_tests::{Bench, Machine, Tapline, eventually};

async fn lines(tapline: &Tapline, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = tapline.output(arguments).await;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.code() != Some(0) {
        return Err(format!("{output:?}"));
    }
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{e}: {line}")))
        .collect()
}

/// The one line of a command, once it holds what it should.
async fn line(tapline: &Tapline, arguments: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{arguments:?}"), || async {
        let lines = lines(tapline, arguments).await?;
        match lines.as_slice() {
            [one] if holds(one) => Ok(one.clone()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_device_is_shown_with_its_session_and_that_survives_a_restart() {
    let press = Machine::new("press-01");
    let mut bench = Bench::of(&[&press]).await;
    let unheard = line(&bench.tapline, &["devices", "--json"], |_| true).await;
    assert_eq!(unheard["device_id"], "press-01");
    assert_eq!(unheard["heard_since_start"], false);
    assert_eq!(unheard["last_seen"], Value::Null);

    bench.devices.report(&press, &[(0.0, 100.0), (10.0, 100.0)]).await;
    bench.odoo.kinds(&press, &["session_started"]).await;
    let heard = |device: &Value| device["session"]["session_id"].is_string();
    let device = line(&bench.tapline, &["devices", "--json"], heard).await;
    assert_eq!(device["values"]["switch:0"]["power_w"], 100.0, "{device}");
    assert_eq!(device["state"], "working");
    assert_eq!(device["pipelines"].as_array().map(Vec::len), Some(1));
    let session = line(&bench.tapline, &["sessions", "--json"], |_| true).await;
    assert_eq!(session["device"], "press-01");
    assert_eq!(session["started_at"], press.time(0.0).rfc3339());

    bench.tapline.kill().await;
    bench.start_again(1).await;
    let again = line(&bench.tapline, &["sessions", "--json"], |_| true).await;
    assert_eq!(again, session);
    let quiet = line(&bench.tapline, &["devices", "--json"], |_| true).await;
    assert_eq!(quiet["heard_since_start"], false);
    assert!(quiet["last_seen"].is_string(), "the store knows when it was heard: {quiet}");
    let table = bench.tapline.output(&["devices"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("not since the start"), "{table}");

    bench.devices.report(&press, &[(20.0, 0.0), (60.0, 0.0)]).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let ended = |session: &Value| session["ended_at"].is_string();
    let ended = line(&bench.tapline, &["sessions", "--ended", "--json"], ended).await;
    assert_eq!(ended["session_id"], session["session_id"]);
    assert_eq!(ended["reason"], "power");
    assert_eq!(lines(&bench.tapline, &["sessions", "--json"]).await, Ok(Vec::new()));
    bench.tapline.terminate().await;
}

#[tokio::test]
async fn a_topic_that_nobody_registered_comes_with_the_device_that_is_missing() {
    let pipeline = tapline_tests::copy_of_shipped("workshop")
        .replace("topics   = []", "topics   = [\"hall/#\"]");
    let mut bench = Bench::with(|setup| {
        setup.site("tapline.toml", "format = 1\n").site("pipelines/workshop.toml", &pipeline)
    })
    .await;
    bench.tapline.subscribed(1).await;
    let drill = Machine::new("drill-07");
    bench.devices.report(&drill, &[(0.0, 12.5)]).await;

    let known = |topic: &Value| topic["device"].is_object();
    let topic = line(&bench.tapline, &["devices", "--unknown", "--json"], known).await;
    assert_eq!(topic["topic"], drill.topic());
    assert_eq!(topic["count"], 1);
    assert_eq!(topic["device"]["device_id"], "drill-07");
    assert_eq!(topic["parsers"][0]["module"], "shelly");
    assert_eq!(topic["parsers"][0]["finds"][0], "switch:0 power_w 12.5");
    let shown = bench.tapline.output(&["devices", "--unknown"]).await;
    let block = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(block.contains("[[device]]\ndevice_id = \"drill-07\"\n"), "{block}");

    // What is suggested is what was missing.
    let document = serde_json::json!({"devices": [topic["device"]]});
    bench.tapline.push(&document).await;
    assert_eq!(lines(&bench.tapline, &["devices", "--unknown", "--json"]).await, Ok(Vec::new()));
    bench.devices.report(&drill, &[(1.0, 12.5)]).await;
    let heard = |device: &Value| device["heard_since_start"] == true;
    line(&bench.tapline, &["devices", "--json"], heard).await;
    bench.tapline.terminate().await;
}

#[tokio::test]
async fn a_running_tapline_explains_with_what_it_knows_at_the_moment() {
    let press = Machine::new("press-01");
    let mut bench = Bench::of(&[&press]).await;
    let output = bench.tapline.output(&["explain", &press.topic()]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for words in
        ["is the mqtt_topic of device `press-01`", "has granted `hall/press-01/events/rpc`"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let output = bench.tapline.output(&["explain", "hall/press-02/events/rpc"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the 2nd: `press-01` there, `press-02` here"), "{text}");

    bench.broker.stop().await;
    bench.tapline.until("the broker is gone", |h| h["brokers"]["main"]["connected"] == false).await;
    let output = bench.tapline.output(&["explain", &press.topic()]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("broker `main` is not connected"), "{text}");
    bench.tapline.terminate().await;
}

#[tokio::test]
async fn a_tap_shows_what_passes_and_only_what_is_wanted() {
    let (press, saw) = (Machine::new("press-01"), Machine::new("saw-02"));
    let mut bench = Bench::of(&[&press, &saw]).await;
    let pipeline = bench.tapline.health().await["pipelines"]
        .as_object()
        .and_then(|all| all.keys().next().cloned())
        .expect("a pipeline runs");
    let arguments = ["tap", &pipeline, "--device", "press-01", "--kind", "reading", "--limit", "2"];
    let mut command = bench.tapline.command(&arguments);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("it can be run");
    let tapped = tokio::spawn(child.wait_with_output());
    // Nobody says when a tap has joined, so the machines report until it has seen enough.
    let mut second = 0.0;
    eventually("the tap ends", || {
        second += 1.0;
        let (at, done) = (second, tapped.is_finished());
        let (bench, press, saw) = (&bench, &press, &saw);
        async move {
            bench.devices.report(saw, &[(at, 7.0)]).await;
            bench.devices.report(press, &[(at, 42.5)]).await;
            if done { Ok(()) } else { Err("it waits".to_owned()) }
        }
    })
    .await;
    let output = tapped.await.expect("it ran").expect("it ended");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().count(), 2, "{text}");
    for line in text.lines() {
        let item: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(item["item"], "reading");
        assert_eq!(item["device"], "press-01");
        assert_eq!(item["measurements"]["power_w"], 42.5);
    }

    let unknown = bench.tapline.output(&["tap", &pipeline, "no-such-stage"]).await;
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("it has"), "{unknown:?}");
    bench.tapline.terminate().await;
}
