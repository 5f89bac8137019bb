//! Which brokers are heard, and what the clock may do because of that.
//!
//! Hearing nothing is not silence: wake-ups act by the clock alone only for devices whose brokers
//! are connected and have given all that had waited, and after an outage the worker is told from
//! when to when nothing could be heard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::watch::Turn;
use super::{Owed, Thread};
use crate::broker::LinkEvent;
use crate::message::Timestamp;
use crate::pipeline::effects::Effects;
use crate::telemetry::clock;

/// The longest a thread sleeps without a look at the clock, which may have been set.
const NAP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Default)]
pub(super) struct Link {
    pub(super) up: bool,
    pub(super) drained: bool,
    /// Since when nothing is heard of it.
    silent_since: Option<Timestamp>,
}

impl Thread {
    /// Notes what became of a connection; what follows from it is to be committed.
    pub(super) fn link_changed<'a>(
        &mut self,
        broker: &'a Arc<str>,
        event: LinkEvent,
    ) -> (Turn<'a>, Effects) {
        let unheard = self.silent_since;
        let link = self
            .links
            .entry(broker.clone())
            .or_insert_with(|| Link { silent_since: unheard, ..Link::default() });
        match event {
            LinkEvent::Up { resumed, at } => {
                link.up = true;
                link.drained = false;
                if let Some(from) = link.silent_since.take() {
                    let effects = self.worker.deaf(broker, from, at, resumed);
                    return (Turn::Deaf { broker, from, until: at, resumed }, effects);
                }
            }
            LinkEvent::Drained { .. } => link.drained = true,
            LinkEvent::Down { last_heard, .. } => {
                link.up = false;
                link.drained = false;
                link.silent_since.get_or_insert(last_heard);
            }
        }
        (Turn::Link, Effects::default())
    }

    /// Lets act what is due by the clock.
    pub(super) fn wake(&mut self) {
        // What waits came before whatever the clock would do now.
        if self.is_halted() || self.store.is_full() {
            return;
        }
        let now = clock::now();
        if !self.trust.look(now, Instant::now(), &self.worker.plan().file.name) {
            return;
        }
        let is_due = self.worker.next_due().is_some_and(|due| due <= now);
        if !is_due && !self.shadows.want_the_clock(now) {
            return;
        }
        let links = self.links.iter().filter(|(_, link)| link.up && link.drained);
        let heard: BTreeSet<Arc<str>> = links.map(|(broker, _)| broker.clone()).collect();
        if is_due {
            self.wake_due(now, &heard);
        }
        // Behind what the live versions did at this time.
        if !self.is_halted() {
            self.shadows.tell_the_clock(self.worker.plan(), now, &heard);
        }
    }

    fn wake_due(&mut self, now: Timestamp, heard: &BTreeSet<Arc<str>>) {
        let start = Instant::now();
        let mut effects = self.worker.wake(now, &|plan, device| plan.is_heard(device, heard));
        if let Some((_, letter)) = effects.take_first_halt() {
            return self.halt(Vec::new(), 0, letter);
        }
        let turn = Turn::Clock { now, heard };
        self.commit(turn, effects, Owed::default(), &[], 0, start);
    }

    /// How long nothing is due.
    pub(super) fn patience(&self) -> Duration {
        let Some(due) = self.worker.next_due() else { return NAP };
        let now = clock::now();
        // What is due but may not act waits for a broker, whose events wake the thread.
        if due <= now { NAP } else { Duration::from_millis(due.since(now)).min(NAP) }
    }
}
