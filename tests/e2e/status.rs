//! `tapline status`: what runs, what is wrong, and an exit code that a script can use.

use std::process::Stdio;

use serde_json::Value;
use tapline_tests::{Bench, COURSE, Machine, PATIENCE, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// The exit code and what it printed.
async fn status(bench: &Bench, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["status"], arguments].concat();
    let output = bench.tapline.output(&arguments).await;
    let text = String::from_utf8(output.stdout).expect("it prints text");
    (output.status.code(), text)
}

#[tokio::test]
async fn status_tells_what_runs_in_the_words_of_health() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE).await;
    bench.devices.send(&press.topic(), "no JSON").await;
    bench.odoo.kinds(&press, &WHOLE).await;
    let health = bench.tapline.until("one is set aside", |h| h["dead_letters"] == 1).await;

    let (code, text) = status(&bench, &["--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    let status_json: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(status_json["status"], "ok");
    assert_eq!(status_json["revision"], 1);
    let pipeline = &status_json["pipelines"][0];
    let counts = &health["pipelines"]["workshop"];
    for count in ["received", "committed", "dead_lettered", "duplicates", "in_flight"] {
        assert_eq!(pipeline[count], counts[count], "{count}");
    }
    let stages = pipeline["stages"].as_array().expect("a list");
    let kinds: Vec<_> = stages.iter().map(|stage| stage["kind"].as_str().unwrap_or("")).collect();
    assert_eq!(kinds, ["parse", "parse", "detect", "sink"]);
    let shelly = &stages[0];
    assert_eq!((&shelly["stage"], &shelly["inputs"]), (&"shelly".into(), &7.into()), "{shelly}");
    assert_eq!(shelly["rejected"], 1);
    assert!(shelly["last_error"]["what"].to_string().contains("not-json"), "{shelly}");
    let sink = &status_json["sinks"][0];
    assert_eq!((&sink["delivered"], &sink["waiting"]), (&2.into(), &0.into()), "{sink}");
    let modules = status_json["modules"].as_array().expect("a list");
    assert_eq!(modules.len(), 4, "{modules:#?}");
    assert!(modules.iter().all(|m| m["size_bytes"].as_u64() > Some(1000)), "{modules:#?}");
    let broker = &status_json["brokers"][0];
    assert_eq!((&broker["connected"], &broker["granted"]), (&true.into(), &2.into()), "{broker}");

    let (code, text) = status(&bench, &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("ok: everything runs\n"), "{text}");
    for word in ["workshop/odoo", "session 0.1.0", "revision 1", "not-json"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
}

#[tokio::test]
async fn status_says_first_what_is_wrong_and_exits_with_a_finding() {
    let mut bench = Bench::of(&[&Machine::new("press")]).await;
    bench.broker.stop().await;
    let text = eventually("the broker is missed", || async {
        let (code, text) = status(&bench, &[]).await;
        if code == Some(1) { Ok(text) } else { Err(format!("{code:?}: {text}")) }
    })
    .await;
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("degraded: broker `main` is not connected"), "{text}");
    assert!(text.contains("not for "), "{text}");

    bench.tapline.kill().await;
    let output = bench.tapline.output(&["status"]).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[tokio::test]
async fn watching_goes_on_when_tapline_is_away_for_a_while() {
    let mut bench = Bench::start().await;
    let mut command = bench.tapline.command(&["status", "--watch", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut until = async |word: &str| {
        let find = async {
            while let Ok(Some(line)) = lines.next_line().await {
                let status: Value = serde_json::from_str(&line).expect("JSON lines");
                if status["status"] == word {
                    return;
                }
            }
            panic!("it ended before it said {word}");
        };
        tokio::time::timeout(PATIENCE, find).await.unwrap_or_else(|_| panic!("never {word}"));
    };
    until("ok").await;
    bench.tapline.kill().await;
    until("not reachable").await;
    bench.tapline.start_again().await;
    until("ok").await;
    child.kill().await.expect("a child can be killed");
}
