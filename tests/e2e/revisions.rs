//! What a push would change, whether it stays, and the way back.

use serde_json::{Value, json};
use tapline::broker::fake::FakeBroker;
use tapline_tests::{Bench, COURSE, Machine, Odoo, Setup, Tapline, document};

/// A command's output, which must end like this.
async fn command(tapline: &Tapline, code: i32, arguments: &[&str]) -> (String, String) {
    let output = tapline.output(arguments).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn revision(answer: &Value) -> u64 {
    answer["revision"].as_u64().expect("a revision")
}

#[tokio::test]
async fn a_plan_says_what_a_push_would_change_and_changes_nothing() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::of(&[&press]).await;
    let before = bench.tapline.get("/config").await.body;
    let new = document(&[&Machine::new("press").with("working_threshold_w", 150.0), &saw]);

    let plan = bench.tapline.call("POST", "/config?plan=1", Some(&new)).send().await;
    let plan = plan.expect("an answer");
    assert_eq!(plan.status, 200, "{}", plan.body);
    assert_eq!(
        plan.body["changes"]["devices"],
        json!([
            {
                "change": "changed", "kind": "device", "name": "press",
                "fields": [
                    {"field": "session_config.working_threshold_w", "from": 50.0, "to": 150.0}
                ],
            },
            {"change": "added", "kind": "device", "name": "saw"},
        ])
    );
    assert_eq!(plan.body["message"], "It would change: 1 device added, 1 changed");
    let mut wrong = document(&[&saw]);
    wrong["devices"][0]["parser_type"] = json!("no-such-parser");
    let refused = bench.tapline.call("POST", "/config?plan=1", Some(&wrong)).send().await;
    assert_eq!(refused.expect("an answer").status, 422);
    let unclear = bench.tapline.call("POST", "/config?plan=perhaps", Some(&new)).send().await;
    assert_eq!(unclear.expect("an answer").status, 400);

    assert_eq!(bench.tapline.get("/config").await.body, before);
    assert_eq!(bench.tapline.health().await["devices"], 1);
    let pushed = bench.tapline.push(&new).await;
    assert_eq!([&pushed["added"], &pushed["updated"], &pushed["removed"]], [1, 1, 0]);
}

#[tokio::test]
async fn a_push_that_does_not_follow_the_revision_it_means_is_refused() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::start().await;
    let tag = async || {
        let url = format!("{}/config", bench.tapline.url());
        let answer = reqwest_get(&url).await;
        answer.headers()["etag"].to_str().expect("text").to_owned()
    };
    assert_eq!(tag().await, "\"0\"");
    let (first, second) = (document(&[&press]), document(&[&saw]));
    let push = |document: Value, tag: &'static str| {
        let call = bench.tapline.call("POST", "/config", Some(&document));
        call.header("if-match", tag).send()
    };
    assert_eq!(push(first.clone(), "\"0\"").await.expect("an answer").status, 200);
    assert_eq!(tag().await, "\"1\"");
    let late = push(second.clone(), "\"0\"").await.expect("an answer");
    assert_eq!(late.status, 412);
    let words = late.body["message"].as_str().expect("words");
    assert!(words.contains("revision 1") && words.contains("GET /config"), "{words}");
    assert_eq!(bench.tapline.get("/config").await.body, first);
    let unclear = push(second.clone(), "\"latest\"").await.expect("an answer");
    assert_eq!(unclear.status, 400, "{}", unclear.body);
    assert_eq!(push(second.clone(), "\"1\"").await.expect("an answer").status, 200);
    assert_eq!(push(first, "*").await.expect("an answer").status, 200);
    bench.tapline.push(&second).await;
    assert_eq!(tag().await, "\"4\"");
}

async fn reqwest_get(url: &str) -> reqwest::Response {
    let limit = tapline_tests::PATIENCE;
    let client = tapline::delivery::http_client(None, limit, limit).expect("a client");
    client.get(url).send().await.expect("an answer")
}

#[tokio::test]
async fn problems_of_shape_and_of_meaning_come_in_one_answer() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    let mut wrong = document(&[&press, &Machine::new("saw"), &Machine::new("drill")]);
    wrong["devices"][0]["mqtt_topic"] = json!("hall/#/press");
    wrong["devices"][1]["parser_type"] = json!("no-such-parser");
    wrong["devices"][2]["session_config"]["standby_threshold_w"] = json!(500.0);
    wrong["mqtt"] = json!({"port": 0});
    let answer = bench.tapline.try_push(&wrong).await;
    assert_eq!(answer.status, 422);
    let errors = answer.body["errors"].as_array().expect("a list").clone();
    let paths: Vec<_> = errors.iter().map(|e| e["path"].as_str().expect("a path")).collect();
    for path in [
        "devices[0].mqtt_topic",
        "devices[1].parser_type",
        "devices[2].session_config",
        "mqtt.port",
    ] {
        let count = paths.iter().filter(|named| named.starts_with(path)).count();
        assert_eq!(count, 1, "{path} is named once in {errors:#?}");
    }
}

#[tokio::test]
async fn revisions_are_listed_compared_and_brought_back() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::start().await;
    let port = bench.broker.port();
    let mut first = document(&[&press]);
    first["mqtt"] =
        json!({"broker": "127.0.0.1", "port": port, "username": "hall", "password": "very secret"});
    bench.tapline.push(&first).await;
    bench.tapline.subscribed(2).await;
    let second = document(&[&Machine::new("press").with("working_threshold_w", 150.0), &saw]);
    bench.tapline.push(&second).await;
    bench.tapline.subscribed(4).await;

    let (log, _) = command(&bench.tapline, 0, &["config", "log"]).await;
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[1].starts_with("2 ") && lines[1].ends_with("1 device added, 1 changed"), "{log}");
    assert!(lines[2].contains("127.0.0.1") && lines[2].contains("1 device added"), "{log}");

    let (diff, _) = command(&bench.tapline, 0, &["config", "diff"]).await;
    assert_eq!(
        diff,
        "~ device press\n    session_config.working_threshold_w: 50.0 -> 150.0\n+ device saw\n"
    );
    let (diff, _) = command(&bench.tapline, 0, &["config", "diff", "2", "1"]).await;
    assert!(diff.contains("- device saw"), "{diff}");
    let (_, none) = command(&bench.tapline, 4, &["config", "diff", "7"]).await;
    assert!(none.contains("there is no revision 7; 1 to 2 are kept"), "{none}");

    let (shown, _) = command(&bench.tapline, 0, &["config", "show", "--origin"]).await;
    for (path, value, origin) in [
        ("broker.main.host", "127.0.0.1", "pushed"),
        ("broker.main.password", "***", "pushed"),
        ("broker.main.connect_timeout", "10s", "default"),
        ("endpoint.odoo.url", "http://127.0.0.1:", "ODOO_BASE_URL"),
        ("log.level", "debug", "LOG_LEVEL"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(&format!("{path} ")));
        let line = line.unwrap_or_else(|| panic!("no {path} in\n{shown}"));
        assert!(line.contains(value) && line.ends_with(origin), "{line}");
    }

    let (back, _) = command(&bench.tapline, 0, &["config", "rollback", "1"]).await;
    assert!(back.starts_with("revision 3 is in force, with the document of 1"), "{back}");
    bench.tapline.subscribed(2).await;
    let mut expected = first.clone();
    expected["mqtt"]["password"] = json!("***");
    assert_eq!(bench.tapline.get("/config").await.body, expected);
    let secrets = std::fs::read_to_string(bench.tapline.data().join("secrets.json"));
    assert!(secrets.expect("it was written").contains("very secret"), "the password is kept");
    let (log, _) = command(&bench.tapline, 0, &["config", "log"]).await;
    assert!(log.lines().nth(1).is_some_and(|line| line.contains("rollback to 1")), "{log}");
    let one = bench.tapline.get("/api/v1/config/revisions/1").await;
    assert_eq!(one.body["document"], expected);
    for text in [log, shown, one.body.to_string(), bench.tapline.log()] {
        assert!(!text.contains("very secret"), "{text}");
    }
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
}

/// A Tapline with a broker that does what it is told, and one device.
async fn scripted() -> (FakeBroker, Odoo, Tapline, Machine) {
    let broker = FakeBroker::start().await.expect("a free port");
    let odoo = Odoo::start().await;
    let tapline = Setup::new().port(broker.address().port()).odoo(&odoo.0).start().await;
    let press = Machine::new("press");
    tapline.take(&[&press]).await;
    (broker, odoo, tapline, press)
}

#[tokio::test]
async fn a_push_whose_filter_the_broker_refuses_changes_nothing() {
    let (broker, _odoo, tapline, press) = scripted().await;
    let saw = Machine::new("saw");
    let before = tapline.get("/config").await.body;
    broker.script(|script| {
        script.suback.insert(saw.topic(), 0x87);
    });
    // `press` goes with this push: it must not be told so.
    let answer = tapline.try_push(&document(&[&saw])).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    let words = answer.body["message"].as_str().expect("words");
    assert!(words.contains(&saw.topic()), "{words}");
    assert!(words.contains("this client is not allowed to"), "{words}");
    assert_eq!(tapline.get("/config").await.body, before);
    assert_eq!(revision(&tapline.get("/api/v1/config").await.body), 1);
    let health = tapline.subscribed(2).await;
    assert_eq!(health["brokers"]["main"]["refused"], Value::Null, "{health}");

    broker.script(|script| script.suback.clear());
    tapline.take(&[&saw, &press]).await;
    assert_eq!(revision(&tapline.get("/api/v1/config").await.body), 2);
}

#[tokio::test]
async fn a_push_that_the_running_connection_is_refused_is_taken_back() {
    let (broker, _odoo, tapline, press) = scripted().await;
    let before = tapline.get("/config").await.body;
    let saw = Machine::new("saw");
    // The broker lets a second connection do what it does not let the first.
    broker.script(|script| {
        script.refuse_connect = Some(0x8a);
        script.suback.insert(saw.topic(), 0x87);
    });
    let answer = tapline.try_push(&document(&[&press, &saw])).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    let words = answer.body["message"].as_str().expect("words");
    assert!(words.contains(&saw.topic()) && words.contains("0x87"), "{words}");
    assert!(words.contains("everything is as it was before"), "{words}");
    assert_eq!(tapline.get("/config").await.body, before);
    assert_eq!(tapline.health().await["devices"], 1);
    assert_eq!(tapline.logged("config_taken_back").len(), 1);
    tapline.subscribed(2).await;
}

#[tokio::test]
async fn a_push_is_kept_while_no_broker_can_be_reached() {
    let (broker, _odoo, tapline, press) = scripted().await;
    drop(broker);
    tapline
        .until("the broker is away", |health| health["brokers"]["main"]["connected"] == false)
        .await;
    let answer = tapline.push(&document(&[&press, &Machine::new("saw")])).await;
    assert_eq!(answer["mqtt_reconnected"], false);
    assert_eq!(answer["devices_configured"], 2);
}
