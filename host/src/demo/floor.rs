//! The workshop floor: a task for each machine, whose meter publishes once a second.
//!
//! Invariant: what counts as sent has been confirmed by the broker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::clock::Clock;
use super::machines::{MACHINES, Machine};
use super::meter::Meter;
use crate::broker::{Outlet, OutletOptions, PublishError};
use crate::config::site::Broker;
use crate::message::Publication;
use crate::telemetry::clock;

/// Between two reports of a meter.
const EVERY: Duration = Duration::from_secs(1);
/// How long a meter waits for the broker before it drops a report, as real ones do.
const PATIENCE: Duration = Duration::from_secs(2);

/// All machines at work.
pub(super) struct Floor {
    posts: Vec<Arc<Post>>,
    tasks: Mutex<JoinSet<()>>,
    sent: Arc<AtomicU64>,
}

/// A machine's meter and its connection.
struct Post {
    machine: &'static Machine,
    meter: Mutex<Meter>,
    outlet: Outlet,
}

impl Floor {
    /// Connects the meters; they report as soon as `clock` says that Tapline is ready.
    pub(super) fn open(broker: &Arc<Broker>, clock: &Arc<Clock>) -> Self {
        let sent = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let mut posts = Vec::new();
        for (index, machine) in (0_u32..).zip(&MACHINES) {
            let meter = machine.model.meter(machine.meter);
            let outlet = Outlet::start(OutletOptions {
                broker: broker.clone(),
                client_id: machine.meter.to_owned(),
                presence: Some(meter.presence()),
                clock: Arc::new(clock::now),
            });
            let post = Arc::new(Post { machine, meter: Mutex::new(meter), outlet });
            posts.push(post.clone());
            tasks.spawn(work(post, index, clock.clone(), sent.clone()));
        }
        Self { posts, tasks: Mutex::new(tasks), sent }
    }

    /// Reports of power, and broken ones, that the broker has confirmed.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Makes a machine's meter send a message that breaks off.
    pub(super) async fn poison(&self, machine: &str) -> Result<Publication, PublishError> {
        let post = self.posts.iter().find(|post| post.machine.id == machine);
        let post = post.ok_or(PublishError::NotConnected(None))?;
        let broken = post.meter.lock().unwrap_or_else(PoisonError::into_inner).broken();
        post.outlet.publish(&broken, None, PATIENCE).await?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(broken)
    }

    /// No meter reports any more; what was sent stays sent.
    pub(super) fn close(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

async fn work(post: Arc<Post>, index: u32, clock: Arc<Clock>, sent: Arc<AtomicU64>) {
    // One after the other, so that what the screen shows does not jump once a second.
    tokio::time::sleep(EVERY / MACHINES.len() as u32 * index).await;
    let topic = post.machine.model.meter(post.machine.meter).topic();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let Some(at) = clock.script() else { continue };
        let publications = {
            let mut meter = post.meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.publish(clock::now(), post.machine.watts(at))
        };
        for publication in publications {
            let sent_it = post.outlet.publish(&publication, None, PATIENCE).await.is_ok();
            // What else a device says, such as how it is, nobody subscribed to.
            if sent_it && publication.topic == topic {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
