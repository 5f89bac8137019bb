//! Every limit has a module that hits it, and an explanation that its author understands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::message::{Item, Quantity, Reading, Rejection};
use crate::module::deadline::{Deadline, Overdue};

type Outcome = Result<Vec<Item>, Rejection>;

fn parse(instance: &mut Instance, payloads: &[&str]) -> Result<Vec<Outcome>, CallError> {
    let messages: Vec<_> = payloads.iter().map(|payload| message("t", payload)).collect();
    instance.parse(&inputs(&messages))
}

fn reading(watts: f64) -> Item {
    Item::Reading(Reading {
        device: None,
        channel: String::new(),
        at: None,
        measurements: vec![crate::message::Measurement { quantity: Quantity(1), value: watts }],
    })
}

/// The payload fails the call, the error says `expected`, and the instance is dead.
#[track_caller]
fn fails(payload: &str, code: &str, expected: &[&str]) {
    let mut instance = instance("hostile");
    let error = parse(&mut instance, &["1", payload]).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    for words in expected {
        assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
    }
    assert!(instance.is_dead());
    assert_eq!(instance.memory(), 0);
    assert_eq!(parse(&mut instance, &["1"]), Err(CallError::Dead));
    assert_eq!(parse(&mut super::instance("hostile"), &["1"]), Ok(vec![Ok(vec![reading(1.0)])]));
}

/// The payload costs itself alone.
#[track_caller]
fn is_refused(payload: &str, code: &str, detail: &str) {
    let outcomes = parse(&mut instance("hostile"), &["1", payload, "2"]).unwrap();
    assert_eq!(outcomes[0], Ok(vec![reading(1.0)]));
    assert_eq!(outcomes[2], Ok(vec![reading(2.0)]));
    let rejection = outcomes[1].clone().unwrap_err();
    assert_eq!(rejection.code, code);
    assert!(rejection.detail.contains(detail), "{}", rejection.detail);
}

#[test]
fn ends_an_endless_loop_soon_after_its_time() {
    let from = Instant::now();
    fails("loop", "module-timeout", &["more than 50 ms of processor time"]);
    // Generous: the machine that runs the tests has other things to do.
    assert!(from.elapsed().as_secs() < 10, "{:?}", from.elapsed());
}

#[test]
fn ends_an_endless_loop_in_configure() {
    let mut instance = instance("hostile");
    let error = instance.configure(SettingsId(2), r#"{"at_configure":"loop"}"#).unwrap_err();
    assert_eq!(error.code(), "module-timeout");
    assert!(instance.is_dead());
}

#[test]
fn tells_a_panics_words_and_place() {
    fails("panic no such phase", "module-trap", &["no such phase", "src/lib.rs:"]);
}

#[test]
fn names_the_function_that_fills_the_stack() {
    fails("recursion", "module-trap", &["call stack is full", "descend"]);
}

#[test]
fn gives_no_more_memory_than_allowed() {
    fails("memory", "module-memory", &["more than the 16777216 allowed"]);
}

#[test]
fn takes_no_more_output_than_allowed() {
    let limits = Limits { memory: 256 << 20, time: Duration::from_secs(5), ..Limits::default() };
    for payload in ["output 8", "items 100000", "line 8"] {
        let mut instance = instance_within("hostile", limits);
        let error = parse(&mut instance, &["1", payload]).unwrap_err();
        assert_eq!(error, CallError::OutputTooLarge { limit: 4 << 20 }, "{payload}");
        assert!(instance.is_dead());
    }
    let outcomes = parse(&mut instance("hostile"), &["output 2"]).unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap().len(), 1);
}

#[test]
fn needs_a_result_for_each_input() {
    for (payload, got) in [("less", 1), ("more", 3), ("none", 0)] {
        let mut instance = instance("hostile-length");
        let error = parse(&mut instance, &[payload, "x"]).unwrap_err();
        assert_eq!(error, CallError::WrongLength { expected: 2, got });
        assert!(instance.is_dead());
    }
    assert_eq!(parse(&mut instance("hostile-length"), &["x"]), Ok(vec![Ok(vec![])]));
}

#[test]
fn goes_on_with_a_fresh_instance_where_the_old_one_fails_for_good() {
    let mut old = instance("hostile");
    assert!(parse(&mut old, &["third"]).is_ok());
    assert!(parse(&mut old, &["third"]).is_ok());
    assert!(parse(&mut old, &["third"]).unwrap_err().to_string().contains("this was call 3"));
    assert!(parse(&mut instance("hostile"), &["third"]).is_ok());
}

#[test]
fn refuses_the_one_input_whose_items_make_no_sense() {
    is_refused("nan", "not-finite", "power_w of NaN");
    is_refused("quantity", "unknown-quantity", "40000");
    is_refused("data", "bad-event", "no JSON object");
    is_refused("broken-data", "bad-event", "no JSON: EOF");
    is_refused("refuse by name", "refused-on-demand", "by name");
}

#[test]
fn refuses_the_one_key_whose_state_is_too_large() {
    let mut instance = instance("hostile-state");
    let (small, large) = (reading(0.0), reading(1.0));
    let keyed = |key, item| Keyed {
        settings: SETTINGS,
        key,
        at: Timestamp(1_000),
        retained: false,
        state: None,
        input: DetectInput::Item(item),
    };
    let steps = instance.detect(&[keyed("a", &small), keyed("b", &large), keyed("c", &small)]);
    let steps = steps.unwrap();
    assert_eq!(steps[0].as_ref().unwrap().wake_at, Some(Timestamp(2_000)));
    assert_eq!(steps[1].as_ref().unwrap_err().code, "state-too-large");
    assert!(steps[2].is_ok());
}

#[test]
fn does_not_instantiate_what_is_larger_than_its_memory() {
    let limits = Limits { memory: 64 << 10, ..Limits::default() };
    let error = module("hostile").instantiate(limits, log_context()).unwrap_err();
    assert_eq!(error.code(), "module-memory", "{error}");
}

#[test]
fn says_when_an_instance_should_be_replaced_for_its_memory() {
    let mut instance = instance_within("hostile", Limits { memory: 8 << 20, ..Limits::default() });
    assert!(!instance.is_bloated());
    parse(&mut instance, &["leak 1024"]).unwrap();
    assert!(!instance.is_bloated(), "{} bytes", instance.memory());
    parse(&mut instance, &["leak 3072"]).unwrap();
    assert!(instance.is_bloated(), "{} bytes", instance.memory());
}

/// Counts lines of modules.
struct Lines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("tapline::module") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// How many lines of modules come into the log meanwhile.
fn lines_of(work: impl FnOnce()) -> usize {
    let lines = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&lines)));
    tracing::subscriber::with_default(subscriber, work);
    lines.load(Ordering::SeqCst)
}

#[test]
fn keeps_a_flood_of_lines_out_of_the_log() {
    let limits = Limits { time: Duration::from_secs(5), ..Limits::default() };
    let lines = lines_of(|| {
        parse(&mut instance_within("hostile", limits), &["log 2000"]).unwrap();
    });
    // A few more come through while the call takes its time.
    assert!((256..1_000).contains(&lines), "{lines} lines");
}

#[test]
fn counts_the_lines_of_a_stage_however_many_instances_it_takes() {
    let context = log_context();
    let limits = Limits { time: Duration::from_secs(5), ..Limits::default() };
    let lines = lines_of(|| {
        for _ in 0..10 {
            let mut instance = module("hostile").instantiate(limits, context.clone()).unwrap();
            instance.configure(SETTINGS, "{}").unwrap().unwrap();
            parse(&mut instance, &["log 250"]).unwrap();
        }
    });
    assert!((256..1_500).contains(&lines), "{lines} lines");
}

#[test]
fn counts_what_a_thread_computes_and_not_what_it_waits() {
    let short = Duration::from_millis(20);
    let mut deadline = Deadline::new(short, Duration::from_secs(600));
    deadline.arm();
    std::thread::park_timeout(Duration::from_millis(60));
    assert!(deadline.check().is_ok());
    let from = Instant::now();
    while deadline.check().is_ok() {
        assert!(from.elapsed().as_secs() < 60);
    }
    assert!(matches!(deadline.check(), Err(Overdue::Time(_))));
    deadline.arm();
    assert!(deadline.check().is_ok());
    let stuck = Deadline::new(Duration::from_secs(600), Duration::ZERO);
    assert!(matches!(stuck.check(), Err(Overdue::Wall(_))));
}

#[test]
fn works_without_reserved_address_space() {
    let options = EngineOptions { memory_reservation: Some(0), ..EngineOptions::default() };
    let engine = Engine::new(None, options).unwrap();
    let module = engine.load(&wasm("hostile")).unwrap();
    // Memory that moves is copied as it grows.
    let limits = Limits { time: Duration::from_secs(5), ..Limits::default() };
    let mut instance = module.instantiate(limits, log_context()).unwrap();
    instance.configure(SETTINGS, "{}").unwrap().unwrap();
    assert_eq!(parse(&mut instance, &["1"]), Ok(vec![Ok(vec![reading(1.0)])]));
    let error = parse(&mut instance, &["memory"]).unwrap_err();
    assert_eq!(error.code(), "module-memory");
}

#[test]
fn keeps_deadlines_while_instances_outlive_their_engine() {
    let engine = Engine::new(None, EngineOptions::default()).unwrap();
    let module = engine.load(&wasm("hostile")).unwrap();
    let mut instance = module.instantiate(Limits::default(), log_context()).unwrap();
    instance.configure(SETTINGS, "{}").unwrap().unwrap();
    drop((engine, module));
    // Longer than the epochs' thread waits before it sleeps.
    std::thread::park_timeout(Duration::from_millis(1_500));
    assert_eq!(parse(&mut instance, &["loop"]).unwrap_err().code(), "module-timeout");
}
