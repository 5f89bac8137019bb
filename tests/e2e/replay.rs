//! Replay: the same bytes from the same input, and from a recording those that were live.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tapline::config::Problem;
use tapline::reload::{Chosen, Tapline};
use tapline::replay::cases::{Case, Surroundings, Verdict, find};
use tapline::replay::{BATCH, Fault, Options, Recording, Summary, Talk, replay};
use tapline::store::LetterFilter;
use tapline_tests::{
    Bench, COURSE, Machine, Mosquitto, PATIENCE, Publisher, compiled_modules, document, eventually,
    project, shipped_modules, write,
};

/// Keeps what is said.
#[derive(Default)]
struct Said {
    faults: Vec<Fault>,
    warnings: Vec<Problem>,
}

impl Talk for Said {
    fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    fn warning(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    fn read(&mut self, _bytes: u64) {}
}

fn options(devices: Option<PathBuf>) -> Options {
    Options {
        pipeline: "workshop".to_owned(),
        site: None,
        modules: Some(shipped_modules()),
        devices,
        compiled: Some(compiled_modules()),
        env: BTreeMap::new(),
        until: None,
        batch: BATCH,
        parsers: None,
        strict: false,
    }
}

fn run(options: &Options, input: &[u8]) -> (String, Summary, Said) {
    let (mut output, mut said) = (Vec::new(), Said::default());
    let summary = replay(options, input, &mut output, &mut said);
    let summary = summary.unwrap_or_else(|error| panic!("{error:?}"));
    (String::from_utf8(output).expect("JSON is text"), summary, said)
}

fn cases() -> Vec<Case> {
    let cases = find(project()).expect("the project's folder can be read");
    assert!(cases.len() >= 4, "{cases:?}");
    cases
}

fn around(site: &Path) -> Surroundings {
    Surroundings {
        site: site.to_owned(),
        modules: Some(shipped_modules()),
        compiled: Some(compiled_modules()),
        env: BTreeMap::new(),
    }
}

#[test]
fn shipped_pipelines_give_what_their_tests_expect() {
    let around = around(project());
    for case in cases() {
        match case.run(&around, false) {
            Verdict::Passed(items) => assert!(items > 0, "{} gives nothing", case.name),
            Verdict::Differs(difference) => panic!("{}:\n{}", case.name, difference.text),
            other => panic!("{}: {other:?}", case.name),
        }
    }
}

#[test]
fn batches_of_any_size_on_any_number_of_threads_replay_to_the_same_bytes() {
    for case in cases() {
        let input = std::fs::read(case.folder.join("input.jsonl")).expect("it is there");
        let of = |batch: usize, parsers: usize| {
            let options = options(Some(case.folder.join("devices.json")));
            let parsers = std::num::NonZeroUsize::new(parsers);
            run(&Options { batch, parsers, ..options }, &input).0
        };
        let one = of(1, 1);
        assert!(!one.is_empty(), "{}", case.name);
        for (size, parsers) in [(1, 5), (7, 2), (256, 1), (256, 3)] {
            assert!(of(size, parsers) == one, "{}: {size} on {parsers} threads", case.name);
        }
    }
}

/// A site's scratch directory with one device, `press`, that states no time.
fn press(session: &Value) -> (tempfile::TempDir, Options) {
    let dir = tempfile::tempdir().expect("a scratch directory can be made");
    let device = json!({
        "device_id": "press", "machine_name": "Press", "mqtt_topic": "hall/press/status/switch:0",
        "parser_type": "shelly_pm", "session_config": session,
    });
    write(dir.path(), "devices.json", json!({ "devices": [device] }).to_string());
    let options = options(Some(dir.path().join("devices.json")));
    (dir, options)
}

/// What a press reports at a second of the day.
fn report(second: u64, power_w: f64) -> String {
    let payload = json!({ "id": 0, "apower": power_w }).to_string();
    let at = 1_772_400_000_000 + second * 1000;
    let topic = "hall/press/status/switch:0";
    json!({ "topic": topic, "payload": payload, "received_at": at, "qos": 1 }).to_string() + "\n"
}

fn kinds(output: &str) -> Vec<String> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    lines.filter_map(|line| Some(line["kind"].as_str()?.to_owned())).collect()
}

#[test]
fn wake_ups_act_for_an_hour_after_the_last_message_or_up_to_a_time() {
    let session = json!({ "message_timeout_s": 7000.0, "heartbeat_interval_s": 600.0 });
    let (_dir, options) = press(&session);
    let input = report(0, 100.0) + &report(10, 100.0);
    let (output, ..) = run(&options, input.as_bytes());
    // At 3 s, then each ten minutes up to 3,610 s.
    let mut expected = vec!["session_started".to_owned()];
    expected.extend(vec!["session_heartbeat".to_owned(); 6]);
    assert_eq!(kinds(&output), expected, "{output}");

    let until = |second: u64| {
        let until = Some(tapline::message::Timestamp(1_772_400_000_000 + second * 1000));
        let (output, ..) = run(&Options { until, ..options.clone() }, input.as_bytes());
        kinds(&output).len()
    };
    // A wake-up at that very time still acts.
    assert_eq!([until(5), until(602), until(603), until(1203)], [1, 1, 2, 3]);
    assert_eq!(until(8_000), 1 + 11 + 1, "the last ends the session");
}

#[test]
fn a_wrong_line_is_named_and_the_others_count() {
    let (_dir, options) = press(&json!({}));
    let good = report(0, 100.0) + "\n{\"topic\":\n" + &report(10, 100.0);
    let wild = "{\"topic\":\"hall/+/x\",\"payload\":\"\",\"received_at\":5}\n";
    let late = "{\"topic\":\"hall/x\",\"payload\":\"\"}\n";
    let input = good + wild + late + "{\"wake\":{\"now\":5,\"heard\":[]}}\n";
    let (output, summary, said) = run(&options, input.as_bytes());
    let lines: Vec<_> = said.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [3, 5, 6, 7], "{:?}", said.faults);
    assert!(said.faults[2].what.contains("`received_at` is missing"), "{:?}", said.faults);
    assert_eq!((summary.messages, summary.faults), (2, 4));
    assert_eq!(kinds(&output), ["session_started", "session_timeout"]);

    let (_, summary, said) = run(&Options { strict: true, ..options }, input.as_bytes());
    assert_eq!((summary.faults, said.faults.len()), (1, 1));
}

#[test]
fn a_pipeline_is_named_or_lies_in_a_file() {
    let (dir, options) = press(&json!({}));
    let input = report(0, 100.0) + &report(10, 100.0);
    let (named, ..) = run(&options, input.as_bytes());
    let file = tapline_tests::copy_of_shipped("workshop").replace("\"workshop\"", "\"mine\"");
    write(dir.path(), "mine.toml", file);
    let pipeline = dir.path().join("mine.toml").display().to_string();
    let (of_file, ..) = run(&Options { pipeline, ..options.clone() }, input.as_bytes());
    assert_eq!(of_file, named);

    let unknown = Options { pipeline: "wrokshop".to_owned(), ..options };
    let error = replay(&unknown, &b""[..], &mut Vec::new(), &mut Said::default());
    let words = format!("{error:?}");
    assert!(words.contains("no pipeline `wrokshop`") && words.contains("`workshop`"), "{words}");
}

/// Reads on until `text` holds all of `expected`.
async fn read_until(recording: &mut Recording, text: &mut String, expected: &[&str]) {
    while !expected.iter().all(|part| text.contains(part)) {
        let chunk = tokio::time::timeout(PATIENCE, recording.next()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("no {expected:?} in\n{text}"));
        let chunk = chunk.unwrap_or_else(|| panic!("it ended without {expected:?}:\n{text}"));
        text.push_str(std::str::from_utf8(&chunk).expect("JSON is text"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_replays_to_the_bytes_that_were_live() {
    let mut broker = Mosquitto::start().await;
    let devices = Publisher::connect(broker.port()).await;
    let dir = tempfile::tempdir().expect("a scratch directory can be made");
    let press = Machine::new("press");
    let mut configured = document(&[&press]);
    // One that says nothing of its own time, so that the clock must end its sessions.
    let lathe = "hall/lathe/status/switch:0";
    configured["devices"].as_array_mut().expect("a list").push(json!({
        "device_id": "lathe", "machine_name": "Lathe", "mqtt_topic": lathe,
        "parser_type": "shelly_pm", "labels": { "hall": "1" },
        "session_config": { "start_debounce_s": 1.0, "message_timeout_s": 2.0 },
    }));
    write(dir.path(), "config.json", configured.to_string());
    let port = broker.port().to_string();
    let env = [("MQTT_BROKER", "127.0.0.1"), ("MQTT_PORT", &port)];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let tapline = Tapline::start(tapline::reload::Options {
        site: None,
        data: dir.path().join("data"),
        env: env.into(),
        config_file: Some(dir.path().join("config.json")),
        modules: Some(shipped_modules()),
    });
    let tapline = tapline.await.unwrap_or_else(|error| panic!("{error:?}"));
    eventually("both are subscribed", || async {
        let health = serde_json::to_value(tapline.health()).expect("plain values");
        if health["subscriptions"] == 4 { Ok(()) } else { Err(health.to_string()) }
    })
    .await;

    // Before the recording, so that it begins within a session.
    let mut before = Recording::start(&tapline, "workshop").await.expect("it runs");
    devices.report(&press, &COURSE[..2]).await;
    let last = press.time(COURSE[1].0).0;
    let last = format!("{}.{:03}", last / 1000, last % 1000);
    let last = last.trim_end_matches('0').trim_end_matches('.').to_owned();
    read_until(&mut before, &mut String::new(), &[&last]).await;
    drop(before);

    let mut recording = Recording::with_items(&tapline, "workshop").await.expect("it runs");
    let mut text = String::new();
    devices.report(&press, &COURSE[2..4]).await;
    devices.send(lathe, "{\"id\":0,\"apower\":").await;
    devices.publish(lathe, "{\"id\":0,\"apower\":80}", 0, false).await;
    // The clock begins its session and ends it.
    read_until(&mut recording, &mut text, &["{\"wake\"", "apower\\\":80"]).await;
    // What was broken goes through once more, with the same outcome.
    eventually("the letter is replayed", || async {
        let chosen = Chosen::Matching { filter: LetterFilter::default(), after: 0, up_to: None };
        let turned = tapline.replay_letters(chosen, false, "test").await.map_err(|e| e.to_string());
        let turned = turned?;
        if turned.failed.len() == 1 { Ok(()) } else { Err(format!("{turned:?}")) }
    })
    .await;
    read_until(&mut recording, &mut text, &["\"letter\":"]).await;
    let started = text.len();
    let mut rest = String::new();
    read_until(&mut recording, &mut rest, &["{\"wake\""]).await;
    text.push_str(&rest);
    assert!(text.len() > started);
    devices.publish(lathe, "{\"id\":0,\"apower\":81}", 0, false).await;
    read_until(&mut recording, &mut text, &["apower\\\":81"]).await;
    broker.stop().await;
    broker.start_again().await;
    read_until(&mut recording, &mut text, &["{\"deaf\""]).await;
    devices.report(&press, &COURSE[4..]).await;
    devices.send(lathe, "{\"id\":0,\"apower\":82}").await;
    read_until(&mut recording, &mut text, &["apower\\\":82"]).await;
    tapline.stop(tokio::time::Instant::now() + tapline_tests::PATIENCE).await;
    recording.recorder().end();
    while let Some(chunk) = recording.next().await {
        text.push_str(std::str::from_utf8(&chunk).expect("JSON is text"));
    }
    let live = recording.recorder().live().expect("it was kept");
    let live = String::from_utf8(live.into_bytes().expect("memory is readable")).expect("text");

    assert!(text.starts_with("{\"recording\":") && text.contains("\"state\":\""), "{text}");
    assert!(live.contains("\"rejection\"") && live.contains("session_timeout"), "{live}");
    assert!(live.contains("session_stopped"), "the press has ended:\n{live}");
    for batch in [1, 7, 256] {
        let (replayed, summary, said) = run(&Options { batch, ..options(None) }, text.as_bytes());
        assert_eq!((said.faults, said.warnings), (Vec::new(), Vec::new()));
        assert_eq!(summary.ended, None);
        assert!(replayed == live, "batches of {batch}:\n{replayed}\nlive:\n{live}");
    }
}

#[tokio::test]
async fn a_running_pipeline_is_recorded_and_replayed_by_commands() {
    let machine = Machine::new("press");
    let bench = Bench::of(&[&machine]).await;
    bench.devices.report(&machine, &COURSE[..2]).await;
    bench.odoo.kinds(&machine, &["session_started"]).await;
    let file = bench.tapline.dir().join("day.jsonl");
    let mut command = bench.tapline.command(&["record", "workshop", "-o", "day.jsonl"]);
    let mut recorder = command.spawn().expect("the program can be run");
    let holds = |part: &'static str| {
        let file = file.clone();
        eventually(part, move || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            async move { if text.contains(part) { Ok(()) } else { Err(text) } }
        })
    };
    holds("{\"key\":").await;
    bench.devices.report(&machine, &COURSE[2..]).await;
    bench.odoo.kinds(&machine, &["session_started", "session_stopped"]).await;
    // What follows the last message of the course.
    holds("{\"topic\":").await;
    let sent = bench.odoo.of(&machine);
    let stopped = sent.last().expect("two came").event_type.clone();
    let replayed = eventually("the session ends in the recording", || async {
        let output = bench.tapline.output(&["replay", "workshop", "-i", "day.jsonl"]).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if kinds(&text).contains(&stopped) { Ok(output) } else { Err(format!("{output:?}")) }
    })
    .await;
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    recorder.kill().await.expect("a child can be killed");

    let unknown = bench.tapline.output(&["record", "nothing"]).await;
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no pipeline `nothing`"));
}

#[tokio::test]
async fn pipeline_tests_show_a_readable_difference_until_it_is_accepted() {
    let tapline = tapline_tests::Setup::new().prepare();
    let folder = "pipelines/tests/workshop.press";
    let (devices, _) = press(&json!({}));
    let devices = std::fs::read(devices.path().join("devices.json")).expect("it was written");
    write(tapline.dir(), &format!("{folder}/devices.json"), devices);
    let input = report(0, 100.0) + &report(10, 100.0);
    write(tapline.dir(), &format!("{folder}/input.jsonl"), input);

    let missing = tapline.output(&["test"]).await;
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stdout).contains("--accept"), "{missing:?}");
    let accepted = tapline.output(&["test", "--accept"]).await;
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    let passed = tapline.output(&["test"]).await;
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    assert!(String::from_utf8_lossy(&passed.stdout).contains("ok      workshop.press (4 items)"));

    let expected = tapline.dir().join(folder).join("expected.jsonl");
    let text = std::fs::read_to_string(&expected).expect("it was accepted");
    write(tapline.dir(), &format!("{folder}/expected.jsonl"), text.replace("_started", "_begun"));
    let differs = tapline.output(&["test"]).await;
    assert_eq!(differs.status.code(), Some(1), "{differs:?}");
    let words = String::from_utf8_lossy(&differs.stdout);
    assert!(words.contains("-{\"item\":\"event\"") && words.contains("session_begun"), "{words}");
    assert!(words.contains("+{\"item\":\"event\"") && words.contains("session_started"), "{words}");
    assert!(words.contains("0 of 1 tests passed"), "{words}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_a_replay_quietly() {
    let tapline = tapline_tests::Setup::new().prepare();
    let (devices, _) = press(&json!({}));
    let devices = std::fs::read(devices.path().join("devices.json")).expect("it was written");
    write(tapline.dir(), "devices.json", devices);
    // More than a pipe holds.
    let input: String = (0..2000).map(|second| report(second, 100.0)).collect();
    write(tapline.dir(), "input.jsonl", input);
    let arguments = ["replay", "workshop", "-i", "input.jsonl", "--devices", "devices.json"];
    let mut command = tapline.command(&arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    drop(child.stdout.take());
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
    let output = output.expect("it ends").expect("a child can be waited for");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("rror"), "{output:?}");
}
