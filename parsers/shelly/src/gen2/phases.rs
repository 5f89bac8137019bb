//! Three phases and their total: `em` and its counters `emdata`.
//!
//! Each phase is a channel (`em:0.a`) and so is the total, which comes first. It is taken
//! as published: it has more decimals than the sum of the rounded phases.

use serde::Deserialize;
use tapline_sdk::prelude::*;

use super::component::Status;
use super::report::Report;

/// `em`. The keys are written out: flattened structs would be read through a buffer.
#[derive(Deserialize)]
pub(super) struct Phases {
    a_act_power: Option<f64>,
    a_aprt_power: Option<f64>,
    a_current: Option<f64>,
    a_voltage: Option<f64>,
    a_pf: Option<f64>,
    a_freq: Option<f64>,
    b_act_power: Option<f64>,
    b_aprt_power: Option<f64>,
    b_current: Option<f64>,
    b_voltage: Option<f64>,
    b_pf: Option<f64>,
    b_freq: Option<f64>,
    c_act_power: Option<f64>,
    c_aprt_power: Option<f64>,
    c_current: Option<f64>,
    c_voltage: Option<f64>,
    c_pf: Option<f64>,
    c_freq: Option<f64>,
    /// `null` where the neutral conductor has no clamp.
    n_current: Option<f64>,
    total_act_power: Option<f64>,
    total_aprt_power: Option<f64>,
    total_current: Option<f64>,
    errors: Option<Vec<String>>,
}

impl Status for Phases {
    fn report(self, channel: String, report: &mut Report) {
        let total = format!("{channel}.total");
        report.add_errors(&total, self.errors);
        report.add(
            Reading::channel(total)
                .power_w(self.total_act_power)
                .apparent_power_va(self.total_aprt_power)
                .current_a(self.total_current),
        );
        report.add(
            Reading::channel(format!("{channel}.a"))
                .power_w(self.a_act_power)
                .apparent_power_va(self.a_aprt_power)
                .current_a(self.a_current)
                .voltage_v(self.a_voltage)
                .power_factor(self.a_pf)
                .frequency_hz(self.a_freq),
        );
        report.add(
            Reading::channel(format!("{channel}.b"))
                .power_w(self.b_act_power)
                .apparent_power_va(self.b_aprt_power)
                .current_a(self.b_current)
                .voltage_v(self.b_voltage)
                .power_factor(self.b_pf)
                .frequency_hz(self.b_freq),
        );
        report.add(
            Reading::channel(format!("{channel}.c"))
                .power_w(self.c_act_power)
                .apparent_power_va(self.c_aprt_power)
                .current_a(self.c_current)
                .voltage_v(self.c_voltage)
                .power_factor(self.c_pf)
                .frequency_hz(self.c_freq),
        );
        report.add(Reading::channel(format!("{channel}.n")).current_a(self.n_current));
    }
}

/// `emdata`: Wh, each phase for itself and not netted.
#[derive(Deserialize)]
pub(super) struct PhasesData {
    a_total_act_energy: Option<f64>,
    a_total_act_ret_energy: Option<f64>,
    b_total_act_energy: Option<f64>,
    b_total_act_ret_energy: Option<f64>,
    c_total_act_energy: Option<f64>,
    c_total_act_ret_energy: Option<f64>,
    total_act: Option<f64>,
    total_act_ret: Option<f64>,
}

impl Status for PhasesData {
    fn report(self, channel: String, report: &mut Report) {
        let channels = [
            ("total", self.total_act, self.total_act_ret),
            ("a", self.a_total_act_energy, self.a_total_act_ret_energy),
            ("b", self.b_total_act_energy, self.b_total_act_ret_energy),
            ("c", self.c_total_act_energy, self.c_total_act_ret_energy),
        ];
        for (part, consumed, returned) in channels {
            report.add(
                Reading::channel(format!("{channel}.{part}"))
                    .energy_wh(consumed)
                    .energy_exported_wh(returned),
            );
        }
    }
}
