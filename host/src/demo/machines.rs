//! The five machines of the demo: what they are called, what meters them, and when they draw
//! how much. All data, so that the whole time line can be read in one place.
//!
//! Invariant: profiles repeat after [`ROUND`], and a machine ends a round as it began it.

use std::time::Duration;

use super::meter::Model;

/// After this time profiles and script begin again.
pub(super) const ROUND: Duration = Duration::from_secs(64);

/// A machine of the workshop.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    /// What its meter calls itself, in its topics.
    pub(super) meter: &'static str,
    pub(super) model: Model,
    /// What the power bar is full at.
    pub(super) scale_w: f64,
    /// Power until a second of the round, in order; the last one ends the round.
    legs: &'static [(u64, f64)],
}

/// Thresholds and times that the demo pushes for each machine: short ones, so that a session
/// takes seconds.
pub(super) const STANDBY_W: f64 = 5.0;
pub(super) const WORKING_W: f64 = 50.0;
pub(super) const START_DEBOUNCE_S: f64 = 2.0;
pub(super) const STOP_DEBOUNCE_S: f64 = 3.0;
pub(super) const MESSAGE_TIMEOUT_S: f64 = 20.0;

/// Whose working threshold the demo raises, and to what: between its power and the others'.
pub(super) const RAISED: &str = "compressor-1";
pub(super) const RAISED_W: f64 = 600.0;

/// Which machine sends the broken message.
pub(super) const POISONER: &str = "saw-1";

/// Between seconds 13 and 16 two sessions start and two end: those are the four events that
/// wait while Odoo is away. Then nothing happens until it is back.
pub(super) const MACHINES: [Machine; 5] = [
    Machine {
        id: "mill-1",
        name: "CNC mill",
        meter: "shellypmminig3-mill",
        model: Model::ShellyPm1,
        scale_w: 1000.0,
        legs: &[(1, 2.8), (4, 38.0), (22, 640.0), (27, 41.0), (40, 720.0), (64, 2.8)],
    },
    Machine {
        id: "laser-1",
        name: "Laser cutter",
        meter: "shellypro3em-laser",
        model: Model::Shelly3Em,
        scale_w: 2500.0,
        legs: &[(2, 3.1), (11, 1420.0), (30, 3.1), (44, 1830.0), (64, 3.1)],
    },
    Machine {
        id: "compressor-1",
        name: "Compressor",
        meter: "compressor",
        model: Model::Tasmota,
        scale_w: 1000.0,
        legs: &[(11, 1.2), (57, 365.0), (64, 1.2)],
    },
    Machine {
        id: "saw-1",
        name: "Band saw",
        meter: "shellyplusplugs-saw",
        model: Model::ShellyPlug,
        scale_w: 1500.0,
        legs: &[(3, 0.9), (11, 910.0), (34, 0.9), (46, 980.0), (64, 0.9)],
    },
    Machine {
        id: "kiln-1",
        name: "Kiln",
        meter: "kiln",
        model: Model::Tasmota,
        scale_w: 2500.0,
        legs: &[(12, 0.6), (25, 2150.0), (30, 24.0), (38, 2080.0), (64, 0.6)],
    },
];

impl Machine {
    /// What it draws at this time of the script.
    pub(super) fn watts(&self, at: Duration) -> f64 {
        let second = at.as_secs_f64() % ROUND.as_secs_f64();
        let leg = self.legs.iter().find(|(until, _)| second < *until as f64);
        leg.map_or(0.0, |(_, watts)| *watts)
    }
}

/// The machine with this id.
pub(super) fn by_id(id: &str) -> Option<&'static Machine> {
    MACHINES.iter().find(|machine| machine.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a machine's sessions start and end by the rules, were it read without a pause.
    fn events(machine: &Machine) -> Vec<(u64, bool)> {
        let mut events = Vec::new();
        let (mut on, mut since) = (false, 0.0);
        let mut above_before = false;
        for tenth in 0..640_u64 {
            let at = tenth as f64 / 10.0;
            let above = machine.watts(Duration::from_millis(tenth * 100)) >= STANDBY_W;
            if above != above_before {
                (above_before, since) = (above, at);
            }
            let debounce = if on { STOP_DEBOUNCE_S } else { START_DEBOUNCE_S };
            if above != on && at >= since + debounce {
                on = above;
                events.push((at as u64, on));
            }
        }
        events
    }

    #[test]
    fn four_events_fall_into_the_time_without_odoo_and_none_soon_before_or_after() {
        let all: Vec<u64> = MACHINES.iter().flat_map(events).map(|(second, _)| second).collect();
        let within = |from: u64, to: u64| all.iter().filter(|s| (from..to).contains(s)).count();
        assert_eq!(within(13, 16), 4, "{all:?}");
        assert_eq!(within(7, 13) + within(16, 30), 0, "{all:?}");
        assert!(within(2, 7) >= 1, "a first session early: {all:?}");
    }

    #[test]
    fn a_round_ends_as_it_began_and_holds_a_full_session() {
        for machine in &MACHINES {
            let ons: Vec<bool> = events(machine).iter().map(|(_, on)| *on).collect();
            assert_eq!(ons.last(), Some(&false), "{}", machine.id);
            assert_eq!(machine.legs.last().map(|leg| leg.0), Some(ROUND.as_secs()));
        }
        let mill = &MACHINES[0];
        let watts: Vec<f64> = (0..60).map(|s| mill.watts(Duration::from_secs(s))).collect();
        let standby = |w: &&f64| (STANDBY_W..WORKING_W).contains(*w);
        assert!(watts.iter().any(|w| *w >= WORKING_W) && watts.iter().find(standby).is_some());
    }

    #[test]
    fn the_raised_threshold_lies_above_the_machine_s_power() {
        let machine = by_id(RAISED).unwrap();
        let most = (0..64).map(|s| machine.watts(Duration::from_secs(s))).fold(0.0, f64::max);
        assert!(most > WORKING_W && most < RAISED_W, "{most}");
        assert!(by_id(POISONER).is_some());
    }
}
