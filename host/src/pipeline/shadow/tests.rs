//! Two parsers of `tests/modules` side by side: `hostile`, and `hostile-next`, which reads some
//! payloads otherwise.

use std::time::{Duration, Instant};

use serde_json::Map;

use super::*;
use crate::config::pipeline::OnReject;
use crate::message::{Measurement, Quantity, Reading};
use crate::module::tests::{message, module};
use crate::module::{Input, Limits, SettingsId};
use crate::pipeline::plan::{ModuleStage, ShadowStage};
use compare::compare;

fn shadow(name: &str) -> Arc<ShadowStage> {
    let stage = ModuleStage {
        name: "meters.shadow".into(),
        module: module(name),
        limits: Limits::default(),
        on_reject: OnReject::DeadLetter,
        settings: Arc::new(SettingsSet::new(&Map::new())),
        shadow: None,
    };
    Arc::new(ShadowStage { stage, module: name.into(), live: module("hostile").hash() })
}

/// What the live version makes of payloads.
fn shadowed(payloads: &[&str]) -> Vec<Shadowed> {
    let settings = Arc::new(SettingsSet::new(&Map::new()));
    let mut instance = module("hostile")
        .instantiate(Limits::default(), crate::module::LogContext::new(&"p".into(), &"s".into()))
        .unwrap();
    instance.configure(SettingsId(0), "{}").unwrap().unwrap();
    let mut one = |payload: &&str| {
        let message = message("hall/meter", payload);
        let input = Input { settings: SettingsId(0), message: &message, device: None };
        let live = instance.parse(&[input]).unwrap().remove(0);
        let (stage, message) = ("meters".into(), Arc::new(message));
        Shadowed { stage, message, device: None, whose: None, settings: settings.clone(), live }
    };
    payloads.iter().map(&mut one).collect()
}

fn lane(name: &str) -> (Lane, Arc<ShadowTally>) {
    let shadow = shadow(name);
    let tally = Arc::new(ShadowTally::new(&shadow));
    (Lane::start(&"workshop".into(), &"meters".into(), &shadow, tally.clone()), tally)
}

/// The counts once everything is worked off; they add up all the while.
pub(super) fn worked_off(tally: &ShadowTally) -> ShadowCounts {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let counts = tally.counts();
        let outcomes: u64 = counts.by_outcome().iter().map(|(_, count)| count).sum();
        assert_eq!(counts.inputs, outcomes + counts.waiting, "{counts:?}");
        if counts.waiting == 0 {
            return counts;
        }
        assert!(Instant::now() < patience, "{counts:?}");
        std::thread::yield_now();
    }
}

#[test]
fn every_kind_of_difference_is_counted_and_the_last_ones_are_kept() {
    let (lane, tally) = lane("hostile-next");
    let payloads =
        ["21.5", "1500", "-3", "items 0", "refuse", "code 1", "no number", "667", "22.5"];
    lane.offer(Handed::Inputs(shadowed(&payloads)));
    let counts = worked_off(&tally);
    let expected = ShadowCounts {
        inputs: 9,
        same: 3,
        different: 1,
        only_live: 1,
        only_shadow: 1,
        refused_differently: 2,
        failed: 1,
        ..ShadowCounts::default()
    };
    assert_eq!(counts, expected);
    let last = tally.last();
    let kinds: Vec<_> = last.iter().map(|difference| difference.outcome).collect();
    use Outcome::{Different, Failed, OnlyLive, OnlyShadow, RefusedDifferently};
    let refused = RefusedDifferently;
    assert_eq!(kinds, [Failed, refused, refused, OnlyShadow, OnlyLive, Different]);
    let different = last.last().unwrap();
    assert_eq!(different.topic.as_deref(), Some("hall/meter"));
    assert!(different.live[0].contains("\"power_w\":1500.0"), "{:?}", different.live);
    assert!(different.shadow[0].contains("\"power_w\":3000.0"), "{:?}", different.shadow);
    assert!(last[0].shadow[0].contains("this number is a bad one"), "{:?}", last[0].shadow);
    lane.join();
}

#[test]
fn a_shadow_that_burns_stops_and_says_so() {
    let (lane, tally) = lane("hostile-next");
    let payloads: Vec<_> = (0..100).map(|n| if n % 2 == 0 { "666" } else { "5" }).collect();
    lane.offer(Handed::Inputs(shadowed(&payloads)));
    lane.offer(Handed::Inputs(shadowed(&["5"])));
    let counts = worked_off(&tally);
    assert_eq!((counts.inputs, counts.failed, counts.same), (101, 10, 9));
    assert_eq!(counts.not_compared, 82);
    let why = tally.stopped().expect("it has stopped");
    assert!(why.contains("failed 10 times within a minute") && why.contains("50 ms"), "{why}");
    lane.join();
}

#[test]
fn what_there_is_no_room_for_is_left_out_and_counted() {
    let (lane, tally) = lane("hostile-next");
    let one = shadowed(&["5"]).remove(0);
    let many = |count| {
        let Shadowed { stage, message, settings, live, .. } = &one;
        let one = || Shadowed {
            stage: stage.clone(),
            message: message.clone(),
            device: None,
            whose: None,
            settings: settings.clone(),
            live: live.clone(),
        };
        (0..count).map(|_| one()).collect::<Vec<_>>()
    };
    lane.offer(Handed::Inputs(many(5000)));
    lane.offer(Handed::Inputs(many(7)));
    let counts = worked_off(&tally);
    assert_eq!((counts.inputs, counts.same, counts.not_compared), (5007, 7, 5000));
    lane.join();
}

#[test]
fn differences_are_bounded_however_much_a_module_says() {
    let (lane, tally) = lane("hostile");
    let mut inputs = shadowed(&["items 500"]);
    inputs[0].live = Ok(Vec::new());
    lane.offer(Handed::Inputs(inputs));
    worked_off(&tally);
    let last = tally.last();
    assert_eq!(last[0].shadow.len(), 21);
    assert_eq!(&*last[0].shadow[20], "and 480 more");
    for n in 0..50 {
        let mut inputs = shadowed(&["1"]);
        inputs[0].live = Err(Rejection::new(format!("code-{n}"), "x".repeat(5000)));
        lane.offer(Handed::Inputs(inputs));
        worked_off(&tally);
    }
    let last = tally.last();
    assert_eq!(last.len(), 20);
    assert!(last[0].live[0].contains("code-49") && last[0].live[0].len() < 1100);
    lane.join();
}

#[test]
fn values_are_compared_not_bytes() {
    let reading = |measurements: &[(u16, f64)]| {
        let measurements = measurements
            .iter()
            .map(|&(quantity, value)| Measurement { quantity: Quantity(quantity), value })
            .collect();
        let channel = "switch:0".to_owned();
        Item::Reading(Reading { device: None, channel, at: None, measurements })
    };
    let mut input = shadowed(&["1"]).remove(0);
    let one = reading(&[(1, 0.0), (2, 5.0)]);
    for (other, outcome) in [
        (reading(&[(1, 0.0), (2, 5.0)]), Outcome::Same),
        (reading(&[(2, 5.0), (1, -0.0)]), Outcome::Same),
        (reading(&[(1, 0.0), (2, 5.000_001)]), Outcome::Different),
        (reading(&[(1, 0.0)]), Outcome::Different),
    ] {
        input.live = Ok(vec![one.clone()]);
        assert_eq!(compare(&input, &Ok(vec![other.clone()])), outcome, "{other:?}");
    }
    input.live = Ok(vec![one.clone(), one.clone()]);
    assert_eq!(compare(&input, &Ok(vec![one])), Outcome::Different);
}
