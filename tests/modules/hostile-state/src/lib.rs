//! A detector whose state is far too large, and which refuses to read older ones.
//!
//! Each step keeps a state of `state_bytes` bytes. A reading of 0 W keeps a small one, so
//! that a well-behaved key can stand beside a bad one in a batch. `wake` says when the next
//! wake-up is to be: `soon` (a second later), `now`, `past` (1970) or `never` (the last
//! millisecond that there is); with `storm` each wake-up emits an event.

use tapline_sdk::prelude::*;

tapline_sdk::settings! {
    /// Settings of the detector.
    pub struct Settings {
        /// Size of the state that a step keeps.
        pub state_bytes: usize = 1 << 20,
        /// When to be woken.
        pub wake: String = String::from("soon"),
        /// Whether each wake-up emits an event.
        pub storm: bool = false,
    }
}

/// The detector.
pub struct HostileState(Settings);

impl Detector for HostileState {
    type Settings = Settings;
    type State = Vec<u8>;
    const NAME: &'static str = "hostile-state";
    const SUMMARY: &'static str = "Keeps far too much";
    const STATE_VERSION: u32 = 2;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn step(&self, step: Step<'_, Vec<u8>>) -> Result<Next<Vec<u8>>, Rejection> {
        let small = matches!(
            &step.input,
            Input::Item(Item::Reading(reading)) if reading.get(quantity::POWER_W) == Some(0.0)
        );
        let bytes = if small { 8 } else { self.0.state_bytes };
        let wake_at = match self.0.wake.as_str() {
            "now" => step.at,
            "past" => 0,
            "never" => u64::MAX,
            _ => step.at + 1_000,
        };
        let next = Next::keep(vec![7; bytes]).wake_at(wake_at);
        let woken = matches!(step.input, Input::Timer);
        Ok(if woken && self.0.storm { next.emit(Event::new("woken")) } else { next })
    }
}

tapline_sdk::export_detector!(HostileState);

#[cfg(test)]
mod tests {
    use super::*;
    use tapline_sdk::testing::Bench;

    #[test]
    fn keeps_a_small_state_only_at_no_power() {
        let mut bench = Bench::<HostileState>::new(Settings::default());
        bench.reading("good", 1, Reading::channel("").power_w(0.0));
        assert_eq!(bench.largest_state(), 9);
        bench.reading("bad", 1, Reading::channel("").power_w(1.0));
        assert!(bench.largest_state() > 1 << 20);
    }
}
