//! The running whole: start, push, stop. One path leads to what runs: read everything,
//! check everything, build new, drain old, swap.
//!
//! Neighbours: `config` says what should run, `pipeline`, `broker` and `delivery` run it,
//! `api` asks for changes. Invariant: a failure at any step leaves what runs untouched and
//! says why.

mod accepted;
mod alone;
mod aside;
mod authorities;
mod certificates;
mod changes;
mod check;
mod expiry;
mod files;
mod gate;
mod health;
mod letters;
mod look;
mod metrics;
mod modules;
mod prepare;
mod push;
mod pushed;
mod rehearse;
mod revisions;
mod room;
mod router;
mod scan;
mod serving;
mod shadow;
mod sinks;
mod start;
mod status;
mod stop;
mod strangers;
mod verify;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

pub use alone::{Alone, Asked, alone};
pub use changes::{Change, Changes, Difference, How, render};
pub use check::{Findings, check};
pub use files::{ReloadError, ReloadPlan, Reloaded, Reloads};
pub use gate::Waiting;
pub use health::{BrokerHealth, Health, PipelineHealth, SinkHealth};
pub use letters::{Chosen, Left, Next, TURN, Turned};
pub use look::{DeviceView, explain};
pub use push::{Applied, IfMatch, PushError};
pub(crate) use pushed::read_document;
pub use revisions::{Entry, InForce};
pub use shadow::{Decided, ShadowError, ShadowView, Verdict as ShadowVerdict};
pub use start::StartError;
pub use status::{
    BrokerStatus, Failure, ModuleStatus, PipelineStatus, SinkState, StageStatus, Status,
};
pub use strangers::{Understood, UnknownView};

use crate::broker::{Farewell, Link, LinkOptions, Memory, MemoryError, Subscription};
use crate::config::push::Pushed;
use crate::config::site::Broker;
use crate::config::{Config, Problem};
use crate::delivery::{Delivery, Surroundings};
use crate::message::Timestamp;
use crate::module::Engine;
use crate::pipeline::{Activity, Halted, Resume, Shard, Sights, Watchers};
use crate::store::{StageId, Store, Succession};
use crate::telemetry::{self, clock};
use accepted::{Accepted, Unit};
use aside::Trials;
use certificates::Certificates;
use expiry::{Expiring, Said};
use files::Pending;
use prepare::{Inputs, Prepared};
use router::{Router, Ways};
use serving::Serving;
use sinks::Publishers;

/// How Tapline is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The site directory; `None`: what ships, with the environment's broker and endpoint.
    pub site: Option<PathBuf>,
    /// Where database, compiled modules and the pushed configuration are kept.
    pub data: PathBuf,
    /// The process environment, or what a test takes for it.
    pub env: BTreeMap<String, String>,
    /// S3's document, read at the first start.
    pub config_file: Option<PathBuf>,
    /// Where `*.wasm` files are looked for beside the site's and the shipped ones.
    pub modules: Option<PathBuf>,
}

/// A running Tapline.
pub struct Tapline {
    options: Options,
    /// The name of a site that says none.
    generated_name: String,
    /// What sets this copy of another box apart from it.
    copy: Option<String>,
    store: Store,
    /// Files and modules in force; a push builds upon them.
    inputs: RwLock<Arc<Inputs>>,
    /// What of the files is not in force.
    files: Mutex<Pending>,
    /// Ends its ticker when it goes, so it stays for as long as modules run.
    engine: Arc<Engine>,
    activity: Arc<Activity>,
    sights: Arc<Sights>,
    watchers: Arc<Watchers>,
    delivery: Delivery,
    ways: Arc<Ways>,
    links: Arc<Links>,
    publishers: Publishers,
    rates: room::Rates,
    running: RwLock<Arc<Running>>,
    /// Of the document in force; 0 before the first push.
    revision: std::sync::atomic::AtomicU64,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// One request at a time works on dead letters.
    letters: tokio::sync::Mutex<()>,
    asker: JoinHandle<()>,
    /// Looks for changed files.
    watch: Mutex<Option<JoinHandle<()>>>,
    accepted: Accepted,
    /// What was last accepted when this start began.
    fallback: BTreeMap<String, Unit>,
    /// Versions of modules: those before, and those put aside.
    trials: Trials,
    reloads: Mutex<Reloads>,
    serving: Serving,
    expiries: Mutex<Said>,
    started: Instant,
}

/// What runs now; nothing before the start is done.
#[derive(Clone, Default)]
struct Running {
    config: Option<Arc<Config>>,
    /// The document in force.
    pushed: Option<Arc<Pushed>>,
    shards: BTreeMap<Arc<str>, Arc<Shard>>,
    /// What could not be taken up, and why.
    problems: Vec<Problem>,
    /// The files among them, of which nothing runs.
    broken: BTreeSet<String>,
    updated: Option<Timestamp>,
    /// What has a last day.
    expiring: Vec<Expiring>,
}

/// The connections, by broker.
#[derive(Default)]
pub(crate) struct Links {
    links: RwLock<BTreeMap<Arc<str>, Connection>>,
}

#[derive(Clone)]
struct Connection {
    link: Arc<Link>,
    router: Arc<Router>,
    broker: Arc<Broker>,
    /// Those that it was made with.
    certificates: Certificates,
}

/// Keeps the number of a broker's session in the store.
struct SessionMemory {
    store: Store,
    broker: Arc<str>,
}

impl Memory for SessionMemory {
    fn recall(&self) -> Result<Option<Vec<u8>>, MemoryError> {
        let name = format!("session:{}", self.broker);
        self.store.meta_get(&name).map_err(|e| MemoryError(telemetry::words(&e)))
    }

    fn keep(&self, value: Vec<u8>) -> Result<(), MemoryError> {
        let name = format!("session:{}", self.broker);
        self.store.meta_put(&name, &value).map_err(|e| MemoryError(telemetry::words(&e)))
    }
}

impl Links {
    fn get(&self, broker: &str) -> Option<Connection> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(broker).cloned()
    }

    fn all(&self) -> BTreeMap<Arc<str>, Connection> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, broker: &Arc<str>, connection: Connection) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(broker.clone(), connection);
    }

    fn remove(&self, broker: &str) -> Option<Connection> {
        self.links.write().unwrap_or_else(PoisonError::into_inner).remove(broker)
    }
}

/// How long a broker that is left may take to settle what came from it.
const LEAVE: Duration = Duration::from_secs(10);

impl Tapline {
    /// What runs at this moment. No lock is held with it: whoever asked for one twice would wait
    /// for ever where a change waits between the two.
    fn running(&self) -> Arc<Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change_running<T>(&self, change: impl FnOnce(&mut Running) -> T) -> T {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut running))
    }

    /// The pushed document as it was sent, its secrets as `***`; an empty device list before
    /// the first push.
    pub fn document(&self) -> serde_json::Value {
        let document = self.running().pushed.as_ref().map(|pushed| pushed.document());
        match document {
            Some(document) => document.value(),
            None => serde_json::json!({"devices": []}),
        }
    }

    /// What was configured, checked. Once [`Tapline::start`] is done there always is one.
    pub fn config(&self) -> Arc<Config> {
        self.running().config.clone().expect("start applies one before it returns")
    }

    /// What flows.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// A pipeline that runs.
    pub fn shard(&self, pipeline: &str) -> Option<Arc<Shard>> {
        self.running().shards.get(pipeline).cloned()
    }

    /// Who watches the pipelines; more may join.
    pub fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.options.data
    }

    /// Ends a pause of a sink. `false`: there is no such sink.
    pub fn resume(&self, pipeline: &str, sink: &str) -> bool {
        tracing::info!(event = "sink_resumed", pipeline, sink, "asked to resume a sink");
        self.delivery.resume(&crate::store::SinkId::new(pipeline, sink))
    }

    /// Lets a pipeline that halts go on. `None`: there is no such pipeline; else why it halts
    /// again, if it does.
    pub async fn resume_pipeline(
        &self,
        pipeline: &str,
        how: Resume,
        author: &str,
    ) -> Option<Option<Halted>> {
        let shard = self.running().shards.get(pipeline)?.clone();
        tracing::info!(event = "resume_asked", pipeline, author, ?how, "asked to go on");
        let resumed = tokio::task::spawn_blocking(move || shard.resume(how)).await;
        Some(resumed.ok().flatten())
    }

    /// The durable side, for looking at dead letters and what waits.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Brings what runs to what is prepared. Whatever could fail has been tried before.
    async fn apply(&self, prepared: Prepared) {
        let Prepared { config, plans, pushed, updated, mut problems, broken, succession, .. } =
            prepared;
        let site = config.site.clone();
        self.store.set_limits(room::limits(&site.store));
        for (name, connection) in self.links.all() {
            let wanted = site.brokers.get(&*name);
            let renewed = wanted
                .is_some_and(|wanted| connection.certificates.are_renewed(wanted, &mut problems));
            if renewed || wanted.is_none_or(|wanted| **wanted != *connection.broker) {
                self.leave(&name, &connection, wanted.map(|b| &**b)).await;
            }
        }
        let shards = self.swap_shards(&plans, &succession, &mut problems).await;
        authorities::check(&plans, &mut problems);
        let sinks = self.publishers.plans(&plans, &self.activity, site.brokers.keys());
        self.delivery.tell(Surroundings {
            bridge: site.name.as_str().into(),
            devices: config.devices.clone(),
        });
        self.delivery.apply(sinks);
        for (name, broker) in &site.brokers {
            let name: Arc<str> = name.as_str().into();
            if self.links.get(&name).is_none() {
                let wanted = prepare::subscriptions(&plans, &name);
                let shards = prepare::on_broker(&shards, &name);
                self.connect(&name, broker, &site.name, shards, wanted);
            }
        }
        for (name, connection) in self.links.all() {
            connection.router.set(prepare::on_broker(&shards, &name));
            connection.link.subscribe(prepare::subscriptions(&plans, &name));
        }
        self.activity.retain_plans(plans.iter().map(|plan| &**plan));
        self.sights.retain(&plans);
        self.activity.retain_devices(&|id| config.devices.by_id.contains_key(id));
        let told = config.clone();
        let expiring = expiry::of(&config.site);
        let config = Some(config);
        let now = Running { config, pushed, shards, problems, broken, updated, expiring };
        let _before = self.change_running(|running| std::mem::replace(running, now));
        self.say_expiries(clock::now());
        self.serving.tell(&told);
    }

    fn connect(
        &self,
        name: &Arc<str>,
        broker: &Arc<Broker>,
        site: &str,
        shards: Vec<Arc<Shard>>,
        wanted: BTreeMap<String, Subscription>,
    ) {
        let router = Router::new(name);
        router.set(shards);
        let options = LinkOptions {
            broker: broker.clone(),
            site: site.to_owned(),
            intake: router.clone(),
            memory: Arc::new(SessionMemory { store: self.store.clone(), broker: name.clone() }),
            clock: Arc::new(clock::now),
        };
        let link = Arc::new(Link::start(options, wanted));
        let (broker, certificates) = (broker.clone(), Certificates::of(broker));
        self.links.set(name, Connection { link, router, broker, certificates });
    }

    /// Stop intake, drain, commit, ack to the old broker. Its session ends, unless it is the
    /// same broker and client id, only reached differently.
    async fn leave(&self, name: &Arc<str>, old: &Connection, new: Option<&Broker>) {
        tracing::info!(event = "broker_left", broker = %name, "leaving the broker");
        let same = new.is_some_and(|new| {
            let id = |b: &Broker| (b.host.clone(), b.port, b.client_id.clone());
            id(new) == id(&old.broker)
        });
        let farewell = if same { Farewell::KeepSession } else { Farewell::EndSession };
        old.link.stop(farewell, LEAVE).await;
        self.links.remove(name);
    }

    /// New pipelines start, changed ones take up their plan after what they have, those that
    /// are gone end.
    async fn swap_shards(
        &self,
        plans: &[Arc<crate::pipeline::Plan>],
        succession: &Succession,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<Arc<str>, Arc<Shard>> {
        let before = self.running().shards.clone();
        let mut shards = BTreeMap::new();
        let runs = |name: &Arc<str>| before.get(name).is_some_and(|shard| shard.is_alive());
        let all_run = plans.len() == before.len() && plans.iter().all(|p| runs(&p.file.name));
        if !all_run {
            // Heirs begin only once those before them have ended, and miss nothing meanwhile.
            for connection in self.links.all().into_values() {
                connection.router.hold();
            }
        }
        for (name, shard) in &before {
            if !plans.iter().any(|plan| plan.file.name == *name) {
                let shard = shard.clone();
                let _finished = tokio::task::spawn_blocking(move || shard.stop()).await;
            }
        }
        let renamed: Vec<_> = succession.renamed.iter().map(|(from, _)| from.clone()).collect();
        self.delivery.leave(&renamed).await;
        for plan in plans {
            let name = plan.file.name.clone();
            let file = &*plan.file.file;
            let (plan, heir) = (plan.clone(), succession.of(&name));
            let shard = match before.get(&name).filter(|s| s.is_alive()) {
                Some(shard) => {
                    let applied = shard.clone();
                    let done = tokio::task::spawn_blocking(move || applied.apply(plan, heir)).await;
                    let why = match done {
                        Ok(Ok(())) => None,
                        Ok(Err(unmigrated)) => Some(unmigrated.to_string()),
                        Err(error) => Some(error.to_string()),
                    };
                    if let Some(why) = why {
                        tracing::error!(event = "pipeline_not_changed", pipeline = %name, why, "the version before goes on");
                        let remedy = "mend the module, or put the one before back";
                        problems.push(Problem::of(&*shard.plan().file.file, why, remedy));
                    }
                    shard.clone()
                }
                None => match self.start_shard(plan, heir).await {
                    Ok(shard) => shard,
                    Err(error) => {
                        tracing::error!(event = "pipeline_start_failed", pipeline = %name, error = &error as &dyn std::error::Error, "pipeline does not run");
                        let why = telemetry::words(&error);
                        problems.push(Problem::of(
                            file,
                            why,
                            "see the log, and mend what it names",
                        ));
                        continue;
                    }
                },
            };
            shards.insert(name, shard);
        }
        self.park(&succession.park).await;
        shards
    }

    /// Starts a pipeline with what it inherits.
    async fn start_shard(
        &self,
        plan: Arc<crate::pipeline::Plan>,
        heir: Succession,
    ) -> Result<Arc<Shard>, crate::pipeline::StartError> {
        let flow = self.activity.flow(&plan.file.name);
        let (store, ways, watchers) =
            (self.store.clone(), self.ways.clone(), self.watchers.clone());
        start::blocking(move || {
            if !heir.is_empty() {
                store.succeed(&heir, clock::now())?;
            }
            Ok(Arc::new(Shard::start(plan, store, ways, watchers, flow)?))
        })
        .await
    }

    /// Sets the state of stages aside that no longer run.
    async fn park(&self, stages: &[StageId]) {
        if stages.is_empty() {
            return;
        }
        let park = Succession { park: stages.to_vec(), ..Succession::default() };
        let store = self.store.clone();
        match start::blocking(move || store.succeed(&park, clock::now())).await {
            Ok(done) => tracing::info!(
                event = "state_parked",
                keys = done.parked,
                "state of stages that are gone can be found again for 7 days"
            ),
            Err(error) => tracing::error!(
                event = "state_not_parked",
                error = &error as &dyn std::error::Error,
                "state of stages that are gone stays where it is"
            ),
        }
    }

    /// Returns when the store, and with it everything, has ended by itself.
    pub async fn ended(&self) {
        while self.store.is_alive() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
