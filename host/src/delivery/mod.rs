//! From the outbox to the other side: encode, send, conclude, and again until it is accepted
//! or refused for good.
//!
//! One task per sink reads its part of the outbox. Per key the order of commits is kept and
//! one delivery is on its way; a key in trouble waits by itself, a sink in trouble does not
//! hold up another one. Module calls run on blocking threads. Neighbours: `store` holds the
//! rows, `reload` applies plans, `broker` publishes through [`Publisher`]. Invariant: a row
//! leaves the outbox only by a positive answer of the other side or into the dead letters;
//! there is no number of tries after which something vanishes.

mod back_off;
mod books;
mod coder;
mod form;
mod http;
mod lapse;
mod plan;
mod publishing;
mod queue;
mod refusals;
mod rows;
mod run;
mod status;
#[cfg(test)]
mod tests;
mod verdict;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use back_off::Waits;
pub use form::Form;
pub use http::{client as http_client, socket_client};
pub use plan::{
    Answers, Encoder, EncoderFailure, Encoders, HttpWay, Patience, PublishError, Publisher,
    Publishing, SinkPlan, Way,
};
pub use status::{Paused, SinkStatus};

use crate::config::Devices;
use crate::message::Timestamp;
use crate::module::sink;
use crate::store::{OutboxFlow, SinkId, Store, Waiting};
use crate::telemetry::metrics::Snapshot;
use back_off::BackOff;
use books::Books;
use coder::Coder;
use http::{Http, Transport};
use queue::Queue;
use refusals::Refusals;
use run::Exchanger;
use status::Board;
use worker::{Channel, Worker};

/// Reads the wall clock, for expiry and the times in dead letters.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How long a request that is on its way may still take when its sink is replaced.
const GRACE: Duration = Duration::from_secs(5);

/// How delivery behaves.
#[derive(Clone)]
pub struct Options {
    pub clock: Clock,
    /// Between attempts while the other side is unreachable or busy.
    pub sink_waits: Waits,
    /// Between attempts of a key that failed by itself.
    pub key_waits: Waits,
}

impl Options {
    /// The usual ones, with this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            sink_waits: Waits {
                shortest: Duration::from_millis(500),
                longest: Duration::from_secs(30),
            },
            key_waits: Waits {
                shortest: Duration::from_secs(1),
                longest: Duration::from_secs(300),
            },
        }
    }
}

/// What sinks are told about where they are.
#[derive(Clone)]
pub struct Surroundings {
    /// Name of this Tapline.
    pub bridge: Arc<str>,
    pub devices: Arc<Devices>,
}

/// All sinks at work.
pub struct Delivery {
    store: Store,
    options: Options,
    surroundings: watch::Sender<Surroundings>,
    sinks: Mutex<BTreeMap<SinkId, Running>>,
}

struct Running {
    plan: SinkPlan,
    board: Arc<Board>,
    resume: Arc<Notify>,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

impl Delivery {
    /// Delivery without sinks: [`Delivery::apply`] starts them.
    pub fn new(store: Store, options: Options, surroundings: Surroundings) -> Self {
        let (surroundings, _) = watch::channel(surroundings);
        Self { store, options, surroundings, sinks: Mutex::default() }
    }

    /// Tells the sinks about changed devices; from the next batch on they use them.
    pub fn tell(&self, surroundings: Surroundings) {
        self.surroundings.send_replace(surroundings);
    }

    /// Makes `plans` the sinks that run. One that did not change goes on untouched; one that
    /// did is replaced, and a pause ends; what is gone stops, its rows stay in the outbox.
    /// Call it on the async runtime; returns at once.
    pub fn apply(&self, plans: Vec<SinkPlan>) {
        let mut sinks = self.lock();
        let mut before = std::mem::take(&mut *sinks);
        for plan in plans {
            let id = plan.id.clone();
            let running = match before.remove(&id) {
                Some(running) if plan.equals(&running.plan) => running,
                Some(running) => {
                    let board = running.board.clone();
                    self.start(plan, board, Some(running.end(GRACE)))
                }
                None => self.start(plan, Arc::default(), None),
            };
            sinks.insert(id, running);
        }
        for (_, running) in before {
            running.end(GRACE);
        }
    }

    /// Ends the sinks of these pipelines and waits until they have; their rows stay.
    pub async fn leave(&self, pipelines: &[Arc<str>]) {
        let ended: Vec<_> = {
            let mut sinks = self.lock();
            let gone: Vec<_> =
                sinks.keys().filter(|id| pipelines.contains(&id.pipeline)).cloned().collect();
            gone.iter()
                .filter_map(|id| sinks.remove(id))
                .map(|running| running.end(GRACE))
                .collect()
        };
        for task in ended {
            let _ended = task.await;
        }
    }

    /// Counters go on from `board`; the task starts when `before` has ended.
    fn start(&self, plan: SinkPlan, board: Arc<Board>, before: Option<JoinHandle<()>>) -> Running {
        let resume = Arc::new(Notify::new());
        let (stop, stopping) = watch::channel(None);
        let seed = Seed {
            plan: plan.clone(),
            store: self.store.clone(),
            options: self.options.clone(),
            surroundings: self.surroundings.subscribe(),
            board: board.clone(),
            resume: resume.clone(),
            stop: stopping,
        };
        let task = tokio::spawn(async move {
            // Two tasks of one sink would break the order of its keys.
            if let Some(before) = before {
                let _ = before.await;
                seed.board.edit(|status| status.paused = None);
            }
            let (seed, channel) = match tokio::task::spawn_blocking(|| {
                let channel = open(&seed.plan);
                (seed, channel)
            })
            .await
            {
                Ok(opened) => opened,
                Err(_) => return,
            };
            seed.worker(channel).run().await;
        });
        Running { plan, board, resume, stop, task }
    }

    /// How each sink is doing.
    pub fn status(&self) -> BTreeMap<SinkId, SinkStatus> {
        let sinks = self.lock();
        let read = |(id, running): (&SinkId, &Running)| {
            let OutboxFlow { queued, delivered, dead, waiting } = self.store.outbox_flow(id);
            let status = running.board.read();
            (id.clone(), SinkStatus { queued, delivered, dead, waiting, ..status })
        };
        sinks.iter().map(read).collect()
    }

    /// How far behind their own dates events were accepted, by sink.
    pub fn lags(&self) -> BTreeMap<SinkId, Snapshot> {
        self.lock().iter().map(|(id, running)| (id.clone(), running.board.lag())).collect()
    }

    /// Ends a pause, and a wait, of a sink. `false`: there is no such sink.
    pub fn resume(&self, sink: &SinkId) -> bool {
        let sinks = self.lock();
        let Some(running) = sinks.get(sink) else { return false };
        running.resume.notify_one();
        true
    }

    /// Ends all sinks; what is on its way may take until `within`. The rest stays in the
    /// outbox.
    pub async fn stop(&self, within: Duration) {
        let sinks = std::mem::take(&mut *self.lock());
        let tasks: Vec<_> = sinks.into_values().map(|running| running.end(within)).collect();
        for task in tasks {
            // A task that panicked has ended, too.
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SinkId, Running>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Tells the task to end; it does so by `within` at the latest.
    fn end(self, within: Duration) -> JoinHandle<()> {
        self.stop.send_replace(Some(Instant::now() + within));
        self.task
    }
}

/// What a sink's task starts with.
struct Seed {
    plan: SinkPlan,
    store: Store,
    options: Options,
    surroundings: watch::Receiver<Surroundings>,
    board: Arc<Board>,
    resume: Arc<Notify>,
    stop: watch::Receiver<Option<Instant>>,
}

impl Seed {
    fn worker(self, channel: Channel) -> Worker {
        Worker {
            channel,
            books: Books {
                store: self.store,
                sink: self.plan.id.clone(),
                module: self.plan.module.clone(),
                board: self.board,
                clock: self.options.clock.clone(),
                refusals: Refusals::default(),
            },
            surroundings: self.surroundings,
            resume: self.resume,
            stop: self.stop,
            queue: Queue::new(self.options.key_waits),
            back_off: BackOff::new(self.options.sink_waits),
            limit: self.plan.batch.max.max(1),
            until: None,
            gather_until: None,
            plan: self.plan,
            options: self.options,
        }
    }
}

/// Opens a sink's way to the other side. May read files.
fn open(plan: &SinkPlan) -> Channel {
    let way = match &plan.way {
        Way::Publish(publisher, _) => return Channel::Publish(publisher.clone(), None),
        Way::Compose(publisher, form) => {
            return Channel::Publish(publisher.clone(), Some(form.clone()));
        }
        Way::Http(way) => way,
    };
    match Http::new(way.endpoint.clone()) {
        Ok(http) => exchanger(plan, way, Arc::new(http)),
        Err(reason) => Channel::Closed(reason),
    }
}

fn exchanger(plan: &SinkPlan, way: &HttpWay, transport: Arc<dyn Transport>) -> Channel {
    Channel::Http(Box::new(Exchanger {
        coder: Coder::new(way.encoders.clone()),
        transport,
        answers: plan.answers.clone(),
        prepares: 0,
    }))
}

impl Surroundings {
    /// A row as a sink module sees it.
    fn describe(&self, row: &Waiting) -> sink::Delivery {
        let delivery = &row.delivery;
        let device = delivery.device.as_ref().map(|id| {
            let known = self.devices.by_id.get(id);
            Arc::new(sink::Device {
                id: id.to_string(),
                name: known.map_or_else(|| id.to_string(), |device| device.machine_name.clone()),
                labels: known
                    .map(|device| device.labels.clone().into_iter().collect())
                    .unwrap_or_default(),
            })
        });
        sink::Delivery {
            id: delivery.id.to_string(),
            bridge: self.bridge.clone(),
            replayed: delivery.replayed,
            key: delivery.key.clone(),
            seq: row.seq,
            at: delivery.at,
            device,
            content: delivery.content.clone(),
            origin: delivery.origin.clone(),
        }
    }
}
