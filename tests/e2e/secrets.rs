//! Canaries: every secret that can be configured is a word that must turn up nowhere.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tapline::stand_in::{Behaviour, StandInOptions};
use tapline_tests::{
    COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, copy_of_shipped, document,
    eventually,
};

use super::files::module;

/// Of the user `bridge` in [`PASSWORDS`]: the password that is pushed and right.
const PUSHED: &str = "s3cr3t-Pa55";
const PASSWORDS: &str = "bridge:$7$101$6gDE2VGMwhXUbjyq$epDEBe+q7V6cVVstShwcks4ePC4paM+vfR8AhbLPiR6U\
                         SXnzG4a2O9WS80Y5EbAymtP4S2/0tI42gBe6apszzw==\n";
const IN_ENVIRONMENT: &str = "canary-broker-environment";
const WRONG: &str = "canary-broker-wrong";
const MISPLACED: &str = "canary-broker-misplaced";
const API: &str = "canary-api-token";
const GUESSED: &str = "canary-api-guessed";
const KEY: &str = "canary-odoo-key";
const HEADER: &str = "canary-endpoint-header";
const FIXED: [&str; 8] = [PUSHED, IN_ENVIRONMENT, WRONG, MISPLACED, API, GUESSED, KEY, HEADER];

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// What was shown so far, and by whom.
struct Shown(Vec<(String, String)>);

impl Shown {
    fn see(&mut self, whence: &str, text: impl Into<String>) {
        self.0.push((whence.to_owned(), text.into()));
    }

    async fn ask(&mut self, tapline: &Tapline, path: &str) {
        let call = tapline.call("GET", path, None);
        let answer = call.header("authorization", &format!("Bearer {API}")).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("GET {path}: {error}"));
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        self.see(path, answer.body.to_string());
    }

    async fn run(&mut self, tapline: &Tapline, command: &str) {
        let arguments: Vec<_> = command.split(' ').collect();
        let output = tapline.output(&arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {output:?}");
        self.see(command, text(&output.stdout) + &text(&output.stderr));
    }

    /// Fails if one of the words is there.
    fn hides(&self, canaries: &[&str]) {
        for (whence, text) in &self.0 {
            assert!(!text.is_empty(), "{whence} shows nothing at all");
            for canary in canaries {
                assert!(!text.contains(canary), "{whence} shows `{canary}`:\n{text}");
            }
        }
    }
}

/// Reports again and again, without end.
async fn report_on(devices: &Publisher, machine: &Machine) {
    for second in 100.. {
        devices.report(machine, &[(f64::from(second), 0.0)]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is written for others to read: recordings, a project made of one, an archive for help.
async fn write_for_others(tapline: &Tapline, devices: &Publisher, shown: &mut Shown) {
    // The process has the wrong password in its environment, and then is given the right one.
    let capture = ["record", "--topic", "hall/#", "--site", "site", "-o", "captured.jsonl"];
    let refused = tapline.output(&capture).await;
    assert!(matches!(refused.status.code(), Some(3 | 4)), "{refused:?}");
    shown.see("a recording that the broker refuses", format!("{refused:?}"));
    let recorders = [
        tapline.command(&capture).env("MQTT_PASSWORD", PUSHED).spawn(),
        tapline.command(&["record", "workshop", "-o", "recorded.jsonl"]).spawn(),
    ];
    let machine = Machine::new("press");
    tokio::select! {
        () = report_on(devices, &machine) => {}
        () = async {
            for name in ["captured.jsonl", "recorded.jsonl"] {
                eventually(&format!("{name} holds a message"), || async {
                    let text = std::fs::read_to_string(tapline.dir().join(name));
                    let text = text.unwrap_or_default();
                    if text.contains(&machine.topic()) { Ok(()) } else { Err(text) }
                })
                .await;
            }
        } => {}
    }
    for recorder in recorders {
        let mut recorder = recorder.expect("the program can be run");
        recorder.kill().await.expect("a child can be killed");
    }
    let arguments = ["new", "parser", "press-meter", "--from", "captured.jsonl"];
    let made = tapline.command(&arguments).stdin(Stdio::null()).output().await;
    let made = made.expect("the program can be run");
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    shown.see("the making of a project", format!("{made:?}"));
    let samples = tapline.dir().join("press-meter/samples/press-meter.jsonl");
    let samples = std::fs::read_to_string(samples).expect("the project has samples");
    assert!(samples.contains(&machine.topic()), "{samples}");
    shown.run(tapline, "support -o support.tar --with-payloads").await;
}

/// Files of the data directory, the site and what commands wrote that hold a word.
fn holding(tapline: &Tapline, canary: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![tapline.dir().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the directory is readable").flatten() {
            // All tests share compiled modules, behind a link.
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn no_secret_turns_up_in_an_answer_an_output_a_log_or_the_store() {
    let config =
        "allow_anonymous false\npassword_file {dir}/passwords\nlistener {port} 127.0.0.1\n";
    let broker = Mosquitto::with(config, &[("passwords", PASSWORDS)]).await;
    let odoo =
        Odoo::with(StandInOptions { key: Some(KEY.into()), ..StandInOptions::default() }).await;
    let maker = Setup::new().prepare().output(&["token", "panel", "--roles", "read"]).await;
    let named = String::from_utf8(maker.stdout).expect("text").trim().to_owned();
    let lines = String::from_utf8(maker.stderr).expect("text");
    let lines = &lines[lines.find("[http.tokens").expect("lines for the site file")..];
    let site = format!(
        "format = 1\n[store]\nhistory = {{ keep = \"1d\" }}\n\
         [endpoint.odoo]\nurl = \"{}\"\nkey = {{ env = \"THE_KEY\" }}\n\
         [endpoint.odoo.headers]\nx-gate = {{ file = \"gate.secret\" }}\n{lines}",
        odoo.0.url()
    );
    // A version beside the live one that understands nothing, so that there is a difference to show.
    let shadowed = copy_of_shipped("workshop").replace(
        "module       = \"shelly\"",
        "module       = \"shelly\"\nshadow       = \"hostile\"",
    );
    let mut tapline = Setup::new()
        .port(broker.port())
        .env("MQTT_USERNAME", "bridge")
        .env("MQTT_PASSWORD", IN_ENVIRONMENT)
        .env("BRIDGE_API_TOKEN", API)
        .env("THE_KEY", KEY)
        .site("tapline.toml", &site)
        .site("gate.secret", HEADER)
        .site("pipelines/workshop.toml", &shadowed)
        .site_bytes("modules/hostile.wasm", module("hostile"))
        .start()
        .await;
    let mut shown = Shown(Vec::new());
    // A login that fails, again and again.
    let refused = tapline
        .until("the refusal is named", |health| {
            health["brokers"]["main"]["last_error"].as_str().is_some_and(|e| e.contains("refused"))
        })
        .await;
    shown.see("health of a failing login", refused.to_string());

    // Pushes that are right, wrong, misshapen, and no JSON at all.
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let with = |password: serde_json::Value| {
        let mut pushed = document(&[&press, &saw]);
        pushed["mqtt"] = json!({
            "broker": "127.0.0.1", "port": broker.port(), "username": "bridge",
            "password": password,
        });
        pushed
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let push = async |what: &str, body: &serde_json::Value, status: u16, shown: &mut Shown| {
        let call = tapline.call("POST", "/config", Some(body));
        let answer = call.header("authorization", &bearer(API)).send().await.expect("an answer");
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        shown.see(what, answer.body.to_string());
    };
    push("the right push", &with(json!(PUSHED)), 200, &mut shown).await;
    tapline.subscribed(4).await;
    push("a push with a wrong password", &with(json!(WRONG)), 409, &mut shown).await;
    push("a push with a list for a password", &with(json!([MISPLACED])), 422, &mut shown).await;
    let mut misplaced = with(json!(PUSHED));
    misplaced["mqtt"]["pasword"] = json!(MISPLACED);
    misplaced["mqtt"]["port"] = json!(0);
    push("a push with a misspelt password", &misplaced, 422, &mut shown).await;
    let broken = serde_json::Value::String(with(json!(MISPLACED)).to_string());
    push("a push that is a text", &broken, 422, &mut shown).await;

    // Odoo is asked with a key and a header, fails, and echoes the key in what it refuses.
    let devices = Publisher::with(&[
        ("MQTT_BROKER", "127.0.0.1"),
        ("MQTT_PORT", &broker.port().to_string()),
        ("MQTT_USERNAME", "bridge"),
        ("MQTT_PASSWORD", PUSHED),
    ])
    .await;
    odoo.0.behave(1, Behaviour::Redirect(format!("http://127.0.0.1:9/login?key={KEY}")));
    devices.report(&press, &COURSE).await;
    tapline.until("the sink is paused", |h| h["problems"].to_string().contains("paused")).await;
    shown.run(&tapline, "status").await;
    let name = format!("the key {KEY} and the header {HEADER}");
    odoo.0.behave(1, Behaviour::Status { status: 422, name, retry_after: None });
    shown.run(&tapline, "sinks resume workshop/odoo").await;
    tapline.until("one is set aside", |health| health["dead_letters"] == 1).await;
    odoo.kinds(&press, &WHOLE[1..]).await;
    devices.send(&press.topic(), "no JSON").await;
    tapline.until("two are set aside", |health| health["dead_letters"] == 2).await;

    for token in [GUESSED, &named] {
        let call = tapline.call("POST", "/config", Some(&with(json!(PUSHED))));
        let answer = call.header("authorization", &bearer(token)).send().await.expect("an answer");
        assert!(matches!(answer.status, 401 | 403), "{}", answer.body);
        shown.see("a refused caller", answer.body.to_string());
    }
    for path in [
        "/health",
        "/metrics",
        "/config",
        "/api/v1/config",
        "/api/v1/config/revisions",
        "/api/v1/reload",
        "/api/v1/status",
        "/api/v1/logs",
        "/api/v1/audit",
        "/api/v1/devices",
        "/api/v1/devices/press",
        "/api/v1/devices/unknown",
        "/api/v1/sessions",
        "/api/v1/dead-letters",
        "/api/v1/dead-letters/1",
        "/api/v1/dead-letters/2",
        "/api/v1/history?limit=1000",
        "/api/v1/shadow",
    ] {
        shown.ask(&tapline, path).await;
    }
    // What passes is shown while it passes, however long that takes to begin.
    for command in ["tap workshop --limit 2", "tap workshop --kind message --limit 2"] {
        tokio::select! {
            () = shown.run(&tapline, command) => {}
            () = report_on(&devices, &press) => {}
        }
    }
    tokio::select! {
        () = shown.ask(&tapline, "/api/v1/pipelines/workshop/tap?limit=2&for=60") => {}
        () = report_on(&devices, &press) => {}
    }
    let topic = press.topic();
    for command in [
        "health",
        "status",
        "status --json",
        "config show",
        "config show --json",
        "config log",
        "config diff 1",
        "sinks",
        "devices",
        "sessions",
        "dead-letters list",
        "dead-letters list --json",
        "dead-letters show 1",
        "dead-letters show 2",
        "history",
        "history --json",
        "reload --plan",
        "shadow",
        "shadow --json",
        "check site",
        &format!("explain {topic}"),
    ] {
        shown.run(&tapline, command).await;
    }
    write_for_others(&tapline, &devices, &mut shown).await;
    tapline.terminate().await;
    tapline.start_again().await;
    tapline.subscribed(4).await;
    tapline.terminate().await;
    shown.see("the log at debug", tapline.log());

    let mut canaries = FIXED.to_vec();
    canaries.push(&named);
    shown.hides(&canaries);
    // The echo did come, and was blanked.
    let echoed = |(_, text): &(String, String)| text.contains("the key *** and the header ***");
    assert!(shown.0.iter().any(echoed), "Odoo's echo is shown nowhere");
    // So did what the shadow said otherwise.
    let differs = |(whence, text): &(String, String)| {
        whence == "shadow --json" && text.contains("\"only_live\"") && text.contains("apower")
    };
    assert!(shown.0.iter().any(differs), "no difference of the shadow is shown: {:#?}", shown.0);
    let stderr = tapline.stderr();
    for canary in canaries {
        assert!(!stderr.contains(canary), "standard error shows `{canary}`");
        // A secret is kept in the file that is there for it, and nowhere else.
        let expected = match canary {
            PUSHED => vec![tapline.data().join("secrets.json")],
            HEADER => vec![tapline.dir().join("site/gate.secret")],
            _ => Vec::new(),
        };
        assert_eq!(holding(&tapline, canary), expected, "files that hold `{canary}`");
    }
}
