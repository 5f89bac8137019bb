//! One line: one sample. Reads what an author wrote, and writes what travels in a module.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SampleError;
use super::sample::{
    Delivery, Message, Outcome, Refusal, Response, Sample, Script, Step, StepInput,
};

/// The message of a line or a step.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessageLine {
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Value>,
}

/// Any line, in the order in which it is written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retained: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<StepLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<Delivery>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Response>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct StepLine {
    at: Value,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageLine>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    timer: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deaf_since: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconfigured: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wake_at: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ask: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
}

/// Where a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    File,
    /// There each says its own place.
    Module,
}

/// What is wrong with a line, and what to do about it.
type Wrong = (String, &'static str);

const GUIDE: &str = "see docs/guides/samples.md for what a sample may say";
const ONE_OUTCOME: &str = "keep either `expect` or `refused`";

pub(super) fn read(text: &str, place: String, from: From) -> Result<Sample, SampleError> {
    let mut place = place;
    let result = shaped(text).and_then(|mut line| {
        match (line.line.take(), from) {
            (Some(_), From::File) => {
                return Err((
                    "`line` is written when a module is built".to_owned(),
                    "leave `line` out",
                ));
            }
            (Some(said), From::Module) => place = said,
            (None, _) => {}
        }
        sample(line)
    });
    match result {
        Ok(mut sample) => {
            sample.place = place;
            Ok(sample)
        }
        Err((what, remedy)) => Err(SampleError::Line { place, what, remedy }),
    }
}

/// The line with its place in front, as it travels.
pub(super) fn placed(text: &str, place: &str) -> String {
    let rest = text.trim().strip_prefix('{').unwrap_or_default();
    format!("{{\"line\":{},{rest}\n", Value::from(place))
}

/// The line with these outcomes in place of its own.
pub(super) fn with_outcomes(text: &str, outcomes: &[Outcome]) -> String {
    let Ok(mut line) = shaped(text.trim()) else { return text.to_owned() };
    match &mut line.steps {
        Some(steps) => {
            for (step, outcome) in steps.iter_mut().zip(outcomes) {
                let Outcome { expect, refused, wake_at, ask, ignored } = outcome.clone();
                // An empty list tells a step that gives nothing from one that nobody ran.
                step.expect = expect;
                (step.refused, step.wake_at, step.ask, step.ignored) =
                    (refused, wake_at, ask, ignored);
            }
        }
        None => {
            if let Some(outcome) = outcomes.first() {
                line.expect = outcome.expect.clone();
                line.refused = outcome.refused.clone();
            }
        }
    }
    serde_json::to_string(&line).unwrap_or_else(|_| text.to_owned())
}

fn shaped(text: &str) -> Result<Line, Wrong> {
    serde_json::from_str(text).map_err(|error| {
        let said = error.to_string();
        // Every line is one; the column alone says where.
        let said = said.replace(" at line 1 column ", ", at column ");
        match said.contains("unknown field") {
            true => (said, GUIDE),
            false => (format!("this is no sample: {said}"), GUIDE),
        }
    })
}

fn sample(line: Line) -> Result<Sample, Wrong> {
    let Line { id, source, note: _, line: _, key, steps, deliveries, session, answer, .. } = line;
    let outcome = outcome(line.expect, line.refused)?;
    let script = match (line.topic, steps, deliveries) {
        (Some(topic), None, None) => {
            if let Some(name) = first_said(&[
                ("key", key.is_some()),
                ("session", session.is_some()),
                ("answer", answer.is_some()),
            ]) {
                return Err((format!("a message has no `{name}`"), GUIDE));
            }
            list(outcome.as_ref())?;
            let message = MessageLine {
                topic,
                payload: line.payload,
                payload_base64: line.payload_base64,
                received_at: line.received_at,
                qos: line.qos,
                retained: line.retained.unwrap_or(false),
                device: line.device,
                broker: line.broker,
                properties: line.properties,
            };
            Script::Message(Box::new(message.message()?), outcome)
        }
        (None, Some(lines), None) => {
            if outcome.is_some() {
                let what = "the outcome of a detector stands in its steps".to_owned();
                return Err((what, "give each step its own `expect` or `refused`"));
            }
            if lines.is_empty() {
                return Err(("there are no `steps`".to_owned(), "write at least one step"));
            }
            let mut steps = Vec::with_capacity(lines.len());
            for (index, line) in lines.into_iter().enumerate() {
                let at_step = |(what, remedy)| (format!("step {}: {what}", index + 1), remedy);
                steps.push(step(line).map_err(at_step)?);
            }
            Script::Steps { key: key.unwrap_or_else(|| "sample".to_owned()), steps }
        }
        (None, None, Some(deliveries)) => {
            for delivery in &deliveries {
                let items = usize::from(delivery.item.is_some());
                if items + usize::from(delivery.message.is_some()) != 1 {
                    let what = "a delivery carries an `item` or a `message`".to_owned();
                    return Err((what, GUIDE));
                }
            }
            let object = |outcome: &Outcome| outcome.expect.as_ref().is_none_or(Value::is_object);
            if !outcome.as_ref().is_none_or(object) {
                let what = "`expect` of a sink is an object".to_owned();
                return Err((what, GUIDE));
            }
            match answer {
                Some(answer) => Script::Conclude(deliveries, session, Box::new(answer), outcome),
                None => Script::Encode(deliveries, session, outcome),
            }
        }
        _ => {
            let what = "a sample has one of `topic`, `steps` and `deliveries`".to_owned();
            return Err((what, GUIDE));
        }
    };
    let settings = line.settings.unwrap_or_default();
    Ok(Sample { place: String::new(), id, source, settings, script })
}

fn step(line: StepLine) -> Result<(Step, Option<Outcome>), Wrong> {
    if line.at.is_null() {
        return Err(("it has no `at`".to_owned(), "say when the step is made"));
    }
    let reconfigured = line.reconfigured.map(StepInput::Reconfigured);
    let message = line.message.as_ref().map(MessageLine::message).transpose()?;
    let mut inputs = [
        line.item.map(StepInput::Item),
        message.map(|message| StepInput::Message(Box::new(message))),
        line.timer.then_some(StepInput::Timer),
        line.deaf_since.map(StepInput::DeafSince),
        reconfigured,
        line.removed.then_some(StepInput::Removed),
    ]
    .into_iter()
    .flatten();
    let (Some(input), None) = (inputs.next(), inputs.next()) else {
        let what = "it has one of `item`, `message`, `timer`, `deaf_since`, `reconfigured` and \
                    `removed`"
            .to_owned();
        return Err((what, GUIDE));
    };
    let says_more = line.wake_at.is_some() || line.ask || line.ignored.is_some();
    let mut outcome = outcome(line.expect, line.refused)?;
    if says_more {
        let outcome = outcome.get_or_insert_default();
        if outcome.refused.is_some() {
            return Err(("a step that is refused says nothing else".to_owned(), ONE_OUTCOME));
        }
        outcome.expect.get_or_insert_with(|| Value::Array(Vec::new()));
        (outcome.wake_at, outcome.ask, outcome.ignored) = (line.wake_at, line.ask, line.ignored);
    }
    list(outcome.as_ref())?;
    Ok((Step { at: line.at, retained: line.retained, input }, outcome))
}

fn outcome(expect: Option<Value>, refused: Option<Refusal>) -> Result<Option<Outcome>, Wrong> {
    match (&expect, &refused) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(("it has `expect` and `refused`".to_owned(), ONE_OUTCOME)),
        _ => Ok(Some(Outcome { expect, refused, ..Outcome::default() })),
    }
}

/// Items come in a list.
fn list(outcome: Option<&Outcome>) -> Result<(), Wrong> {
    let is_item = |item: &Value| item.is_object();
    let items = |expect: &Value| expect.as_array().is_some_and(|list| list.iter().all(is_item));
    if outcome.and_then(|outcome| outcome.expect.as_ref()).is_none_or(items) {
        return Ok(());
    }
    Err((
        "`expect` is no list of readings, events and publications".to_owned(),
        "write `\"expect\": [{\"channel\": \"\", \"power_w\": 12.5}]`, or `[]` for nothing",
    ))
}

fn first_said(said: &[(&'static str, bool)]) -> Option<&'static str> {
    said.iter().find(|(_, is_said)| *is_said).map(|(name, _)| *name)
}

impl MessageLine {
    /// The message that is written here.
    ///
    /// # Errors
    /// What is wrong with it, and what to do about it.
    pub fn message(&self) -> Result<Message, (String, &'static str)> {
        let payload = match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => {
                let what = "it has `payload` and `payload_base64`".to_owned();
                return Err((what, "keep the one that holds the payload's bytes"));
            }
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => BASE64.decode(text).map_err(|error| {
                (format!("`payload_base64` is no base64: {error}"), "write the payload's bytes")
            })?,
            (None, None) => Vec::new(),
        };
        if self.qos.is_some_and(|qos| qos > 2) {
            return Err(("`qos` is 0, 1 or 2".to_owned(), GUIDE));
        }
        Ok(Message {
            topic: self.topic.clone(),
            payload,
            received_at: self.received_at.clone(),
            qos: self.qos,
            retained: self.retained,
            device: self.device.clone(),
            broker: self.broker.clone(),
            properties: self.properties.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is_refused(line: &str, expected: &str) {
        let error = read(line, "samples/a.jsonl:1".to_owned(), From::File).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("samples/a.jsonl:1: "), "{said}");
        assert!(said.contains(expected), "`{expected}` is not in: {said}");
        assert!(!error.remedy().is_empty());
    }

    #[test]
    fn refuses_what_is_no_sample_with_its_place() {
        is_refused("[1]", "this is no sample");
        is_refused("{}", "one of `topic`, `steps` and `deliveries`");
        is_refused(r#"{"topic":"t","payload":"1","retain":true}"#, "unknown field `retain`");
        is_refused(r#"{"topic":"t","payload":"","payload_base64":""}"#, "`payload_base64`");
        is_refused(r#"{"topic":"t","payload_base64":"?"}"#, "no base64");
        is_refused(r#"{"topic":"t","expect":[],"refused":"not-json"}"#, "`refused`");
        is_refused(r#"{"topic":"t","expect":{"kind":"none"}}"#, "`expect` is no list");
        is_refused(r#"{"topic":"t","expect":[],"line":"x:1"}"#, "`line`");
        is_refused(r#"{"topic":"t","key":"saw"}"#, "no `key`");
        is_refused(r#"{"steps":[]}"#, "no `steps`");
        is_refused(r#"{"steps":[{"timer":true}]}"#, "step 1: it has no `at`");
        is_refused(r#"{"steps":[{"at":1,"timer":true,"removed":true}]}"#, "step 1: it has one of");
        is_refused(r#"{"steps":[{"at":1,"timer":true}],"expect":[]}"#, "stands in its steps");
        is_refused(r#"{"deliveries":[{}]}"#, "an `item` or a `message`");
    }

    #[test]
    fn a_sample_without_an_outcome_is_open() {
        let is_open = |line| read(line, String::new(), From::File).unwrap().is_open();
        assert!(is_open(r#"{"topic":"t","payload":"1"}"#));
        assert!(!is_open(r#"{"topic":"t","payload":"1","expect":[]}"#));
        assert!(!is_open(r#"{"topic":"t","payload":"1","refused":"not-json"}"#));
        assert!(is_open(r#"{"steps":[{"at":1,"timer":true},{"at":2,"removed":true,"ask":true}]}"#));
        assert!(!is_open(r#"{"steps":[{"at":1,"timer":true,"wake_at":2}]}"#));
    }

    #[test]
    fn an_accepted_outcome_replaces_the_old_one_and_keeps_the_rest() {
        let line = r#"{"source":"a shelf","topic":"t","payload":"1","refused":"not-json"}"#;
        let outcome = Outcome { expect: Some(serde_json::json!([])), ..Outcome::default() };
        assert_eq!(
            with_outcomes(line, &[outcome]),
            r#"{"topic":"t","payload":"1","expect":[],"source":"a shelf"}"#
        );
    }
}
