//! Dead letters: looked at, sent on their way again once what they failed on is mended, or
//! thrown away.

use serde_json::{Value, json};
use tapline::stand_in::{ReceivedEvent, Refusal};
use tapline_tests::{Bench, COURSE, Machine, Setup, Tapline, copy_of_shipped, shipped_modules};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// The shipped pipeline, but messages of unregistered devices are kept.
fn keeps_unknown(setup: Setup) -> Setup {
    let pipeline = copy_of_shipped("workshop")
        .replace("topics   = []", "topics   = [\"hall/{device}/events/rpc\"]")
        .replace("unknown_devices = \"report\"", "unknown_devices = \"dead-letter\"")
        .replace(
            "[\"shelly\", \"shelly_pm\"]",
            "[\"shelly\", \"shelly_pm\"]\ntopics = [\"hall/#\"]",
        );
    setup
        .env("MQTT_CLIENT_ID", "hall-bridge")
        .site("tapline.toml", "format = 1\n")
        .site("pipelines/workshop.toml", &pipeline)
}

/// What a delivery is known by at the other side.
fn known_by(events: &[ReceivedEvent]) -> Vec<(String, String, Value)> {
    events.iter().map(|e| (e.event_uid.clone(), e.event_type.clone(), json!(e.payload))).collect()
}

async fn dead(tapline: &Tapline, count: u64) {
    tapline.until(&format!("{count} are set aside"), |h| h["dead_letters"] == count).await;
}

/// Runs a command that has to end with this code; what it printed.
async fn command(tapline: &Tapline, arguments: &[&str], code: i32) -> String {
    let output = tapline.output(&[&["dead-letters"], arguments].concat()).await;
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr)
}

async fn listed(tapline: &Tapline, arguments: &[&str]) -> Vec<Value> {
    let lines = command(tapline, &[&["list", "--json"], arguments].concat(), 0).await;
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_session_of_a_device_that_was_registered_too_late_arrives_as_if_it_never_failed() {
    let press = Machine::new("press");
    let reference = Bench::with(keeps_unknown).await;
    reference.tapline.push(&tapline_tests::document(&[&press])).await;
    reference.tapline.subscribed(3).await;
    reference.devices.report(&press, &COURSE).await;
    let expected = known_by(&reference.odoo.kinds(&press, &WHOLE).await);

    let bench = Bench::with(keeps_unknown).await;
    bench.tapline.subscribed(1).await;
    bench.devices.report(&press, &COURSE).await;
    let count = COURSE.len();
    dead(&bench.tapline, count as u64).await;
    let letters = listed(&bench.tapline, &["--code", "unknown-device", "--since", "1h"]).await;
    assert_eq!(letters.len(), count, "{letters:#?}");
    assert_eq!(letters[0]["topic"], press.topic());
    assert_eq!(letters[0]["device"], "press");
    assert_eq!(listed(&bench.tapline, &["--device", "saw"]).await.len(), 0);
    assert_eq!(listed(&bench.tapline, &["--limit", "2"]).await.len(), 2);
    let first = letters[count - 1]["id"].to_string();
    let shown = command(&bench.tapline, &["show", &first], 0).await;
    assert!(shown.contains("register device `press`") && shown.contains("apower"), "{shown}");

    // Nothing is mended yet: the letter stays under its number, with one more attempt.
    let failed = command(&bench.tapline, &["replay", &first], 1).await;
    assert!(failed.contains("is not registered") && failed.contains("replayed 0"), "{failed}");
    let again = listed(&bench.tapline, &[]).await;
    assert_eq!(again.len(), count);
    assert_eq!(again[count - 1]["attempts"], 2, "{again:#?}");

    bench.tapline.push(&tapline_tests::document(&[&press])).await;
    let replayed = command(&bench.tapline, &["replay", "--all", "--pipeline", "workshop"], 0).await;
    assert!(replayed.contains(&format!("replayed {count}")), "{replayed}");
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(known_by(&events), expected);
    assert!(events.iter().all(|event| event.rest["replayed"] == true), "{events:#?}");
    bench.odoo.is_content();
    dead(&bench.tapline, 0).await;
    let missing = command(&bench.tapline, &["replay", &first], 4).await;
    assert!(missing.contains("no such dead letter"), "{missing}");
}

#[tokio::test]
async fn messages_that_a_wrong_module_refused_go_through_the_right_one() {
    let press = Machine::new("press");
    let hostile = std::fs::read(tapline_tests::fixtures().join("hostile.wasm")).expect("built");
    let mut bench = Bench::with(|setup| {
        let pipeline = copy_of_shipped("workshop")
            .replace("module       = \"shelly\"", "module       = \"meter\"");
        setup
            .site("tapline.toml", "format = 1\n")
            .site("pipelines/workshop.toml", &pipeline)
            .site_bytes("modules/meter.wasm", hostile)
    })
    .await;
    bench.tapline.take(&[&press]).await;
    bench.devices.report(&press, &COURSE).await;
    dead(&bench.tapline, COURSE.len() as u64).await;
    let letter = listed(&bench.tapline, &["--limit", "1"]).await.remove(0);
    assert_eq!((&letter["stage"], &letter["code"]), (&json!("shelly"), &json!("not-a-number")));
    assert_eq!(letter["module"]["name"], "hostile", "{letter}");

    bench.tapline.terminate().await;
    let right = std::fs::read(shipped_modules().join("shelly.wasm")).expect("it was built");
    let place = bench.tapline.dir().join("site/modules/meter.wasm");
    std::fs::write(place, right).expect("scratch is writable");
    bench.tapline.start_again().await;
    command(&bench.tapline, &["replay", "--all"], 0).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
    dead(&bench.tapline, 0).await;
}

#[tokio::test]
async fn a_delivery_that_odoo_refused_is_sent_again_under_its_id() {
    let (saw, press) = (Machine::new("saw"), Machine::new("press"));
    let bench = Bench::of(&[&saw, &press]).await;
    bench.odoo.0.refuse(Refusal::of_device("saw"));
    bench.devices.report(&saw, &COURSE).await;
    dead(&bench.tapline, 2).await;
    let letters = listed(&bench.tapline, &["--stage", "odoo"]).await;
    assert_eq!(letters[0]["kind"], "delivery", "{letters:#?}");
    let id = letters[1]["id"].to_string();
    let shown: Value =
        serde_json::from_str(&command(&bench.tapline, &["show", &id, "--json"], 0).await)
            .expect("one JSON object");
    assert!(shown["answer"].to_string().contains("no machine for device"), "{shown}");

    // Odoo still refuses: they come back. Then it knows the machine, while others report.
    command(&bench.tapline, &["replay", "--all"], 0).await;
    dead(&bench.tapline, 2).await;
    bench.odoo.0.behave_well();
    let answer = bench.tapline.call(
        "POST",
        "/api/v1/dead-letters/replay",
        Some(&json!({"filter": {"device": "saw"}})),
    );
    let (answer, ()) = tokio::join!(answer.send(), bench.devices.report(&press, &COURSE));
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, &answer.body["done"]), (200, &json!(2)), "{}", answer.body);
    let events = bench.odoo.kinds(&saw, &WHOLE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].event_uid, shown["delivery"]["id"]);
    assert_eq!(events[0].rest["replayed"], true);
    bench.odoo.is_content();
    dead(&bench.tapline, 0).await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_replay_loses_and_doubles_nothing() {
    let machines: Vec<_> = (0..40).map(|n| Machine::new(&format!("m{n}"))).collect();
    let all: Vec<_> = machines.iter().collect();
    let mut bench = Bench::with(keeps_unknown).await;
    bench.tapline.subscribed(1).await;
    for machine in &all {
        bench.devices.report(machine, &COURSE).await;
    }
    let count = (all.len() * COURSE.len()) as u64;
    dead(&bench.tapline, count).await;
    bench.tapline.push(&tapline_tests::document(&all)).await;
    for _ in 0..3 {
        let begun = bench.tapline.health().await["dead_letters"].as_u64().expect("a count");
        let arguments = ["dead-letters", "replay", "--all", "--yes"];
        let mut replay = bench.tapline.command(&arguments).spawn().expect("it can be run");
        bench
            .tapline
            .until("some are gone", |h| {
                h["dead_letters"].as_u64().is_some_and(|n| n < begun || n == 0)
            })
            .await;
        bench.tapline.kill().await;
        let ended = replay.wait().await.expect("a child can be waited for");
        assert!(matches!(ended.code(), Some(0 | 3)), "{ended}");
        bench.tapline.start_again().await;
    }
    command(&bench.tapline, &["replay", "--all", "--yes"], 0).await;
    for machine in &all {
        bench.odoo.kinds(machine, &WHOLE).await;
    }
    bench.odoo.is_in_order();
    dead(&bench.tapline, 0).await;
}

#[tokio::test]
async fn what_is_discarded_is_gone_and_it_is_known_who_did_it() {
    let bench = Bench::with(keeps_unknown).await;
    bench.tapline.subscribed(1).await;
    for id in ["one", "two", "three"] {
        let machine = Machine::new(id);
        bench.devices.report(&machine, &COURSE[..1]).await;
    }
    dead(&bench.tapline, 3).await;
    // Nobody is there to be asked.
    let asked = command(&bench.tapline, &["discard", "--all"], 4).await;
    assert!(asked.contains("--yes"), "{asked}");
    command(&bench.tapline, &["discard", "--all", "--device", "two", "--yes"], 0).await;
    dead(&bench.tapline, 2).await;
    command(&bench.tapline, &["discard", "1", "--device", "two", "--yes"], 2).await;
    command(&bench.tapline, &["discard", "1", "77", "--yes"], 4).await;
    dead(&bench.tapline, 1).await;
    let audit = bench.tapline.get("/api/v1/audit").await.body;
    let entries = audit["audit"].as_array().expect("a list");
    assert_eq!(entries.len(), 2, "{audit}");
    assert_eq!(entries[1]["action"], "dead-letter.discarded");
    assert!(entries[1]["what"].to_string().contains("device two"), "{audit}");
    assert!(entries[1]["author"].to_string().contains("socket"), "{audit}");
    for (path, body) in [
        ("replay", json!({})),
        ("replay", json!({"ids": [1], "filter": {}})),
        ("discard", json!({"filter": {"since": "yesterday"}})),
        ("discard", json!({"filter": {"devise": "x"}})),
    ] {
        let path = format!("/api/v1/dead-letters/{path}");
        let answer = bench.tapline.call("POST", &path, Some(&body)).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(answer.body["status"], "error", "{body}");
    }
}
