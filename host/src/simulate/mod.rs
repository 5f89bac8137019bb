//! Simulated machines on MQTT: `tapline simulate`, and the devices of the demo.
//!
//! [`Device`] is the model: given a time and a power, it says what a real device would publish.
//! [`Player`] plays a [`Scenario`] with it over a connection of the device's own, whose will
//! tells the broker when the device vanishes. Neighbours: `broker` below, `cli` and `demo`
//! above. Invariant: the model reads no clock, so the same times give the same bytes.

mod args;
mod device;
mod player;
mod scenario;
mod shelly;
mod tasmota;

pub use args::{Args, SimulateError, run};
pub use device::{Device, DeviceOptions, Family};
pub use player::{Played, Player};
pub use scenario::{Profile, Repeat, Scenario, ScenarioName};
