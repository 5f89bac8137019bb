//! A detector that counts readings. Its second version, beside it, keeps another state.

use tapline_sdk::prelude::*;
use tapline_sdk::serde_json::json;

/// The detector.
pub struct Counter;

impl Detector for Counter {
    type Settings = NoSettings;
    type State = u8;
    const NAME: &'static str = "counter";
    const SUMMARY: &'static str = "Counts readings";
    const STATE_VERSION: u32 = 1;

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn step(&self, step: Step<'_, u8>) -> Result<Next<u8>, Rejection> {
        let count = step.state.unwrap_or_default();
        if !matches!(step.input, Input::Item(_)) {
            return Ok(Next::keep(count));
        }
        let count = count.saturating_add(1);
        let event = Event::new("counted").data(&json!({"count": count, "version": 1}));
        Ok(Next::keep(count).emit(event))
    }
}

tapline_sdk::export_detector!(Counter);
