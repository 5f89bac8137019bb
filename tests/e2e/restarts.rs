//! Tapline itself ends and comes back: in order, or as in a power cut.

use std::sync::Arc;
use std::time::Instant;

use tapline_tests::{Bench, COURSE, Load, Machine, courses};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

#[tokio::test]
async fn a_restart_in_mid_session_leaves_one_session_and_hears_what_came_meanwhile() {
    let press = Machine::new("press");
    let mut bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    assert!(bench.tapline.terminate().await.success());
    bench.devices.report(&press, &COURSE[2..4]).await;
    bench.start_again(1).await;
    bench.devices.report(&press, &COURSE[4..]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    assert_eq!(events[1].payload["standby_s"], 10.0);
    bench.settle(&[&press]).await;
    bench.odoo.is_content();
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn a_power_cut_in_mid_session_leaves_one_session() {
    let press = Machine::new("press");
    let mut bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    bench.tapline.kill().await;
    bench.devices.report(&press, &COURSE[2..4]).await;
    bench.start_again(1).await;
    bench.devices.report(&press, &COURSE[4..]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[0].session_uid, events[1].session_uid);
    bench.settle(&[&press]).await;
    bench.odoo.is_in_order();
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn power_cuts_while_messages_stream_in_lose_and_double_nothing() {
    let machines = ["press", "saw", "drill"].map(Machine::new);
    let all: Vec<_> = machines.iter().collect();
    let mut bench = Bench::of(&all).await;
    let mut expected = Vec::new();
    for round in 0..12 {
        let begin = f64::from(round) * 100.0;
        for (at, power) in COURSE {
            for machine in &all {
                bench.devices.report(machine, &[(begin + at, power)]).await;
            }
        }
        expected.extend(WHOLE);
        if round % 4 == 1 {
            bench.tapline.kill().await;
            bench.tapline.start_again().await;
        }
    }
    for machine in &all {
        bench.odoo.kinds(machine, &expected).await;
    }
    bench.settle(&all).await;
    bench.odoo.is_in_order();
    for machine in &all {
        assert_eq!(bench.odoo.of(machine).len(), expected.len());
    }
}

#[tokio::test]
async fn a_debounce_that_ends_while_tapline_is_down_counts_from_its_own_time() {
    // Times are receipt times here: the wake-up is due by the clock while nobody is there.
    let press = Machine::new("press").beginning(0).with("start_debounce_s", 1.0);
    let mut bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &[(0.0, 100.0)]).await;
    bench
        .tapline
        .until("it is taken in", |health| health["pipelines"]["workshop"]["committed"] == 1)
        .await;
    bench.tapline.kill().await;
    bench.start_again(1).await;
    let events = bench.odoo.kinds(&press, &WHOLE[..1]).await;
    assert_eq!(events[0].payload["started_at"], press.time(0.0).rfc3339());
    bench.odoo.is_content();
}

#[tokio::test]
async fn a_second_tapline_on_the_same_data_is_refused_with_words() {
    let bench = Bench::of(&[&Machine::new("press")]).await;
    let mut command = bench.tapline.command(&["run"]);
    let output = command.env("BRIDGE_PORT", "1").output().await.expect("the program can be run");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another") || said.contains("already"), "{said}");
    assert_eq!(bench.tapline.health().await["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_under_load_finishes_what_came_and_loses_nothing() {
    let rounds = 100;
    let machines: Arc<[Machine]> =
        (0..20).map(|n| Machine::new(&format!("m{n}")).beginning(rounds as u64 * 100)).collect();
    let all: Vec<_> = machines.iter().collect();
    let mut bench = Bench::of(&all).await;
    let reports = courses(machines.clone(), 0..rounds);
    let publishing = tokio::spawn(Load::stream(bench.broker.port(), reports, 4000));
    for _ in 0..3 {
        let before = bench.tapline.health().await["pipelines"]["workshop"]["committed"].clone();
        bench
            .tapline
            .until("messages stream in", |h| h["pipelines"]["workshop"]["committed"] != before)
            .await;
        let told = Instant::now();
        assert!(bench.tapline.terminate().await.success());
        println!("stopped within {:?}", told.elapsed());
        bench.start_again(all.len()).await;
    }
    publishing.await.expect("the broker takes everything");
    bench.settle(&all).await;
    // Every answer was waited for, so nothing was sent twice either.
    bench.odoo.is_content();
    for machine in &*machines {
        assert_eq!(bench.odoo.of(machine).len(), 2 * rounds, "{}", machine.id());
    }
}
