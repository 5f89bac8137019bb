//! The system's clock jumps by a day while Tapline runs.

use tapline::config::push::parse_time;
use tapline::telemetry::clock;
use tapline_tests::{Bench, COURSE, Machine, eventually};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];
const DAY_MS: i64 = 86_400_000;

async fn jump(bench: &Bench, ms: i64, noticed: &str) {
    // The log names it once it is seen: nothing here depends on when.
    assert_eq!(bench.tapline.logged(noticed).len(), 0);
    bench.tapline.shift_clock(ms);
    eventually(noticed, || async {
        if bench.tapline.logged(noticed).is_empty() { Err("not yet") } else { Ok(()) }
    })
    .await;
}

/// One session, whole, whatever the clock did in between.
async fn ends_as_one_session(bench: &Bench, press: &Machine) {
    bench.devices.report(press, &COURSE[3..]).await;
    let events = bench.odoo.kinds(press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    assert_eq!(events[1].payload["started_at"], press.time(0.0).rfc3339());
    assert_eq!(events[1].payload["ended_at"], press.time(40.0).rfc3339());
    assert_eq!(events[1].payload["working_s"], 30.0);
    let health = bench.tapline.health().await;
    assert_eq!(health["pipelines"]["workshop"]["late"], 0, "{health}");
    bench.odoo.is_content();
}

async fn bench(machines: &[&Machine]) -> Bench {
    let bench = Bench::with(|setup| setup.faulty()).await;
    bench.tapline.take(machines).await;
    bench
}

#[tokio::test]
async fn a_clock_that_jumps_a_day_ahead_ends_no_session_and_loses_nothing() {
    let press = Machine::new("press").with("message_timeout_s", 600.0).beginning(60);
    let bench = bench(&[&press]).await;
    bench.devices.report(&press, &COURSE[..3]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    jump(&bench, DAY_MS, "clock_set_forward").await;
    // By the clock alone the machine has been silent for a day.
    ends_as_one_session(&bench, &press).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_a_day_makes_nothing_late_and_stops_no_timer() {
    let press = Machine::new("press");
    // It states no time that is believed, so the time of receipt counts.
    let undated = Machine::new("undated").ahead(600).with("start_debounce_s", 0.2);
    let bench = bench(&[&press, &undated]).await;
    bench.devices.report(&press, &COURSE[..3]).await;
    bench.devices.report(&undated, &[(0.0, 0.0)]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    let before = clock::now();
    jump(&bench, -DAY_MS, "clock_set_back").await;
    let health = bench.tapline.health().await;
    assert!(health["problems"].to_string().contains("clock was set back"), "{health}");
    bench.devices.report(&undated, &[(1.0, 100.0)]).await;
    // Its debounce ends by the clock alone.
    let events = bench.odoo.kinds(&undated, &WHOLE[..1]).await;
    let started = events[0].payload["started_at"].as_str().and_then(parse_time);
    assert!(started.expect("a time") >= before, "{events:?}");
    ends_as_one_session(&bench, &press).await;
    bench.tapline.shift_clock(0);
    bench.tapline.until("all is well", |health| health["status"] == "ok").await;
}
