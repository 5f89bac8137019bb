//! Captures of what a broker sends, beside whatever runs.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tapline_tests::{
    Bench, COURSE, Machine, Mosquitto, Publisher, Setup, Tapline, eventually, free_port, write,
};
use tokio::process::{Child, Command};

/// A capture under way, into `x.jsonl`.
fn record(tapline: &Tapline, arguments: &[&str]) -> Child {
    let mut command = tapline.command(&[&["record", "-o", "x.jsonl"], arguments].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().expect("the program can be run")
}

/// Ends it as Ctrl-C does.
async fn interrupted(child: Child) -> Output {
    let id = child.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(told.is_ok_and(|status| status.success()), "kill knows -INT");
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    output.expect("it ends").expect("a child can be waited for")
}

fn captured(tapline: &Tapline) -> String {
    std::fs::read_to_string(tapline.dir().join("x.jsonl")).unwrap_or_default()
}

async fn holds(tapline: &Tapline, part: &str) {
    eventually(part, || async {
        let text = captured(tapline);
        if text.contains(part) { Ok(()) } else { Err(text) }
    })
    .await;
}

fn url(broker: &Mosquitto) -> String {
    format!("mqtt://127.0.0.1:{}", broker.port())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The messages of a capture, all of whose lines are whole.
fn messages(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("whole lines"));
    lines.filter(|line| line.get("topic").is_some()).collect()
}

#[tokio::test]
async fn a_shared_capture_names_no_device_and_replays_with_each_told_apart() {
    let broker = Mosquitto::start().await;
    let devices = Publisher::connect(broker.port()).await;
    let tapline = Setup::new().prepare();
    devices.retain("hall/press-01/online", "true").await;
    let url = url(&broker);
    let arguments = ["--topic", "hall/#", "--broker", &url, "--redact", "topic:2,ssid"];
    let recorder = record(&tapline, &[&arguments[..], &["--redact-key", "ours"]].concat());
    holds(&tapline, "\"retained\":true").await;
    for (index, machine) in ["press-01", "saw-02", "press-01"].into_iter().enumerate() {
        let payload = json!({
            "id": 0, "apower": 10.5 + index as f64, "ssid": "Home", "src": machine,
        });
        devices.send(&format!("hall/{machine}/status/switch:0"), payload.to_string()).await;
    }
    devices.send("hall/press-01/note", "not JSON").await;
    holds(&tapline, "not JSON").await;
    let output = interrupted(recorder).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr(&output).contains("1 of 5 payloads are no JSON"), "{output:?}");

    let text = captured(&tapline);
    for secret in ["press", "saw", "Home"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let found = messages(&text);
    let topics: Vec<_> = found.iter().map(|message| &message["topic"]).collect();
    assert_eq!(topics.len(), 5, "{text}");
    assert_eq!(topics[1], topics[3], "the same device: {text}");
    assert_ne!(topics[1], topics[2], "another device: {text}");

    // As somebody else would: devices by the topics of the capture.
    let bound = [1, 2].map(|index: usize| {
        json!({
            "device_id": format!("d{index}"), "machine_name": "Machine",
            "mqtt_topic": topics[index], "parser_type": "shelly_pm",
        })
    });
    write(tapline.dir(), "devices.json", json!({ "devices": bound }).to_string());
    let replayed =
        tapline.output(&["replay", "workshop", "-i", "x.jsonl", "--devices", "devices.json"]).await;
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    let out = String::from_utf8_lossy(&replayed.stdout).into_owned();
    let power = |device: &str| {
        let lines = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let own = lines.filter(|line| line["item"] == "reading" && line["device"] == device);
        own.filter_map(|line| line["measurements"]["power_w"].as_f64()).collect::<Vec<_>>()
    };
    assert_eq!((power("d1"), power("d2")), (vec![10.5, 12.5], vec![11.5]), "{out}");
}

#[tokio::test]
async fn a_capture_leaves_the_running_session_alone_and_ends_after_its_time() {
    let machine = Machine::new("press");
    let bench = Bench::of(&[&machine]).await;
    let url = url(&bench.broker);
    let recorder = record(&bench.tapline, &["--topic", "hall/#", "--broker", &url, "--for", "5s"]);
    eventually("the file is begun", || async {
        let path = bench.tapline.dir().join("x.jsonl");
        if path.exists() { Ok(()) } else { Err("not yet") }
    })
    .await;
    bench.devices.report(&machine, &COURSE).await;
    bench.odoo.kinds(&machine, &["session_started", "session_stopped"]).await;
    let output = tokio::time::timeout(Duration::from_secs(120), recorder.wait_with_output()).await;
    let output = output.expect("it ends by itself").expect("a child can be waited for");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let health = bench.tapline.health().await;
    assert_eq!(health["status"], "ok", "{health}");
    let _whole = messages(&captured(&bench.tapline));
    assert!(!bench.broker.log().contains("already connected"), "{}", bench.broker.log());
}

#[tokio::test]
async fn a_time_in_which_the_broker_was_away_stands_in_the_capture() {
    let mut broker = Mosquitto::start().await;
    let tapline = Setup::new().prepare();
    let url = url(&broker);
    let recorder = record(&tapline, &["--topic", "hall/#", "--broker", &url]);
    eventually("the file is begun", || async {
        if tapline.dir().join("x.jsonl").exists() { Ok(()) } else { Err("not yet") }
    })
    .await;
    broker.stop().await;
    broker.start_again().await;
    holds(&tapline, "{\"deaf\":{\"from\":").await;
    let devices = Publisher::connect(broker.port()).await;
    devices.send("hall/press/x", "1").await;
    holds(&tapline, "hall/press/x").await;
    let output = interrupted(recorder).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr(&output).contains("not heard 1 time(s)"), "{output:?}");
}

#[tokio::test]
async fn a_capture_that_is_full_ends_with_a_whole_line_and_says_so() {
    let broker = Mosquitto::start().await;
    let devices = Publisher::connect(broker.port()).await;
    let tapline = Setup::new().prepare();
    devices.retain("hall/a", "1").await;
    let url = url(&broker);
    let arguments = ["--topic", "hall/#", "--broker", &url, "--max-size", "400 B"];
    let recorder = record(&tapline, &arguments);
    holds(&tapline, "\"topic\":\"hall/a\"").await;
    for _ in 0..10 {
        devices.send("hall/a", "1").await;
    }
    let output = tokio::time::timeout(Duration::from_secs(60), recorder.wait_with_output()).await;
    let output = output.expect("it ends by itself").expect("a child can be waited for");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("--max-size"), "{output:?}");
    let text = captured(&tapline);
    assert!(text.len() <= 400 && messages(&text).len() >= 3, "{text}");
}

#[tokio::test]
async fn what_cannot_be_captured_is_said_with_a_remedy_and_no_file_is_touched() {
    let tapline = Setup::new().prepare();
    write(tapline.dir(), "x.jsonl", "the last capture\n");
    write(
        tapline.dir(),
        "two/tapline.toml",
        "[broker.east]\nurl = \"mqtt://localhost\"\n[broker.west]\nurl = \"mqtt://localhost\"\n",
    );
    let nowhere = format!("mqtt://127.0.0.1:{}", free_port());
    let two = Path::new("two").display().to_string();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--topic", "hall/#", "--broker", &nowhere], 3, "nothing listens"),
        (&["--topic", "$share/g/hall/#"], 2, "leave out"),
        (&["--topic", "hall/#/x"], 2, "hall/#/x"),
        (&["--topic", "a", "--redact", "topic:0"], 2, "topic:1"),
        (&["--topic", "a", "--site", &two], 1, "name one of `east`, `west`"),
        (&["--topic", "a", "--site", &two, "--broker", "north"], 1, "no broker `north`"),
        (&["--topic", "a", "--broker", "http://x"], 1, "mqtt://host:1883"),
    ];
    for (arguments, code, expected) in cases {
        let output = tapline.output(&[&["record", "-o", "x.jsonl"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {output:?}");
    }
    assert_eq!(captured(&tapline), "the last capture\n");
}
