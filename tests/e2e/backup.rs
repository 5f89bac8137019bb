//! A box in one file: backed up while it runs, restored elsewhere, and what is in the file.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tapline_tests::{
    Bench, COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, document, project,
};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];
/// A secret that is searched for.
const CANARY: &str = "canary-7f3a9";

#[track_caller]
fn check(output: &Output, code: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
}

fn holds(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).expect("it was written");
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What a guide says to do, line by line: `# on the … box`, then commands.
fn commands(guide: &str) -> Vec<String> {
    let path = project().join("docs/guides").join(guide);
    let text = std::fs::read_to_string(&path).expect("the guide is there");
    let (mut inside, mut lines) = (false, Vec::new());
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.is_empty() => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

/// Does on two boxes what the guide says.
async fn follow(guide: &str, old: &mut Tapline, new: &mut Tapline) {
    let mut on_new = false;
    for line in commands(guide) {
        let words: Vec<&str> =
            line.split(" #").next().unwrap_or_default().split_whitespace().collect();
        let here: &mut Tapline = if on_new { new } else { old };
        match words[..] {
            ["#", "on", "the", "old", ..] => on_new = false,
            ["#", "on", "the", "new", ..] => on_new = true,
            ["sudo", "systemctl", "stop", "tapline"] => assert!(here.terminate().await.success()),
            ["sudo", "systemctl", "start", "tapline"] => here.start_again().await,
            // The unit must not come back with the next boot of the old machine.
            ["sudo", "systemctl", "disable", "tapline"] => assert!(here.process().is_none()),
            ["scp", file, _] => {
                let copied = std::fs::copy(old.dir().join(file), new.dir().join(file));
                copied.expect("scratch is writable");
            }
            ["sudo", "-u", "tapline", "tapline", ..] => {
                check(&here.output(&words[4..]).await, 0, &[])
            }
            _ => panic!("the guide has a line that this test does not know: {line}"),
        }
    }
}

#[tokio::test]
async fn a_box_that_moves_in_mid_session_loses_and_doubles_nothing() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let devices = Publisher::connect(broker.port()).await;
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let site = format!(
        "format = 1\n[broker.main]\nurl = \"mqtt://127.0.0.1:{}\"\npushed = true\n",
        broker.port()
    );
    let mut old = Setup::new().odoo(&odoo.0).site("tapline.toml", &site).start().await;
    let mut new = Setup::new().odoo(&odoo.0).prepare();
    new.set("TAPLINE_SITE", "site");
    old.take(&[&press, &saw]).await;
    devices.report(&press, &COURSE[..2]).await;
    odoo.kinds(&press, &WHOLE[..1]).await;
    // What Odoo has not taken yet moves along.
    odoo.0.go_away().await;
    devices.report(&saw, &COURSE[..2]).await;
    old.until("an event waits", |health| health["sinks"]["workshop/odoo"]["waiting"] == 1).await;
    odoo.0.come_back().await.expect("its port is free");

    follow("move.md", &mut old, &mut new).await;
    new.subscribed(4).await;
    assert_ne!(old.data(), new.data());
    devices.report(&press, &COURSE[2..]).await;
    devices.report(&saw, &COURSE[2..]).await;
    for machine in [&press, &saw] {
        let events = odoo.kinds(machine, &WHOLE).await;
        assert_eq!(events[0].session_uid, events[1].session_uid);
        assert_eq!(events[1].payload["standby_s"], 10.0);
    }
    odoo.is_content();
}

#[tokio::test]
async fn what_devices_say_while_a_box_moves_waits_for_it_at_the_broker() {
    let press = Machine::new("press");
    let mut bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    assert!(bench.tapline.terminate().await.success());
    bench.devices.report(&press, &COURSE[2..]).await;
    check(&bench.tapline.output(&["backup", "box.tar.gz"]).await, 0, &[]);
    let mut new = Setup::s3(&bench.broker, &bench.odoo.0).prepare();
    std::fs::copy(bench.tapline.dir().join("box.tar.gz"), new.dir().join("box.tar.gz"))
        .expect("scratch is writable");
    check(&new.output(&["restore", "box.tar.gz", "--move"]).await, 0, &["must not start again"]);
    new.start_again().await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    bench.odoo.is_content();
}

#[tokio::test]
async fn a_backup_of_a_running_box_restores_to_a_client_of_its_own_beside_it() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    check(&bench.tapline.output(&["backup", "box.tar"]).await, 0, &[]);
    // The copy tells what it makes of it to an Odoo of its own.
    let odoo = Odoo::start().await;
    let mut copy = Setup::s3(&bench.broker, &odoo.0).prepare();
    std::fs::copy(bench.tapline.dir().join("box.tar"), copy.dir().join("box.tar"))
        .expect("scratch is writable");
    check(&copy.output(&["restore", "box.tar"]).await, 0, &["client of its own"]);
    copy.start_again().await;
    copy.subscribed(2).await;
    bench.devices.report(&press, &COURSE[2..]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    let copied = odoo.kinds(&press, &WHOLE[1..]).await;
    assert_eq!(copied[0].session_uid, events[1].session_uid);
    assert_eq!(copied[0].event_uid, events[1].event_uid);
    // Neither has thrown the other out.
    for tapline in [&bench.tapline, &copy] {
        assert_eq!(tapline.logged("mqtt_disconnected").len(), 0);
        assert_eq!(tapline.health().await["status"], "ok");
    }
    bench.odoo.is_content();
}

#[tokio::test]
async fn nothing_is_restored_over_what_is_there_without_force() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    check(&bench.tapline.output(&["backup", "box.tar"]).await, 0, &[]);
    let running = bench.tapline.output(&["restore", "box.tar", "--force"]).await;
    check(&running, 4, &["already uses the data directory"]);
    let mut other = Setup::s3(&bench.broker, &bench.odoo.0).kept("notes.txt", "mine").prepare();
    std::fs::copy(bench.tapline.dir().join("box.tar"), other.dir().join("box.tar"))
        .expect("scratch is writable");
    check(&other.output(&["restore", "box.tar"]).await, 4, &["not empty", "--force"]);
    assert!(!other.data().join("tapline.db").exists());
    check(&other.output(&["restore", "box.tar", "--force"]).await, 0, &[".replaced-"]);
    assert!(!other.data().join("notes.txt").exists());
    other.start_again().await;
    let devices = other.get("/config").await.body["devices"].clone();
    assert_eq!(devices[0]["device_id"], "press");
}

/// With secrets at each place where one may be.
async fn with_secrets() -> (Mosquitto, Odoo, Tapline) {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let site = format!(
        "format = 1\n[broker.main]\nurl = \"mqtt://127.0.0.1:{}\"\npushed = true\n\
         # password = \"{CANARY}-commented\"\n\
         [endpoint.odoo]\nurl = \"{}\"\nkey = \"{CANARY}-plain\" # was {CANARY}-old\n\
         [endpoint.odoo.headers]\nX-Api-Key = {{ file = \"secrets/header\" }}\nX-Other = {{ env = \"X_OTHER\" }}\n\
         [http]\ntoken = {{ env = \"BRIDGE_API_TOKEN\" }}\n",
        broker.port(),
        odoo.0.url()
    );
    let setup = Setup::new()
        .site("tapline.toml", &site)
        .site("secrets/header", &format!("{CANARY}-file\n"));
    let setup = setup.site(".env", &format!("SOME={CANARY}-dotenv\n"));
    let setup =
        setup.site("certs/own.pem", &format!("-----BEGIN PRIVATE KEY-----\n{CANARY}-pem\n"));
    let setup = setup
        .env("X_OTHER", &format!("{CANARY}-other"))
        .env("BRIDGE_API_TOKEN", &format!("{CANARY}-token"));
    let mut tapline = setup.prepare();
    tapline.spawn();
    (broker, odoo, tapline)
}

async fn push(tapline: &Tapline, document: &Value) {
    let call = tapline.call("POST", "/config", Some(document));
    let answer = call.header("authorization", &format!("Bearer {CANARY}-token")).send().await;
    assert_eq!(answer.expect("it answers").status, 200);
}

#[tokio::test]
async fn neither_backup_nor_support_archive_holds_a_secret() {
    let (broker, _odoo, tapline) = with_secrets().await;
    tapline.until("it runs", |health| health["status"].is_string()).await;
    let mut pushed = document(&[&Machine::new("press")]);
    pushed["mqtt"] = json!({"broker": "127.0.0.1", "port": broker.port(), "username": "u", "password": format!("{CANARY}-pushed")});
    push(&tapline, &pushed).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.send(&Machine::new("press").topic(), format!("{{{CANARY}-payload")).await;
    tapline.until("it is set aside", |health| health["dead_letters"] == 1).await;

    check(
        &tapline.output(&["backup", "box.tar"]).await,
        0,
        &["secrets/header", "X_OTHER", "pushed broker"],
    );
    let file = tapline.dir().join("box.tar");
    // The dead letter is part of the box, and no secret.
    for secret in ["commented", "plain", "old", "file", "dotenv", "pem", "other", "token", "pushed"]
    {
        assert!(!holds(&file, &format!("{CANARY}-{secret}")), "the backup tells {secret}");
    }
    assert!(holds(&file, "format = 1"));
    check(&tapline.output(&["backup", "all.tar", "--with-secrets"]).await, 0, &["keep it as one"]);
    let file = tapline.dir().join("all.tar");
    for secret in ["plain", "file", "dotenv", "pem", "pushed"] {
        assert!(holds(&file, &format!("{CANARY}-{secret}")), "it lacks {secret}");
    }

    check(&tapline.output(&["support", "-o", "support.tar"]).await, 0, &["health.json", "log.txt"]);
    let file = tapline.dir().join("support.tar");
    assert!(!holds(&file, CANARY), "the support archive tells");
    for part in [
        "about.json",
        "platform.json",
        "status.json",
        "metrics.txt",
        "config.json",
        "plan.json",
        "audit.json",
        "site/tapline.toml",
        "config_applied",
    ] {
        assert!(holds(&file, part), "no {part}");
    }
    check(
        &tapline.output(&["support", "-o", "support.tar", "--with-payloads"]).await,
        0,
        &["dead-letters.json"],
    );
}

#[tokio::test]
async fn a_support_archive_of_a_box_that_does_not_run_says_what_is_missing() {
    let tapline = Setup::new().site("tapline.toml", "format = 1\nbrokr = 1\n").prepare();
    check(
        &tapline.output(&["support", "-o", "s.tar"]).await,
        0,
        &["check.json", "not in it: health.json"],
    );
    assert!(holds(&tapline.dir().join("s.tar"), "brokr"));
}

/// The device of the stored boxes in `tests/stores/`.
const STORED_SESSION: &str = "press";

#[tokio::test]
async fn a_box_of_the_first_release_goes_on_with_its_open_session_and_what_waited() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let mut tapline = Setup::s3(&broker, &odoo.0).prepare();
    let stored = project().join("tests/stores/0.1.0.tar.gz");
    let stored = stored.to_str().expect("the project's path is text");
    check(&tapline.output(&["restore", stored, "--move"]).await, 0, &["made by Tapline 0.1.0"]);
    tapline.start_again().await;
    tapline.subscribed(2).await;
    // What waited in the outbox when it was backed up.
    let press = Machine::new(STORED_SESSION);
    let events = odoo.kinds(&press, &WHOLE[..1]).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE[4..]).await;
    let both = odoo.kinds(&press, &WHOLE).await;
    assert_eq!(both[0].event_uid, events[0].event_uid);
    assert_eq!(both[0].session_uid, both[1].session_uid);
    assert!(both[1].payload["working_s"].as_f64().is_some_and(|seconds| seconds > 0.0));
    // The next session is a new one.
    let next = Machine::new(STORED_SESSION).beginning(1800);
    devices.report(&next, &COURSE).await;
    let all = odoo.kinds(&press, &[WHOLE, WHOLE].concat()).await;
    assert_ne!(all[2].session_uid, all[0].session_uid);
    odoo.is_content();
}

/// Makes `tests/stores/VERSION.tar.gz` anew; see the README there.
#[tokio::test]
#[ignore = "writes a file of the repository"]
async fn write_the_stored_box() {
    let press = Machine::new(STORED_SESSION).with("message_timeout_s", 31_536_000.0);
    let mut bench = Bench::start().await;
    bench.tapline.push(&document(&[&press])).await;
    bench.tapline.subscribed(2).await;
    bench.odoo.0.go_away().await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench
        .tapline
        .until("an event waits", |health| health["sinks"]["workshop/odoo"]["waiting"] == 1)
        .await;
    bench.tapline.kill().await;
    let file = project().join("tests/stores").join(format!("{}.tar.gz", env!("CARGO_PKG_VERSION")));
    let file = file.to_str().expect("the project's path is text");
    check(&bench.tapline.output(&["backup", file]).await, 0, &[]);
}
