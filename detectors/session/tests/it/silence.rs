//! What silence means: devices that report by exception, outages, what the broker kept.

use serde_json::json;
use tapline_sdk::prelude::*;

use crate::host::{Host, START, Wakes};
use crate::rules::check;
use crate::script::{lines, run};

#[test]
fn two_hours_of_constant_load_of_an_online_device_are_one_session() {
    let script = "0 retained online\n 0 100\n 7200 0\n 7215 0";
    let settings = json!({"heartbeat_interval_s": 3600});
    let expected = [
        "3 started 0 working",
        "3603 heartbeat 0 working w3603 s0 100.083333Wh integral peak 100 mean 100",
        "7203 heartbeat 0 stopping w7200 s3 200Wh integral peak 100 mean 99.958351",
        "7215 stopped 0..7200 power w7200 s0 200Wh integral peak 100 mean 100",
    ];
    check(settings.clone(), script, &expected);
    // It was asked, less and less often.
    let asks = run(&settings, script, Wakes::Exact).asks;
    let asks: Vec<u64> = asks.into_iter().map(|at| (at - START) / 1000).collect();
    assert_eq!(asks, [20, 40, 80, 160, 320, 640, 1280, 2560, 5120]);
}

#[test]
fn a_device_that_answers_is_asked_again_after_the_next_silence() {
    let told =
        run(&json!({}), "0 online\n 0 100\n 20.5 100\n 41 100\n 50 0\n 65 end", Wakes::Exact);
    let asks: Vec<u64> = told.asks.into_iter().map(|at| at - START).collect();
    assert_eq!(asks, [20_000, 40_500]);
    assert_eq!(told.events.len(), 2);
}

#[test]
fn nobody_is_asked_outside_a_session() {
    let told = run(&json!({}), "0 online\n 0 1\n 500 2\n 900 100\n 902 end", Wakes::Exact);
    assert_eq!((told.asks, told.events), (vec![], vec![]));
}

#[test]
fn going_offline_brings_the_time_out_back() {
    let settings = || json!({"heartbeat_interval_s": 0});
    // The limit is still ahead …
    check(
        settings(),
        "0 online\n 0 100\n 5 100\n 10 offline\n 60 end",
        &[
            "3 started 0 working",
            "25 timeout 0..5 message_timeout w5 s0 0.138889Wh integral peak 100 mean 100",
        ],
    );
    // … or long past: it acts at once, at the time that the rule gives.
    check(
        settings(),
        "0 online\n 0 100\n 5 100\n 3600 offline\n 3601 100\n 3610 end",
        &[
            "3 started 0 working",
            "25 timeout 0..5 message_timeout w5 s0 0.138889Wh integral peak 100 mean 100",
            "3604 started 3601 working",
        ],
    );
    // Coming back in time is a sign of life.
    check(
        settings(),
        "0 online\n 0 100\n 5 100\n 10 offline\n 20 online\n 30 0\n 45 end",
        &[
            "3 started 0 working",
            "45 stopped 0..30 power w30 s0 0.833333Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn an_online_device_may_be_silent_for_so_long() {
    check(
        json!({"heartbeat_interval_s": 0}),
        "0 online\n 0 100\n 10 100\n 30000 end",
        &[
            "3 started 0 working",
            "21610 timeout 0..10 max_silence w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    // Never shorter than the time-out for messages.
    check(
        json!({"heartbeat_interval_s": 0, "max_silence_s": 10}),
        "0 online\n 0 100\n 60 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 max_silence w0 s0 0Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn what_the_broker_kept_sets_the_online_flag_and_nothing_else() {
    check(json!({}), "0 retained 100\n 60 end", &[]);
    // No sign of life, whatever it says.
    check(
        json!({}),
        "0 100\n 10 retained 100\n 15 retained alive\n 16 retained offline\n 60 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 100 mean 100",
        ],
    );
    // Retained power does not stop a session, whatever time the step has.
    check(
        json!({}),
        "0 100\n 10 100\n 5 retained 0\n -1000 retained online\n 100 0\n 115 end",
        &[
            "3 started 0 working",
            "115 stopped 0..100 power w100 s0 2.777778Wh integral peak 100 mean 100",
        ],
    );
    // A kept `offline` makes an overdue time-out due by wake-up.
    let script = "0 online\n 0 100\n 100 100\n 200 retained offline\n 200 end";
    assert_eq!(
        lines(&run(&json!({}), script, Wakes::Exact))[1],
        "120 timeout 0..100 message_timeout w100 s0 2.777778Wh integral peak 100 mean 100"
    );
    let retained =
        run(&json!({}), "0 online\n 0 100\n 100 100\n 200 retained offline", Wakes::Exact);
    assert_eq!(retained.events.len(), 1, "a retained message causes no event");
}

#[test]
fn a_minutes_outage_gives_the_same_session() {
    let expected = [
        "3 started 0 working",
        "115 stopped 0..100 power w100 s0 2.777778Wh integral peak 100 mean 100",
    ];
    check(
        json!({}),
        "0 100\n 20 deaf 0.5\n 20 100\n 39 100\n 58 100\n 77 100\n 96 100\n 100 0\n 115 end",
        &expected,
    );
    check(json!({}), "0 100\n 10 100\n 70 deaf 10\n 75 100\n 90 100\n 100 0\n 115 end", &expected);
    // No time-out between the end of the outage and the first message …
    check(json!({}), "0 100\n 10 100\n 70 deaf 10\n 89.999 100\n 100 0\n 115 end", &expected);
    // … but when it does not come.
    check(
        json!({}),
        "0 100\n 10 100\n 70 deaf 10\n 200 end",
        &[
            "3 started 0 working",
            "90 timeout 0..10 message_timeout w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    // What was due before the outage had its time.
    check(
        json!({}),
        "0 100\n 90 deaf 30\n 95 100\n 97 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn what_needs_no_ear_goes_on_in_an_outage() {
    // Debounces on held power and heartbeats.
    check(
        json!({"heartbeat_interval_s": 30}),
        "0 100\n 70 deaf 1\n 75 0\n 80 0\n 90 end",
        &[
            "3 started 0 working",
            "33 heartbeat 0 working w33 s0 0.916667Wh integral peak 100 mean 100",
            "63 heartbeat 0 working w63 s0 1.75Wh integral peak 100 mean 100",
            "90 stopped 0..75 power w75 s0 2.083333Wh integral peak 100 mean 100",
        ],
    );
    check(
        json!({}),
        "0 100\n 10 0\n 70 deaf 11\n 71 100\n 80 end",
        &[
            "3 started 0 working",
            "25 stopped 0..10 power w10 s0 0.277778Wh integral peak 100 mean 100",
            "74 started 71 working",
        ],
    );
    // The longest silence is not restarted, also where nothing is known of `online`.
    for online in ["online", "alive"] {
        check(
            json!({"heartbeat_interval_s": 0, "max_silence_s": 600}),
            &format!("0 {online}\n 0 100\n 590 deaf 1\n 601 end"),
            &[
                "3 started 0 working",
                "600 timeout 0..0 max_silence w0 s0 0Wh integral peak 100 mean 100",
            ],
        );
    }
}

#[test]
fn a_step_out_of_nowhere_does_not_flood() {
    let mut host = Host::new(&json!({"heartbeat_interval_s": 0.1}), Wakes::Missing);
    let reading = |power_w| Input::Item(Reading::channel("").power_w(power_w).online(true).into());
    host.input(START, reading(100.0));
    host.input(START + 20_000_000, reading(100.0));
    assert_eq!(host.told.events.len(), 1001);
    assert!(host.told.events.iter().all(|event| event.at >= Some(START + 3000)));
}

#[test]
fn survives_the_end_of_time() {
    let mut host = Host::new(&json!({}), Wakes::Missing);
    let reading = |power_w| Input::Item(Reading::channel("").power_w(power_w).online(true).into());
    host.input(u64::MAX - 1, reading(100.0));
    host.input(u64::MAX, reading(f64::MAX));
    host.input(u64::MAX, Input::DeafSince(0));
    host.input(0, reading(-1.0));
    host.input(u64::MAX, Input::Reconfigured);
    host.input(u64::MAX, Input::Timer);
    host.input(u64::MAX, Input::Removed);
    assert!(host.forgotten());
}

#[test]
fn refuses_state_of_another_version() {
    let message = tapline_session::Session::migrate(7, b"?").unwrap_err();
    assert!(message.contains("version 7") && message.contains("reads version 1"), "{message}");
}
