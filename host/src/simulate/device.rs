//! A metering device: power in, publications out.

use std::time::Duration;

use clap::ValueEnum;

use super::{shelly, tasmota};
use crate::broker::Presence;
use crate::message::{Properties, Publication, Timestamp};

/// Whose messages a device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// Gen2 and later.
    Shelly,
    Tasmota,
}

/// What a device is made as.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    pub family: Family,
    /// Hardware id of a Shelly, topic of a Tasmota.
    pub id: String,
    /// In place of the id in a Shelly's topics; before `tele` in a Tasmota's.
    pub topic_prefix: Option<String>,
    /// Component of a Shelly: `pm1:0` (a meter) or `switch:0` (a metering relay).
    pub component: String,
    /// Also `events/rpc`, as a Shelly does where both kinds of notification are on.
    pub rpc: bool,
}

impl DeviceOptions {
    /// A PM Mini Gen3, or a plug with Tasmota.
    pub fn new(family: Family, id: &str) -> Self {
        Self {
            family,
            id: id.to_owned(),
            topic_prefix: None,
            component: "pm1:0".to_owned(),
            rpc: true,
        }
    }
}

/// A simulated device. Its state is what the real one would keep: energy counters.
#[derive(Clone, Debug)]
pub struct Device {
    pub(super) options: DeviceOptions,
    pub(super) energy_wh: f64,
    /// Energy in mWh of the minute that runs and of the three before it, newest first.
    pub(super) minutes: [f64; 4],
    pub(super) steps: u64,
    last: Option<Timestamp>,
    noise: Noise,
}

/// What the meter shows at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pub power_w: f64,
    pub voltage_v: f64,
    pub frequency_hz: f64,
    pub factor: f64,
    pub current_a: f64,
}

impl Device {
    /// A device that has metered nothing yet.
    pub fn new(options: DeviceOptions) -> Self {
        let noise = Noise::new(&options.id);
        Self { options, energy_wh: 0.0, minutes: [0.0; 4], steps: 0, last: None, noise }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.options.id
    }

    /// The topic with its power, as it is pushed as `mqtt_topic`.
    pub fn topic(&self) -> String {
        match self.options.family {
            Family::Shelly => shelly::topic(&self.options),
            Family::Tasmota => tasmota::topic(&self.options),
        }
    }

    /// Birth and will, by which the device says whether it is there.
    pub fn presence(&self) -> Presence {
        match self.options.family {
            Family::Shelly => shelly::presence(&self.options),
            Family::Tasmota => tasmota::presence(&self.options),
        }
    }

    /// What it publishes right after connecting.
    pub fn announce(&mut self, at: Timestamp, power_w: f64) -> Vec<Publication> {
        let meter = self.measure(at, power_w);
        match self.options.family {
            Family::Shelly => shelly::announce(self, at, meter),
            Family::Tasmota => tasmota::announce(self, at, meter),
        }
    }

    /// What it publishes when it draws about `power_w` at `at`.
    pub fn publish(&mut self, at: Timestamp, power_w: f64) -> Vec<Publication> {
        let meter = self.measure(at, power_w);
        self.steps += 1;
        match self.options.family {
            Family::Shelly => shelly::publish(self, at, meter),
            Family::Tasmota => tasmota::publish(self, at, meter),
        }
    }

    fn measure(&mut self, at: Timestamp, power_w: f64) -> Meter {
        let meter = self.noise.meter(power_w);
        let before = self.last.replace(at).unwrap_or(at);
        let energy_wh =
            meter.power_w * Duration::from_millis(at.since(before)).as_secs_f64() / 3600.0;
        self.energy_wh += energy_wh;
        let passed = (at.0 / 60_000).saturating_sub(before.0 / 60_000).min(4);
        for _ in 0..passed {
            self.minutes.rotate_right(1);
            self.minutes[0] = 0.0;
        }
        self.minutes[0] += energy_wh * 1000.0;
        meter
    }
}

/// A message that is not retained.
pub(super) fn message(topic: String, payload: &serde_json::Value, qos: u8) -> Publication {
    let payload = payload.to_string().into_bytes();
    Publication {
        broker: None,
        topic,
        payload,
        qos,
        retain: false,
        properties: Properties::default(),
    }
}

/// `value` with as many decimals as the device states.
pub(super) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    // Adding zero turns a negative zero into one that no device would print with a sign.
    (value * scale).round() / scale + 0.0
}

/// What makes readings differ from one another: reproducible for a device, unlike another's.
#[derive(Clone, Debug)]
struct Noise(u64);

impl Noise {
    fn new(id: &str) -> Self {
        // FNV-1a; only has to tell ids apart.
        let seed = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed | 1)
    }

    /// From -1 to 1, most often near 0.
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            // xorshift64*
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
        };
        uniform() + uniform() - 1.0
    }

    /// A meter that shows about `power_w`: 1.5 % of it and a tenth of a watt either way. What is
    /// off stays at nothing, as a meter shows.
    fn meter(&mut self, power_w: f64) -> Meter {
        let voltage_v = 230.0 + 2.0 * self.next();
        let frequency_hz = 50.0 + 0.05 * self.next();
        let noise = power_w * 0.015 * self.next() + 0.1 * self.next();
        let power_w = if power_w == 0.0 { 0.0 } else { power_w + noise };
        // Small supplies have a poor power factor, motors under load a good one.
        let factor = (0.5 + power_w.abs() / 400.0).min(0.96);
        let current_a = power_w.abs() / (voltage_v * factor);
        Meter { power_w, voltage_v, frequency_hz, factor, current_a }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_times_give_the_same_bytes_and_two_devices_differ() {
        let run = |id: &str| -> Vec<Vec<u8>> {
            let mut device = Device::new(DeviceOptions::new(Family::Shelly, id));
            let times = (0..5).map(|second| Timestamp(1_700_000_000_000 + second * 1000));
            times
                .flat_map(|at| device.publish(at, 100.0))
                .map(|publication| publication.payload)
                .collect()
        };
        assert_eq!(run("a"), run("a"));
        assert_ne!(run("a"), run("b"));
    }

    #[test]
    fn counts_energy_and_stays_near_the_power_that_is_asked_for() {
        let mut device = Device::new(DeviceOptions::new(Family::Shelly, "a"));
        for second in 0..=3600 {
            let meter = device.measure(Timestamp(second * 1000), 100.0);
            assert!((meter.power_w - 100.0).abs() < 2.0);
            assert!(
                (meter.current_a * meter.voltage_v * meter.factor - meter.power_w).abs() < 0.01
            );
        }
        assert!((device.energy_wh - 100.0).abs() < 0.5, "{}", device.energy_wh);
        assert!((device.minutes[1] - 100_000.0 / 60.0).abs() < 30.0);
    }

    #[test]
    fn what_is_off_draws_nothing() {
        let mut device = Device::new(DeviceOptions::new(Family::Shelly, "a"));
        assert!(device.measure(Timestamp(0), 0.0).power_w.abs() < f64::EPSILON);
        assert_eq!(rounded(-0.01, 1).to_string(), "0");
    }
}
