//! What a stage's runner does about instances that grow and inputs that break them.

use std::sync::Arc;

use serde_json::Map;

use super::*;
use crate::config::pipeline::OnReject;
use crate::message::{Item, Message};
use crate::module::tests::{message, module};
use crate::module::{Input, SettingsId};

fn runner(limits: Limits) -> (Runner, Arc<SettingsSet>) {
    let settings = Arc::new(SettingsSet::new(&Map::new()));
    let stage = ModuleStage {
        name: "stage".into(),
        module: module("hostile"),
        limits,
        on_reject: OnReject::DeadLetter,
        settings: settings.clone(),
        shadow: None,
    };
    (Runner::new(&"workshop".into(), &stage, &Flow::default()), settings)
}

/// Runs payloads as one batch: a reading's power, or the code of the rejection.
fn run(runner: &mut Runner, set: &Arc<SettingsSet>, payloads: &[&str]) -> Vec<String> {
    let inputs: Vec<_> = payloads.iter().map(|p| (set.clone(), message("t", p))).collect();
    let results = runner.run(&inputs, |instance, batch: &[(SettingsId, &Message)]| {
        let inputs: Vec<_> = batch
            .iter()
            .map(|&(settings, message)| Input { settings, message, device: None })
            .collect();
        instance.parse(&inputs)
    });
    results.into_iter().map(|result| said(result.and_then(|outcome| outcome))).collect()
}

fn said(result: Result<Vec<Item>, Rejection>) -> String {
    match result.as_deref() {
        Ok([Item::Reading(reading)]) => reading.measurements[0].value.to_string(),
        Ok(items) => format!("{} items", items.len()),
        Err(rejection) => rejection.code.clone(),
    }
}

#[test]
fn an_instance_that_grows_is_replaced_before_it_runs_into_its_limit() {
    let limits = Limits { memory: 8 << 20, ..Limits::default() };
    let (mut runner, set) = runner(limits);
    for round in 0..200 {
        // 256 KiB that it never gives back, each time: 50 MiB in all.
        assert_eq!(run(&mut runner, &set, &["leak 256"]), ["7"], "round {round}");
        let held = runner.instance.as_ref().map_or(0, Instance::memory);
        assert!(held <= 6 << 20, "{held} bytes in round {round}");
    }
    let (recycled, made) = (runner.stats.recycled.get(), runner.stats.instances.get());
    assert!((5..=100).contains(&recycled), "{recycled} times");
    assert!(made >= recycled && made <= recycled + 1, "{made} instances");
    assert!(runner.stats.failures().is_empty());
}

#[test]
fn what_earlier_calls_left_in_an_instance_costs_no_message() {
    let (mut runner, set) = runner(Limits::default());
    // The module breaks at every third call of an instance, and at nothing else.
    for round in 0..10 {
        assert_eq!(run(&mut runner, &set, &["third"]), ["0 items"], "round {round}");
    }
    assert_eq!(runner.stats.failures().get("module-trap"), Some(&4));
}

#[test]
fn memory_that_an_instance_lost_costs_no_message() {
    // Half of what is left is reached in one step, and the limit in the next.
    let (mut runner, set) = runner(Limits { memory: 4 << 20, ..Limits::default() });
    for _ in 0..10 {
        assert_eq!(run(&mut runner, &set, &["leak 900"]), ["7"]);
    }
}

#[test]
fn an_input_that_breaks_a_fresh_instance_is_refused_alone() {
    let (mut runner, set) = runner(Limits::default());
    let batch = ["1", "panic", "2", "3", "silent", "4", "nan", "5"];
    let expected = ["1", "module-trap", "2", "3", "module-trap", "4", "not-finite", "5"];
    assert_eq!(run(&mut runner, &set, &batch), expected);
    for payload in batch {
        let index = batch.iter().position(|p| *p == payload).unwrap();
        assert_eq!(run(&mut runner, &set, &[payload]), [expected[index]]);
    }
}
