//! From options to a running whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::accepted::Accepted;
use super::aside::{self, Trials};
use super::prepare::{Identity, Inputs, Prepared};
use super::pushed::{self, Kept};
use super::router::{Question, Ways};
use super::serving::Serving;
use super::sinks::Publishers;
use super::watch::Watch;
use super::{Links, Options, Tapline, modules, rehearse, room};
use crate::config::Problem;
use crate::config::load::{Text, Texts};
use crate::config::push::Pushed;
use crate::delivery::{self, Delivery, Surroundings};
use crate::message::Timestamp;
use crate::module::{Engine, EngineError, EngineOptions};
use crate::pipeline::{Activity, Sights, Watchers};
use crate::store::{Change, OpenError, Store, StoreError, StoreOptions};
use crate::telemetry::clock;
use crate::telemetry::process::give_memory_back;

/// Why Tapline does not start. Only an unusable store or site file ends the process.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{} problem(s) in the configuration", .0.len())]
    Config(Vec<Problem>),
    #[error("the data directory cannot be used")]
    Open(#[from] OpenError),
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    #[error("the module engine does not start")]
    Engine(#[from] EngineError),
}

impl Tapline {
    /// Reads and checks everything and starts what is right. What is wrong is named in the
    /// log and in `/health`, and does not stop the others.
    ///
    /// # Errors
    /// If the store or `tapline.toml` cannot be used.
    pub async fn start(options: Options) -> Result<Arc<Self>, StartError> {
        let data = options.data.clone();
        let site = options.clone();
        let (store, engine, watch, inputs, fallback, versions) = blocking(move || {
            let store = Store::open(&data, StoreOptions::default())?;
            let engine = Engine::new(Some(data.join("compiled")), EngineOptions::default())?;
            let accepted = Accepted::new(&data);
            // What changes from here on is found by the first look.
            let watch = Watch::begin(&site);
            let fallback = accepted.read();
            let versions = accepted.versions();
            let inputs = Inputs::read(&site, &engine, None, Some((&accepted, &versions)));
            Ok::<_, StartError>((store, engine, watch, inputs, fallback, versions))
        })
        .await?;
        let links = Arc::new(Links::default());
        let (ways, asked) = Ways::new();
        let kept = Kept::read(&store, &options).await?;
        let clock = Arc::new(clock::now);
        let activity = Arc::new(Activity::default());
        let remembered = store.clone();
        let sights = blocking(move || remembered.load_said()).await?;
        let sights = Arc::new(Sights::remembering(sights));
        let nowhere = Surroundings { bridge: kept.name.as_str().into(), devices: Arc::default() };
        let delivery = Delivery::new(store.clone(), delivery::Options::new(clock), nowhere);
        let tapline = Arc::new(Self {
            accepted: Accepted::new(&options.data),
            trials: Trials::of(versions, &fallback),
            fallback,
            reloads: Mutex::default(),
            serving: Serving::default(),
            watch: Mutex::default(),
            expiries: Mutex::default(),
            options,
            generated_name: kept.name.clone(),
            copy: kept.copy.clone(),
            store,
            inputs: RwLock::new(Arc::new(inputs)),
            files: Mutex::default(),
            engine: Arc::new(engine),
            watchers: Watchers::new(vec![activity.clone(), sights.clone()]),
            sights,
            activity,
            delivery,
            ways,
            asker: tokio::spawn(ask(links.clone(), asked)),
            publishers: Publishers::new(links.clone()),
            rates: room::Rates::default(),
            links,
            running: RwLock::default(),
            revision: kept.revision.into(),
            changing: tokio::sync::Mutex::new(()),
            letters: tokio::sync::Mutex::new(()),
            started: Instant::now(),
        });
        let mut prepared = tapline.begin(kept.pushed, kept.updated).await?;
        prepared.succession = tapline.succession_at_start(&prepared).await?;
        for problem in &prepared.problems {
            tracing::error!(event = "config_problem", problem = %problem, "this part does not run");
        }
        for warning in &prepared.config.warnings {
            tracing::warn!(event = "config_warning", problem = %warning, "odd, but not wrong");
        }
        let first = if kept.fresh { prepared.pushed.clone() } else { None };
        tapline.apply(prepared).await;
        tapline.accept().await;
        if let Some(document) = first {
            let (store, data) = (&tapline.store, &tapline.options.data);
            let change = Change {
                at: clock::now(),
                author: "--config".to_owned(),
                devices: document.devices().len(),
                what: String::new(),
            };
            match pushed::keep(store, data, &document, change).await {
                Ok(revision) => tapline.set_revision(revision),
                Err(error) => tracing::error!(
                    event = "config_not_persisted",
                    error = &error as &dyn std::error::Error,
                    "the configuration is read again at the next start"
                ),
            }
        }
        tokio::task::spawn_blocking(give_memory_back);
        tokio::spawn(forget_parked(Arc::downgrade(&tapline)));
        tokio::spawn(room::watch(Arc::downgrade(&tapline)));
        tokio::spawn(aside::watch(Arc::downgrade(&tapline)));
        let config = tapline.config();
        tracing::info!(
            event = "started",
            version = env!("CARGO_PKG_VERSION"),
            bridge_id = config.site.name,
            pipelines = config.pipelines.len(),
            devices = config.devices.by_id.len(),
            "Tapline runs"
        );
        tokio::spawn(super::expiry::watch(Arc::downgrade(&tapline)));
        let watching = tokio::spawn(watch.run(Arc::downgrade(&tapline)));
        *tapline.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watching);
        Ok(tapline)
    }

    /// What a start begins with: what stands in the files, and where that is unusable, what
    /// was last accepted.
    async fn begin(
        &self,
        pushed: Option<Arc<Pushed>>,
        updated: Option<Timestamp>,
    ) -> Result<Prepared, StartError> {
        let wanted = self.inputs();
        let prepared = self.prepare(pushed.clone(), updated).await.map_err(StartError::Config)?;
        self.change_running(|running| (running.pushed, running.updated) = (pushed, updated));
        let before = self.accepted_inputs(&wanted, &prepared).await;
        let usable = |file: &String| before.texts.has(file);
        if !prepared.broken.iter().any(usable) && prepared.unfit.is_empty() {
            return Ok(prepared);
        }
        match self.without_broken_at_start(&wanted, &before).await {
            Ok(prepared) => Ok(prepared),
            Err(error) => {
                tracing::error!(
                    event = "accepted_unusable",
                    error = &error as &dyn std::error::Error,
                    "what is wrong does not run"
                );
                Ok(prepared)
            }
        }
    }

    /// The files that were last accepted and stand there still, with their modules.
    async fn accepted_inputs(&self, wanted: &Arc<Inputs>, prepared: &Prepared) -> Arc<Inputs> {
        let concerned: BTreeSet<String> = prepared
            .broken
            .iter()
            .chain(prepared.unfit.iter().map(|(file, _)| file))
            .cloned()
            .collect();
        let (units, wanted) = (self.fallback.clone(), wanted.clone());
        let (engine, accepted) = (self.engine.clone(), self.accepted.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut texts = Texts { dir: wanted.texts.dir.clone(), ..Texts::default() };
            let mut held = BTreeMap::new();
            for (file, unit) in &units {
                let text = Text { file: file.as_str().into(), text: unit.text.as_str().into() };
                if file.starts_with("devices/") {
                    texts.devices.push(text);
                } else if !file.ends_with("(shipped)") {
                    texts.pipelines.push(text);
                }
                if concerned.contains(file) {
                    let at_hand = wanted.modules_of(file);
                    let modules = modules::accepted(&unit.modules, at_hand, &engine, &accepted);
                    held.insert(file.clone(), Arc::new(modules));
                }
            }
            Arc::new(Inputs::of_units(texts, held))
        });
        match read.await {
            Ok(inputs) => inputs,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Checks everything, with `pushed` as the document in force.
    ///
    /// # Errors
    /// If `tapline.toml` is wrong; every other unit's problems come with what is right.
    pub(super) async fn prepare(
        &self,
        pushed: Option<Arc<Pushed>>,
        updated: Option<Timestamp>,
    ) -> Result<Prepared, Vec<Problem>> {
        self.prepare_from(self.inputs(), pushed, updated).await
    }

    /// The same from these inputs.
    pub(super) async fn prepare_from(
        &self,
        inputs: Arc<Inputs>,
        pushed: Option<Arc<Pushed>>,
        updated: Option<Timestamp>,
    ) -> Result<Prepared, Vec<Problem>> {
        let options = self.options.clone();
        let identity = Identity { name: self.generated_name.clone(), copy: self.copy.clone() };
        let shards = self.running().shards.clone();
        let store = self.store.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let mut prepared =
                inputs.prepare(&options, &identity, pushed, updated, clock::now())?;
            rehearse::rehearse(&mut prepared, &shards, &store);
            Ok(prepared)
        });
        prepared.await.unwrap_or_else(|error| {
            let what = format!("checking the configuration failed: {error}");
            Err(vec![Problem::of("configuration", what, "see the log, and report it")])
        })
    }
}

/// How often parked state is looked through for what is too old.
const FORGET: Duration = Duration::from_secs(3600);

/// Forgets state that has been parked for too long, for as long as there is a Tapline.
async fn forget_parked(tapline: Weak<Tapline>) {
    loop {
        tokio::time::sleep(FORGET).await;
        let Some(store) = tapline.upgrade().map(|tapline| tapline.store.clone()) else { return };
        match blocking(move || store.forget_parked(clock::now())).await {
            Ok(0) => {}
            Ok(keys) => tracing::info!(event = "parked_state_forgotten", keys, "7 days are over"),
            Err(error) => tracing::warn!(
                event = "parked_state_not_forgotten",
                error = &error as &dyn std::error::Error,
                "it is tried again in an hour"
            ),
        }
    }
}

/// How long a question may wait for the broker.
const QUESTION: Duration = Duration::from_secs(5);

/// Publishes questions to devices. One that cannot be sent now is asked again by the next
/// silence.
async fn ask(links: Arc<Links>, mut asked: mpsc::Receiver<Question>) {
    while let Some((broker, question)) = asked.recv().await {
        let Some(connection) = broker.and_then(|broker| links.get(&broker)) else { continue };
        let topic = question.topic.clone();
        match connection.link.publish(&question, None, QUESTION).await {
            Ok(()) => {
                tracing::info!(event = "device_asked", topic, "asked a silent device to report")
            }
            Err(error) => {
                tracing::info!(event = "device_not_asked", topic, %error, "question not sent")
            }
        }
    }
}

/// Runs what waits for the disk off the async runtime.
pub(super) async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
