//! The detector against the slow computation of `oracle`: over days of real appliances, and
//! over thousands of made-up runs that no appliance would give.

use serde_json::{Value, json};
use tapline_sdk::prelude::*;
use tapline_sdk::testing::Bench;
use tapline_session::{Session, Settings};

use crate::host::{Host, START, Wakes};
use crate::oracle::{Expected, Happening, Rules, sessions};
use crate::script::millis;

const RULES: Rules = Rules {
    standby_w: 5.0,
    working_w: 50.0,
    start: 3,
    stop: 15,
    message: 20,
    silence: 21_600,
    heartbeat: 300,
};

/// A run in ticks from 0.
type Run = Vec<(u64, Happening)>;

/// Readings of a trace, without those in `silence` (seconds of the day).
fn trace(text: &str, silence: std::ops::Range<u64>) -> Run {
    let rows = text.lines().filter_map(|line| line.split_once(','));
    let rows = rows.filter_map(|(at, power)| Some((at.parse().ok()?, power.parse().ok()?)));
    let rows: Vec<(u64, f64)> = rows.filter(|(at, _)| !silence.contains(at)).collect();
    let first = rows[0].0;
    rows.into_iter().map(|(at, power)| (at - first, Happening::Power(power))).collect()
}

fn settings(rules: Rules, tick_s: f64) -> Settings {
    let seconds = |ticks: u64| ticks as f64 * tick_s;
    serde_json::from_value(json!({
        // Named, because `auto` knows no channel before its first power, nor its counter.
        "channel": "switch:0",
        "standby_threshold_w": rules.standby_w,
        "working_threshold_w": rules.working_w,
        "start_debounce_s": seconds(rules.start),
        "stop_debounce_s": seconds(rules.stop),
        "message_timeout_s": seconds(rules.message),
        "max_silence_s": seconds(rules.silence),
        "heartbeat_interval_s": seconds(rules.heartbeat),
    }))
    .expect("settings")
}

fn reading(what: Happening) -> Reading {
    match what {
        Happening::Power(watts) => Reading::channel("switch:0").power_w(watts),
        Happening::Energy(wh) => Reading::channel("switch:0").energy_wh(wh),
        Happening::Online(is) | Happening::KeptOnline(is) => Reading::channel("device").online(is),
        Happening::DeafSince(_) => unreachable!("an outage is no reading"),
    }
}

/// Runs the detector over ticks of `tick_ms`.
fn detect(rules: Rules, run: &Run, end: u64, tick_ms: u64, wakes: Wakes) -> Vec<Event> {
    let settings = serde_json::to_value(settings(rules, tick_ms as f64 / 1000.0)).expect("JSON");
    let mut host = Host::new(&settings, wakes);
    let time = |tick: u64| START + tick * tick_ms;
    for (at, what) in run {
        match what {
            Happening::DeafSince(from) => host.deaf(time(*from), time(*at)),
            Happening::KeptOnline(_) => {
                // It dates nothing, so what time has done by now must be done before it.
                host.wake_until(time(*at));
                host.retained(time(*at), Input::Item(reading(*what).into()));
            }
            _ => host.input(time(*at), Input::Item(reading(*what).into())),
        }
    }
    host.end(time(end));
    host.told.events
}

/// Compares events with what was expected; numbers of energy and power to a millionth.
#[track_caller]
fn compare(events: &[Event], expected: &[Expected], tick_ms: u64, what: &dyn std::fmt::Debug) {
    let tick = |ms: u64| (ms - START) / tick_ms;
    for (event, expected) in events.iter().zip(expected) {
        assert_eq!(event.kind, expected.kind, "{expected:?} of {what:?}");
        assert_eq!(event.at.map(tick), Some(expected.at), "{expected:?} of {what:?}");
        let mut data: Value = event.read().expect("JSON");
        data.as_object_mut().expect("an object").remove("session_id").expect("an id");
        assert_eq!(
            data.as_object().map(|data| data.keys().collect::<Vec<_>>()),
            expected.data.as_object().map(|data| data.keys().collect::<Vec<_>>()),
        );
        for (name, value) in data.as_object().expect("an object") {
            let expected = &expected.data[name];
            let same = match name.as_str() {
                "started_at" | "ended_at" => Some(tick(millis(value))) == expected.as_u64(),
                "energy_wh" | "peak_w" | "average_w" => {
                    let (is, should) = (value.as_f64(), expected.as_f64());
                    let (is, should) = (is.expect("a number"), should.expect("a number"));
                    (is - should).abs() < 2e-6 * should.abs().max(1.0)
                }
                _ => value == expected,
            };
            assert!(same, "{name} {value}, not {expected}: {event:?} of {what:?}");
        }
    }
    assert_eq!(events.len(), expected.len(), "{events:?}\n{expected:?}\nof {what:?}");
}

/// Kind and reason of what ends sessions, in short.
fn ends(expected: &[Expected]) -> Vec<&str> {
    expected.iter().filter_map(|event| event.data["reason"].as_str()).collect()
}

#[track_caller]
fn check(rules: Rules, run: &Run, expected_ends: &[&str]) {
    let end = run.last().expect("a reading").0 + 60;
    let expected = sessions(rules, run, end, 1);
    assert_eq!(ends(&expected), expected_ends, "{rules:?}");
    for wakes in [Wakes::Exact, Wakes::Missing] {
        compare(&detect(rules, run, end, 1000, wakes), &expected, 1000, &rules);
    }
}

const COFFEE: &str = include_str!("../traces/coffee-machine.csv");
const DISHES: &str = include_str!("../traces/dishwasher.csv");
const LAUNDRY: &str = include_str!("../traces/washing-machine.csv");
const PROJECTOR: &str = include_str!("../traces/video-projector.csv");

#[test]
fn a_day_of_a_washing_machine_has_three_sessions_with_many_short_dips() {
    let power = ["power"; 3];
    check(RULES, &trace(LAUNDRY, 0..0), &power);
    // With a silence in the second hour it has four, of which two end in silence.
    let silence = trace(LAUNDRY, 72_000..72_100);
    check(RULES, &silence, &["power", "power", "message_timeout", "power"]);
    check(Rules { stop: 60, ..RULES }, &trace(LAUNDRY, 0..0), &["power"]);
}

#[test]
fn days_of_other_machines_agree_as_well() {
    check(RULES, &trace(COFFEE, 0..0), &["power"; 2]);
    check(RULES, &trace(DISHES, 0..0), &["power"; 7]);
    check(Rules { stop: 60, ..RULES }, &trace(DISHES, 0..0), &["power"; 3]);
    check(
        Rules { standby_w: 30.0, working_w: 200.0, start: 1, ..RULES },
        &trace(DISHES, 51_000..51_030),
        &["power", "message_timeout", "power", "power", "power"],
    );
    // The projector's own record has gaps of more than 20 s.
    let rules = Rules { standby_w: 10.0, working_w: 150.0, ..RULES };
    check(rules, &trace(PROJECTOR, 0..0), &["power", "message_timeout", "power"]);
}

#[test]
fn a_device_that_reports_only_changes_has_the_sessions_of_one_that_repeats_itself() {
    let all = trace(LAUNDRY, 0..0);
    let mut changes: Run = vec![(0, Happening::KeptOnline(true))];
    for (at, what) in &all {
        let last = changes.iter().rev().find(|(_, known)| matches!(known, Happening::Power(_)));
        if last.is_none_or(|(_, known)| known != what) {
            changes.push((*at, *what));
        }
    }
    assert!(changes.len() < all.len());
    let end = all.last().expect("a reading").0 + 60;
    let expected = sessions(RULES, &all, end, 1);
    compare(&detect(RULES, &changes, end, 1000, Wakes::Exact), &expected, 1000, &"changes");
}

#[test]
fn a_counter_that_starts_again_gives_the_energy_of_each_session() {
    let mut run: Run = Vec::new();
    let (mut wh, mut held) = (4990.0, (0, 0.0));
    for (at, what) in trace(DISHES, 0..0) {
        let Happening::Power(power) = what else { continue };
        wh += held.1 * (at - held.0) as f64 / 3600.0;
        held = (at, power);
        if wh > 5000.0 {
            wh -= 5000.0;
        }
        run.push((at, what));
        // Now and then, before the next power.
        if run.len().is_multiple_of(7) {
            run.push((at, Happening::Energy(wh)));
        }
    }
    check(RULES, &run, &["power"; 7]);
}

/// A generator of numbers, the same on every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn made_up_runs_agree_as_well() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..3000 {
        let mut dice = Dice(seed);
        let message = 1 + dice.roll(30);
        let rules = Rules {
            standby_w: 5.0,
            working_w: 50.0,
            start: dice.roll(8),
            stop: dice.roll(25),
            message,
            silence: message + dice.roll(100),
            heartbeat: 1 + dice.roll(40),
        };
        let (run, end) = made_up(&mut dice);
        let expected = sessions(rules, &run, end, 10);
        for event in &expected {
            let reason = event.data["reason"].as_str().unwrap_or_default().to_owned();
            *seen.entry((event.kind, reason)).or_insert(0) += 1;
        }
        let what = (seed, rules, &run);
        compare(&detect(rules, &run, end, 100, Wakes::Exact), &expected, 100, &what);
        // Without wake-ups what is kept by the broker would be learned too early.
        if !run.iter().any(|(_, what)| matches!(what, Happening::KeptOnline(_))) {
            compare(&detect(rules, &run, end, 100, Wakes::Missing), &expected, 100, &what);
        }
    }
    let counts: Vec<i32> = seen.values().copied().collect();
    assert!(seen.len() == 5 && counts.iter().all(|count| *count > 500), "{seen:?}");
}

fn made_up(dice: &mut Dice) -> (Run, u64) {
    let mut run = Run::new();
    let (mut now, mut wh) = (0, 100.0);
    for _ in 0..dice.roll(40) {
        now += [0, 0, 1, 2, 3, 5, 8, 20, 40][dice.roll(9) as usize];
        let what = match dice.roll(16) {
            0..=8 => {
                Happening::Power([0.0, 4.75, 5.0, 20.0, 50.0, 120.5, -30.0][dice.roll(7) as usize])
            }
            9 | 10 => {
                wh = if dice.roll(8) == 0 { 0.25 } else { wh + dice.roll(10) as f64 / 4.0 };
                Happening::Energy(wh)
            }
            11 => Happening::Online(true),
            12 => Happening::Online(false),
            13 => Happening::KeptOnline(dice.roll(2) == 0),
            _ => {
                let from = now;
                now += dice.roll(60);
                Happening::DeafSince(from)
            }
        };
        run.push((now, what));
    }
    (run, now + 200)
}

#[test]
fn batches_of_any_size_give_the_same_bytes() {
    let runs =
        [("coffee", COFFEE), ("dishes", DISHES), ("laundry", LAUNDRY), ("projector", PROJECTOR)];
    let mut all: Vec<(u64, &str, Happening)> = Vec::new();
    for (key, text) in runs {
        all.extend(trace(text, 0..0).into_iter().map(|(at, what)| (at, key, what)));
    }
    all.sort_by_key(|(at, ..)| *at);
    let outputs = [1, 7, 256].map(|size| {
        let mut bench = Bench::<Session>::new(settings(RULES, 1.0)).batches_of(size);
        for (at, key, what) in &all {
            bench.reading(key, START + at * 1000, reading(*what));
        }
        bench.advance_to(START + 200_000_000);
        assert!(bench.rejected().is_empty() && bench.largest_state() <= 200);
        // Per key, as the host keeps them.
        let mut outputs: Vec<_> = bench.take_outputs();
        outputs.sort_by(|one, other| one.key.cmp(&other.key));
        outputs
    });
    assert!(outputs[0].len() > 200, "{}", outputs[0].len());
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}
