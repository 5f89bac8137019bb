//! Replay against another version: what differs, per device and event.

use std::process::Output;

use serde_json::{Value, json};
use tapline_tests::{Setup, Tapline, fixtures, project, shipped_modules, write};

/// A site with an input of two machines, `press` and `saw`, and their devices.
fn site() -> Tapline {
    let tapline = Setup::new().prepare();
    write(tapline.dir(), "devices.json", devices(&json!({})));
    let mut input = String::new();
    for second in 0..60_u64 {
        for machine in ["press", "saw"] {
            // The saw works at a third of what the press does.
            let power = match (second, machine) {
                (5..30, "press") => 90.0,
                (5..30, _) => 30.0,
                _ => 0.0,
            };
            let payload = json!({ "id": 0, "apower": power }).to_string();
            let line = json!({
                "topic": format!("hall/{machine}/status/switch:0"), "payload": payload,
                "received_at": 1_772_400_000_000_u64 + second * 1000, "qos": 1,
            });
            input.push_str(&format!("{line}\n"));
        }
    }
    write(tapline.dir(), "day.jsonl", input);
    tapline
}

/// The document of both machines, where the saw has settings of its own.
fn devices(saw: &Value) -> String {
    let device = |name: &str, session: &Value| {
        json!({
            "device_id": name, "machine_name": name, "parser_type": "shelly_pm",
            "mqtt_topic": format!("hall/{name}/status/switch:0"), "session_config": session,
        })
    };
    json!({ "devices": [device("press", &json!({})), device("saw", saw)] }).to_string()
}

async fn against(tapline: &Tapline, other: &str, more: &[&str]) -> Output {
    let arguments =
        ["replay", "workshop", "-i", "day.jsonl", "--devices", "devices.json", "--against", other];
    tapline.output(&[&arguments, more].concat()).await
}

fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_replay_against_the_same_finds_no_difference_and_ends_with_0() {
    let tapline = site();
    let module = shipped_modules().join("shelly.wasm");
    let module = module.to_str().expect("a path of this test");
    for other in [module, "devices.json", "workshop"] {
        let output = against(&tapline, other, &[]).await;
        let (stdout, stderr) = words(&output);
        assert_eq!(output.status.code(), Some(0), "{other}: {stdout}{stderr}");
        // A reading for each message, and the sessions' events.
        assert_eq!(stdout, "no difference: 124 are the same\n", "{other}: {stderr}");
    }
}

#[tokio::test]
async fn other_devices_differ_in_the_events_of_the_device_that_changed_alone() {
    let tapline = site();
    write(tapline.dir(), "other.json", devices(&json!({ "start_debounce_s": 5.0 })));
    let output = against(&tapline, "other.json", &[]).await;
    let (stdout, stderr) = words(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(
        stdout.starts_with("saw\n  event session_started of switch:0 by session\n    ~ "),
        "{stdout}"
    );
    assert!(stdout.contains(":08.000Z → 2026-03-01T21:20:10.000Z"), "{stdout}");
    assert!(stdout.ends_with("1 of 2 devices differ: 0 gone, 0 new, 1 changed, 123 the same\n"));
    assert!(!stdout.contains("press"), "{stdout}");
}

#[tokio::test]
async fn what_is_gone_new_or_filtered_is_told_as_json_lines_too() {
    let tapline = site();
    let text = std::fs::read_to_string(project().join("pipelines/workshop.toml"));
    let text = text.expect("it ships");
    // The saw's standby is the other's nothing; and the press is not heard at all.
    let other = text
        .replace("standby_threshold_w  = 5.0", "standby_threshold_w  = 40.0")
        .replace("topics   = []", "topics   = []\nexcept   = [\"hall/press/#\"]");
    assert_ne!(other, text);
    write(tapline.dir(), "other.toml", other);
    let output = against(&tapline, "./other.toml", &["--json"]).await;
    let (stdout, stderr) = words(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let count = |device: &str, item: &str, difference: &str| {
        let is = |line: &&Value| {
            line["device"] == device && line["item"] == item && line["difference"] == difference
        };
        lines.iter().filter(is).count()
    };
    assert_eq!(count("press", "reading", "gone"), 60, "{stdout}");
    assert_eq!(count("press", "event", "gone"), 2, "{stdout}");
    assert_eq!(count("saw", "event", "gone"), 2, "{stdout}");
    assert_eq!(count("saw", "reading", "gone"), 0, "{stdout}");
    let summary = &lines.last().expect("a summary")["summary"];
    assert_eq!(summary["filtered"]["except"], json!({ "before": 0, "after": 60 }), "{stdout}");
    let counts = [&summary["gone"], &summary["new"], &summary["changed"], &summary["same"]];
    assert_eq!(counts, [&json!(64), &json!(0), &json!(0), &json!(60)], "{stdout}");
}

#[tokio::test]
async fn a_module_that_fits_no_stage_or_several_is_named_with_a_remedy() {
    let tapline = site();
    let hostile = fixtures().join("hostile.wasm");
    let (hostile, odoo) = (hostile.display().to_string(), shipped_modules().join("odoo.wasm"));
    let cases: [(&str, &[&str], &str); 5] = [
        (&hostile, &["--stage", "nothing"], "no stage that a replay runs is called `nothing`"),
        (&odoo.display().to_string(), &[], "the pipeline runs none in a replay"),
        ("missing.wasm", &[], "cannot be read"),
        ("devices.json", &["--stage", "session"], "is no module"),
        ("nowhere", &[], "there is no pipeline `nowhere`"),
    ];
    for (other, more, expected) in cases {
        let output = against(&tapline, other, more).await;
        let (stdout, stderr) = words(&output);
        assert_eq!(output.status.code(), Some(1), "{other}: {stdout}{stderr}");
        assert!(stderr.contains(expected), "{other}: {stderr}");
        assert!(stderr.contains("help: "), "{other}: {stderr}");
        assert_eq!(stdout, "", "{other}");
    }
}
