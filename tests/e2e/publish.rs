//! A sink that publishes: what a device is told, in order, in time, and never late.

use serde_json::{Value, json};
use tapline::broker::fake::{Delivery, Packet};
use tapline_tests::{
    Bench, COURSE, Listener, Machine, Mosquitto, Odoo, Publisher, Scripted, Setup, copy_of_shipped,
    eventually, fixtures,
};

fn publishes(setup: Setup) -> Setup {
    let pipeline = copy_of_shipped("workshop")
        + "
[[sink]]
name    = \"lamp\"
publish = { broker = \"main\", topic = \"lamp/{device}/{data.state}\", payload = \"{machine}: {{{kind}}}\", retain = true }
take    = [\"event:session_*\"]

[[sink]]
name    = \"mirror\"
publish = { broker = \"main\", topic = \"mirror/{device}\" }
take    = [\"event:session_*\", \"reading:power_w\"]

[[sink]]
name    = \"coloured\"
publish = { broker = \"main\", topic = \"colour/{device}\", payload = \"{data.colour}\" }
take    = [\"event:session_started\"]

[[sink]]
name    = \"late\"
publish = { broker = \"main\", topic = \"late/{device}\", payload = \"ON\" }
take    = [\"event:session_started\"]
expire  = \"1ms\"
";
    setup.site("tapline.toml", "format = 1\n").site("pipelines/workshop.toml", &pipeline)
}

#[tokio::test]
async fn a_sink_publishes_by_template_or_as_json_and_never_late() {
    let press = Machine::new("press");
    let bench = Bench::with(publishes).await;
    let listener =
        Listener::start(bench.broker.port(), &["lamp/#", "mirror/#", "colour/#", "late/#"]).await;
    bench.tapline.take(&[&press]).await;
    bench.devices.report(&press, &COURSE).await;
    let lamp = listener.until("lamp/press/idle").await;
    assert_eq!(lamp, b"Machine press: {session_stopped}");
    // Sinks wait for nobody but their broker, so they come in any order among each other.
    let mirrored = eventually("the mirror shows both events and all readings", || async {
        let heard = listener.heard().into_iter().filter(|(topic, _)| topic == "mirror/press");
        let items: Vec<Value> =
            heard.map(|(_, payload)| serde_json::from_slice(&payload).expect("JSON")).collect();
        if items.len() == 2 + COURSE.len() { Ok(items) } else { Err(format!("{items:?}")) }
    })
    .await;
    let watts: Vec<_> = mirrored.iter().filter_map(|item| item["power_w"].as_f64()).collect();
    assert_eq!(watts, COURSE.iter().map(|(_, watts)| *watts).collect::<Vec<_>>());
    let kinds: Vec<_> = mirrored.iter().filter_map(|item| item["event"].as_str()).collect();
    assert_eq!(kinds, ["session_started", "session_stopped"]);
    let heard = listener.heard();
    let of = |prefix: &str| -> Vec<Vec<u8>> {
        heard.iter().filter(|(t, _)| t.starts_with(prefix)).map(|(_, p)| p.clone()).collect()
    };
    assert_eq!(of("lamp/").len(), 2);

    // What cannot be filled in and what came too late is set aside, by name.
    bench.tapline.until("two are set aside", |h| h["dead_letters"] == 2).await;
    assert!(of("late/").is_empty() && of("colour/").is_empty(), "{heard:?}");
    let letters = bench.tapline.get("/api/v1/dead-letters").await.body;
    let letters = letters["dead_letters"].as_array().expect("a list").clone();
    let find = |stage: &str| letters.iter().find(|l| l["stage"] == stage).expect("it is there");
    assert_eq!(find("late")["code"], "expired");
    assert_eq!(find("coloured")["code"], "no-field");
    assert!(find("coloured")["detail"].to_string().contains("data.colour"), "{letters:#?}");

    // A device acts on it, so nobody sends it again by accident; what has expired, never.
    for (stage, force, code) in
        [("coloured", false, "needs-force"), ("late", false, "expired"), ("late", true, "expired")]
    {
        let body = json!({"ids": [find(stage)["id"]], "force": force});
        let answer = bench.tapline.call("POST", "/api/v1/dead-letters/replay", Some(&body));
        let answer = answer.send().await.expect("an answer");
        assert_eq!(answer.body["refused"][0]["code"], code, "{stage}: {}", answer.body);
    }
    let body = json!({"ids": [find("coloured")["id"]], "force": true});
    let answer = bench.tapline.call("POST", "/api/v1/dead-letters/replay", Some(&body));
    assert_eq!(answer.send().await.expect("an answer").body["done"], 1);
    let audit = bench.tapline.get("/api/v1/audit").await.body;
    assert_eq!(audit["audit"][0]["action"], "publication.replayed", "{audit}");
    listener.stop().await;
}

/// Does what its payloads say, and may command lamps.
pub(super) const COMMANDS: &str = "format = 1
name = \"commands\"
[publish]
allow = [\"lamps/#\"]
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"orders/{device}\"]
unknown_devices = \"accept\"
[[parse]]
name = \"orders\"
module = \"hostile\"
topics = [\"orders/#\"]
";

#[tokio::test]
async fn a_command_of_a_module_lives_for_thirty_seconds_and_the_broker_is_told() {
    let hostile = std::fs::read(fixtures().join("hostile.wasm")).expect("it was built");
    let mut it = Scripted::prepare(|setup| {
        setup
            .site("tapline.toml", "format = 1\n")
            .site("pipelines/commands.toml", COMMANDS)
            .site_bytes("modules/hostile.wasm", hostile)
    })
    .await;
    it.tapline.start_again().await;
    it.tapline.subscribed(1).await;
    it.deliver(&Delivery::new("orders/lathe", "publish lamps/7", 1));
    it.deliver(&Delivery::new("orders/lathe", "publish doors/7", 2));
    it.until_acked(&[1, 2]).await;
    let expiry = eventually("the lamp is told", || async {
        let log = it.broker.log();
        let told = log.iter().find_map(|entry| match &entry.packet {
            Packet::Publish { topic, expiry, .. } if topic == "lamps/7" => Some(*expiry),
            _ => None,
        });
        told.ok_or("not yet")
    })
    .await;
    // What is left of it, in whole seconds.
    assert!(expiry.is_some_and(|seconds| (1..=30).contains(&seconds)), "{expiry:?}");
    let health = it.tapline.until("the other is set aside", |h| h["dead_letters"] == 1).await;
    assert_eq!(health["pipelines"]["commands"]["committed"], 1, "{health}");
    let letters = it.tapline.get("/api/v1/dead-letters").await.body;
    assert_eq!(letters["dead_letters"][0]["code"], "publish-not-allowed", "{letters}");
    let is_of_doors = |packet: &Packet| matches!(packet, Packet::Publish { topic, .. } if topic.starts_with("doors/"));
    assert!(!it.broker.log().iter().any(|entry| is_of_doors(&entry.packet)));
}

#[tokio::test]
async fn what_waited_for_its_broker_comes_only_while_it_is_still_good() {
    let sinks = "
[[sink]]
name    = \"alarm\"
publish = { broker = \"lamps\", topic = \"alarm/{device}/{kind}\", payload = \"ON\" }
take    = [\"event:session_*\"]
expire  = \"2s\"

[[sink]]
name    = \"board\"
publish = { broker = \"lamps\", topic = \"board/{device}/{kind}\", payload = \"{data.state}\" }
take    = [\"event:session_*\"]
expire  = \"1h\"
";
    let (mut lamps, broker) = (Mosquitto::start().await, Mosquitto::start().await);
    let (press, odoo) = (Machine::new("press"), Odoo::start().await);
    let devices = Publisher::connect(broker.port()).await;
    let site = format!(
        "format = 1\n[store]\nmin_free = \"1 MiB\"\n\
         [broker.main]\npushed = true\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [broker.lamps]\nurl = \"mqtt://127.0.0.1:{}\"\n",
        broker.port(),
        lamps.port()
    );
    let tapline = Setup::new()
        .odoo(&odoo.0)
        .site("tapline.toml", &site)
        .site("pipelines/workshop.toml", &(copy_of_shipped("workshop") + sinks))
        .start()
        .await;
    tapline.take(&[&press]).await;
    lamps.stop().await;
    devices.report(&press, &COURSE[..2]).await;
    odoo.kinds(&press, &["session_started"]).await;
    // The other broker is away for longer than the alarm is good for.
    let expired = |health: &Value| {
        health["dead_letters"] == 1 && health["sinks"]["workshop/board"]["waiting"] == 1
    };
    let health = tapline.until("the alarm has expired, and the board waits", expired).await;
    assert_eq!(health["sinks"]["workshop/alarm"]["waiting"], 0, "{health}");
    lamps.start_again().await;
    let listener = Listener::start(lamps.port(), &["alarm/#", "board/#"]).await;
    let arrived = |health: &Value| health["sinks"]["workshop/board"]["waiting"] == 0;
    tapline.until("what is still good has gone out", arrived).await;
    devices.report(&press, &COURSE[2..]).await;
    assert_eq!(listener.until("board/press/session_stopped").await, b"idle");
    let heard = listener.heard();
    let kinds = heard.iter().filter(|(topic, _)| topic.starts_with("board/")).count();
    assert!((1..=2).contains(&kinds), "{heard:?}");
    let late = heard.iter().find(|(topic, _)| topic == "alarm/press/session_started");
    assert_eq!(late, None, "it came late");
    let letter = &tapline.get("/api/v1/dead-letters").await.body["dead_letters"][0];
    assert_eq!((&letter["stage"], &letter["code"]), (&"alarm".into(), &"expired".into()));
    odoo.is_content();
    listener.stop().await;
}

#[tokio::test]
async fn the_sender_of_a_command_that_expires_hears_of_it() {
    let (mut lamps, main) = (Mosquitto::start().await, Mosquitto::start().await);
    // The sender stays subscribed at the broker while that is down.
    let sender = Listener::start(lamps.port(), &["answers/#", "lamps/#"]).await;
    let devices = Publisher::connect(main.port()).await;
    let site = format!(
        "format = 1\nshipped = []\n[store]\nmin_free = \"1 MiB\"\n\
         [broker.main]\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [broker.lamps]\nurl = \"mqtt://127.0.0.1:{}\"\n",
        main.port(),
        lamps.port()
    );
    let pipeline = COMMANDS.replace("\"lamps/#\"", "\"lamps/#\", \"answers/#\"");
    let mut tapline = Setup::new()
        .site("tapline.toml", &site)
        .site("pipelines/commands.toml", &pipeline)
        .site_bytes("modules/hostile.wasm", super::files::module("hostile"))
        .start()
        .await;
    tapline.subscribed(1).await;
    lamps.stop().await;
    devices.ask("orders/lathe", "order lamps lamps/1", "answers/panel", 2).await;
    devices.ask("orders/lathe", "order lamps lamps/2", "elsewhere/panel", 2).await;
    devices.ask("orders/lathe", "order lamps lamps/3", "answers/panel", 3600).await;
    let health = tapline.until("two have expired", |h| h["dead_letters"] == 2).await;
    // The third, and word of the first.
    let waiting = &health["sinks"]["commands/publish:lamps"]["waiting"];
    assert_eq!(waiting, 2, "{health}");
    let letters = tapline.get("/api/v1/dead-letters").await.body;
    let letters = letters["dead_letters"].as_array().expect("a list").clone();
    assert!(letters.iter().all(|letter| letter["code"] == "expired"), "{letters:#?}");
    let mute = letters.iter().filter(|l| l["detail"].to_string().contains("`elsewhere/panel`"));
    assert_eq!(mute.count(), 1, "{letters:#?}");

    // Word of it survives a death, too.
    tapline.kill().await;
    lamps.start_again().await;
    tapline.start_again().await;
    let word = sender.until("answers/panel").await;
    let word: Value = serde_json::from_slice(&word).expect("it is JSON");
    assert_eq!((&word["outcome"], &word["topic"]), (&"expired".into(), &"lamps/1".into()));
    sender.until("lamps/3").await;
    // A way to a broker is shown once something has gone it since the start.
    let nothing = |h: &Value| {
        h["sinks"]["commands/publish:lamps"]["waiting"].as_u64().unwrap_or_default() == 0
    };
    tapline.until("nothing waits", nothing).await;
    let heard: Vec<_> = sender.heard().into_iter().map(|(topic, _)| topic).collect();
    assert!(!heard.iter().any(|topic| topic == "lamps/1" || topic == "lamps/2"), "{heard:?}");
    sender.stop().await;
}
