//! Plays a scenario with a device over a connection of its own.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::device::Device;
use super::scenario::Scenario;
use crate::broker::{Farewell, Outlet, OutletOptions, PublishError};
use crate::message::Publication;

/// How long a device waits for a confirmation before it goes on; it keeps nothing.
const CONFIRMATION: Duration = Duration::from_secs(5);
/// For the first connection.
const CONNECT: Duration = Duration::from_secs(15);

/// A device with its way to the broker.
pub struct Player {
    pub device: Device,
    /// Client id, broker and clock; the presence is the device's own.
    pub outlet: OutletOptions,
    /// Between two readings, in the scenario's time.
    pub interval: Duration,
    /// How much faster the scenario passes than the clock.
    pub speed: f64,
}

/// What happens while a scenario is played.
#[derive(Debug)]
pub enum Played<'a> {
    /// Connected, with the time of the scenario.
    Online(Duration),
    /// Vanished without a farewell.
    Offline(Duration),
    /// A publication and what became of it.
    Published(&'a Publication, Result<(), PublishError>),
}

impl Player {
    /// Plays to the end, then leaves with a farewell. Fails only where the broker cannot be
    /// reached at the start; later trouble is told and played through, as a device would.
    pub async fn play(
        &mut self,
        scenario: &Scenario,
        mut tell: impl FnMut(Played<'_>),
    ) -> Result<(), PublishError> {
        let mut outlet = self.connect();
        outlet.connected(CONNECT).await?;
        tell(Played::Online(Duration::ZERO));
        self.announce(&outlet, scenario, Duration::ZERO, &mut tell).await;
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(self.interval.div_f64(self.speed.max(0.001)));
        // After a jam a device does not make up for what it did not say.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut away = false;
        loop {
            ticks.tick().await;
            let at = begun.elapsed().mul_f64(self.speed);
            if at >= scenario.length {
                break;
            }
            let should_be_away = scenario.away.as_ref().is_some_and(|away| away.contains(&at));
            match (away, should_be_away) {
                (false, true) => {
                    outlet.stop(Farewell::Vanish).await;
                    tell(Played::Offline(at));
                }
                (true, false) => {
                    outlet = self.connect();
                    // If it takes longer, publications wait for it.
                    let _ = outlet.connected(CONFIRMATION).await;
                    tell(Played::Online(at));
                    self.announce(&outlet, scenario, at, &mut tell).await;
                }
                _ => {}
            }
            away = should_be_away;
            if !away {
                let publications =
                    self.device.publish((self.outlet.clock)(), scenario.profile.power_w(at));
                send(&outlet, &publications, &mut tell).await;
            }
        }
        if !away {
            outlet.stop(Farewell::KeepSession).await;
        }
        Ok(())
    }

    fn connect(&self) -> Outlet {
        let presence = Some(self.device.presence());
        Outlet::start(OutletOptions { presence, ..self.outlet.clone() })
    }

    async fn announce(
        &mut self,
        outlet: &Outlet,
        scenario: &Scenario,
        at: Duration,
        tell: &mut impl FnMut(Played<'_>),
    ) {
        let publications =
            self.device.announce((self.outlet.clock)(), scenario.profile.power_w(at));
        send(outlet, &publications, tell).await;
    }
}

async fn send(outlet: &Outlet, publications: &[Publication], tell: &mut impl FnMut(Played<'_>)) {
    for publication in publications {
        let result = outlet.publish(publication, None, CONFIRMATION).await;
        tell(Played::Published(publication, result));
    }
}
