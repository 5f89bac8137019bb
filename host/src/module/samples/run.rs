//! Runs samples, one after the other.

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ThreadTime;
use serde_json::{Map, Value};
use tapline_kit::samples::{Outcome, Sample, Script, Step, StepInput};

use super::super::call::{DetectInput, Input, Keyed, SettingsId};
use super::super::host::{Limits, LogContext};
use super::super::instance::Instance;
use super::super::loaded::{Module, Role};
use super::ran::{Ran, Verdict};
use super::{failed, given, patient, shown};
use crate::message::{DeviceId, Timestamp};

/// Processor time that all samples of a module take together.
const TOTAL: Duration = Duration::from_secs(20);

const SETTINGS: SettingsId = SettingsId(1);

/// Runs samples in their order, in one instance as long as none fails.
pub fn run<'s>(
    module: &Arc<Module>,
    samples: impl Iterator<Item = &'s Sample>,
    limits: Limits,
) -> Vec<Ran> {
    let from = ThreadTime::now();
    let mut runner = Runner { module, limits: patient(limits), instance: None };
    let mut all = Vec::new();
    for sample in samples {
        let late = from.elapsed() >= TOTAL;
        let result = match late {
            true => Err(format!("the samples before it took more than {TOTAL:?}; keep fewer")),
            false => runner.found(sample),
        };
        let (verdict, found) = match result {
            Ok(found) => runner.judged(sample, found),
            Err(why) => (Verdict::Broken(why), None),
        };
        all.push(Ran { place: sample.place.clone(), id: sample.id.clone(), verdict, found });
        if late {
            break;
        }
    }
    all
}

/// Runs samples as [`run`] does, then in reverse by another instance: what depends on what came
/// before is broken.
pub fn run_again(module: &Arc<Module>, samples: &[&Sample], limits: Limits) -> Vec<Ran> {
    let mut all = run(module, samples.iter().copied(), limits);
    let again = run(module, samples.iter().rev().copied(), limits);
    for (ran, other) in all.iter_mut().zip(again.iter().rev()) {
        if ran.found.is_some() && other.found.is_some() && ran.found != other.found {
            let why = "it gives something else after other samples: a module keeps nothing between \
                       calls";
            (ran.verdict, ran.found) = (Verdict::Broken(why.to_owned()), None);
        }
    }
    all
}

struct Runner<'m> {
    module: &'m Arc<Module>,
    limits: Limits,
    /// With the settings that it has.
    instance: Option<(Instance, Map<String, Value>)>,
}

impl Runner<'_> {
    /// What comes out of each of its steps.
    fn found(&mut self, sample: &Sample) -> Result<Vec<Outcome>, String> {
        let module = self.module;
        let own = module.quantities();
        let role = module.role();
        match &sample.script {
            Script::Message(given, _) if matches!(role, Role::Parser | Role::Validator) => {
                let message = given::message(given)?;
                let device = given.device.as_deref().map(DeviceId::from);
                let input =
                    Input { settings: SETTINGS, message: &message, device: device.as_ref() };
                let instance = self.instance(&sample.settings)?;
                let result = match role {
                    Role::Parser => instance.parse(&[input]),
                    _ => instance
                        .validate(&[input])
                        .map(|verdicts| verdicts.into_iter().map(|v| v.map(|()| vec![])).collect()),
                };
                let results = result.map_err(|error| failed(&error))?;
                Ok(results.into_iter().map(|result| shown::parsed(result, own)).collect())
            }
            Script::Steps { key, steps } if role == Role::Detector => {
                self.steps(key, steps, &sample.settings)
            }
            Script::Encode(deliveries, session, _) if role == Role::Sink => {
                let deliveries = given::deliveries(deliveries, own)?;
                let session = session.as_ref().map(String::as_bytes);
                let encoding = self
                    .instance(&sample.settings)?
                    .encode(SETTINGS, session, &deliveries)
                    .map_err(|error| failed(&error))?;
                Ok(vec![shown::encoded(&encoding)])
            }
            Script::Conclude(deliveries, session, answer, _) if role == Role::Sink => {
                let deliveries = given::deliveries(deliveries, own)?;
                let session = session.as_ref().map(String::as_bytes);
                let response = given::response(answer);
                let conclusion = self
                    .instance(&sample.settings)?
                    .conclude(SETTINGS, session, &deliveries, &response)
                    .map_err(|error| failed(&error))?;
                Ok(vec![shown::concluded(&conclusion, own)])
            }
            script => {
                let wanted = match script {
                    Script::Message(..) => "a parser or validator",
                    Script::Steps { .. } => "a detector",
                    Script::Encode(..) | Script::Conclude(..) => "a sink",
                };
                Err(format!("this is a sample of {wanted}, and the module is a {role}"))
            }
        }
    }

    fn steps(
        &mut self,
        key: &str,
        steps: &[(Step, Option<Outcome>)],
        settings: &Map<String, Value>,
    ) -> Result<Vec<Outcome>, String> {
        let module = self.module;
        let own = module.quantities();
        let mut settings = settings.clone();
        let mut state: Option<Vec<u8>> = None;
        let mut last: Option<Timestamp> = None;
        let mut wake_at: Option<Timestamp> = None;
        let mut all = Vec::with_capacity(steps.len());
        for (index, (step, _)) in steps.iter().enumerate() {
            let at_step = |why: String| format!("step {}: {why}", index + 1);
            let at = given::time(&step.at).map_err(at_step)?;
            timely(&step.input, at, last, wake_at).map_err(at_step)?;
            if let StepInput::Reconfigured(changed) = &step.input {
                settings = changed.clone();
            }
            let instance = self.instance(&settings).map_err(at_step)?;
            let (item, message, device);
            let input = match &step.input {
                StepInput::Item(fields) => {
                    item = given::item(fields, own).map_err(at_step)?;
                    DetectInput::Item(&item)
                }
                StepInput::Message(given) => {
                    message = given::message(given).map_err(at_step)?;
                    device = given.device.as_deref().map(DeviceId::from);
                    DetectInput::Message(&message, device.as_ref())
                }
                StepInput::Timer => DetectInput::Timer,
                StepInput::DeafSince(since) => {
                    DetectInput::DeafSince(given::time(since).map_err(at_step)?)
                }
                StepInput::Reconfigured(_) => DetectInput::Reconfigured,
                StepInput::Removed => DetectInput::Removed,
            };
            let keyed = Keyed {
                settings: SETTINGS,
                key,
                at,
                retained: step.retained,
                state: state.as_deref(),
                input,
            };
            let mut results = instance.detect(&[keyed]).map_err(|error| at_step(failed(&error)))?;
            let result = results.pop().ok_or_else(|| at_step("it gave no result".to_owned()))?;
            all.push(shown::stepped(result.as_ref().map_err(Clone::clone), own));
            // A step that is refused leaves everything as it was, but a wake-up is over.
            if matches!(step.input, StepInput::Timer) {
                wake_at = None;
            }
            if let Ok(made) = result {
                (state, wake_at) = (made.state, made.wake_at);
            }
            last = Some(at);
        }
        Ok(all)
    }

    /// An instance with these settings.
    fn instance(&mut self, settings: &Map<String, Value>) -> Result<&mut Instance, String> {
        let is_alive = self.instance.as_ref().is_some_and(|(instance, _)| !instance.is_dead());
        let has_them = self.instance.as_ref().is_some_and(|(_, known)| known == settings);
        if !is_alive || !has_them {
            let value = Value::Object(settings.clone());
            if let Some(error) = self.module.check_settings(&value).first() {
                return Err(format!("its settings: {} {}", error.pointer, error.what));
            }
            let mut instance = match self.instance.take() {
                Some((instance, _)) if is_alive => instance,
                _ => {
                    let context = LogContext::new(&"samples".into(), &self.module.name().into());
                    let made = self.module.instantiate(self.limits, context);
                    made.map_err(|error| failed(&error))?
                }
            };
            instance
                .configure(SETTINGS, &value.to_string())
                .map_err(|error| failed(&error))?
                .map_err(|why| format!("the module refuses its settings: {why}"))?;
            self.instance = Some((instance, settings.clone()));
        }
        match &mut self.instance {
            Some((instance, _)) => Ok(instance),
            None => Err("there is no instance".to_owned()),
        }
    }

    fn judged(&self, sample: &Sample, found: Vec<Outcome>) -> (Verdict, Option<Vec<Outcome>>) {
        let own = self.module.quantities();
        let expected: Vec<Option<&Outcome>> = match &sample.script {
            Script::Message(_, outcome)
            | Script::Encode(_, _, outcome)
            | Script::Conclude(_, _, _, outcome) => vec![outcome.as_ref()],
            Script::Steps { steps, .. } => {
                steps.iter().map(|(_, outcome)| outcome.as_ref()).collect()
            }
        };
        let is_script = matches!(sample.script, Script::Steps { .. });
        let mut verdict = if sample.is_open() { Verdict::Open } else { Verdict::Passed };
        let mut differences = Vec::new();
        for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let Some(expected) = expected else { continue };
            match shown::compared(expected, found, own) {
                Ok(more) => differences.extend(more.into_iter().map(|mut difference| {
                    if is_script {
                        difference.at = format!("step {}, {}", index + 1, difference.at);
                    }
                    difference
                })),
                Err(why) => verdict = Verdict::Broken(why),
            }
        }
        if !differences.is_empty() {
            verdict = Verdict::Differs(differences);
        }
        let written = found.into_iter().zip(&expected);
        let written = written.map(|(found, expected)| shown::as_written(found, *expected));
        (verdict, Some(written.collect()))
    }
}

/// Whether the host would make this step then, given what the steps before asked for.
fn timely(
    input: &StepInput,
    at: Timestamp,
    last: Option<Timestamp>,
    wake_at: Option<Timestamp>,
) -> Result<(), String> {
    if let Some(last) = last.filter(|last| at < *last) {
        return Err(format!("it is at {at}, before the step before it, at {last}"));
    }
    // What is due at a time that has passed acts at once.
    let due = wake_at.map(|due| last.map_or(due, |last| due.max(last)));
    match (input, due) {
        (StepInput::Timer, None) => {
            Err("no step before it asked for a wake-up that is still due".to_owned())
        }
        (StepInput::Timer, Some(due)) if due != at => {
            Err(format!("the wake-up was asked for at {due}, not at {at}"))
        }
        // Wake-ups that fall into the silence come after it.
        (StepInput::Timer | StepInput::DeafSince(_), _) => Ok(()),
        (_, Some(due)) if due <= at => Err(format!(
            "a wake-up is due before it, at {due}: write a step with `\"timer\": true` there"
        )),
        _ => Ok(()),
    }
}
