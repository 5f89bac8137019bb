//! The second version of the detector that counts readings: it keeps its count as text, reads
//! what the first version wrote, and refuses to at a count of 3. Of 9000 W and more it breaks; less
//! than 0 W it refuses, and less than -9000 W with a code of the host's.

use tapline_sdk::prelude::*;
use tapline_sdk::serde_json::json;

/// The detector.
pub struct Counter;

impl Detector for Counter {
    type Settings = NoSettings;
    type State = String;
    const NAME: &'static str = "counter";
    const SUMMARY: &'static str = "Counts readings";
    const STATE_VERSION: u32 = 2;

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn step(&self, step: Step<'_, String>) -> Result<Next<String>, Rejection> {
        let state = step.state.unwrap_or_else(|| "0".to_owned());
        if !matches!(step.input, Input::Item(_)) {
            return Ok(Next::keep(state));
        }
        if let Input::Item(Item::Reading(reading)) = &step.input {
            let too_much = reading.measurements.iter().any(|m| m.value >= 9000.0);
            assert!(!too_much, "more than 9000 W are not to be counted");
            if reading.measurements.iter().any(|m| m.value < -9000.0) {
                // A code that the host also uses for what a module could not bear.
                return Err(Rejection::new("settings", "the wheel is set up the wrong way round"));
            }
            if reading.measurements.iter().any(|m| m.value < 0.0) {
                return Err(Rejection::new("below-zero", "the wheel turned backwards"));
            }
        }
        let broken = |_| Rejection::new("no-count", format!("`{state}` is no count"));
        let count = state.parse::<u32>().map_err(broken)?.saturating_add(1);
        let event = Event::new("counted").data(&json!({"count": count, "version": 2}));
        Ok(Next::keep(count.to_string()).emit(event))
    }

    fn migrate(from: u32, bytes: &[u8]) -> Result<String, String> {
        match (from, bytes) {
            (1, [3]) => Err("a count of 3 cannot be brought over".to_owned()),
            (1, [count]) => Ok(count.to_string()),
            _ => Err(format!("state of version {from} with {} bytes is not known", bytes.len())),
        }
    }
}

tapline_sdk::export_detector!(Counter);
