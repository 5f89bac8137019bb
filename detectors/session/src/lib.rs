//! Turns the power of a machine into sessions: started, heartbeat, stopped, timed out.
//!
//! `settings` are what a site says, `channel` picks whose power counts, `machine` holds the
//! states, `deadline` what time alone does, `run` keeps a session's account, `report` words
//! the events. This file joins them to Tapline. Invariant: the events depend on the readings
//! and their times alone, never on when a step was made or how batches were cut.
//!
//! ```text
//! idle ── P ≥ S ──> starting ── debounce ──> standby / working <── P ≥ S ──┐
//!  ▲ <── P < S ──────┘                          └── P < S ──> stopping ────┘
//!  └──────────────── debounce, silence, removed ─────────────────┘
//! ```

mod channel;
mod deadline;
mod machine;
mod report;
mod run;
mod settings;

use tapline_sdk::prelude::*;

pub use crate::machine::Machine;
pub use crate::settings::{Channel, Settings};

use crate::machine::{Heard, Turn};
use crate::settings::Rules;

/// The detector: see the crate's documentation.
#[derive(Debug)]
pub struct Session {
    rules: Rules,
}

impl Detector for Session {
    type Settings = Settings;
    type State = Machine;
    const NAME: &'static str = "session";
    const SUMMARY: &'static str = "Turns the power of a machine into sessions.";
    const STATE_VERSION: u32 = 1;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { rules: Rules::try_from(settings)? })
    }

    fn step(&self, step: Step<'_, Machine>) -> Result<Next<Machine>, Rejection> {
        let mut machine = step.state.unwrap_or_default();
        let before = machine.state();
        let mut turn = Turn::new(&self.rules, step.key);
        let mut ignored = None;
        let mut removed = false;
        match step.input {
            Input::Item(Item::Reading(reading)) if step.retained => {
                machine.remember_online(flag(&reading));
            }
            // What the broker had kept dates nothing, so time does not move either.
            _ if step.retained => {}
            Input::Item(Item::Reading(reading)) => {
                machine.hear(&mut turn, step.at, heard(&reading));
                ignored = turn.second.take().map(|counts| second_channel(&reading, &counts));
            }
            // A pipeline may send more than readings here; they say nothing about power.
            Input::Item(_) | Input::Message(_) | Input::Timer => machine.pass(&mut turn, step.at),
            Input::DeafSince(from) => machine.deaf(&mut turn, from, step.at),
            Input::Reconfigured => machine.reconfigure(&mut turn, step.at),
            Input::Removed => {
                machine.remove(&mut turn, step.at);
                removed = true;
            }
        }
        let after = machine.state();
        if before != after {
            log::info!("state_transition device_id={} from={before} to={after}", step.key);
        }
        let outputs = turn
            .reports
            .iter()
            .map(|report| {
                Event::new(report.kind)
                    .channel(machine.channel())
                    .at_ms(report.at)
                    .data(&report.data)
                    .into()
            })
            .collect();
        Ok(Next {
            wake_at: machine.wake_at(&self.rules),
            outputs,
            ask: turn.ask,
            ignored,
            state: (!removed).then_some(machine),
        })
    }

    fn migrate(from: u32, _state: &[u8]) -> Result<Machine, String> {
        Err(format!(
            "this state has version {from}; version {} of module `{}` reads version {} alone",
            env!("CARGO_PKG_VERSION"),
            Self::NAME,
            Self::STATE_VERSION
        ))
    }
}

fn heard(reading: &Reading) -> Heard<'_> {
    let online = flag(reading);
    Heard {
        channel: &reading.channel,
        power_w: reading.get(quantity::POWER_W).filter(|value| value.is_finite()),
        energy_wh: reading.get(quantity::ENERGY_WH).filter(|value| value.is_finite()),
        online,
        // That a device is gone is said by the broker, not by the device.
        alive: reading.measurements.len() > usize::from(online == Some(false)),
    }
}

fn flag(reading: &Reading) -> Option<bool> {
    reading.get(quantity::ONLINE).map(|value| value != 0.0)
}

fn second_channel(reading: &Reading, counts: &str) -> Rejection {
    Rejection::new(
        "second-channel",
        format!(
            "channel `{}` gives power too, but that of `{counts}` counts; name one in `channel`, \
             or list those to add up",
            reading.channel
        ),
    )
}

tapline_sdk::export_detector!(Session);
