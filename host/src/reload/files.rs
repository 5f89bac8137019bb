//! A change of files: read, check, hold back what must wait, apply the rest.
//!
//! Invariant: what waits or is broken stays in force as it was, with the modules that it ran
//! with, and is named until it is mended, confirmed or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::accepted::Unit;
use super::changes::{self, Changes, Kept, Orphans, Outline};
use super::gate::{Consent, Hold, Waiting, judge};
use super::prepare::{Inputs, Prepared};
use super::start::blocking;
use super::{Tapline, modules};
use crate::config::Problem;
use crate::config::pipeline::{Check, Pipeline};
use crate::store::{self, StageId, StoreError, Succession};
use crate::telemetry::{self, clock};

/// What of the files is not in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pending {
    /// Files that are wrong; their last good version runs.
    pub(super) broken: Vec<Problem>,
    pub(super) waiting: Vec<Waiting>,
}

/// What `tapline reload` would do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadPlan {
    pub changes: Changes,
    /// What would wait all the same.
    pub waiting: Vec<Waiting>,
}

/// What a reload did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// What took effect.
    pub changes: Changes,
    pub waiting: Vec<Waiting>,
    /// What is wrong with files; their last good version runs.
    pub broken: Vec<String>,
}

/// How reloads went since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloads {
    /// Times that files were read again.
    pub attempted: u64,
    /// Of these, times that something took effect.
    pub applied: u64,
    /// Times that some file was wrong, or nothing could be read.
    pub refused: u64,
    /// Duration of the last one.
    pub took_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("what the stages remember cannot be read")]
    Store(#[from] StoreError),
    #[error("the configuration that runs cannot be prepared again: {}", all(.0))]
    Running(Vec<Problem>),
}

fn all(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// Files, ready to run, with what is held back.
struct Candidate {
    inputs: Arc<Inputs>,
    prepared: Prepared,
    changes: Changes,
    pending: Pending,
    /// Everything is held back: nothing of it is to be applied.
    waits_whole: bool,
}

impl Tapline {
    /// What stands in the files and is not in force. Changes nothing.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn reload_plan(&self) -> Result<ReloadPlan, ReloadError> {
        let _one_at_a_time = self.changing.lock().await;
        let whole = self.candidate(Consent::DropState).await?;
        let waiting = self.candidate(Consent::Reload).await?.pending.waiting;
        let problems = [whole.pending.broken, whole.prepared.problems].concat();
        let changes = whole.changes.with_problems(&problems);
        Ok(ReloadPlan { changes, waiting })
    }

    /// Applies what stands in the files; with `drop_state` also where state loses its owner.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn reload(&self, author: &str, drop_state: bool) -> Result<Reloaded, ReloadError> {
        let consent = if drop_state { Consent::DropState } else { Consent::Reload };
        self.change_of_files(author, consent).await
    }

    /// Takes up what may take effect without a person.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn files_changed(&self) -> Result<Reloaded, ReloadError> {
        self.change_of_files("files", Consent::Nothing).await
    }

    pub(super) fn inputs(&self) -> Arc<Inputs> {
        self.inputs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What of the files is not in force.
    pub(super) fn pending(&self) -> Pending {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How reloads went since the start.
    pub fn reloads(&self) -> Reloads {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn change_of_files(
        &self,
        author: &str,
        consent: Consent,
    ) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.changing.lock().await;
        self.change_of_files_alone(author, consent).await
    }

    /// The same for whoever makes sure that there is one change at a time.
    pub(super) async fn change_of_files_alone(
        &self,
        author: &str,
        consent: Consent,
    ) -> Result<Reloaded, ReloadError> {
        let begun = Instant::now();
        let result = self.read_and_apply(author, consent).await;
        let mut reloads = self.reloads.lock().unwrap_or_else(PoisonError::into_inner);
        reloads.attempted += 1;
        reloads.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = match &result {
            Ok(reloaded) => {
                reloads.applied += u64::from(!reloaded.changes.is_empty());
                reloaded.broken.first().cloned()
            }
            Err(error) => Some(telemetry::words(error)),
        };
        reloads.refused += u64::from(error.is_some());
        reloads.last_error = error.or(reloads.last_error.take());
        drop(reloads);
        result
    }

    async fn read_and_apply(
        &self,
        author: &str,
        consent: Consent,
    ) -> Result<Reloaded, ReloadError> {
        let Candidate { inputs, prepared, changes, pending, waits_whole } =
            self.candidate(consent).await?;
        self.note(&pending);
        let broken = pending.broken.iter().map(ToString::to_string).collect();
        let waiting = pending.waiting;
        if waits_whole {
            return Ok(Reloaded { changes: Changes::default(), waiting, broken });
        }
        let devices = prepared.config.devices.by_id.len();
        *self.inputs.write().unwrap_or_else(PoisonError::into_inner) = inputs;
        let begun = clock::now();
        // Also without a change to speak of: a certificate may be another one.
        self.apply(prepared).await;
        self.accept().await;
        if changes.is_empty() {
            return Ok(Reloaded { changes, waiting, broken });
        }
        let what = changes.in_short();
        tracing::info!(
            event = "files_applied",
            author,
            what,
            took_ms = clock::now().since(begun),
            "changed files took effect"
        );
        let change = store::Change { at: begun, author: author.to_owned(), devices, what };
        let store = self.store.clone();
        if let Err(error) = blocking(move || store.add_change(&change)).await {
            tracing::error!(
                event = "change_not_written_down",
                error = &error as &dyn std::error::Error,
                "the journal lacks this change"
            );
        }
        Ok(Reloaded { changes, waiting, broken })
    }

    /// Remembers what is not in force, and says what is new about it.
    fn note(&self, pending: &Pending) {
        let before = std::mem::replace(
            &mut *self.files.lock().unwrap_or_else(PoisonError::into_inner),
            pending.clone(),
        );
        for problem in pending.broken.iter().filter(|p| !before.broken.contains(p)) {
            tracing::error!(event = "file_broken", problem = %problem, "its last good version runs");
        }
        for waiting in pending.waiting.iter().filter(|w| !before.waiting.contains(w)) {
            tracing::warn!(event = "change_waits", what = waiting.what, "a change of files waits");
        }
    }

    /// Reads files and modules and holds back what is broken and what must wait.
    async fn candidate(&self, consent: Consent) -> Result<Candidate, ReloadError> {
        let before = self.inputs();
        let (options, engine, running, accepted) =
            (self.options.clone(), self.engine.clone(), before.clone(), self.accepted.clone());
        let versions = self.trials.versions();
        let read = tokio::task::spawn_blocking(move || {
            Arc::new(Inputs::read(&options, &engine, Some(&running), Some((&accepted, &versions))))
        });
        let wanted = match read.await {
            Ok(read) => read,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let kept = self.kept().await?;
        let mut held = BTreeSet::new();
        let mut pending = Pending::default();
        let (mut inputs, mut prepared) =
            self.without_broken(&wanted, &before, &mut held, &mut pending).await?;
        let running = self.outline();
        let outline = |prepared: &Prepared| Outline::of(&prepared.config, &prepared.plans);
        let mut changes = Changes::between(&running, &outline(&prepared), &kept);
        let (hold, waiting) = judge(self.config().site.reload, consent, &changes);
        pending.waiting = waiting;
        let waits_whole = hold == Hold::Everything;
        if let Hold::Files(files) = hold
            && !files.is_empty()
        {
            held.extend(files);
            (inputs, prepared) =
                self.without_broken(&wanted, &before, &mut held, &mut pending).await?;
            changes = Changes::between(&running, &outline(&prepared), &kept);
        }
        let orphans = match consent {
            Consent::DropState => Orphans::Park,
            Consent::Nothing | Consent::Reload => Orphans::Keep,
        };
        let mut succession = changes::succession(&outline(&prepared), &kept, orphans);
        if !prepared.broken.is_empty() {
            // What has no owner may belong to what cannot run yet.
            let lost: Vec<_> = changes.would_orphan().collect();
            succession.park.retain(|id| {
                lost.iter().any(|o| *o.pipeline == *id.pipeline && *o.stage == *id.stage)
            });
        }
        prepared.succession = succession;
        Ok(Candidate { inputs, prepared, changes, pending, waits_whole })
    }

    /// What a start means for state: what comes back or has another name is taken up, and
    /// nothing is set aside.
    pub(super) async fn succession_at_start(
        &self,
        prepared: &Prepared,
    ) -> Result<Succession, StoreError> {
        let after = Outline::of(&prepared.config, &prepared.plans);
        let succession = changes::succession(&after, &self.kept().await?, Orphans::Keep);
        Ok(Succession { park: Vec::new(), ..succession })
    }

    /// What a start begins with, where not all files are usable.
    pub(super) async fn without_broken_at_start(
        &self,
        wanted: &Arc<Inputs>,
        accepted: &Arc<Inputs>,
    ) -> Result<Prepared, ReloadError> {
        let (mut held, mut pending) = (BTreeSet::new(), Pending::default());
        let (inputs, prepared) =
            self.without_broken(wanted, accepted, &mut held, &mut pending).await?;
        self.note(&pending);
        *self.inputs.write().unwrap_or_else(PoisonError::into_inner) = inputs;
        Ok(prepared)
    }

    /// Prepares `wanted`, with the files in `held`, and those that turn out to be wrong, as
    /// they were `before`.
    pub(super) async fn without_broken(
        &self,
        wanted: &Arc<Inputs>,
        before: &Arc<Inputs>,
        held: &mut BTreeSet<String>,
        pending: &mut Pending,
    ) -> Result<(Arc<Inputs>, Prepared), ReloadError> {
        let (pushed, updated, never_ran) = {
            let running = self.running();
            (running.pushed.clone(), running.updated, running.broken.clone())
        };
        if wanted.texts.is_gone {
            pending.broken.extend(wanted.texts.unreadable.iter().cloned());
            held.extend(before.texts.files().map(str::to_owned));
        }
        loop {
            let inputs = match held.is_empty() {
                true => wanted.clone(),
                false => Arc::new(wanted.holding(before, held, self.schemas_of(held))),
            };
            let prepared = self.prepare_from(inputs.clone(), pushed.clone(), updated).await;
            let (broken, problems) = match &prepared {
                Ok(prepared) => {
                    let suspects = self.suspects(prepared, wanted, before);
                    (prepared.broken.union(&suspects).cloned().collect(), &prepared.problems)
                }
                Err(problems) => (BTreeSet::from(["tapline.toml".to_owned()]), problems),
            };
            // Only what ran before can go on as it was.
            let ran = |file: &String| before.texts.has(file) && !never_ran.contains(file);
            let news: BTreeSet<_> =
                broken.into_iter().filter(|file| !held.contains(file) && ran(file)).collect();
            let unfit = prepared.iter().flat_map(|prepared| &prepared.unfit);
            let unfit: Vec<_> =
                unfit.filter(|(file, _)| news.contains(file)).map(|(_, p)| p.clone()).collect();
            let is_news = |p: &&Problem| news.contains(&file_of(p)) || unfit.contains(p);
            pending.broken.extend(problems.iter().filter(is_news).cloned());
            match prepared {
                Ok(prepared) if news.is_empty() => return Ok((inputs, prepared)),
                Err(problems) if news.is_empty() => return Err(ReloadError::Running(problems)),
                _ => held.extend(news),
            }
        }
    }

    /// Files that would leave out devices which ran until now: the device's own if it is
    /// another than before, else the pipeline's.
    fn suspects(&self, prepared: &Prepared, wanted: &Inputs, before: &Inputs) -> BTreeSet<String> {
        let known = self.running().problems.clone();
        let is_other = |file: &str| wanted.texts.text(file) != before.texts.text(file);
        let suspect = |(pipeline, problem): &(String, Problem)| {
            let file = file_of(problem);
            let device = (before.texts.has(&file) && is_other(&file)).then_some(file);
            let other_modules = || {
                let (new, old) = (wanted.modules_of(pipeline), before.modules_of(pipeline));
                let used = prepared.config.pipelines.iter().filter(|p| *p.file == **pipeline);
                let mut used = used.flat_map(|p| p.stages()).map(|stage| &stage.module);
                used.any(|module| !modules::is_same(new.get(module), old.get(module)))
            };
            device.or_else(|| (is_other(pipeline) || other_modules()).then(|| pipeline.clone()))
        };
        let new = prepared.unfit.iter().filter(|(_, problem)| !known.contains(problem));
        new.filter_map(suspect).collect()
    }

    /// The schemas that pipelines in these files run with.
    fn schemas_of(&self, files: &BTreeSet<String>) -> BTreeMap<String, String> {
        let running = self.running();
        let pipelines = running.config.iter().flat_map(|config| &config.pipelines);
        let held = pipelines.filter(|pipeline| files.contains(&*pipeline.file));
        let ran = held.flat_map(schemas);
        // At the start, those that they ran with when they were last accepted.
        let accepted = self.fallback.iter().filter(|_| running.config.is_none());
        let accepted = accepted.filter(|(file, _)| files.contains(*file));
        let accepted = accepted.flat_map(|(_, unit)| unit.schemas.clone());
        accepted.chain(ran).collect()
    }

    /// Keeps what runs as last accepted.
    pub(super) async fn accept(&self) {
        let units = self.units();
        let (versions, running, on_trial) = self.trials.accept(&units, clock::now());
        self.activity.probation().watch(&running, &on_trial);
        let accepted = self.accepted.clone();
        if let Err(error) = blocking(move || accepted.keep(&units, &versions)).await {
            tracing::error!(
                event = "accepted_not_kept",
                error = &error as &dyn std::error::Error,
                "should a file become unusable, a start has nothing to fall back to"
            );
        }
    }

    /// Each file that runs, with what it runs with.
    fn units(&self) -> BTreeMap<String, Unit> {
        let inputs = self.inputs();
        let running = self.running();
        let mut units = BTreeMap::new();
        for text in &inputs.texts.devices {
            let unit = Unit { text: text.text.to_string(), ..Unit::default() };
            units.insert(text.file.to_string(), unit);
        }
        for shard in running.shards.values() {
            let plan = shard.plan();
            let text = inputs.texts.text(&plan.file.file).unwrap_or_default();
            let modules = inputs.modules_of(&plan.file.file);
            let named = plan.file.stages().filter_map(|stage| {
                let module = modules.get(&stage.module)?.as_ref().ok()?;
                Some((stage.module.to_string(), module.hash()))
            });
            let unit = Unit {
                text: text.to_owned(),
                schemas: schemas(&plan.file).collect(),
                modules: named.collect(),
            };
            units.insert(plan.file.file.to_string(), unit);
        }
        for file in &running.broken {
            units.remove(file);
        }
        units
    }

    /// What the store holds that a change of stages may concern.
    async fn kept(&self) -> Result<Kept, StoreError> {
        let store = self.store.clone();
        blocking(move || {
            let waiting = store.outbox_counts();
            let stage =
                |sink: &store::SinkId| StageId::new(sink.pipeline.clone(), sink.stage.clone());
            Ok(Kept {
                state: store.stages_with_state()?,
                parked: store.parked_state()?,
                delivering: store.pipelines_with_deliveries()?,
                waiting: waiting.iter().map(|(sink, count)| (stage(sink), *count)).collect(),
            })
        })
        .await
    }
}

/// The schemas of a pipeline, by file.
fn schemas(pipeline: &Arc<Pipeline>) -> impl Iterator<Item = (String, String)> {
    pipeline.validate.iter().filter_map(|validate| match &validate.check {
        Check::Schema { file, schema } => Some((file.to_string(), schema.to_string())),
        Check::Module(_) => None,
    })
}

/// The file that a problem is about.
fn file_of(problem: &Problem) -> String {
    match (&problem.place, &problem.origin) {
        (Some(place), _) => place.file.to_string(),
        (None, Some(origin)) => origin.to_string_lossy().into_owned(),
        (None, None) => String::new(),
    }
}
