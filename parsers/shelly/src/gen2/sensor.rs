//! Components that sense or tell of the device, each with a few keys of its own.

use serde::Deserialize;
use tapline_sdk::prelude::*;

use super::component::Status;
use super::report::{Report, milliseconds};

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// `null` where the input is a button, which reports by events.
#[derive(Deserialize)]
pub(super) struct Input {
    state: Option<bool>,
}

impl Status for Input {
    fn report(self, channel: String, report: &mut Report) {
        report.add(Reading::channel(channel).input_on(self.state));
    }
}

/// `null` where the probe is unplugged.
#[derive(Deserialize)]
pub(super) struct Temperature {
    #[serde(rename = "tC")]
    celsius: Option<f64>,
}

impl Status for Temperature {
    fn report(self, channel: String, report: &mut Report) {
        report.add(Reading::channel(channel).temperature_c(self.celsius));
    }
}

#[derive(Deserialize)]
pub(super) struct Humidity {
    rh: Option<f64>,
}

impl Status for Humidity {
    fn report(self, channel: String, report: &mut Report) {
        report.add(Reading::channel(channel).humidity_pct(self.rh));
    }
}

/// Some devices only say `dark`, `twilight` or `bright`, which is no measurement.
#[derive(Deserialize)]
pub(super) struct Illuminance {
    lux: Option<f64>,
}

impl Status for Illuminance {
    fn report(self, channel: String, report: &mut Report) {
        report.add(Reading::channel(channel).illuminance_lx(self.lux));
    }
}

#[derive(Deserialize)]
pub(super) struct DevicePower {
    battery: Option<Battery>,
    external: Option<ExternalPower>,
}

#[derive(Deserialize)]
struct Battery {
    #[serde(rename = "V")]
    volts: Option<f64>,
    percent: Option<f64>,
}

#[derive(Deserialize)]
struct ExternalPower {
    present: Option<bool>,
}

impl Status for DevicePower {
    fn report(self, channel: String, report: &mut Report) {
        let (volts, percent) =
            self.battery.map_or((None, None), |battery| (battery.volts, battery.percent));
        report.add(
            Reading::channel(channel)
                .battery_v(volts)
                .battery_pct(percent)
                .set(crate::EXTERNAL_POWER, self.external.and_then(|it| it.present).map(flag)),
        );
    }
}

/// `xvoltage` beside it is in a unit that its owner made up.
#[derive(Deserialize)]
pub(super) struct Voltmeter {
    voltage: Option<f64>,
}

impl Status for Voltmeter {
    fn report(self, channel: String, report: &mut Report) {
        report.add(Reading::channel(channel).voltage_v(self.voltage));
    }
}

/// A virtual component.
#[derive(Deserialize)]
pub(super) struct Boolean {
    value: Option<bool>,
    last_update_ts: Option<f64>,
}

impl Status for Boolean {
    fn report(self, channel: String, report: &mut Report) {
        let at = self.last_update_ts.and_then(milliseconds);
        report.add(Reading::channel(channel).set(crate::VALUE, self.value.map(flag)).at_ms(at));
    }
}

#[derive(Deserialize)]
pub(super) struct Thermostat {
    #[serde(rename = "current_C")]
    celsius: Option<f64>,
    #[serde(rename = "target_C")]
    target_celsius: Option<f64>,
    output: Option<bool>,
}

impl Status for Thermostat {
    fn report(self, channel: String, report: &mut Report) {
        report.add(
            Reading::channel(channel)
                .temperature_c(self.celsius)
                .target_temperature_c(self.target_celsius)
                .output_on(self.output),
        );
    }
}

/// A radiator valve behind a Bluetooth gateway.
#[derive(Deserialize)]
pub(super) struct RadiatorValve {
    #[serde(rename = "current_C")]
    celsius: Option<f64>,
    #[serde(rename = "target_C")]
    target_celsius: Option<f64>,
    battery: Option<f64>,
    rssi: Option<f64>,
}

impl Status for RadiatorValve {
    fn report(self, channel: String, report: &mut Report) {
        report.add(
            Reading::channel(channel)
                .temperature_c(self.celsius)
                .target_temperature_c(self.target_celsius)
                .battery_pct(self.battery)
                .rssi_dbm(self.rssi),
        );
    }
}

/// `flood` and `smoke`.
#[derive(Deserialize)]
pub(super) struct Alarm {
    alarm: Option<bool>,
}

impl Status for Alarm {
    fn report(self, channel: String, report: &mut Report) {
        report.add(Reading::channel(channel).input_on(self.alarm));
    }
}

#[derive(Deserialize)]
pub(super) struct Mqtt {
    connected: Option<bool>,
}

impl Status for Mqtt {
    fn report(self, _: String, report: &mut Report) {
        report.connected = self.connected;
    }
}

#[derive(Deserialize)]
pub(super) struct Wifi {
    rssi: Option<f64>,
}

impl Status for Wifi {
    fn report(self, _: String, report: &mut Report) {
        report.rssi_dbm = self.rssi;
    }
}
