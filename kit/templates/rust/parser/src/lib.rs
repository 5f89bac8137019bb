//! Reads messages of my-module devices: one message in, readings out.

use serde::Deserialize;
use tapline_sdk::prelude::*;

tapline_sdk::settings! {
    /// What a pipeline or a device may set.
    pub struct Settings {
        /// What the power is multiplied with: the ratio of a current transformer, say.
        #[schemars(range(min = 0.0))]
        pub ratio: f64 = 1.0,
    }
}

/// The fields of the payload that are of interest. What a device leaves out is `None`, never 0.
#[derive(Deserialize)]
struct Payload {
    power: Option<f64>,
    voltage: Option<f64>,
    energy_kwh: Option<f64>,
    on: Option<bool>,
}

struct MyModule(Settings);

impl Parser for MyModule {
    type Settings = Settings;
    const NAME: &'static str = "my-module";
    const SUMMARY: &'static str = "Reads my-module devices";

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn parse(&self, message: &Message) -> Result<Vec<Item>, Rejection> {
        // What is no such JSON is refused with line and column, and kept as a dead letter.
        let Payload { power, voltage, energy_kwh, on } = message.json()?;
        // Units are in the names; `.tapline/wit/quantities.toml` lists all quantities.
        let reading = Reading::channel("")
            .power_w(power.map(|watts| watts * self.0.ratio))
            .voltage_v(voltage)
            .energy_wh(energy_kwh.map(|kwh| kwh * 1000.0))
            .output_on(on);
        if reading.measurements.is_empty() {
            return Ok(Vec::new()); // nothing of interest
        }
        Ok(vec![reading.into()])
    }
}

tapline_sdk::export_parser!(MyModule);
