//! How messages are cut into batches changes nothing: the same bytes come out.
//!
//! Runs the host's own worker with the real modules, on messages of real devices and a real
//! machine's day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tapline::config::document::Format;
use tapline::config::load::Text;
use tapline::config::push::Pushed;
use tapline::config::{Around, Texts, check};
use tapline::message::{Message, MessageId, Properties, Timestamp};
use tapline::module::{Engine, EngineOptions};
use tapline::pipeline::{Effects, ModuleSet, Plan, Worker};
use tapline_tests::{copy_of_shipped, project, shipped_modules};

const BEGIN: Timestamp = Timestamp(1_780_000_000_000);

/// One message before it has its number.
struct Arrival {
    at: Timestamp,
    parser: &'static str,
    topic: String,
    payload: Vec<u8>,
    retained: bool,
}

/// Messages of real devices, as the parsers' own tests have them, ten seconds apart.
fn of_devices(parser: &'static str, file: &str) -> Vec<Arrival> {
    let path = project().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let samples = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    let texts = samples.filter(|sample| sample["encoding"].is_null());
    let arrivals = texts.enumerate().filter_map(|(index, sample)| {
        Some(Arrival {
            at: BEGIN.plus_ms(10_000 * index as u64),
            parser,
            topic: sample["topic"].as_str()?.to_owned(),
            payload: sample["payload"].as_str()?.into(),
            retained: sample["retained"] == true,
        })
    });
    let arrivals: Vec<_> = arrivals.collect();
    assert!(arrivals.len() > 50, "{} has few messages", path.display());
    arrivals
}

/// A machine's day as a meter on it reports.
fn of_machine(file: &str) -> Vec<Arrival> {
    let path = project().join("detectors/session/tests/traces").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let rows = rows.filter_map(|line| {
        let (second, watts) = line.split_once(',')?;
        Some((second.trim().parse::<u64>().ok()?, watts.trim().parse::<f64>().ok()?))
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 100, "{} has few rows", path.display());
    let first = rows[0].0;
    let arrival = |(second, watts): (u64, f64)| Arrival {
        at: BEGIN.plus_ms((second - first) * 1000),
        parser: "shelly",
        topic: format!("traced-{file}/status/switch:0"),
        payload: json!({"id": 0, "apower": watts}).to_string().into(),
        retained: false,
    };
    rows.into_iter().map(arrival).collect()
}

fn arrivals() -> Vec<Arrival> {
    let mut all = of_machine("washing-machine.csv");
    all.extend(of_machine("coffee-machine.csv"));
    all.extend(of_devices("shelly", "parsers/shelly/samples/shelly.jsonl"));
    all.extend(of_devices("tasmota", "parsers/tasmota/samples/tasmota.jsonl"));
    all.push(Arrival {
        at: BEGIN.plus_ms(5_000),
        parser: "shelly",
        topic: "broken/status/switch:0".into(),
        payload: b"{\"apower\":".to_vec(),
        retained: false,
    });
    all.sort_by_key(|arrival| arrival.at);
    all
}

fn messages(arrivals: &[Arrival]) -> Vec<Arc<Message>> {
    let message = |(number, arrival): (usize, &Arrival)| {
        Arc::new(Message {
            id: MessageId { source: "main".into(), epoch: 1, sequence: number as u64 },
            topic: arrival.topic.as_str().into(),
            payload: arrival.payload.clone().into(),
            received_at: arrival.at,
            qos: 1,
            retained: arrival.retained,
            properties: Arc::new(Properties::default()),
        })
    };
    arrivals.iter().enumerate().map(message).collect()
}

/// The shipped pipeline with every topic bound to a device, and sinks that take everything.
fn plan(arrivals: &[Arrival], modules: &ModuleSet) -> Arc<Plan> {
    let topics: BTreeSet<_> = arrivals.iter().map(|a| (a.parser, a.topic.as_str())).collect();
    let device = |(number, (parser, topic)): (usize, &(&str, &str))| {
        json!({
            "device_id": format!("d{number}"), "machine_name": topic, "mqtt_topic": topic,
            "parser_type": parser,
            // Every third has its own thresholds, so that several sets are in use.
            "session_config": {
                "standby_threshold_w": if number % 3 == 0 { 2.0 } else { 5.0 },
                "message_timeout_s": 60.0,
            },
        })
    };
    let devices: Vec<_> = topics.iter().enumerate().map(device).collect();
    let pushed = json!({ "devices": devices }).to_string();
    let pushed = Pushed::parse("devices", &pushed, Format::Json).expect("devices are right");
    let text = copy_of_shipped("workshop")
        .replace("take     = [\"event:session_*\"]", "take = [\"reading\", \"event\"]");
    assert!(text.contains("\"reading\", \"event\""), "the shipped pipeline reads differently");
    let file = Text { file: "pipelines/workshop.toml".into(), text: text.into() };
    let texts = Texts { pipelines: vec![file], ..Texts::default() };
    let env = BTreeMap::new();
    let around = Around { env: &env, pushed: Some(&pushed), generated_name: "batches", now: BEGIN };
    let checked = check(&texts, around);
    assert!(checked.problems().is_empty(), "{:#?}", checked.problems());
    let config = checked.config().expect("there are no problems");
    let plan = Plan::build(&config.pipelines[0], &config, modules);
    let (plan, unfit) = plan.unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(unfit.is_empty(), "{unfit:#?}");
    Arc::new(plan)
}

fn modules() -> ModuleSet {
    let engine = Engine::new(None, EngineOptions::default()).expect("an engine starts");
    let names = ["shelly", "tasmota", "session", "odoo"];
    let load = |name: &str| {
        let path = shipped_modules().join(name).with_extension("wasm");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let module = engine.load(&bytes).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
        (name.into(), Ok(module))
    };
    names.into_iter().map(load).collect()
}

/// Everything that leaves, in order where order counts, and what is remembered at the end.
#[derive(Default)]
struct Outcome {
    streams: BTreeMap<String, Vec<String>>,
    keys: BTreeMap<String, String>,
}

impl Outcome {
    fn take(&mut self, effects: &Effects) {
        for fate in &effects.fates {
            self.add("fates".into(), fate);
        }
        for delivery in &effects.outbox {
            self.add(format!("{} of {}", delivery.sink, delivery.key), delivery);
        }
        for letter in &effects.dead {
            self.add(format!("set aside by {} of {:?}", letter.stage, letter.device), letter);
        }
        for ignored in &effects.ignored {
            self.add(format!("ignored by {} of {:?}", ignored.0, ignored.1), ignored);
        }
        for (id, row) in &effects.keys {
            self.keys.insert(format!("{id:?}"), format!("{row:?}"));
        }
    }

    fn add(&mut self, stream: String, what: &impl std::fmt::Debug) {
        self.streams.entry(stream).or_default().push(format!("{what:?}"));
    }

    fn count(&self, part: &str) -> usize {
        self.streams.values().flatten().filter(|line| line.contains(part)).count()
    }
}

fn run(plan: &Arc<Plan>, messages: &[Arc<Message>], size: usize) -> Outcome {
    let mut worker = Worker::new(plan.clone(), Vec::new());
    let mut outcome = Outcome::default();
    for batch in messages.chunks(size) {
        outcome.take(&worker.batch(batch));
    }
    // The clock alone ends what is still open.
    let later = BEGIN.plus_ms(7 * 86_400_000);
    while worker.next_due().is_some_and(|due| due <= later) {
        outcome.take(&worker.wake(later, &|_, _| true));
    }
    outcome
}

#[test]
fn batches_of_1_7_and_256_give_the_same_bytes() {
    let arrivals = arrivals();
    let messages = messages(&arrivals);
    let plan = plan(&arrivals, &modules());
    let one = run(&plan, &messages, 1);
    let sessions = one.count("session_started");
    assert!(sessions >= 3, "{sessions} sessions are too few to show anything");
    assert!(one.count("not-json") >= 1, "nothing was set aside");
    for size in [7, 256] {
        let other = run(&plan, &messages, size);
        for (stream, lines) in &one.streams {
            let others = other.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
            let difference = lines.iter().zip(others).find(|(a, b)| a != b);
            assert_eq!(difference, None, "{stream}, batches of {size}");
            assert_eq!(lines.len(), others.len(), "{stream}, batches of {size}");
        }
        assert_eq!(one.streams.len(), other.streams.len(), "batches of {size}");
        assert_eq!(one.keys, other.keys, "batches of {size}");
    }
}
