//! Devices whose clocks are not ours, and messages that come late.

use tapline::config::push::parse_time;
use tapline::telemetry::clock;
use tapline_tests::{Bench, COURSE, Machine};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

#[tokio::test]
async fn a_device_clock_within_the_window_is_believed() {
    // Three days slow, and half a minute fast at its last message.
    let slow = Machine::new("slow").beginning(3 * 86_400);
    let fast = Machine::new("fast").beginning(30);
    let bench = Bench::of(&[&slow, &fast]).await;
    for machine in [&slow, &fast] {
        bench.devices.report(machine, &COURSE).await;
        let events = bench.odoo.kinds(machine, &WHOLE).await;
        assert_eq!(parse_time(&events[0].timestamp), Some(machine.time(3.0)));
        assert_eq!(events[1].payload["started_at"], machine.time(0.0).rfc3339());
        assert_eq!(events[1].payload["ended_at"], machine.time(40.0).rfc3339());
        assert_eq!(events[1].payload["working_s"], 30.0);
    }
    bench.odoo.is_content();
}

#[tokio::test]
async fn a_device_clock_outside_the_window_is_replaced_by_the_time_of_receipt() {
    // Eight days slow; more than a minute fast.
    let far = [Machine::new("slow").beginning(8 * 86_400), Machine::new("fast").ahead(600)];
    let far = far.map(|machine| machine.with("start_debounce_s", 0.2));
    let all: Vec<_> = far.iter().collect();
    let bench = Bench::of(&all).await;
    for machine in all {
        let before = clock::now();
        bench.devices.report(machine, &[(0.0, 100.0)]).await;
        let events = bench.odoo.kinds(machine, &WHOLE[..1]).await;
        let started = events[0].payload["started_at"].as_str().and_then(parse_time);
        let started = started.expect("a time");
        assert!(started >= before && started <= clock::now(), "{events:?}");
    }
}

#[tokio::test]
async fn a_message_that_comes_too_late_is_counted_and_changes_no_session() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    let late = [(0.0, 100.0), (10.0, 100.0), (100.0, 100.0), (39.0, 0.0), (110.0, 100.0)];
    bench.devices.report(&press, &late).await;
    bench
        .tapline
        .until("it is counted", |health| health["pipelines"]["workshop"]["late"] == 1)
        .await;
    bench.devices.report(&press, &[(120.0, 0.0), (140.0, 0.0)]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[1].payload["ended_at"], press.time(120.0).rfc3339());
    assert_eq!(events[1].payload["working_s"], 120.0);
}

#[tokio::test]
async fn messages_out_of_order_by_less_than_a_minute_count_in_order_of_arrival() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    let course = [(0.0, 100.0), (20.0, 100.0), (15.0, 20.0), (30.0, 0.0), (60.0, 0.0)];
    bench.devices.report(&press, &course).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    // The one of second 15 counts at second 20.
    assert_eq!(events[1].payload["working_s"], 20.0);
    assert_eq!(events[1].payload["standby_s"], 10.0);
}
