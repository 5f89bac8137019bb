//! Which readings count: channels, totals, lists, energy counters, the sign of power.

use serde_json::{Value, json};

use crate::host::Wakes;
use crate::rules::check;
use crate::script::run;

const STOPPED: &str = "35 stopped 0..20 power w20 s0 0.555556Wh integral peak 100 mean 100";

#[test]
fn a_second_channel_without_a_rule_is_left_aside_and_named() {
    let script = "0 switch:0=100\n 1 switch:1=500\n 10 switch:1=0\n 20 switch:0=0\n 35 end";
    check(json!({}), script, &["3 started 0 working", STOPPED]);
    let ignored = run(&json!({}), script, Wakes::Exact).ignored;
    assert_eq!(ignored.len(), 2);
    assert!(
        ignored[0].starts_with(
            "second-channel: channel `switch:1` gives power too, but that of `switch:0` counts"
        ),
        "{}",
        ignored[0]
    );
    // Named, it is not the site's oversight any more; and it is a sign of life as before.
    let named = json!({"channel": "switch:0"});
    check(named.clone(), script, &["3 started 0 working", STOPPED]);
    assert_eq!(run(&named, script, Wakes::Exact).ignored, Vec::<String>::new());
    check(
        json!({}),
        "0 switch:0=100\n 19 switch:1=1\n 38 switch:1=1\n 39 switch:0=0\n 54 end",
        &[
            "3 started 0 working",
            "54 stopped 0..39 power w39 s0 1.083333Wh integral peak 100 mean 100",
        ],
    );
}

#[test]
fn a_total_counts_instead_of_its_parts() {
    let script = "0 em:0.total=100\n 0 em:0.a=60\n 0 em:0.b=40\n 10 em:0.b=1\n 20 em:0.total=0\n 20 em:0.a=90\n 35 end";
    check(json!({}), script, &["3 started 0 working", STOPPED]);
    assert_eq!(run(&json!({}), script, Wakes::Exact).ignored, Vec::<String>::new());
    // It takes over from a part as soon as it is seen.
    check(
        json!({}),
        "0 em:0.a=60\n 10 em:0.total=100\n 20 em:0.a=0\n 25 em:0.total=0\n 40 end",
        &[
            "3 started 0 working",
            "40 stopped 0..25 power w25 s0 0.583333Wh integral peak 100 mean 84",
        ],
    );
}

#[test]
fn listed_channels_are_added_up_once_all_have_reported() {
    let settings = || json!({"channel": ["em:0.a", "em:0.b", "em:0.c"]});
    check(
        settings(),
        "0 em:0.a=60\n 5 em:0.b=39.9\n 10 em:0.c=0.1\n 20 em:0.a=-60\n 30 em:0.b=0\n 35 end",
        &[
            "13 started 10 working",
            "35 stopped 10..20 power w10 s0 0.277778Wh integral peak 100 mean 100",
        ],
    );
    check(settings(), "0 em:0.a=60\n 5 em:0.b=40\n 10 em:0.total=500\n 15 em:0.a=60", &[]);
    // Counters are added up too, if all have one.
    check(
        settings(),
        "0 em:0.a=60,e=1000\n 0 em:0.b=0,e=2000\n 0 em:0.c=0,e=5\n 9 em:0.b=0,e=2001\n \
         10 em:0.a=0,e=1000.5\n 20 em:0.c=-,e=6\n 25 end",
        &["3 started 0 working", "25 stopped 0..10 power w10 s0 1.5Wh counter peak 60 mean 60"],
    );
    check(
        settings(),
        "0 em:0.a=60,e=1000\n 0 em:0.b=0,e=2000\n 0 em:0.c=0\n 10 em:0.a=0,e=1001\n 25 end",
        &[
            "3 started 0 working",
            "25 stopped 0..10 power w10 s0 0.166667Wh integral peak 60 mean 60",
        ],
    );
}

#[test]
fn another_channel_in_mid_session_takes_over_with_its_first_power() {
    check(
        json!({}),
        "0 100 e=10\n 5 set {\"channel\": \"pm1:0\"}\n 6 200 e=11\n 10 pm1:0=40,e=900\n \
         20 pm1:0=0,e=901\n 35 end",
        &[
            "3 started 0 working",
            "35 stopped 0..20 power w10 s10 0.388889Wh integral peak 100 mean 70",
        ],
    );
    // The same channel under its name goes on with its counter.
    check(
        json!({}),
        "0 100 e=10\n 5 set {\"channel\": \"switch:0\"}\n 10 0 e=11\n 25 end",
        &["3 started 0 working", "25 stopped 0..10 power w10 s0 1Wh counter peak 100 mean 100"],
    );
}

#[test]
fn the_counter_gives_the_energy_between_both_ends() {
    for (script, energy) in [
        // The last value before the start, the last before the end.
        ("-60 0 e=1000.1\n 0 100\n 8 100 e=1000.7\n 10 0\n 20 0 e=1007\n 25 end", "0.6Wh counter"),
        // A value of the very instant belongs to it, in the same reading or right after.
        ("-60 0 e=900\n 0 100 e=1000\n 10 0 e=1002\n 20 0 e=1003\n 25 end", "2Wh counter"),
        (
            "-60 0 e=900\n 0 100\n 0 switch:0=-,e=1000\n 10 0\n 10 switch:0=-,e=1002\n 25 end",
            "2Wh counter",
        ),
        // None newer: nothing was counted.
        ("0 100 e=1000\n 10 0\n 25 end", "0Wh counter"),
        // A fall is a reset.
        ("0 100 e=1000\n 4 100 e=1001\n 6 100 e=0.5\n 8 100 e=2\n 10 0\n 25 end", "3Wh counter"),
        // None at the start, or none at all, or of another channel: the integral.
        ("0 100\n 5 100 e=1000\n 10 0 e=1002\n 25 end", "0.277778Wh integral"),
        ("0 100\n 1 em:9=-,e=7\n 10 0\n 25 end", "0.277778Wh integral"),
    ] {
        let stopped = format!("25 stopped 0..10 power w10 s0 {energy} peak 100 mean 100");
        check(json!({}), script, &["3 started 0 working", &stopped]);
    }
    // A heartbeat has the last value by then, a time-out that at its last sign of life.
    check(
        json!({"heartbeat_interval_s": 10}),
        "0 100 e=5\n 12 switch:0=-,e=6\n 20 switch:0=-,e=7\n 60 end",
        &[
            "3 started 0 working",
            "13 heartbeat 0 working w13 s0 1Wh counter peak 100 mean 100",
            "23 heartbeat 0 working w23 s0 2Wh counter peak 100 mean 100",
            "33 heartbeat 0 working w33 s0 2Wh counter peak 100 mean 100",
            "40 timeout 0..20 message_timeout w20 s0 2Wh counter peak 100 mean 100",
        ],
    );
}

#[test]
fn negative_power_is_off_unless_its_size_counts() {
    check(json!({}), "0 -100\n 10 -100", &[]);
    check(
        json!({"absolute": true}),
        "0 -100\n 10 100\n 20 -1\n 35 end",
        &["3 started 0 working", STOPPED],
    );
}

#[test]
fn the_longest_state_fits_200_bytes() {
    // `run` refuses any that is longer. Here: four channels with awkward values, stopping
    // after a week, thresholds changed since the last sign of life, and questions asked.
    let script = "0 em:0.a=1234.56789,e=1000.123\n 0 em:0.b=-1.1,e=2000.123\n 0 em:0.c=0.1,e=5.7\n \
         0 em:0.n=0.7,e=0.9\n 0 online\n 604800 em:0.a=99.9,e=1001.1\n \
         604801 set {\"working_threshold_w\": 60}\n 604802 em:0.a=0.3,e=1002.2\n \
         604803 set {\"working_threshold_w\": 70}\n 604804 deaf 604803\n 604900 end";
    let settings =
        |channel: Value| json!({"channel": channel, "max_silence_s": 1e7, "stop_debounce_s": 1000});
    let longest =
        |channel, script: &str| run(&settings(channel), script, Wakes::Exact).longest_state;
    let listed = longest(json!(["em:0.a", "em:0.b", "em:0.c", "em:0.n"]), script);
    assert!((170..=200).contains(&listed), "{listed}");
    // A channel with an endless name takes less.
    let endless = longest(json!("auto"), &script.replace("em:0.a", &"x:".repeat(300)));
    assert!((150..=listed).contains(&endless), "{endless}");
}
