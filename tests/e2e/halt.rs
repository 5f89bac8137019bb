//! A pipeline whose stage says `on_reject = "halt"` takes nothing more until it is mended.

use tapline_tests::{Bench, COURSE, Machine, Setup, copy_of_shipped, fixtures, shipped_modules};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// Does what its payloads say, and halts on what it refuses.
const CAREFUL: &str = "format = 1
name = \"careful\"
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"careful/{device}\"]
unknown_devices = \"accept\"
[[parse]]
name = \"orders\"
module = \"hostile\"
topics = [\"careful/#\"]
on_reject = \"halt\"
[[detect]]
name = \"session\"
module = \"session\"
take = [\"reading:power_w\"]
";

fn hostile() -> Vec<u8> {
    std::fs::read(fixtures().join("hostile.wasm")).expect("it was built")
}

async fn resume(bench: &Bench, arguments: &[&str], code: i32) -> String {
    let output = bench.tapline.output(&[&["resume"], arguments].concat()).await;
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_pipeline_halts_on_what_it_refuses_and_others_go_on() {
    let press = Machine::new("press");
    let mut bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", "format = 1\n")
            .site("pipelines/careful.toml", CAREFUL)
            .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
            .site_bytes("modules/hostile.wasm", hostile())
    })
    .await;
    bench.tapline.push(&tapline_tests::document(&[&press])).await;
    bench.tapline.subscribed(3).await;
    for payload in ["100", "100", "refuse this", "100", "panic", "100"] {
        bench.devices.send("careful/lathe", payload).await;
    }
    let halts = |health: &serde_json::Value| {
        health["pipelines"]["careful"]["halted"].to_string().contains("refused-on-demand: this")
    };
    let health = bench.tapline.until("it halts", halts).await;
    assert_eq!(health["status"], "degraded");
    assert!(health["problems"].to_string().contains("careful/lathe"), "{health}");
    // Counted once it is on the disk, which may come a moment after.
    let health = bench
        .tapline
        .until("what came before counts", |h| h["pipelines"]["careful"]["committed"] == 2)
        .await;
    assert_eq!(health["pipelines"]["careful"]["dead_lettered"], 0);
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    let again = resume(&bench, &["careful"], 1).await;
    assert!(again.contains("halts again") && again.contains("careful/lathe"), "{again}");
    resume(&bench, &["careless"], 4).await;

    // The broker has it still: a new process meets the same message again.
    bench.tapline.kill().await;
    bench.tapline.start_again().await;
    let health = bench.tapline.until("it halts again", halts).await;
    assert_eq!(health["dead_letters"], 0);
    let next = resume(&bench, &["careful", "--set-aside"], 1).await;
    assert!(next.contains("trap"), "{next}");
    resume(&bench, &["careful", "--set-aside"], 0).await;
    let health = bench
        .tapline
        .until("the rest is worked off", |h| h["pipelines"]["careful"]["committed"] == 2)
        .await;
    assert_eq!(health["pipelines"]["careful"]["halted"], serde_json::Value::Null);
    assert_eq!(health["dead_letters"], 2);
    bench.odoo.is_content();
}

#[tokio::test]
async fn what_a_wrong_module_halted_on_goes_through_the_right_one() {
    let press = Machine::new("press");
    let mut bench = Bench::with(|setup| {
        let pipeline = copy_of_shipped("workshop").replace(
            "module       = \"shelly\"",
            "module       = \"meter\"\non_reject    = \"halt\"",
        );
        setup
            .site("tapline.toml", "format = 1\n")
            .site("pipelines/workshop.toml", &pipeline)
            .site_bytes("modules/meter.wasm", hostile())
    })
    .await;
    bench.tapline.take(&[&press]).await;
    bench.devices.report(&press, &COURSE).await;
    bench.tapline.until("it halts", |h| h["pipelines"]["workshop"]["halted"].is_string()).await;
    bench.tapline.kill().await;
    let right = std::fs::read(shipped_modules().join("shelly.wasm")).expect("it was built");
    let place = bench.tapline.dir().join("site/modules/meter.wasm");
    std::fs::write(place, right).expect("scratch is writable");
    bench.tapline.start_again().await;
    bench.odoo.kinds(&press, &WHOLE).await;
    let health = bench.tapline.health().await;
    assert_eq!(health["dead_letters"], 0);
    bench.odoo.is_content();
}

/// The shipped pipeline, but messages of unregistered devices halt it.
fn waits_for_devices(setup: Setup) -> Setup {
    let pipeline = copy_of_shipped("workshop")
        .replace("topics   = []", "topics   = [\"hall/{device}/events/rpc\"]")
        .replace("unknown_devices = \"report\"", "unknown_devices = \"dead-letter\"")
        .replace(
            "[\"shelly\", \"shelly_pm\"]",
            "[\"shelly\", \"shelly_pm\"]\ntopics = [\"hall/#\"]\non_reject = \"halt\"",
        );
    setup.site("tapline.toml", "format = 1\n").site("pipelines/workshop.toml", &pipeline)
}

#[tokio::test]
async fn a_push_that_mends_it_lets_it_go_on_with_what_waited() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::with(waits_for_devices).await;
    bench.tapline.push(&tapline_tests::document(&[&saw])).await;
    bench.tapline.subscribed(3).await;
    bench.devices.report(&saw, &COURSE[..2]).await;
    bench.devices.report(&press, &COURSE).await;
    bench.devices.report(&saw, &COURSE[2..]).await;
    bench.tapline.until("it halts", |h| h["pipelines"]["workshop"]["halted"].is_string()).await;
    bench.odoo.kinds(&saw, &WHOLE[..1]).await;
    bench.tapline.push(&tapline_tests::document(&[&saw, &press])).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.kinds(&saw, &WHOLE).await;
    let health = bench.tapline.until("it goes on", |h| h["status"] == "ok").await;
    assert_eq!(health["dead_letters"], 0);
    bench.odoo.is_content();
}
