//! A sink that publishes: what a device is told, in order, in time, and never late.

use serde_json::{Value, json};
use tapline_tests::{Bench, COURSE, Listener, Machine, Setup, copy_of_shipped, eventually};

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
