//! Room on the disk: what the site allows, what `/health` says of it, and how long brokers can
//! keep what is not taken in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Tapline;
use crate::config::site;
use crate::store::{HistoryLimits, Level, Limits, Space};

/// How often it is looked for room while nothing is written.
const LOOK: Duration = Duration::from_secs(1);

/// Messages that a broker keeps for us where its administrator changed nothing: Mosquitto's
/// `max_queued_messages`, EMQX's `max_mqueue_len`. MQTT does not tell.
pub(super) const QUEUE: u32 = 1_000;

/// What is received is remembered by the minute, for an hour.
const SAMPLE: Duration = Duration::from_secs(60);
const SAMPLES: usize = 60;

/// The store's limits as the site has them.
pub(super) fn limits(store: &site::Store) -> Limits {
    Limits {
        max_size: store.max_size,
        min_free: store.min_free,
        history: store
            .history
            .as_ref()
            .map(|history| HistoryLimits { keep: history.keep, max_size: history.max_size }),
    }
}

/// The store's room in `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// `ok`, `low`, `shedding` (history goes), or `full`: nothing is acknowledged.
    pub room: &'static str,
    /// Of what lies in the database.
    pub used_bytes: u64,
    /// Of these, the history, which goes first.
    pub history_bytes: u64,
    /// Free space of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// What may still come before the next limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_bytes: Option<u64>,
}

impl From<Space> for StoreHealth {
    fn from(space: Space) -> Self {
        Self {
            room: space.level.name(),
            used_bytes: space.used,
            history_bytes: space.history,
            free_bytes: space.free,
            left_bytes: space.room,
        }
    }
}

/// What is wrong with the room there is, in one sentence.
pub(super) fn problem(space: &Space) -> Option<String> {
    let (limit, set) = space.limit?;
    let at = format!("`store.{}` is {}", limit.name(), size(set));
    let now = match space.free {
        Some(free) => format!("{} used, {} free", size(space.used), size(free)),
        None => format!("{} used", size(space.used)),
    };
    match space.level {
        Level::Full => Some(format!(
            "the store is full ({at}; {now}): messages are not acknowledged, the broker keeps \
             them; make room, or let deliveries go out"
        )),
        Level::Low => Some(format!(
            "the store is nearly full ({at}; {now}): at the limit, messages are not acknowledged \
             any more"
        )),
        Level::Plenty | Level::Shedding => None,
    }
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// How fast messages come from each broker, while they are taken in.
#[derive(Default)]
pub(super) struct Rates {
    brokers: Mutex<HashMap<Arc<str>, Rate>>,
}

#[derive(Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
    /// Since when nothing is taken in, and how many came in a second before.
    withheld: Option<(Instant, f64)>,
}

impl Rate {
    fn note(&mut self, now: Instant, received: u64, is_full: bool) {
        if is_full {
            if self.withheld.is_none() {
                self.withheld = Some((now, self.per_second(now, received)));
            }
            return;
        }
        if self.withheld.take().is_some() {
            // What comes now has piled up.
            self.samples.clear();
        }
        if self.samples.back().is_some_and(|(_, before)| received < *before) {
            self.samples.clear();
        }
        if self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE) {
            self.samples.push_back((now, received));
            if self.samples.len() > SAMPLES {
                self.samples.pop_front();
            }
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn per_second(&self, now: Instant, received: u64) -> f64 {
        let Some((since, before)) = self.samples.front() else { return 0.0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds < 1.0 { 0.0 } else { received.saturating_sub(*before) as f64 / seconds }
    }

    /// For how long the broker's queue lasts from now on; `None` while that is unknown.
    fn hours(&self, now: Instant, received: u64) -> Option<f64> {
        let (rate, since) = match self.withheld {
            Some((since, rate)) => (rate, now.duration_since(since).as_secs_f64()),
            None => (self.per_second(now, received), 0.0),
        };
        (rate > 0.0).then(|| ((f64::from(QUEUE) / rate - since) / 3600.0).max(0.0))
    }
}

impl Rates {
    /// For how many hours the broker's queue lasts if nothing is acknowledged from now on, or
    /// how many are left where that began before.
    pub(super) fn hours(&self, broker: &str, received: u64) -> Option<f64> {
        let brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        let hours = brokers.get(broker)?.hours(Instant::now(), received)?;
        Some((hours * 10.0).round() / 10.0)
    }

    fn note(&self, received: &[(Arc<str>, u64)], is_full: bool) {
        let mut brokers = self.brokers.lock().unwrap_or_else(PoisonError::into_inner);
        brokers.retain(|name, _| received.iter().any(|(there, _)| there == name));
        for (name, received) in received {
            brokers.entry(name.clone()).or_default().note(Instant::now(), *received, is_full);
        }
    }
}

/// Looks for room every second, also while nothing is written: others fill and clear the disk.
pub(super) async fn watch(tapline: Weak<Tapline>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(tapline) = tapline.upgrade() else { return };
        tapline.store.look();
        let links = tapline.links.all();
        let received: Vec<_> = links
            .iter()
            .map(|(name, connection)| (name.clone(), connection.link.status().received))
            .collect();
        tapline.rates.note(&received, tapline.store.is_full());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_of_a_brokers_queue_follow_from_what_came_before_and_run_down() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut rate = Rate::default();
        assert_eq!(rate.hours(start, 0), None);
        for minute in 0..=10 {
            rate.note(after(minute * 60), minute * 6, false);
        }
        // Six a minute: a thousand take 2.8 hours.
        let hours = rate.hours(after(600), 60).unwrap();
        assert!((hours - 2.777).abs() < 0.01, "{hours}");
        rate.note(after(600), 60, true);
        let left = rate.hours(after(600 + 3600), 60).unwrap();
        assert!((left - 1.777).abs() < 0.01, "{left}");
        assert_eq!(rate.hours(after(600 + 36_000), 60), Some(0.0));
        // What had piled up comes at once and says nothing about devices.
        rate.note(after(40_000), 1_000, false);
        assert_eq!(rate.hours(after(40_000), 1_000), None);
    }
}
