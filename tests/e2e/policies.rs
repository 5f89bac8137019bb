//! `on_reject`: what a stage refuses is set aside, or goes on. (Halting has tests of its own.)

use serde_json::Value;
use tapline_tests::{
    Bench, COURSE, Machine, Scrape, copy_of_shipped, document, eventually, fixtures,
    shipped_modules,
};

use super::files::module;

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// Refuses every report: they have no such field.
const SHAPE: &str = "{\"type\": \"object\", \"required\": [\"serial_number\"]}";

/// Does what its payloads say, and lets pass what it refuses.
const LENIENT: &str = "format = 1
name = \"lenient\"
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"lenient/{device}\"]
unknown_devices = \"accept\"
[[parse]]
name = \"orders\"
module = \"hostile\"
topics = [\"lenient/#\"]
on_reject = \"pass\"
[[detect]]
name = \"session\"
module = \"session\"
take = [\"reading:power_w\"]
";

/// Counts readings with a detector that refuses what is below zero and dies of far too much.
const COUNTING: &str = "
[[detect]]
name = \"count\"
module = \"counter\"
take = [\"reading:power_w\"]
on_reject = \"pass\"
[[sink]]
name = \"odoo\"
module = \"odoo\"
endpoint = \"odoo\"
take = [\"event:counted\"]
";

/// The shipped pipeline behind a check of each report's shape.
fn checked(policy: &str) -> String {
    let check = format!(
        "[[validate]]\nname = \"shape\"\nschema = \"schemas/serial.json\"\n\
         topics = [\"hall/#\"]\non_reject = \"{policy}\"\n[[parse]]\nname         = \"shelly\""
    );
    copy_of_shipped("workshop").replace("[[parse]]\nname         = \"shelly\"", &check)
}

async fn bench(policy: &str, press: &Machine) -> Bench {
    let hostile = std::fs::read(fixtures().join("hostile.wasm")).expect("it was built");
    let bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", "format = 1\n")
            .site("schemas/serial.json", SHAPE)
            .site("pipelines/lenient.toml", LENIENT)
            .site("pipelines/workshop.toml", &checked(policy))
            .site_bytes("modules/hostile.wasm", hostile)
    })
    .await;
    bench.tapline.push(&document(&[press])).await;
    bench.tapline.subscribed(3).await;
    bench
}

fn rejected(scrape: &Scrape, pipeline: &str, stage: &str) -> u64 {
    let labels = [("pipeline", pipeline), ("stage", stage)];
    scrape.sum("tapline_stage_rejected_total", &labels)
}

#[tokio::test]
async fn what_a_validator_refuses_goes_on_where_it_lets_pass() {
    let press = Machine::new("press");
    let bench = bench("pass", &press).await;
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    let all = |health: &Value| health["pipelines"]["workshop"]["committed"] == COURSE.len();
    let health = bench.tapline.until("all count", all).await;
    assert_eq!(health["dead_letters"], 0);
    // It is seen all the same.
    assert_eq!(rejected(&bench.tapline.scrape().await, "workshop", "shape"), COURSE.len() as u64);
    bench.odoo.is_content();
}

#[tokio::test]
async fn what_a_validator_refuses_goes_no_further_where_it_is_set_aside() {
    let press = Machine::new("press");
    let bench = bench("dead-letter", &press).await;
    bench.devices.report(&press, &COURSE).await;
    let all = |health: &Value| health["dead_letters"] == COURSE.len();
    bench.tapline.until("all are set aside", all).await;
    let letters = bench.tapline.get("/api/v1/dead-letters").await.body;
    let letters = letters["dead_letters"].as_array().expect("a list");
    for letter in letters {
        assert_eq!(letter["stage"], "shape", "{letter}");
        assert!(letter["detail"].to_string().contains("serial_number"), "{letter}");
    }
    assert_eq!(rejected(&bench.tapline.scrape().await, "workshop", "shape"), COURSE.len() as u64);
    assert_eq!(bench.odoo.0.requests(), 0);
}

#[tokio::test]
async fn what_a_parser_refuses_or_dies_of_is_counted_and_dropped_where_it_lets_pass() {
    let press = Machine::new("press");
    let bench = bench("pass", &press).await;
    for payload in ["100", "refuse this", "100", "panic", "no number", "100"] {
        bench.devices.send("lenient/lathe", payload).await;
    }
    let all = |health: &Value| health["pipelines"]["lenient"]["committed"] == 6;
    let health = bench.tapline.until("all six count", all).await;
    assert_eq!(health["dead_letters"], 0);
    assert_eq!(health["pipelines"]["lenient"]["dead_lettered"], 0, "{health}");
    assert_eq!(rejected(&bench.tapline.scrape().await, "lenient", "orders"), 3);
    // The pipeline beside it and its own next messages are none the wiser.
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}

#[tokio::test]
async fn what_a_detector_refuses_or_dies_of_undoes_that_step_alone_where_it_lets_pass() {
    let bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", "format = 1\nshipped = []\n")
            .site("pipelines/lenient.toml", &(LENIENT.to_owned() + COUNTING))
            .site_bytes("modules/hostile.wasm", module("hostile"))
            .site_bytes("modules/counter.wasm", module("counter-next"))
            .site_bytes("modules/session.wasm", shipped("session"))
            .site_bytes("modules/odoo.wasm", shipped("odoo"))
    })
    .await;
    bench.tapline.subscribed(1).await;
    for payload in ["100", "-1", "100", "9000", "100"] {
        bench.devices.send("lenient/lathe", payload).await;
    }
    let all = |health: &Value| health["pipelines"]["lenient"]["committed"] == 5;
    let health = bench.tapline.until("all five count", all).await;
    assert_eq!(health["dead_letters"], 0, "{health}");
    let scrape = bench.tapline.scrape().await;
    assert_eq!(rejected(&scrape, "lenient", "count"), 2);
    assert_eq!(rejected(&scrape, "lenient", "session"), 0);
    // The count goes on from where it was.
    let counts = eventually("three are counted", || async {
        let events = bench.odoo.0.events_of("lathe");
        let counts: Vec<_> = events.iter().map(|event| event.payload["count"].clone()).collect();
        if counts.len() == 3 { Ok(counts) } else { Err(format!("{events:#?}")) }
    })
    .await;
    assert_eq!(counts, [1, 2, 3]);
    bench.odoo.is_content();
}

fn shipped(name: &str) -> Vec<u8> {
    std::fs::read(shipped_modules().join(name).with_extension("wasm")).expect("it was built")
}
