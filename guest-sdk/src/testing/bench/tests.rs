use super::*;
use crate::item::Event;

crate::settings! {
    struct Settings {
        /// Silence after which the key is forgotten, in ms.
        limit_ms: u64 = 10_000,
    }
}

/// Emits what it is given, and an event for everything else.
struct Echo(Settings);

impl Detector for Echo {
    type Settings = Settings;
    type State = (u32, u64);
    const NAME: &'static str = "echo";
    const SUMMARY: &'static str = "Says what it is given";
    const STATE_VERSION: u32 = 1;

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.limit_ms == 0 { Err("no limit".to_owned()) } else { Ok(Self(settings)) }
    }

    fn step(&self, step: Step<'_, (u32, u64)>) -> Result<Next<(u32, u64)>, Rejection> {
        let (count, before) = step.state.unwrap_or_default();
        assert!(step.at >= before, "time went back");
        let what = match step.input {
            Input::Item(_) if step.retained => "kept".to_owned(),
            Input::Item(_) => format!("reading {count}"),
            Input::Message(_) => return Err(Rejection::new("message", "none expected")),
            Input::Timer => return Ok(Next::forget().emit(Event::new("silent"))),
            Input::DeafSince(since) => format!("deaf since {since}"),
            Input::Reconfigured => format!("now {}", self.0.limit_ms),
            Input::Removed => "removed".to_owned(),
        };
        Ok(Next::keep((count + 1, step.at))
            .wake_at(step.at + self.0.limit_ms)
            .emit(Event::new(what)))
    }
}

fn trace(bench: &mut Bench<Echo>) -> Vec<String> {
    let line = |output: &Output| match &output.item {
        Item::Event(event) => format!("{} {}: {}", output.at, output.key, event.kind),
        other => format!("{other:?}"),
    };
    bench.outputs().iter().map(line).collect()
}

fn bench() -> Bench<Echo> {
    Bench::new(Settings::default())
}

fn reading() -> Reading {
    Reading::channel("").power_w(1.0)
}

#[test]
fn a_wake_up_acts_before_an_input_at_its_time() {
    let mut bench = bench();
    bench.reading("a", 0, reading());
    bench.reading("a", 10_000, reading());
    assert_eq!(trace(&mut bench), ["0 a: reading 0", "10000 a: silent", "10000 a: reading 0"]);
}

#[test]
fn time_never_goes_back_and_what_is_late_is_not_seen() {
    let mut bench = Bench::<Echo>::from_json(serde_json::json!({ "limit_ms": 1_000_000 }));
    bench.reading("a", 100_000, reading());
    bench.reading("a", 40_000, reading());
    bench.reading("a", 39_999, reading());
    assert_eq!(trace(&mut bench), ["100000 a: reading 0", "100000 a: reading 1"]);
    assert_eq!(bench.late(), 1);
}

#[test]
fn the_clock_wakes_every_key_in_order_of_time() {
    let mut bench = bench();
    bench.reading("a", 5, reading());
    bench.retained("b", 3, reading());
    bench.advance_to(10_004);
    assert_eq!(trace(&mut bench)[2..], ["10003 b: silent"]);
    assert_eq!(bench.wake_at("a"), Some(10_005));
    assert_eq!((bench.state("a"), bench.state("b")), (Some((1, 5)), None));
}

#[test]
fn every_key_hears_of_deafness_before_a_wake_up_that_fell_due_in_it() {
    let mut bench = bench();
    bench.reading("a", 0, reading());
    bench.deaf(9_000, 20_000);
    bench.advance_to(29_999);
    bench.advance_to(30_000);
    assert_eq!(
        trace(&mut bench),
        ["0 a: reading 0", "20000 a: deaf since 9000", "30000 a: silent"]
    );
}

#[test]
fn new_settings_act_at_once_and_a_removed_key_is_gone() {
    let mut bench = bench();
    bench.reading("a", 0, reading());
    bench.reconfigure("a", 1, Settings { limit_ms: 50 });
    assert_eq!(bench.wake_at("a"), Some(51));
    bench.remove("a", 2);
    bench.advance_to(1_000);
    assert_eq!(trace(&mut bench), ["0 a: reading 0", "1 a: now 50", "2 a: removed"]);
}

#[test]
#[should_panic(expected = "`a` asks again and again to be woken at 0, which is past")]
fn a_detector_that_wakes_itself_without_end_is_found_out() {
    let mut bench = Bench::<Restless>::new(crate::NoSettings {});
    bench.reading("a", 0, reading());
    bench.advance_to(1);
}

struct Restless;

impl Detector for Restless {
    type Settings = crate::NoSettings;
    type State = ();
    const NAME: &'static str = "restless";
    const SUMMARY: &'static str = "Never sleeps";
    const STATE_VERSION: u32 = 1;

    fn new(_: crate::NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn step(&self, step: Step<'_, ()>) -> Result<Next<()>, Rejection> {
        Ok(Next::keep(()).wake_at(step.at))
    }
}

#[test]
fn a_refused_input_leaves_state_and_wake_up_alone() {
    let mut bench = bench();
    bench.reading("a", 0, reading());
    bench.message("a", 1, crate::testing::message("t", ""));
    assert_eq!(bench.rejected()[0].1.code, "message");
    assert_eq!((bench.state("a"), bench.wake_at("a")), (Some((1, 0)), Some(10_000)));
}

#[test]
fn the_size_of_batches_does_not_change_the_order() {
    let run = |size| {
        let mut bench = bench().batches_of(size);
        for n in 0..40 {
            let key = ["a", "b", "c"][n % 3];
            bench.reading(key, n as u64 * 3_000, reading());
            if n == 20 {
                bench.deaf(61_000, 62_000);
                bench.reconfigure("b", 62_500, Settings { limit_ms: 4_000 });
            }
        }
        bench.advance_to(500_000);
        trace(&mut bench)
    };
    let one = run(1);
    assert!(one.iter().any(|line| line.ends_with("silent")), "{one:?}");
    for size in [2, 7, 256] {
        assert_eq!(run(size), one, "batches of {size}");
    }
}
