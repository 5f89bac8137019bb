//! Modules that attack the host, end to end: each attack costs one message, which lies in the
//! dead letters with words for the module's author, and the pipeline beside goes on undisturbed.

use tapline_tests::{Bench, COURSE, Machine, copy_of_shipped, fixtures};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// A pipeline whose parser does what its payloads say.
const HOSTILE: &str = "format = 1
name = \"hostile\"
[publish]
allow = [\"answers/#\"]
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"hostile/{device}\"]
unknown_devices = \"accept\"
[[parse]]
name = \"hostile\"
module = \"hostile\"
topics = [\"hostile/#\"]
[[detect]]
name = \"session\"
module = \"session\"
take = [\"reading:power_w\"]
key = [\"device\"]
";

/// Detectors that want to be woken at times that make no sense, and one that keeps too much.
const STORMS: &str = "format = 1
name = \"storms\"
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"storm/{device}\"]
unknown_devices = \"accept\"
[[parse]]
name = \"hostile\"
module = \"hostile\"
topics = [\"storm/#\"]
[[detect]]
name = \"past\"
module = \"hostile-state\"
take = [\"reading:power_w\"]
key = [\"device\"]
settings = { state_bytes = 8, wake = \"past\", storm = true }
[[detect]]
name = \"now\"
module = \"hostile-state\"
take = [\"reading:power_w\"]
key = [\"device\"]
settings = { state_bytes = 8, wake = \"now\", storm = true }
[[detect]]
name = \"never\"
module = \"hostile-state\"
take = [\"reading:power_w\"]
key = [\"device\"]
settings = { state_bytes = 8, wake = \"never\" }
";

/// Payload and the code under which its message is set aside.
const SET_ASIDE: [(&str, &str); 27] = [
    ("panic the tool broke", "module-trap"),
    ("silent", "module-trap"),
    ("outside", "module-trap"),
    ("recursion", "module-trap"),
    ("not-utf8", "module-trap"),
    ("loop", "module-timeout"),
    ("memory", "module-memory"),
    ("output 8", "module-output"),
    ("line 8", "module-memory"),
    ("nan", "not-finite"),
    ("quantity", "unknown-quantity"),
    ("data", "bad-event"),
    ("broken-data", "bad-event"),
    ("deep-data", "bad-event"),
    ("huge-number", "bad-event"),
    ("kind 100000", "bad-event"),
    ("channel 100000", "bad-reading"),
    ("device 100000", "bad-reading"),
    ("publish", "bad-publication"),
    ("publish a/+/b", "bad-publication"),
    ("publish hostile/#", "bad-publication"),
    ("long-topic 70000", "bad-publication"),
    ("qos", "bad-publication"),
    ("code 300", "ccc"),
    ("refuse by name", "refused-on-demand"),
    ("sense", "not-a-number"),
    // Refused behind all stages, so its letter is the last of its batch.
    ("publish door/open", "publish-not-allowed"),
];

/// What is odd and harms nobody.
const HARMLESS: [&str; 4] = ["log 300", "long-ago", "far-ahead", "leak 512"];

async fn bench(pipeline: (&str, &str)) -> Bench {
    Bench::with(|mut setup| {
        for module in ["hostile", "hostile-state"] {
            let file = fixtures().join(format!("{module}.wasm"));
            let bytes = std::fs::read(&file).expect("`cargo xtask modules --fixtures` built it");
            setup = setup.site_bytes(&format!("modules/{module}.wasm"), bytes);
        }
        setup
            .site("tapline.toml", "format = 1\n")
            .site(pipeline.0, pipeline.1)
            .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
    })
    .await
}

#[tokio::test]
async fn each_attack_costs_one_message_and_the_pipeline_beside_goes_on() {
    let press = Machine::new("press");
    let bench = bench(("pipelines/hostile.toml", HOSTILE)).await;
    bench.tapline.push(&tapline_tests::document(&[&press])).await;
    bench.tapline.subscribed(3).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    let mut good = 0;
    for payload in SET_ASIDE.iter().map(|(payload, _)| payload).chain(&HARMLESS) {
        bench.devices.send("hostile/lathe", *payload).await;
        bench.devices.send("hostile/lathe", "100").await;
        good += 1;
    }
    // The flood of log lines gives no item.
    let committed = good + HARMLESS.len() - 1;
    bench
        .tapline
        .until("all are worked off", |health| {
            let counts = &health["pipelines"]["hostile"];
            counts["committed"] == committed
                && counts["filtered"]["nothing"] == 1
                && counts["dead_lettered"] == SET_ASIDE.len()
        })
        .await;
    let letters = bench.tapline.logged("dead_letter");
    assert_eq!(letters.len(), SET_ASIDE.len(), "{letters:#?}");
    for ((payload, code), letter) in SET_ASIDE.iter().zip(&letters) {
        let said = letter["code"].as_str().unwrap_or_default();
        assert!(said.starts_with(code), "`{payload}`: {letter:#}");
        assert_eq!(letter["topic"], "hostile/lathe", "`{payload}`: {letter:#}");
        let detail = letter["detail"].as_str().unwrap_or_default();
        assert!((1..=4200).contains(&detail.len()), "`{payload}`: {letter:#}");
    }
    println!("{0} attacks tried, {0} contained, {good} messages beside them kept", letters.len());
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}

#[tokio::test]
async fn wake_ups_that_make_no_sense_stop_nothing_and_outlast_a_restart() {
    let press = Machine::new("press");
    let mut bench = bench(("pipelines/storms.toml", STORMS)).await;
    bench.tapline.push(&tapline_tests::document(&[&press])).await;
    bench.tapline.subscribed(3).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    for _ in 0..20 {
        bench.devices.send("storm/lathe", "5").await;
    }
    bench
        .tapline
        .until("all are worked off", |h| h["pipelines"]["storms"]["committed"] == 20)
        .await;
    // Woken each millisecond by the clock, it emits events that nobody takes.
    bench
        .tapline
        .until("it storms", |h| h["pipelines"]["storms"]["unclaimed"].as_u64() > Some(1_000))
        .await;
    bench.tapline.terminate().await;
    bench.tapline.start_again().await;
    bench.tapline.subscribed(3).await;
    bench.devices.send("storm/lathe", "5").await;
    bench.tapline.until("it goes on", |h| h["pipelines"]["storms"]["committed"] == 1).await;
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}
