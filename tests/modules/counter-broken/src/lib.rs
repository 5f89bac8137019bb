//! A version of the detector that counts readings which keeps the same state and fails on each
//! reading.

use tapline_sdk::prelude::*;

/// The detector.
pub struct Counter;

impl Detector for Counter {
    type Settings = NoSettings;
    type State = u8;
    const NAME: &'static str = "counter";
    const SUMMARY: &'static str = "Fails on readings";
    const STATE_VERSION: u32 = 1;

    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }

    fn step(&self, step: Step<'_, u8>) -> Result<Next<u8>, Rejection> {
        assert!(!matches!(step.input, Input::Item(_)), "the counter's wheel is stuck");
        Ok(Next::keep(step.state.unwrap_or_default()))
    }
}

tapline_sdk::export_detector!(Counter);
