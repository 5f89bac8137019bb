//! A change of files: read, check, hold back what must wait, apply the rest.
//!
//! Invariant: what waits or is broken stays in force as it was, with the modules that it ran
//! with, and is named until it is mended, confirmed or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::Tapline;
use super::changes::{self, Changes, Kept, Orphans, Outline};
use super::gate::{Consent, Hold, Waiting, judge};
use super::prepare::{Inputs, Prepared};
use super::start::blocking;
use crate::config::Problem;
use crate::config::pipeline::Check;
use crate::store::{self, StageId, StoreError, Succession};
use crate::telemetry::clock;

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

    async fn change_of_files(
        &self,
        author: &str,
        consent: Consent,
    ) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.changing.lock().await;
        let Candidate { inputs, prepared, changes, pending, waits_whole } =
            self.candidate(consent).await?;
        self.note(&pending);
        let broken = pending.broken.iter().map(ToString::to_string).collect();
        let waiting = pending.waiting;
        if waits_whole {
            return Ok(Reloaded { changes: Changes::default(), waiting, broken });
        }
        let is_change = !changes.is_empty() || !prepared.succession.is_empty();
        let devices = prepared.config.devices.by_id.len();
        *self.inputs.write().unwrap_or_else(PoisonError::into_inner) = inputs;
        if !is_change {
            let mut running = self.write();
            (running.problems, running.broken) = (prepared.problems, prepared.broken);
            return Ok(Reloaded { changes, waiting, broken });
        }
        let begun = clock::now();
        self.apply(prepared).await;
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
        let (options, engine, running) =
            (self.options.clone(), self.engine.clone(), before.clone());
        let read = tokio::task::spawn_blocking(move || {
            Arc::new(Inputs::read(&options, &engine, Some(&running)))
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

    /// Prepares `wanted`, with the files in `held`, and those that turn out to be wrong, as
    /// they were `before`.
    async fn without_broken(
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
        loop {
            let inputs = match held.is_empty() {
                true => wanted.clone(),
                false => Arc::new(wanted.holding(before, held.clone(), self.schemas_of(held))),
            };
            let prepared = self.prepare_from(inputs.clone(), pushed.clone(), updated).await;
            let (broken, problems) = match &prepared {
                Ok(prepared) => (prepared.broken.clone(), &prepared.problems),
                Err(problems) => (BTreeSet::from(["tapline.toml".to_owned()]), problems),
            };
            // Only what ran before can go on as it was.
            let ran = |file: &String| before.texts.has(file) && !never_ran.contains(file);
            let news: BTreeSet<_> =
                broken.into_iter().filter(|file| !held.contains(file) && ran(file)).collect();
            let is_news = |problem: &&Problem| news.contains(&file_of(problem));
            pending.broken.extend(problems.iter().filter(is_news).cloned());
            match prepared {
                Ok(prepared) if news.is_empty() => return Ok((inputs, prepared)),
                Err(problems) if news.is_empty() => return Err(ReloadError::Running(problems)),
                _ => held.extend(news),
            }
        }
    }

    /// The schemas that pipelines in these files run with.
    fn schemas_of(&self, files: &BTreeSet<String>) -> BTreeMap<String, String> {
        let config = self.config();
        let held = config.pipelines.iter().filter(|p| files.contains(&*p.file));
        held.flat_map(|pipeline| &pipeline.validate)
            .filter_map(|validate| match &validate.check {
                Check::Schema { file, schema } => Some((file.to_string(), schema.to_string())),
                Check::Module(_) => None,
            })
            .collect()
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

/// The file that a problem is about.
fn file_of(problem: &Problem) -> String {
    match (&problem.place, &problem.origin) {
        (Some(place), _) => place.file.to_string(),
        (None, Some(origin)) => origin.to_string_lossy().into_owned(),
        (None, None) => String::new(),
    }
}
