//! Uses all that a detector can.

use tapline_sdk::prelude::*;
use tapline_sdk::serde_json::{Value, json};

tapline_sdk::settings! {
    pub struct Settings {
        pub limit: i64 = 3,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(crate = "tapline_sdk::serde")]
struct State {
    last: Option<String>,
    steps: u32,
    times: Vec<u64>,
}

struct Whole(Settings);

impl Detector for Whole {
    type Settings = Settings;
    type State = State;
    const NAME: &'static str = "whole-detector";
    const SUMMARY: &'static str = "Uses all that a detector can";
    const STATE_VERSION: u32 = 3;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn step(&self, step: Step<'_, State>) -> Result<Next<State>, Rejection> {
        let before = step.state;
        let told = before.as_ref().map(|state| {
            json!({ "last": state.last, "steps": state.steps, "times": state.times })
        });
        let (kind, about) = match &step.input {
            Input::Item(Item::Event(event)) if event.kind == "refuse" => {
                return Err(Rejection::new("refused", format!("at {}: {}", step.at, event.data)));
            }
            Input::Item(Item::Reading(reading)) => {
                let measured: Vec<_> = reading
                    .measurements
                    .iter()
                    .map(|one| json!([one.quantity.number(), one.value as i64]))
                    .collect();
                ("reading", json!([reading.device, reading.channel, reading.at, measured]))
            }
            Input::Item(Item::Event(event)) => {
                let data: Value = event.read().map_err(|_| Rejection::new("no-data", ""))?;
                ("event", json!([event.kind, event.device, event.channel, event.at, data]))
            }
            Input::Item(Item::Publication(sent)) => {
                ("publication", json!([sent.broker, sent.topic, sent.payload, sent.qos, sent.retain]))
            }
            Input::Message(message) => ("message", json!([message.topic, message.payload])),
            Input::Timer => ("timer", Value::Null),
            Input::DeafSince(since) => ("deaf-since", json!(since)),
            Input::Reconfigured => ("reconfigured", json!(self.0.limit)),
            Input::Removed => ("removed", Value::Null),
        };
        let mut times = before.as_ref().map(|state| state.times.clone()).unwrap_or_default();
        times.push(step.at);
        let steps = before.as_ref().map_or(0, |state| state.steps) + 1;
        let state = State { last: Some(kind.to_owned()).filter(|_| steps > 1), steps, times };
        let event = Event::new("step").at_ms(step.at).channel(step.key).data(&json!({
            "about": about,
            "before": told,
            "kind": kind,
            "retained": step.retained,
        }));
        let next = match &step.input {
            Input::Removed => Next::forget(),
            _ if i64::from(steps) > self.0.limit => Next::forget(),
            Input::Timer => Next::keep(state).ask(),
            Input::DeafSince(_) => Next::keep(state).ignored("deaf", "nothing was heard: Ä"),
            _ => Next::keep(state).wake_at(step.at + 1000),
        };
        let next = next.emit(event);
        Ok(match step.input {
            // As it came.
            Input::Item(item) => next.emit(item),
            Input::Message(message) => next.emit(Publication {
                properties: message.properties,
                ..Publication::new(message.topic, message.payload)
            }),
            _ => next,
        })
    }

    fn migrate(from: u32, _: &[u8]) -> Result<State, String> {
        match from {
            1 => Ok(State { last: None, steps: 1, times: vec![17] }),
            2 => Err("version 2 said nothing: Ä".to_owned()),
            _ => Err(format!("version {from} is unknown")),
        }
    }
}

tapline_sdk::export_detector!(Whole);
