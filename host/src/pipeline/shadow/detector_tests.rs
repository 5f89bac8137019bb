//! Two versions of the detector that counts readings, side by side.

use std::time::{Duration, Instant};

use serde_json::Map;

use super::pairs::{Entry, PATIENCE_MS, Pairs};
use super::stepping::Stepping;
use super::tests::worked_off;
use super::*;
use crate::config::pipeline::OnReject;
use crate::message::{Event, Measurement, Quantity, Reading};
use crate::module::Limits;
use crate::module::tests::module;
use crate::pipeline::detect::{Dating, StepInput, Stepper, What};
use crate::pipeline::keys::StageKeys;
use crate::pipeline::plan::{ModuleStage, ShadowStage};
use crate::pipeline::runner::Runner;

const BEGIN: u64 = 1_770_000_000_000;

fn stage(name: &str, of: &str) -> ModuleStage {
    ModuleStage {
        name: name.into(),
        module: module(of),
        limits: Limits::default(),
        on_reject: OnReject::DeadLetter,
        settings: Arc::new(SettingsSet::new(&Map::new())),
        shadow: None,
    }
}

fn shadow(of: &str) -> Arc<ShadowStage> {
    let live = module("counter").hash();
    Arc::new(ShadowStage { stage: stage("count.shadow", of), module: of.into(), live })
}

/// The live version as a worker has it.
struct Live {
    stage: ModuleStage,
    keys: StageKeys,
    runner: Runner,
    followed: Followed,
    now: u64,
}

impl Live {
    fn new() -> Self {
        let stage = stage("count", "counter");
        let runner = Runner::new(&"p".into(), &stage, &Flow::default());
        let (keys, followed) = (StageKeys::default(), Followed::default());
        Self { stage, keys, runner, followed, now: BEGIN }
    }

    /// A reading for each of these keys, in one batch, a second after the one before.
    fn reads(&mut self, keys: &[&str]) -> Vec<Stepped> {
        self.reads_of(5.0, keys)
    }

    fn reads_of(&mut self, value: f64, keys: &[&str]) -> Vec<Stepped> {
        self.now += 1_000;
        let item = Item::Reading(Reading {
            device: None,
            channel: String::new(),
            at: None,
            measurements: vec![Measurement { quantity: Quantity(1), value }],
        });
        let received_at = Timestamp(self.now);
        let dating = Dating { stated: None, received_at, retained: false, qos: 1 };
        let inputs: Vec<_> = keys
            .iter()
            .map(|key| StepInput {
                key: (*key).into(),
                device: None,
                settings: self.stage.settings.clone(),
                what: What::Item { item: &item, dating },
            })
            .collect();
        let seeds = self.followed.seeds(&self.stage, &inputs, Some(&self.keys));
        let mut stepper = Stepper {
            bridge: "b",
            pipeline: "p",
            stage: &self.stage,
            keys: &mut self.keys,
            runner: &mut self.runner,
        };
        let outcomes = stepper.run(&inputs);
        let steps = inputs.iter().zip(&outcomes).zip(seeds);
        steps
            .map(|((input, outcome), seed)| Stepped::new(&"count".into(), input, outcome, seed))
            .collect()
    }

    /// The same, of which the shadow is told nothing.
    fn reads_alone(&mut self, keys: &[&str]) {
        let steps = self.reads(keys);
        steps.iter().for_each(|step| {
            self.followed.loses(&step.stage, &step.key);
        });
    }
}

struct Beside {
    lane: Lane,
    tally: Arc<ShadowTally>,
}

impl Beside {
    fn new(of: &str) -> Self {
        let shadow = shadow(of);
        let tally = Arc::new(ShadowTally::new(&shadow));
        let lane = Lane::start(&"p".into(), &"count".into(), &shadow, tally.clone());
        Self { lane, tally }
    }

    fn sees(&self, steps: Vec<Stepped>) {
        assert!(self.lane.offer(Handed::Steps(steps)).is_none(), "there is room");
    }

    /// The counts at the end, when nothing waits for its other half any more.
    fn ends(self) -> ShadowCounts {
        // What is handed over is worked off before the thread looks whether it is to end.
        let patience = Instant::now() + Duration::from_secs(60);
        while self.lane.is_busy() {
            assert!(Instant::now() < patience, "{:?}", self.tally.counts());
            std::thread::yield_now();
        }
        self.lane.join();
        worked_off(&self.tally)
    }
}

#[test]
fn a_shadow_goes_on_from_the_live_state_and_counts_every_step() {
    let mut live = Live::new();
    live.reads_alone(&["saw", "press"]);
    live.reads_alone(&["saw"]);
    let shadow = Beside::new("counter");
    for _ in 0..5 {
        shadow.sees(live.reads(&["saw", "press", "saw", "lathe"]));
    }
    let counts = shadow.ends();
    assert_eq!((counts.inputs, counts.same), (20, 20), "{counts:?}");
}

#[test]
fn a_newer_state_is_migrated_as_a_reload_would_and_differences_name_the_key() {
    let mut live = Live::new();
    live.reads_alone(&["saw"; 2]);
    let shadow = Beside::new("counter-next");
    shadow.sees(live.reads(&["saw"]));
    let tally = shadow.tally.clone();
    let counts = shadow.ends();
    assert_eq!((counts.inputs, counts.different), (1, 1), "{counts:?}");
    let last = tally.last();
    assert_eq!(last[0].key.as_deref(), Some("saw"));
    assert!(last[0].live[0].contains("{\"count\":3,\"version\":1}"), "{:?}", last[0].live);
    assert!(last[0].shadow[0].contains("{\"count\":3,\"version\":2}"), "{:?}", last[0].shadow);
    assert_eq!(tally.afresh(), None);
}

#[test]
fn a_state_that_the_shadow_does_not_read_begins_afresh_and_that_is_said() {
    let mut live = Live::new();
    live.reads_alone(&["saw"; 3]);
    let shadow = Beside::new("counter-next");
    shadow.sees(live.reads(&["saw", "press"]));
    let tally = shadow.tally.clone();
    shadow.ends();
    let afresh = tally.afresh().expect("it is said");
    assert_eq!((afresh.keys, &*afresh.key), (1, "saw"));
    assert_eq!(&*afresh.why, "a count of 3 cannot be brought over");
    let shown = format!("{:?}", tally.last());
    assert!(shown.contains("\\\"count\\\":4,\\\"version\\\":1"), "{shown}");
    assert!(shown.contains("\\\"count\\\":1,\\\"version\\\":2"), "{shown}");
}

#[test]
fn inputs_that_a_shadow_missed_leave_no_difference_behind() {
    let mut live = Live::new();
    let shadow = Beside::new("counter");
    shadow.sees(live.reads(&["saw", "press"]));
    live.reads_alone(&["saw"]);
    live.reads_alone(&["saw"]);
    shadow.sees(live.reads(&["saw", "press"]));
    let counts = shadow.ends();
    assert_eq!((counts.inputs, counts.same), (4, 4), "{counts:?}");
}

#[test]
fn what_there_is_no_room_for_comes_back_so_that_its_keys_can_begin_anew() {
    let mut live = Live::new();
    let shadow = Beside::new("counter");
    let many: Vec<_> = (0..3000).map(|n| format!("key-{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let Some(Handed::Steps(lost)) = shadow.lane.offer(Handed::Steps(live.reads(&many))) else {
        panic!("there is room for fewer");
    };
    assert_eq!(lost.len(), 3000);
    let counts = shadow.ends();
    assert_eq!((counts.inputs, counts.not_compared), (3000, 3000), "{counts:?}");
}

#[test]
fn a_detector_that_breaks_stops_after_ten_failures_and_keeps_no_state() {
    let mut live = Live::new();
    let shadow = Beside::new("counter-broken");
    for _ in 0..10 {
        shadow.sees(live.reads(&["saw", "press", "lathe"]));
    }
    let tally = shadow.tally.clone();
    let counts = shadow.ends();
    let why = tally.stopped().expect("it has stopped");
    assert!(why.contains("failed 10 times") && why.contains("wheel is stuck"), "{why}");
    assert!(counts.failed >= 10 && counts.failed + counts.not_compared == 30, "{counts:?}");
}

#[test]
fn a_detector_that_refuses_with_a_code_of_the_hosts_has_not_failed() {
    let mut live = Live::new();
    let shadow = Beside::new("counter-next");
    for _ in 0..12 {
        shadow.sees(live.reads_of(-9001.0, &["saw"]));
    }
    let tally = shadow.tally.clone();
    let counts = shadow.ends();
    assert_eq!((counts.inputs, counts.refused_differently, counts.failed), (12, 12, 0));
    assert_eq!(tally.stopped(), None);
}

#[test]
fn a_detector_whose_states_take_too_much_stops() {
    let (mut live, shadow) = (Live::new(), shadow("counter"));
    let tally = Arc::new(ShadowTally::new(&shadow));
    let (pipeline, stage) = ("p".into(), "count".into());
    let mut stepping = Stepping::new(&pipeline, &stage, &shadow, tally.clone(), Arc::default());
    stepping.room = 1 << 20;
    let mut keys = (0..).map(|n| format!("key-{n}"));
    let mut more = |live: &mut Live| {
        let keys: Vec<_> = keys.by_ref().take(500).collect();
        tally.handed_over(keys.len());
        stepping.steps(&live.reads(&keys.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    more(&mut live);
    assert_eq!(tally.stopped(), None);
    for _ in 0..40 {
        more(&mut live);
    }
    assert_eq!(tally.stopped().as_deref(), Some("its states take more than 1 MiB"));
}

/// Pairs of a tally, with nothing in it.
fn pairs() -> (Pairs, Arc<ShadowTally>) {
    let tally = Arc::new(ShadowTally::new(&shadow("counter")));
    (Pairs::new(tally.clone()), tally)
}

fn entry(tally: &ShadowTally, at: u64, live: &[&str], shadow: &[&str]) -> Entry {
    tally.handed_over(1);
    let lines = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    Entry { at: Timestamp(at), topic: None, device: None, live: lines(live), shadow: lines(shadow) }
}

#[test]
fn what_both_say_in_another_order_or_a_moment_apart_is_the_same() {
    let (mut pairs, tally) = pairs();
    let key: Arc<str> = "saw".into();
    pairs.add(&key, entry(&tally, 0, &["1", "2", "2"], &["2", "1", "2"]));
    assert_eq!(tally.counts().same, 1);
    pairs.add(&key, entry(&tally, 10, &["{\"a\":1,\"b\":-0.0}"], &[]));
    pairs.add(&key, entry(&tally, 10 + PATIENCE_MS - 1, &["4"], &["{\"b\":0.0,\"a\":1}"]));
    assert_eq!((tally.counts().same, tally.counts().waiting), (2, 1));
    pairs.add(&key, entry(&tally, 10 + PATIENCE_MS - 1, &[], &["4"]));
    assert_eq!(tally.counts().same, 4);
    assert_eq!(pairs.next(), None);
}

#[test]
fn what_only_one_says_is_a_difference_once_its_time_is_over() {
    let (mut pairs, tally) = pairs();
    let (saw, press): (Arc<str>, Arc<str>) = ("saw".into(), "press".into());
    pairs.add(&saw, entry(&tally, 0, &["1"], &[]));
    pairs.add(&press, entry(&tally, 1, &["1"], &["2"]));
    pairs.expire(Timestamp(PATIENCE_MS - 1));
    assert_eq!(tally.counts().waiting, 2);
    pairs.expire(Timestamp(PATIENCE_MS));
    assert_eq!((tally.counts().only_live, tally.counts().waiting), (1, 1));
    pairs.expire(Timestamp(PATIENCE_MS + 1));
    assert_eq!((tally.counts().different, tally.counts().waiting), (1, 0));
    // Of another key it would be no counterpart.
    let keys: Vec<_> = tally.last().into_iter().filter_map(|one| one.key).collect();
    assert_eq!(keys, [press, saw]);
}

#[test]
fn what_waits_for_its_other_half_is_bounded() {
    let (mut pairs, tally) = pairs();
    for n in 0..10_000 {
        pairs.add(&format!("key-{n}").into(), entry(&tally, 0, &["1"], &[]));
    }
    let counts = tally.counts();
    assert!(counts.waiting <= 4096, "{counts:?}");
    let long = "x".repeat(1 << 20);
    for n in 0..10 {
        pairs.add(&format!("long-{n}").into(), entry(&tally, 1, &[&long], &[]));
    }
    assert!(tally.counts().waiting <= 4, "{:?}", tally.counts());
    let key: Arc<str> = "saw".into();
    for n in 0..1_000 {
        pairs.add(&key, entry(&tally, 2, &[&n.to_string()], &[]));
    }
    assert!(tally.counts().waiting <= 70, "{:?}", tally.counts());
    pairs.settle_all();
    let counts = tally.counts();
    assert_eq!((counts.inputs, counts.only_live, counts.waiting), (11_010, 11_010, 0));
}

#[test]
fn an_event_is_the_same_only_at_the_same_time_and_with_the_same_content() {
    let event = |data: &str| {
        Item::Event(Event {
            device: None,
            channel: String::new(),
            kind: "counted".to_owned(),
            at: None,
            data: data.to_owned(),
        })
    };
    let line = |data: &str, at: u64| {
        let at = Timestamp(at);
        let mut clock = crate::pipeline::line::Clock::default();
        compare::item_line(&"count".into(), &event(data), None, (Some(at), at), &mut clock)
    };
    assert_eq!(line("{\"n\":1}", 5), line("{\"n\":1}", 5));
    assert_ne!(line("{\"n\":1}", 5), line("{\"n\":1}", 6));
    assert_ne!(line("{\"n\":1}", 5), line("{\"n\":2}", 5));
}
