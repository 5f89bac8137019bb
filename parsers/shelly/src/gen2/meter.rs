//! Components with one meter: switches, covers, lights, and meters alone.

use serde::Deserialize;
use tapline_sdk::prelude::*;

use super::component::Status;
use super::report::Report;

/// `switch`, `pm1`, `cover`, `light` and their like, and `em1`. Any key may be missing: not
/// every switch has a meter, and a notification names only what changed.
#[derive(Deserialize)]
pub(super) struct Meter {
    output: Option<bool>,
    apower: Option<f64>,
    /// What `em1` says instead of `apower`.
    act_power: Option<f64>,
    aprt_power: Option<f64>,
    voltage: Option<f64>,
    current: Option<f64>,
    freq: Option<f64>,
    pf: Option<f64>,
    aenergy: Option<Counter>,
    ret_aenergy: Option<Counter>,
    temperature: Option<Heat>,
    /// Percent open; `null` before the cover is calibrated.
    current_pos: Option<f64>,
    errors: Option<Vec<String>>,
}

/// Watt-hours. What is beside it counts the last minutes in mWh.
#[derive(Deserialize)]
struct Counter {
    total: Option<f64>,
}

/// The device's own heat, `null` where the sensor fails.
#[derive(Deserialize)]
struct Heat {
    #[serde(rename = "tC")]
    celsius: Option<f64>,
}

impl Status for Meter {
    fn report(self, channel: String, report: &mut Report) {
        report.add_errors(&channel, self.errors);
        report.add(
            Reading::channel(channel)
                .power_w(self.apower.or(self.act_power))
                .apparent_power_va(self.aprt_power)
                .voltage_v(self.voltage)
                .current_a(self.current)
                .frequency_hz(self.freq)
                .power_factor(self.pf)
                .energy_wh(self.aenergy.and_then(|counter| counter.total))
                .energy_exported_wh(self.ret_aenergy.and_then(|counter| counter.total))
                .output_on(self.output)
                .position_pct(self.current_pos)
                .device_temperature_c(self.temperature.and_then(|heat| heat.celsius)),
        );
    }
}

/// `em1data`: the counters of an `em1`, in Wh.
#[derive(Deserialize)]
pub(super) struct Em1Data {
    total_act_energy: Option<f64>,
    total_act_ret_energy: Option<f64>,
}

impl Status for Em1Data {
    fn report(self, channel: String, report: &mut Report) {
        report.add(
            Reading::channel(channel)
                .energy_wh(self.total_act_energy)
                .energy_exported_wh(self.total_act_ret_energy),
        );
    }
}
