//! Modules that fail again and again right after they came: the version before comes back by
//! itself, or it is said why not.

use serde_json::Value;
use tapline::stand_in::ReceivedEvent;
use tapline_tests::{Bench, Machine, eventually, write};

use super::files::{counting, module};
use super::reload_load::numbered;

/// What the broken version says.
const STUCK: &str = "the counter's wheel is stuck";

/// Puts these bytes in the module's place and waits until they run.
async fn replaced(bench: &Bench, bytes: Vec<u8>) {
    let before = bench.tapline.logged("files_applied").len();
    write(&bench.tapline.dir().join("site"), "modules/counter.wasm", bytes);
    bench.tapline.until("it runs", |_| bench.tapline.logged("files_applied").len() > before).await;
}

/// So many readings of so many watts, from a second on.
async fn report(bench: &Bench, press: &Machine, from: u32, count: u32, power_w: f64) {
    for n in from..from + count {
        bench.devices.report(press, &[(f64::from(n), power_w)]).await;
    }
}

/// Waits until so many messages came to an end since the start; how many were set aside.
async fn worked_off(bench: &Bench, count: u64) -> u64 {
    let ended = |health: &Value| {
        let counts = &health["pipelines"]["count"];
        let of = |name: &str| counts[name].as_u64().unwrap_or_default();
        (of("committed") + of("dead_lettered") == count).then(|| of("dead_lettered"))
    };
    let health = bench.tapline.until("all are worked off", |h| ended(h).is_some()).await;
    ended(&health).expect("it was just seen")
}

async fn counted(bench: &Bench, press: &Machine, count: u64) -> ReceivedEvent {
    eventually(&format!("{count} readings are counted"), || async {
        let events = bench.odoo.of(press);
        let last = events.last().filter(|event| event.payload["count"] == count).cloned();
        last.ok_or_else(|| format!("{} events, the last: {:?}", events.len(), events.last()))
    })
    .await
}

fn says(health: &Value, words: &[&str]) -> bool {
    let problems = health["problems"].to_string();
    words.iter().all(|word| problems.contains(word))
}

#[tokio::test]
async fn a_module_that_fails_ten_times_a_minute_makes_room_for_the_one_before() {
    let press = Machine::new("press");
    let mut bench = counting(&press, "counter").await;
    report(&bench, &press, 0, 2, 100.0).await;
    counted(&bench, &press, 2).await;
    replaced(&bench, module("counter-broken")).await;
    report(&bench, &press, 10, 30, 100.0).await;
    let lost = worked_off(&bench, 32).await;
    assert!((10..30).contains(&lost), "{lost} of 30 were set aside");
    println!("{lost} messages were set aside until the version before was back");
    // It goes on with its state, and every other reading has been counted.
    let last = counted(&bench, &press, 32 - lost).await;
    assert_eq!(last.payload["version"], 1);
    let letters = bench.tapline.logged("dead_letter");
    assert_eq!(letters.len() as u64, lost, "{letters:#?}");
    let stuck = |letter: &Value| {
        letter["code"] == "module-trap"
            && letter["detail"].as_str().is_some_and(|detail| detail.contains(STUCK))
    };
    assert!(letters.iter().all(stuck), "{letters:#?}");

    let aside = ["module `counter`", "is put aside", "count/count", STUCK, "modules/counter.wasm"];
    bench.tapline.until("it is named", |health| says(health, &aside)).await;
    let status = bench.tapline.output(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("is put aside") && status.contains(STUCK), "{status}");
    let metrics = bench.tapline.get("/metrics").await.body.to_string();
    assert!(metrics.contains("tapline_module_put_aside{module=\\\"counter\\\""), "{metrics}");
    eventually("it is written down", || async {
        let audit = bench.tapline.get("/api/v1/audit").await.body.to_string();
        if audit.contains("module.put-aside") { Ok(()) } else { Err(audit) }
    })
    .await;

    // A restart changes nothing.
    bench.tapline.terminate().await;
    bench.start_again(1).await;
    bench.tapline.until("it is still put aside", |health| says(health, &aside)).await;
    report(&bench, &press, 50, 1, 100.0).await;
    counted(&bench, &press, 33 - lost).await;
    assert_eq!(bench.tapline.logged("module_put_aside").len(), 1);

    // Another file is tried.
    replaced(&bench, numbered(&module("counter"), 1)).await;
    bench.tapline.until("nothing is put aside", |health| health["problems"].is_null()).await;
    report(&bench, &press, 60, 1, 100.0).await;
    counted(&bench, &press, 34 - lost).await;
    bench.odoo.is_content();
}

#[tokio::test]
async fn a_module_whose_state_the_one_before_cannot_read_stays_and_it_is_said_why() {
    let press = Machine::new("press");
    let bench = counting(&press, "counter").await;
    report(&bench, &press, 0, 2, 100.0).await;
    counted(&bench, &press, 2).await;
    replaced(&bench, module("counter-next")).await;
    report(&bench, &press, 10, 10, 9000.0).await;
    let why =
        ["it stays, since", "cannot read the state", "more than 9000 W", "written in version 2"];
    bench.tapline.until("the reason is named", |health| says(health, &why)).await;
    assert_eq!(worked_off(&bench, 12).await, 10);
    report(&bench, &press, 30, 1, 100.0).await;
    let last = counted(&bench, &press, 3).await;
    assert_eq!(last.payload["version"], 2);
    assert!(bench.tapline.logged("module_put_aside").is_empty());
}

#[tokio::test]
async fn a_module_without_a_version_before_it_goes_on_and_is_named() {
    let press = Machine::new("press");
    let bench = counting(&press, "counter-broken").await;
    report(&bench, &press, 0, 12, 100.0).await;
    let why = ["it stays, since there is no version before it", STUCK];
    bench.tapline.until("it is named", |health| says(health, &why)).await;
    assert_eq!(worked_off(&bench, 12).await, 12);
    replaced(&bench, module("counter")).await;
    bench.tapline.until("it is mended", |health| health["problems"].is_null()).await;
    report(&bench, &press, 20, 1, 100.0).await;
    counted(&bench, &press, 1).await;
}
