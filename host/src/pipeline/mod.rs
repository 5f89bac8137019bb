//! A pipeline's plan (routing) and its loop over batches.
//!
//! `plan` resolves a pipeline file against modules and devices; `worker` does one batch,
//! pure but for keys and instances; `shard` is the thread that feeds it and commits.
//! Neighbours: `module` runs the stages, `store` keeps what follows, `broker` brings
//! messages. Invariant: a message's ticket is done only after everything that follows
//! from it is durable.

mod activity;
mod detect;
mod difference;
mod directory;
mod effects;
mod explain;
mod flow;
mod history;
mod ingest;
mod inputs;
mod item;
mod keys;
mod letters;
mod line;
mod marks;
mod migrate;
mod plan;
mod probation;
mod runner;
mod settings;
mod shadow;
mod shard;
mod sights;
mod stage_stats;
mod stages;
mod tap;
mod trie;
mod watchers;
mod worker;

pub use activity::{Activity, DeviceSight, Note};
pub use difference::Concerned;
pub use directory::{Bound, Directory};
pub use effects::{Effects, Fate};
pub use explain::{Explanation, Question, Step, Verdict, explain};
pub use flow::{Counts, FILTERS, Flow};
pub use ingest::subscriptions;
pub use item::{Emitted, Identity};
pub use letters::{Redo, Redone};
pub use line::{Clock, write_item, write_message, write_rejection};
pub use migrate::{Unmigrated, migrated};
pub use plan::{
    DetectStage, ModuleSet, ModuleStage, ParseStage, Plan, PublishStage, ShadowStage, SinkStage,
    ValidateCheck, check_modules,
};
pub use probation::{FAILURES, Failing, Probation};
pub use settings::SettingsSet;
pub use shadow::{Afresh, Difference, Outcome, ShadowCounts, ShadowTally};
pub use shard::{Halted, Observed, Observer, Outlet, Resume, Shard, StartError, Turn};
pub use sights::{Session, Sight, Sights, Told, Trouble, UnknownTopic};
pub use stage_stats::{LastError, StageStats};
pub use tap::{Kind, Tap, Tapped, Wanted};
pub use watchers::{Watchers, Watching};
pub use worker::{Parsed, Worker};
