//! Follows each device through time: says when it draws too much power for too long, and when
//! that is over.

use serde::{Deserialize, Serialize};
use tapline_sdk::prelude::*;
use tapline_sdk::serde_json::json;

tapline_sdk::settings! {
    /// What a pipeline or a device may set.
    pub struct Settings {
        /// Power from which on it is too much, in W.
        #[schemars(range(min = 0.0))]
        pub limit_w: f64 = 2000.0,
        /// For how long it may be too much, in ms.
        pub hold_ms: u64 = 10_000,
    }
}

/// What is remembered of one device; it is written with every step, so it is small.
#[derive(Serialize, Deserialize)]
enum State {
    /// Too much since this time, and nobody was told yet.
    Above { since: u64 },
    /// Somebody was told.
    Told { since: u64 },
}

struct MyModule(Settings);

impl Detector for MyModule {
    type Settings = Settings;
    type State = State;
    const NAME: &'static str = "my-module";
    const SUMMARY: &'static str = "Says when a device draws too much power for too long";
    /// Count up with every change of `State`, and read older ones in `migrate`.
    const STATE_VERSION: u32 = 1;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    // Time comes from `step.at` and from nowhere else, so that recorded traffic gives the same.
    fn step(&self, step: Step<'_, State>) -> Result<Next<State>, Rejection> {
        let above = match &step.input {
            Input::Item(Item::Reading(reading)) if !step.retained => {
                reading.get(quantity::POWER_W).map(|power| power >= self.0.limit_w)
            }
            _ => None, // no news of the power
        };
        Ok(match (step.input, step.state) {
            (Input::Removed, _) => Next::forget(),
            (Input::Timer, Some(State::Above { since })) => {
                let event = Event::new("overload_started").at_ms(step.at);
                Next::keep(State::Told { since }).emit(event)
            }
            (_, None) if above == Some(true) => self.wait(step.at),
            (_, Some(State::Told { since })) if above == Some(false) => {
                let data = json!({ "duration_ms": step.at - since });
                Next::forget().emit(Event::new("overload_ended").at_ms(step.at).data(&data))
            }
            (_, Some(State::Above { .. })) if above == Some(false) => Next::forget(),
            // Nothing new: what was remembered stays, and so does the wake-up.
            (_, Some(State::Above { since })) => self.wait(since),
            (_, Some(State::Told { since })) => Next::keep(State::Told { since }),
            (_, None) => Next::forget(),
        })
    }
}

impl MyModule {
    /// Asks to be woken if it stays too much.
    fn wait(&self, since: u64) -> Next<State> {
        Next::keep(State::Above { since }).wake_at(since + self.0.hold_ms)
    }
}

tapline_sdk::export_detector!(MyModule);
