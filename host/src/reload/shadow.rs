//! Shadows: what came of comparing them, and how one takes its stage's place or goes.
//!
//! Promoting and dropping change the pipeline's file, and the file is taken up as any changed
//! file is, with all checks. Invariant: what is not taken up is taken back, so that file and
//! running pipeline say the same afterwards.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Tapline;
use super::files::{ReloadError, Reloaded};
use super::gate::Consent;
use super::start::blocking;
use crate::config::pipeline::{EditError, ShadowEdit, edit_shadow};
use crate::config::regular;
use crate::message::DeviceId;
use crate::module::{Hash, Module};
use crate::pipeline::{Afresh, ModuleStage, Outcome, Plan, ShadowCounts, ShadowStage};
use crate::store::{Audit, Commit, StoreError};
use crate::telemetry::clock;

/// Bytes of a pipeline file that is to be changed.
const LARGEST: u64 = 4 << 20;

/// A stage with its shadow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowView {
    pub pipeline: String,
    pub stage: String,
    /// `validator`, `parser` or `detector`.
    pub role: String,
    pub live: VersionView,
    pub shadow: VersionView,
    /// When comparing these two versions began.
    pub since: String,
    #[serde(flatten)]
    pub counts: ShadowCounts,
    /// Why it looks at nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Of a detector: that it does not read the live version's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub afresh: Option<String>,
    /// The newest first.
    pub last: Vec<DifferenceView>,
}

/// One of the two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Its file in modules/, or what ships under this name.
    pub file: String,
    pub module: String,
    pub version: String,
    pub hash: String,
}

/// An input of which the two made something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferenceView {
    pub outcome: Outcome,
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Whose state it is, of a detector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Items as JSON lines, or the rejection.
    pub live: Vec<Arc<str>>,
    pub shadow: Vec<Arc<str>>,
}

/// What is to become of a shadow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the live version's place.
    Promote,
    Drop,
}

/// A shadow that is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decided {
    pub pipeline: String,
    pub stage: String,
    /// The file that was changed.
    pub file: String,
    /// What was done, in one sentence.
    pub what: String,
    pub changes: super::Changes,
}

/// Why a shadow stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    #[error("no pipeline `{0}` runs; `tapline status` lists them")]
    NoPipeline(String),
    #[error("no shadow runs beside `{pipeline}.{stage}`; `tapline shadow` lists them")]
    NoShadow { pipeline: String, stage: String },
    #[error("the shadow of `{stage}` has stopped and takes nobody's place: {why}")]
    Stopped { stage: String, why: Arc<str> },
    #[error(
        "pipeline `{pipeline}` stands in no file of a site directory: change it where it comes \
         from: {by_hand}"
    )]
    NoFile { pipeline: String, by_hand: String },
    #[error(
        "`{file}` is not as it runs: bring the two together with `tapline reload` first, so that \
         nothing else changes with this"
    )]
    NotInForce { file: String },
    #[error("`{file}` cannot be changed: change it where it comes from: {by_hand}")]
    File {
        file: String,
        by_hand: String,
        #[source]
        source: io::Error,
    },
    #[error("`{file}` cannot be changed; change it by hand: {by_hand}")]
    Edit {
        file: String,
        by_hand: String,
        #[source]
        source: EditError,
    },
    #[error("it was not taken up, and `{file}` is as before: {why}")]
    Refused { file: String, why: String },
    #[error(transparent)]
    Reload(#[from] ReloadError),
    #[error("it was done, but the audit lacks it")]
    Audit(#[from] StoreError),
}

/// Where a pipeline's file lies, and what stands there.
struct PipelineFile {
    path: PathBuf,
    text: String,
}

impl Tapline {
    /// Every shadow that runs, of one pipeline or of all.
    pub fn shadows(&self, pipeline: Option<&str>) -> Vec<ShadowView> {
        let plans = self.plans();
        let plans =
            plans.iter().filter(|(name, _)| pipeline.is_none_or(|wanted| ***name == *wanted));
        plans
            .flat_map(|(_, plan)| {
                let flow = self.activity.flow(&plan.file.name);
                let views = plan.shadows().map(|(stage, shadow)| {
                    let tally = flow.shadow(&stage.name, shadow);
                    let last = tally.last().into_iter().map(|difference| DifferenceView {
                        outcome: difference.outcome,
                        at: difference.at.rfc3339(),
                        topic: difference.topic.map(|topic| topic.to_string()),
                        key: difference.key.map(|key| key.to_string()),
                        device: difference.device,
                        live: difference.live,
                        shadow: difference.shadow,
                    });
                    ShadowView {
                        pipeline: plan.file.name.to_string(),
                        stage: stage.name.to_string(),
                        role: stage.module.role().name().to_owned(),
                        live: version(&live_file(plan, stage), &stage.module),
                        shadow: version(&shadow.module, &shadow.stage.module),
                        since: tally.since.rfc3339(),
                        counts: tally.counts(),
                        stopped: tally.stopped().map(|why| why.to_string()),
                        afresh: tally.afresh().map(|afresh| afresh_words(&afresh)),
                        last: last.collect(),
                    }
                });
                views.collect::<Vec<_>>()
            })
            .collect()
    }

    /// What `/health` says of shadows that stopped: odd, but the live way is not concerned.
    pub(super) fn shadow_warnings(&self) -> Vec<String> {
        let stopped = |view: ShadowView| {
            let ShadowView { pipeline, stage, shadow, .. } = view;
            let why = view.stopped?;
            Some(format!(
                "the shadow `{}` of `{pipeline}.{stage}` has stopped: {why}; the live version is \
                 not concerned: mend the file, or `tapline shadow drop {pipeline}.{stage}`",
                shadow.file
            ))
        };
        self.shadows(None).into_iter().filter_map(stopped).collect()
    }

    /// Ends a shadow: it takes the live version's place, or goes.
    ///
    /// # Errors
    /// If there is none, or the file cannot be changed or taken up; then all is as before.
    pub async fn decide_shadow(
        &self,
        pipeline: &str,
        stage: &str,
        verdict: Verdict,
        author: &str,
    ) -> Result<Decided, ShadowError> {
        let _one_at_a_time = self.changing.lock().await;
        let plans = self.plans();
        let plan =
            plans.get(pipeline).ok_or_else(|| ShadowError::NoPipeline(pipeline.to_owned()))?;
        let found = plan.shadows().find(|(live, _)| *live.name == *stage);
        let (live, shadow) = found.ok_or_else(|| ShadowError::NoShadow {
            pipeline: pipeline.to_owned(),
            stage: stage.to_owned(),
        })?;
        let tally = self.activity.flow(&plan.file.name).shadow(&live.name, shadow);
        if let (Verdict::Promote, Some(why)) = (verdict, tally.stopped()) {
            return Err(ShadowError::Stopped { stage: stage.to_owned(), why });
        }
        let file = plan.file.file.to_string();
        let by_hand = by_hand(stage, shadow, verdict);
        let before = self.file_in_force(plan, &by_hand).await?;
        let edit = match verdict {
            Verdict::Promote => ShadowEdit::Promote(&shadow.module),
            Verdict::Drop => ShadowEdit::Drop,
        };
        let text = edit_shadow(&before.text, live.module.role().table(), stage, edit);
        let text = text.map_err(|source| ShadowError::Edit {
            file: file.clone(),
            by_hand: by_hand.clone(),
            source,
        })?;
        if verdict == Verdict::Promote {
            self.trials.takes_place(&shadow.module, live.module.hash(), clock::now());
        }
        let taken_up = self.take_up_text(&before, text, (&file, &by_hand), author).await;
        let reloaded = match taken_up {
            Ok(reloaded) if self.is_decided(pipeline, live, shadow, verdict) => reloaded,
            Ok(reloaded) => {
                self.trials.takes_no_place(&shadow.module);
                let why = why_not(&reloaded);
                let text = before.text.clone();
                self.take_up_text(&before, text, (&file, &by_hand), author).await?;
                return Err(ShadowError::Refused { file, why });
            }
            Err(error) => {
                self.trials.takes_no_place(&shadow.module);
                return Err(error);
            }
        };
        let what = in_short(pipeline, live, shadow, &tally.counts(), verdict);
        tracing::info!(event = "shadow_decided", author, what, "a shadow is over");
        let action = match verdict {
            Verdict::Promote => "shadow.promoted",
            Verdict::Drop => "shadow.dropped",
        };
        let audit =
            Audit { at: clock::now(), author: author.to_owned(), action, what: what.clone() };
        self.store.submit_async(Commit { audit: vec![audit], ..Commit::default() }).await?;
        Ok(Decided {
            pipeline: pipeline.to_owned(),
            stage: stage.to_owned(),
            file,
            what,
            changes: reloaded.changes,
        })
    }

    /// The pipeline's file, if what stands there is what runs.
    async fn file_in_force(&self, plan: &Plan, by_hand: &str) -> Result<PipelineFile, ShadowError> {
        let file = plan.file.file.to_string();
        let inputs = self.inputs();
        let (Some(site), Some(text)) = (&self.options.site, inputs.texts.text(&file)) else {
            let (pipeline, by_hand) = (plan.file.name.to_string(), by_hand.to_owned());
            return Err(ShadowError::NoFile { pipeline, by_hand });
        };
        let (path, text) = (site.join(&file), text.to_owned());
        let read = blocking(move || {
            // A link is followed, so that it stays one.
            let path = path.canonicalize()?;
            let bytes = regular::read(&path, LARGEST)?;
            Ok((path, bytes))
        });
        let (path, bytes) = read.await.map_err(|source| ShadowError::File {
            file: file.clone(),
            by_hand: by_hand.to_owned(),
            source,
        })?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if bytes != text.as_bytes() {
            return Err(ShadowError::NotInForce { file });
        }
        Ok(PipelineFile { path, text })
    }

    async fn take_up_text(
        &self,
        place: &PipelineFile,
        text: String,
        (file, by_hand): (&str, &str),
        author: &str,
    ) -> Result<Reloaded, ShadowError> {
        let path = place.path.clone();
        let written = blocking(move || replace(&path, &text)).await;
        written.map_err(|source| ShadowError::File {
            file: file.to_owned(),
            by_hand: by_hand.to_owned(),
            source,
        })?;
        Ok(self.change_of_files_alone(author, Consent::Reload).await?)
    }

    /// Whether the running pipeline does what was decided.
    fn is_decided(
        &self,
        pipeline: &str,
        live: &ModuleStage,
        shadow: &ShadowStage,
        verdict: Verdict,
    ) -> bool {
        let wanted: Hash = match verdict {
            Verdict::Promote => shadow.stage.module.hash(),
            Verdict::Drop => live.module.hash(),
        };
        let plans = self.plans();
        let stages = plans.get(pipeline).map(|plan| plan.module_stages()).unwrap_or_default();
        let mut stages = stages.into_iter().filter(|stage| stage.name == live.name);
        stages.any(|stage| stage.module.hash() == wanted && stage.shadow.is_none())
    }
}

/// Why a reload did not bring what was wanted.
fn why_not(reloaded: &Reloaded) -> String {
    let waiting = reloaded.waiting.iter().map(|waiting| waiting.what.clone());
    let why: Vec<_> = reloaded.broken.iter().cloned().chain(waiting).collect();
    if why.is_empty() { "`tapline status` says what is wrong".to_owned() } else { why.join(" | ") }
}

fn by_hand(stage: &str, shadow: &ShadowStage, verdict: Verdict) -> String {
    match verdict {
        Verdict::Promote => {
            format!("in stage `{stage}` write `module = \"{}\"` and remove `shadow`", shadow.module)
        }
        Verdict::Drop => format!("in stage `{stage}` remove `shadow`"),
    }
}

fn in_short(
    pipeline: &str,
    live: &ModuleStage,
    shadow: &ShadowStage,
    counts: &ShadowCounts,
    verdict: Verdict,
) -> String {
    let named = |module: &Module| {
        format!("{} {} ({})", module.name(), module.version(), module.hash().short())
    };
    let (old, new) = (named(&live.module), named(&shadow.stage.module));
    let compared = counts.inputs - counts.not_compared - counts.waiting;
    let others = compared - counts.same;
    let stage = &live.name;
    let seen = format!("{compared} inputs were compared, {others} with a difference");
    match verdict {
        Verdict::Promote => format!("`{pipeline}.{stage}`: {new} takes the place of {old}; {seen}"),
        Verdict::Drop => format!("`{pipeline}.{stage}`: the shadow {new} is dropped; {seen}"),
    }
}

fn afresh_words(afresh: &Afresh) -> String {
    let Afresh { keys, key, why } = afresh;
    let keys = if *keys == 1 { "one key".to_owned() } else { format!("{keys} keys") };
    format!(
        "it began {keys} afresh, since it does not read the live version's state:          at last `{key}`: {why}"
    )
}

/// The name of a stage's file in modules/, without its ending.
fn live_file(plan: &Plan, stage: &ModuleStage) -> Arc<str> {
    let mut stages = plan.file.stages().filter(|written| written.name == stage.name);
    stages.next().map(|written| written.module.clone()).unwrap_or_default()
}

fn version(file: &str, module: &Module) -> VersionView {
    VersionView {
        file: format!("{file}.wasm"),
        module: module.name().to_owned(),
        version: module.version().to_owned(),
        hash: module.hash().short(),
    }
}

/// Whole or not at all, with the rights that the file had.
fn replace(path: &std::path::Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    let mut fresh = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
    fresh.as_file().set_permissions(std::fs::metadata(path)?.permissions())?;
    fresh.write_all(text.as_bytes())?;
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}
