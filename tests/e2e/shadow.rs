//! A new version of a parser beside the live one: what differs is shown, nothing of it is
//! delivered, and it is promoted or dropped on a person's word.

use serde_json::{Value, json};
use tapline_tests::{Bench, eventually, write};

use super::files::module;

/// A pipeline whose parser has a shadow; what the live version reads goes back to the broker.
const METERS: &str = "format = 1
name = \"meters\"

[[source]]
name = \"all\"
broker = \"main\"
topics = [\"hall/{device}\"]
unknown_devices = \"accept\"

[[parse]]
name   = \"read\"             # watts as text
module = \"hostile\"          # since May
shadow = \"hostile-next.wasm\"
topics = [\"hall/#\"]

[[sink]]
name = \"out\"
publish = { broker = \"main\", topic = \"read/{device}\", retain = false }
take = [\"reading\"]
";

const OUTCOMES: [&str; 7] = [
    "same",
    "different",
    "only_live",
    "only_shadow",
    "refused_differently",
    "failed",
    "not_compared",
];

async fn bench() -> Bench {
    let bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", "format = 1\nshipped = []\n")
            .site("pipelines/meters.toml", METERS)
            .site_bytes("modules/hostile.wasm", module("hostile"))
            .site_bytes("modules/hostile-next.wasm", module("hostile-next"))
    })
    .await;
    bench.tapline.subscribed(1).await;
    bench
}

/// The one shadow, once it has looked at so many inputs.
async fn compared(bench: &Bench, inputs: u64) -> Value {
    eventually(&format!("{inputs} inputs are compared"), || async {
        let body = bench.tapline.get("/api/v1/shadow").await.body;
        let view = body["shadows"][0].clone();
        let count = |name: &str| view[name].as_u64().unwrap_or_default();
        let outcomes: u64 = OUTCOMES.iter().map(|name| count(name)).sum();
        assert_eq!(count("inputs"), outcomes + count("waiting"), "{view}");
        if outcomes == inputs { Ok(view) } else { Err(view.to_string()) }
    })
    .await
}

async fn send(bench: &Bench, payloads: &[&str]) {
    for payload in payloads {
        bench.devices.send("hall/press", *payload).await;
    }
}

/// Waits until so many messages came to an end, one way or another.
async fn worked_off(bench: &Bench, messages: u64) -> Value {
    let health = bench
        .tapline
        .until("all are worked off", |health| {
            let counts = &health["pipelines"]["meters"];
            let of = |name: &str| counts[name].as_u64().unwrap_or_default();
            let filtered = counts["filtered"].as_object();
            let filtered: u64 =
                filtered.map_or(0, |by| by.values().filter_map(Value::as_u64).sum());
            of("committed") + of("dead_lettered") + filtered == messages
        })
        .await;
    health["pipelines"]["meters"].clone()
}

pub(super) async fn said(bench: &Bench, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = bench.tapline.output(arguments).await;
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn pipeline_file(bench: &Bench) -> String {
    let path = bench.tapline.dir().join("site/pipelines/meters.toml");
    std::fs::read_to_string(path).expect("it is there")
}

async fn watts(bench: &Bench) -> Vec<f64> {
    let history = bench.tapline.get("/api/v1/history?limit=1000").await.body.to_string();
    assert!(!history.contains("hostile-next"), "{history}");
    let devices = bench.tapline.get("/api/v1/devices").await.body;
    let press = devices["unregistered"].as_array().into_iter().flatten();
    press.filter_map(|device| device["values"][""]["power_w"].as_f64()).collect()
}

#[tokio::test]
async fn differences_are_shown_and_nothing_of_a_shadow_is_delivered() {
    let bench = bench().await;
    send(&bench, &["5", "6", "items 0", "refuse", "code 1", "-3", "1500"]).await;
    let counts = worked_off(&bench, 7).await;
    let view = compared(&bench, 7).await;
    let expected = json!({
        "same": 2, "different": 1, "only_live": 1, "only_shadow": 1, "refused_differently": 2,
        "failed": 0, "not_compared": 0,
    });
    for name in OUTCOMES {
        assert_eq!(view[name], expected[name], "{name}: {view}");
    }
    assert_eq!((&view["pipeline"], &view["stage"]), (&"meters".into(), &"read".into()));
    assert_eq!(view["shadow"]["file"], "hostile-next.wasm");

    // The live version alone decided what became of messages.
    assert_eq!((&counts["dead_lettered"], &counts["deliveries"]), (&2.into(), &4.into()));
    assert_eq!(watts(&bench).await, [1500.0]);
    let letters = bench.tapline.get("/api/v1/dead-letters").await.body.to_string();
    assert!(!letters.contains("refused-otherwise"), "{letters}");

    let (code, text, _) = said(&bench, &["shadow"]).await;
    assert_eq!(code, Some(1), "{text}");
    for words in ["meters.read", "only-live hall/press (press)", "\"power_w\":3000.0", "nothing"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let (code, text, _) = said(&bench, &["shadow", "meters", "--json"]).await;
    let line: Value = serde_json::from_str(text.trim()).expect("one JSON object");
    assert_eq!((code, &line["different"]), (Some(1), &1.into()));
    let (code, _, error) = said(&bench, &["shadow", "cellar"]).await;
    assert!(code == Some(4) && error.contains("no pipeline `cellar` runs"), "{error}");

    let metrics = bench.tapline.get("/metrics").await.body.to_string();
    for (outcome, count) in [("same", 2), ("only-shadow", 1), ("failed", 0)] {
        let line = format!(
            "tapline_shadow_inputs_total{{pipeline=\\\"meters\\\",stage=\\\"read\\\",\
             outcome=\\\"{outcome}\\\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert_eq!(bench.tapline.health().await["status"], "ok");

    // A replay has none.
    let messages = bench.tapline.dir().join("messages.jsonl");
    let line = "{\"topic\":\"hall/press\",\"payload\":\"1500\",\"received_at\":1780000000000}\n";
    std::fs::write(&messages, line).expect("scratch is writable");
    let site = bench.tapline.dir().join("site").display().to_string();
    let messages = messages.display().to_string();
    let (code, text, error) =
        said(&bench, &["replay", "meters", "--site", &site, "--input", &messages]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(text.contains("1500.0") && !text.contains("3000.0"), "{text}");
}

#[tokio::test]
async fn a_shadow_that_burns_costs_nothing_but_itself() {
    let bench = bench().await;
    let payloads: Vec<_> = (0..300).map(|n| if n % 3 == 0 { "666" } else { "5" }).collect();
    send(&bench, &payloads).await;
    let counts = worked_off(&bench, 300).await;
    assert_eq!((&counts["dead_lettered"], &counts["deliveries"]), (&0.into(), &300.into()));
    let view = compared(&bench, 300).await;
    assert_eq!(view["failed"], 10, "{view}");
    assert!(view["not_compared"].as_u64() > Some(200), "{view}");
    assert!(view["stopped"].to_string().contains("failed 10 times within a minute"), "{view}");

    let health = bench.tapline.health().await;
    let warnings = health["warnings"].to_string();
    assert!(warnings.contains("of `meters.read` has stopped"), "{health}");
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(bench.tapline.get("/api/v1/dead-letters").await.body["dead_letters"], json!([]));
    let (_, _, error) = said(&bench, &["shadow", "promote", "meters.read"]).await;
    assert!(error.contains("has stopped and takes nobody's place"), "{error}");

    // Another file in its place is compared anew.
    let site = bench.tapline.dir().join("site");
    write(&site, "modules/hostile-next.wasm", super::reload_load::numbered(&module("hostile"), 1));
    eventually("the new file is compared", || async {
        send(&bench, &["1500"]).await;
        let view = bench.tapline.get("/api/v1/shadow").await.body["shadows"][0].clone();
        if view["same"].as_u64() > Some(0) && view["stopped"].is_null() {
            Ok(())
        } else {
            Err(view)
        }
    })
    .await;
    assert!(bench.tapline.health().await["warnings"].is_null());
}

#[tokio::test]
async fn a_promoted_shadow_takes_the_place_of_the_live_version_and_the_journal_tells() {
    let bench = bench().await;
    send(&bench, &["5", "1500"]).await;
    compared(&bench, 2).await;
    let (code, _, error) = said(&bench, &["shadow", "promote", "meters.read"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(
        error.contains("takes the place of hostile") && error.contains("meters.toml"),
        "{error}"
    );
    let expected = METERS
        .replace("shadow = \"hostile-next.wasm\"\n", "")
        .replace("\"hostile\"          # since May", "\"hostile-next\"          # since May")
        .replace(
            "topics = [\"hall/#\"]\n",
            "topics = [\"hall/#\"]\nparser_types = [\"hostile\"]\n",
        );
    assert_eq!(pipeline_file(&bench), expected);
    send(&bench, &["1500"]).await;
    worked_off(&bench, 3).await;
    eventually("the promoted version has read it", || async {
        let watts = watts(&bench).await;
        if watts == [3000.0] { Ok(()) } else { Err(format!("{watts:?}")) }
    })
    .await;
    assert_eq!(bench.tapline.get("/api/v1/shadow").await.body["shadows"], json!([]));
    let audit = bench.tapline.get("/api/v1/audit").await.body.to_string();
    assert!(audit.contains("shadow.promoted") && audit.contains("1 with a difference"), "{audit}");
    let (_, log, _) = said(&bench, &["config", "log"]).await;
    assert!(log.contains("meters") && log.contains("socket"), "{log}");

    // Should it fail again and again, the version before it is the one to go back to.
    send(&bench, &["667"; 12]).await;
    bench
        .tapline
        .until("the version before is back", |health| {
            health["problems"].to_string().contains("is put aside")
        })
        .await;
    send(&bench, &["2000"]).await;
    eventually("the version before reads", || async {
        let watts = watts(&bench).await;
        if watts == [2000.0] { Ok(()) } else { Err(format!("{watts:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_dropped_shadow_is_gone_and_one_that_cannot_take_over_changes_nothing() {
    let bench = bench().await;
    let (code, _, error) = said(&bench, &["shadow", "drop", "meters.out"]).await;
    assert!(code == Some(4) && error.contains("no shadow runs beside `meters.out`"), "{error}");

    // What stands in the file and does not run would be taken up with it.
    let site = bench.tapline.dir().join("site");
    let wrong = format!("{METERS}\nnonsense = 1\n");
    write(&site, "pipelines/meters.toml", &wrong);
    bench.tapline.until("it is refused", |h| h["problems"].to_string().contains("nonsense")).await;
    let (code, _, error) = said(&bench, &["shadow", "promote", "meters.read"]).await;
    assert!(code == Some(4) && error.contains("is not as it runs"), "{error}");
    assert_eq!(pipeline_file(&bench), wrong);
    write(&site, "pipelines/meters.toml", METERS);
    bench.tapline.until("all is well", |health| health["problems"].is_null()).await;

    let (code, _, error) = said(&bench, &["shadow", "drop", "meters.read"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(pipeline_file(&bench), METERS.replace("shadow = \"hostile-next.wasm\"\n", ""));
    let audit = bench.tapline.get("/api/v1/audit").await.body.to_string();
    assert!(audit.contains("shadow.dropped"), "{audit}");
    let (code, text, error) = said(&bench, &["shadow"]).await;
    assert!(
        code == Some(0) && text.is_empty() && error.contains("no stage has a shadow"),
        "{error}"
    );
}

#[tokio::test]
async fn a_shadow_that_is_not_fit_to_run_stops_nothing() {
    let bench = bench().await;
    let site = bench.tapline.dir().join("site");
    write(&site, "modules/hostile-next.wasm", b"no module");
    bench
        .tapline
        .until("it is named", |health| {
            health["problems"].to_string().contains("the shadow cannot run")
        })
        .await;
    send(&bench, &["5"]).await;
    let counts = worked_off(&bench, 1).await;
    assert_eq!(counts["deliveries"], 1);
    let (code, text, error) = said(&bench, &["check", &site.display().to_string()]).await;
    let text = text + &error;
    assert!(code == Some(1) && text.contains("the shadow cannot run"), "{text}");
}
