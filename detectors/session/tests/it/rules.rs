//! The rules of sessions, as runs and what must come of them.

use serde_json::{Value, json};

use crate::host::Wakes;
use crate::script::{lines, run};

/// Runs a script with exact wake-ups and with none at all: both must give these events.
#[track_caller]
pub(crate) fn check(settings: Value, script: &str, expected: &[&str]) {
    for wakes in [Wakes::Exact, Wakes::Missing] {
        let told = run(&settings, script, wakes);
        assert_eq!(lines(&told), expected, "{wakes:?}, {settings}:\n{script}");
    }
}

#[test]
fn a_session_is_the_time_between_two_debounces() {
    check(
        json!({}),
        "0 100\n 10 0\n 20 0\n 30 0",
        &[
            "3 started 0 working",
            "25 stopped 0..10 power w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    // A debounce that ends in the very instant of the next reading ends first.
    check(
        json!({}),
        "0 100\n 3 0\n 18 100\n 19 0\n 30 0\n 40 0",
        &[
            "3 started 0 working",
            "18 stopped 0..3 power w3 s0 0.083333Wh integral peak 100 mean 100",
        ],
    );
    // Exactly the threshold is above it.
    check(json!({}), "0 5\n 4 50\n 8 4.999", &["3 started 0 standby"]);
}

#[test]
fn standby_and_working_add_up_to_the_session() {
    check(
        json!({}),
        "0 10\n 10.5 60\n 20 10\n 30.001 0\n 40 0\n 50 0",
        &[
            "3 started 0 standby",
            // 10 W for 10.5 s, 60 W for 9.5 s, 10 W for 10.001 s
            "45.001 stopped 0..30.001 power w9.5 s20.501 0.215281Wh integral peak 60 mean 25.832806",
        ],
    );
}

#[test]
fn power_that_does_not_stay_up_starts_nothing() {
    check(json!({}), "0 100\n 2.999 0\n 5 100\n 7 4\n 20 0\n 60 end", &[]);
    check(
        json!({}),
        "0 100\n 2 0\n 5 60\n 10 0\n 20 0\n 30 0",
        &[
            "8 started 5 working",
            "25 stopped 5..10 power w5 s0 0.083333Wh integral peak 60 mean 60",
        ],
    );
}

#[test]
fn a_dip_shorter_than_the_debounce_is_standby_in_the_session() {
    check(
        json!({}),
        "0 100\n 10 0\n 20 100\n 24 3\n 30 0\n 40 0",
        &[
            "3 started 0 working",
            "39 stopped 0..24 power w14 s10 0.388889Wh integral peak 100 mean 58.333333",
        ],
    );
}

#[test]
fn silence_ends_a_session_at_the_last_sign_of_life() {
    let timed_out = "25 timeout 0..5 message_timeout w5 s0 0.138889Wh integral peak 100 mean 100";
    check(json!({}), "0 100\n 5 100\n 60 end", &["3 started 0 working", timed_out]);
    // Any live reading is a sign of life, of whatever channel; it ends the session later.
    check(json!({}), "0 100\n 3 alive\n 5 alive\n 60 end", &["3 started 0 working", timed_out]);
    // A session without length has its peak as its mean.
    check(
        json!({}),
        "0 80\n 60 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 80 mean 80",
        ],
    );
    // Silence does not keep a debounce from starting, and counts from the last sign of life.
    check(
        json!({"start_debounce_s": 60}),
        "0 80\n 100 end",
        &[
            "60 started 0 working",
            "60 timeout 0..0 message_timeout w0 s0 0Wh integral peak 80 mean 80",
        ],
    );
}

#[test]
fn what_a_timed_out_device_last_said_starts_no_session_again() {
    check(
        json!({}),
        "0 100\n 60 alive\n 70 switch:0=-,e=7\n 80 100\n 90 0\n 100 0\n 110 0",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 100 mean 100",
            "83 started 80 working",
            "105 stopped 80..90 power w10 s0 0Wh counter peak 100 mean 100",
        ],
    );
    check(
        json!({}),
        "0 100\n 60 set {\"standby_threshold_w\": 1}\n 70 alive\n 90 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn the_earlier_of_stop_and_time_out_wins() {
    let script = "0 100\n 10 0\n 60 end";
    check(
        json!({"stop_debounce_s": 19.999}),
        script,
        &[
            "3 started 0 working",
            "29.999 stopped 0..10 power w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    // At one instant the stop comes first.
    check(
        json!({"stop_debounce_s": 20}),
        script,
        &[
            "3 started 0 working",
            "30 stopped 0..10 power w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    check(
        json!({"stop_debounce_s": 20.001}),
        "0 100\n 9 0\n 10 0\n 60 end",
        &[
            "3 started 0 working",
            "29.001 stopped 0..9 power w9 s0 0.25Wh integral peak 100 mean 100",
        ],
    );
    // A time-out while stopping ends at the last sign of life, after the power fell.
    check(
        json!({"stop_debounce_s": 60}),
        "0 100\n 8 0\n 10 0\n 60 end",
        &[
            "3 started 0 working",
            "30 timeout 0..10 message_timeout w8 s2 0.222222Wh integral peak 100 mean 80",
        ],
    );
}

#[test]
fn heartbeats_count_from_the_start_and_none_follows_the_end() {
    check(
        json!({"start_debounce_s": 5, "heartbeat_interval_s": 10}),
        "0 100\n 10 20\n 20 100\n 30 0\n 40 0\n 60 0",
        &[
            "5 started 0 working",
            "15 heartbeat 0 standby w10 s5 0.305556Wh integral peak 100 mean 73.333333",
            "25 heartbeat 0 working w15 s10 0.472222Wh integral peak 100 mean 68",
            "35 heartbeat 0 stopping w20 s15 0.611111Wh integral peak 100 mean 62.857143",
            // Stop and heartbeat fall together at 45.
            "45 stopped 0..30 power w20 s10 0.611111Wh integral peak 100 mean 73.333333",
        ],
    );
    check(
        json!({"heartbeat_interval_s": 0, "message_timeout_s": 1000}),
        "0 100\n 900 0\n 920 0",
        &[
            "3 started 0 working",
            "915 stopped 0..900 power w900 s0 25Wh integral peak 100 mean 100",
        ],
    );
    // A time-out and a heartbeat at one instant: the time-out.
    check(
        json!({"heartbeat_interval_s": 17}),
        "0 100\n 60 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn debounces_of_no_length_act_at_once() {
    check(
        json!({"start_debounce_s": 0, "stop_debounce_s": 0}),
        "0 100\n 10 0\n 11 7\n 12 0",
        &[
            "0 started 0 working",
            "10 stopped 0..10 power w10 s0 0.277778Wh integral peak 100 mean 100",
            "11 started 11 standby",
            "12 stopped 11..12 power w0 s1 0.001944Wh integral peak 7 mean 7",
        ],
    );
}

#[test]
fn readings_of_one_instant_count_in_order_of_arrival() {
    // The host gives a late reading the time of the step before it, too.
    check(
        json!({}),
        "0 100\n 10 0\n 10 200\n 20 60\n 20 0\n 35 end",
        &[
            "3 started 0 working",
            "35 stopped 0..20 power w20 s0 0.833333Wh integral peak 200 mean 150",
        ],
    );
    check(json!({}), "0 100\n 0 0\n 10 0", &[]);
}

#[test]
fn new_thresholds_act_in_mid_session_and_keep_what_was_counted() {
    // The machine worked by the old threshold until 10, is in standby by the new one after.
    check(
        json!({}),
        "0 100\n 10 set {\"working_threshold_w\": 150}\n 15 100\n 20 0\n 30 0\n 40 0",
        &[
            "3 started 0 working",
            "35 stopped 0..20 power w10 s10 0.555556Wh integral peak 100 mean 100",
        ],
    );
    // What came after the last sign of life counts for nothing when silence ends it.
    check(
        json!({}),
        "0 100\n 10 set {\"working_threshold_w\": 150}\n 60 end",
        &[
            "3 started 0 working",
            "20 timeout 0..0 message_timeout w0 s0 0Wh integral peak 100 mean 100",
        ],
    );
    // A threshold above the power stops the machine then and there.
    check(
        json!({}),
        "0 40\n 4 40\n 8 set {\"standby_threshold_w\": 45}\n 10 40\n 20 40\n 30 40",
        &["3 started 0 standby", "23 stopped 0..8 power w0 s8 0.088889Wh integral peak 40 mean 40"],
    );
    // … and one below it brings it back, or starts it.
    check(
        json!({"standby_threshold_w": 45}),
        "0 50\n 5 40\n 10 set {\"standby_threshold_w\": 30}\n 15 40\n 20 0\n 30 0\n 40 0",
        &[
            "3 started 0 working",
            "35 stopped 0..20 power w5 s15 0.236111Wh integral peak 50 mean 42.5",
        ],
    );
    check(
        json!({}),
        "0 4\n 8 set {\"standby_threshold_w\": 3}\n 10 4\n 15 0\n 25 0\n 35 0",
        &["11 started 8 standby", "30 stopped 8..15 power w0 s7 0.007778Wh integral peak 4 mean 4"],
    );
    check(json!({}), "0 6\n 1 set {\"standby_threshold_w\": 7}\n 10 6\n 20 6", &[]);
}

#[test]
fn new_times_act_at_once_at_the_time_that_they_give() {
    check(
        json!({"start_debounce_s": 60}),
        "0 100\n 10 100\n 15 set {\"start_debounce_s\": 12, \"heartbeat_interval_s\": 2}\n 16 100\n 17 end",
        &[
            "12 started 0 working",
            "16 heartbeat 0 working w16 s0 0.444444Wh integral peak 100 mean 100",
        ],
    );
    check(
        json!({"stop_debounce_s": 60}),
        "0 100\n 10 0\n 20 0\n 25 set {\"stop_debounce_s\": 5}\n 30 end",
        &[
            "3 started 0 working",
            "15 stopped 0..10 power w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    check(
        json!({"message_timeout_s": 60}),
        "0 100\n 10 100\n 40 set {\"message_timeout_s\": 25}\n 50 end",
        &[
            "3 started 0 working",
            "35 timeout 0..10 message_timeout w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    // Heartbeats of a shorter interval do not come for the past.
    check(
        json!({"message_timeout_s": 60, "heartbeat_interval_s": 30}),
        "0 100\n 40 set {\"heartbeat_interval_s\": 4}\n 44 end",
        &[
            "3 started 0 working",
            "33 heartbeat 0 working w33 s0 0.916667Wh integral peak 100 mean 100",
            "43 heartbeat 0 working w43 s0 1.194444Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn a_removed_device_ends_its_session_at_its_last_sign_of_life() {
    let removed = |script| {
        let told = run(&json!({}), script, Wakes::Exact);
        (lines(&told), told)
    };
    let (events, _) = removed("0 100\n 10 100\n 12 removed");
    assert_eq!(
        events,
        [
            "3 started 0 working",
            "12 stopped 0..10 device_removed w10 s0 0.277778Wh integral peak 100 mean 100",
        ]
    );
    // While stopping as well, and not twice where silence has ended it already.
    let (events, _) = removed("0 100\n 10 0\n 12 0\n 14 removed");
    assert_eq!(
        events[1],
        "14 stopped 0..12 device_removed w10 s2 0.277778Wh integral peak 100 mean 83.333333"
    );
    assert_eq!(removed("0 100\n 20 removed").0.len(), 2);
    assert_eq!(removed("0 100\n 2 removed").0.len(), 0);
    assert_eq!(removed("0 1\n 2 removed").0.len(), 0);
}
