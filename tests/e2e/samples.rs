//! Samples that a module carries: who breaks its own promise is not taken up.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tapline_kit::samples::attach;
use tapline_tests::{
    Bench, Machine, Setup, compiled_modules, document, program, shipped_modules, write,
};

use super::files::{SITE, counting_with, module};

/// What the counter gives.
const TRUE: &str = r#"{"line":"samples/counter.jsonl:1","steps":[{"at":1000,"item":{"channel":"switch:0","power_w":5},"expect":[{"kind":"counted","data":{"count":1.0,"version":1}}]}]}"#;

/// The counter with samples.
fn counter(samples: &[&str]) -> Vec<u8> {
    let lines: Vec<_> = samples.iter().map(|line| format!("{line}\n")).collect();
    attach(&module("counter"), &lines.concat()).expect("it is a module")
}

/// The counter that promises to count in twos.
fn broken() -> Vec<u8> {
    let wrong = TRUE.replace("jsonl:1", "jsonl:2").replace("\"count\":1.0", "\"count\":2");
    counter(&[TRUE, &wrong])
}

/// Whether it is told, with the sample's line, what was expected and what came out.
fn is_refused(health: &Value) -> bool {
    let problems = health["problems"].to_string();
    let words = [
        "module `counter` is refused",
        "its own sample samples/counter.jsonl:2",
        "step 1, item 1 (kind `counted`), `data`, `count`: expected 2, found 1",
        "[modules] samples = false",
    ];
    words.iter().all(|word| problems.contains(word))
}

async fn counted(bench: &Bench, press: &Machine, second: f64, count: usize) {
    bench.devices.report(press, &[(second, 100.0)]).await;
    let events = bench.odoo.kinds(press, &vec!["counted"; count]).await;
    assert_eq!(events[count - 1].payload["count"], count);
}

#[tokio::test]
async fn a_module_whose_own_sample_fails_does_not_start_until_it_is_mended() {
    let press = Machine::new("press");
    let bench = counting_with(&press, SITE, &broken()).await;
    bench.tapline.until("it is refused", is_refused).await;
    let status = bench.tapline.output(&["status"]).await;
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("its own sample samples/counter.jsonl:2"), "{said}");
    let site = bench.tapline.dir().join("site");
    let check = bench.tapline.output(&["check", &site.display().to_string()]).await;
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert_eq!(check.status.code(), Some(1), "{said}");
    assert!(said.contains("count.toml") && said.contains("expected 2, found 1"), "{said}");
    write(&site, "modules/counter.wasm", counter(&[TRUE]));
    bench.tapline.until("nothing is wrong", |health| health["problems"].is_null()).await;
    bench.tapline.subscribed(2).await;
    counted(&bench, &press, 0.0, 1).await;
}

#[tokio::test]
async fn a_module_whose_own_sample_fails_leaves_the_one_before_running_through_pushes_and_restarts()
{
    let press = Machine::new("press");
    let mut bench = counting_with(&press, SITE, &counter(&[TRUE])).await;
    bench.tapline.subscribed(2).await;
    counted(&bench, &press, 0.0, 1).await;
    write(&bench.tapline.dir().join("site"), "modules/counter.wasm", broken());
    let health = bench.tapline.until("it is refused", is_refused).await;
    assert_eq!(health["pipelines"]["count"]["running"], true);
    counted(&bench, &press, 10.0, 2).await;
    // A push does not let it in, nor does it stop what runs.
    let saw = Machine::new("saw");
    bench.tapline.push(&document(&[&saw])).await;
    bench.tapline.until("it is still refused", is_refused).await;
    counted(&bench, &press, 20.0, 3).await;
    bench.tapline.terminate().await;
    bench.start_again(2).await;
    bench.tapline.until("it is refused after a restart, too", is_refused).await;
    counted(&bench, &press, 30.0, 4).await;
}

#[tokio::test]
async fn samples_may_be_left_alone() {
    let press = Machine::new("press");
    let site = format!("{SITE}[modules]\nsamples = false\n");
    let bench = counting_with(&press, &site, &broken()).await;
    bench.tapline.subscribed(2).await;
    counted(&bench, &press, 0.0, 1).await;
}

/// The program's answer.
fn tapline(arguments: &[&str]) -> Output {
    let compiled = compiled_modules();
    let data = compiled.parent().expect("it lies in a folder");
    let mut command = Command::new(program());
    command.args(arguments).env("TAPLINE_DATA", data).output().expect("the program can be run")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn every_module_that_ships_carries_samples_and_passes_them() {
    for (name, role, least) in [
        ("payload-format", "validator", 3),
        ("shelly", "parser", 94),
        ("tasmota", "parser", 120),
        ("session", "detector", 3),
        ("odoo", "sink", 4),
        ("http", "sink", 4),
    ] {
        let file = shipped_modules().join(name).with_extension("wasm");
        let output = tapline(&["inspect", "--json", &shown(&file)]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(output.status.code(), Some(0), "{found}");
        assert_eq!((&found["name"], &found["role"]), (&json!(name), &json!(role)));
        assert_eq!(found["imports"], json!(["tapline:host/log@0.1.0"]), "{name}");
        assert_eq!(found["contract"], json!(["tapline:module@0.1.0"]), "{name}");
        assert_eq!(found["size"], std::fs::metadata(&file).expect("it is there").len());
        assert!(found["samples"]["count"].as_u64() >= Some(least), "{}", found["samples"]);
    }
}

#[test]
fn what_is_no_good_module_is_shown_as_far_as_it_can_be_read() {
    let scratch = tempfile::tempdir().expect("scratch is writable");
    let file = |name: &str, bytes: &[u8]| {
        write(scratch.path(), name, bytes);
        shown(&scratch.path().join(name))
    };
    let output = tapline(&["inspect", &file("broken.wasm", &broken())]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["counter 0.1.0, a detector", "2, of which 1 fail", "expected 2, found 1"] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    let output = tapline(&["inspect", &file("text.wasm", b"# A page")]);
    let (said, wrong) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(1), "{wrong}");
    assert!(String::from_utf8_lossy(&said).contains("sha-256"), "{said:?}");
    assert!(wrong.contains("this is not a WebAssembly module") && wrong.contains("help:"));
    let output = tapline(&["inspect", &shown(&scratch.path().join("none.wasm"))]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_project_is_tested_by_its_samples_and_accepts_what_comes_out() {
    let scratch = tempfile::tempdir().expect("scratch is writable");
    let project = scratch.path();
    let samples = |lines: &str| write(project, "samples/meters.jsonl", lines);
    write(
        project,
        "module.toml",
        "format = 1\nname = \"format\"\nrole = \"validator\"\nlanguage = \"rust\"\n",
    );
    let built = std::fs::read(shipped_modules().join("payload-format.wasm")).expect("it is there");
    write(project, "dist/format.wasm", built);
    samples(concat!(
        r#"{"id":"whole","topic":"t","payload":"{}","settings":{"format":"json"},"expect":[]}"#,
        "\n\n",
        r#"{"id":"cut","topic":"t","payload":"{","settings":{"format":"json"},"expect":[]}"#,
        "\n",
        r#"{"id":"open","topic":"t","payload":"1","settings":{"format":"json"}}"#,
        "\n",
    ));
    let test = |more: &[&str]| {
        let output = tapline(&[&["test", &shown(project)], more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = test(&[]);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "FAILED  samples/meters.jsonl:3 (cut): 1 difference\n  the outcome\n-   []\n+   ",
        "FAILED  samples/meters.jsonl:4 (open): it does not say what is to come out",
        "ok      samples/meters.jsonl (1 passed)",
        "1 of 3 samples passed",
    ] {
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
    assert_eq!(test(&["--only", "whole"]).0, Some(0));
    // What is open is not promised to anybody.
    let carried = |file: &str| {
        let output = tapline(&["inspect", "--json", &shown(&project.join(file))]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        found["samples"].clone()
    };
    assert_eq!(carried("dist/format.wasm")["count"], 2);

    let (code, said) = test(&["--accept"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("written samples/meters.jsonl (2 changed)"), "{said}");
    let text = std::fs::read_to_string(project.join("samples/meters.jsonl")).expect("it is there");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[2].contains(r#""refused":"not-json""#), "{text}");
    assert!(lines[3].contains(r#""expect":[]"#), "{text}");
    assert_eq!(test(&[]).0, Some(0));
    assert_eq!(carried("dist/format.wasm"), json!({"count": 3, "failed": [], "problem": null}));

    samples("{\"topic\":\"t\",\"paylod\":\"1\"}\n");
    let (code, said) = test(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("samples/meters.jsonl:1: unknown field `paylod`"), "{said}");
    assert!(said.contains("help:"), "{said}");
}

/// What the gate costs that shipped modules pass at the first start; nothing is asserted but that
/// they pass.
#[test]
#[ignore = "measures; cargo xtask bench"]
fn cost_of_the_gate() {
    use std::time::Instant;
    use tapline::module::{Engine, EngineOptions, Limits};
    let scratch = tempfile::tempdir().expect("there is room");
    let load = || {
        let cache = Some(scratch.path().to_owned());
        let engine = Engine::new(cache, EngineOptions::default()).expect("it starts");
        let names = ["shelly", "tasmota", "session", "odoo", "http", "payload-format"];
        names.map(|name| {
            let path = tapline_tests::shipped_modules().join(name).with_extension("wasm");
            let bytes = std::fs::read(path).expect("it was built");
            (name, engine.load(&bytes).expect("it is a module"))
        })
    };
    for round in ["at the first start", "at the next one"] {
        let (mut samples, begun) = (0, Instant::now());
        for (name, module) in load() {
            let count = module.samples().expect("they can be read").len();
            let begun = Instant::now();
            module.check_samples(Limits::default()).expect("they pass");
            println!("gate: {name}: {count} samples in {:.2?}, {round}", begun.elapsed());
            samples += count;
        }
        println!("gate: {samples} samples, with loading {:.2?}, {round}", begun.elapsed());
    }
}

#[tokio::test]
async fn what_modules_say_of_their_samples_stands_in_no_log() {
    let tapline = Setup::new().start().await;
    // The shipped detector tells of each change of state, and its samples have some.
    assert_eq!(tapline.logged("started").len(), 1);
    assert_eq!(tapline.logged("state_transition").len(), 0);
}
