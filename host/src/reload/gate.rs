//! Which part of a change of files may take effect now, and what waits for a person.
//!
//! Pure. A file that waits stays in force as it was; so do pipelines that came with it, since
//! the likeliest reason for lost state is a new name, and both names at work at once would
//! send everything twice.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::changes::{Changes, How, Orphan};
use crate::config::site::Reload;

/// What somebody has agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// Files were found changed.
    Nothing,
    /// `tapline reload`.
    Reload,
    /// `tapline reload --drop-state`.
    DropState,
}

/// Files that stay in force as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Files(BTreeSet<String>),
    Everything,
}

/// Something that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What waits, why, and what to do.
    pub what: String,
}

/// Decides. `mode` is the one in force.
pub(super) fn judge(mode: Reload, consent: Consent, changes: &Changes) -> (Hold, Vec<Waiting>) {
    if changes.is_empty() {
        return (Hold::Files(BTreeSet::new()), Vec::new());
    }
    let orphans: Vec<_> = changes.would_orphan().collect();
    if mode == Reload::Confirm && consent == Consent::Nothing {
        let what = format!(
            "waiting to be confirmed: {}; `tapline reload --plan` shows it whole, `tapline reload` \
             applies it",
            changes.in_short()
        );
        // What will be refused then is better known now.
        let waiting = std::iter::once(Waiting { what }).chain(orphans.into_iter().map(decision));
        return (Hold::Everything, waiting.collect());
    }
    if orphans.is_empty() || consent == Consent::DropState {
        return (Hold::Files(BTreeSet::new()), Vec::new());
    }
    let mut hold = BTreeSet::new();
    for pipeline in &changes.pipelines {
        let loses = orphans.iter().any(|orphan| orphan.pipeline == pipeline.name);
        if let Some(file) =
            pipeline.file.as_ref().filter(|_| loses || pipeline.change == How::Added)
        {
            // Whether a shipped one runs, the site's file says.
            let is_shipped = file.ends_with("(shipped)");
            hold.insert(if is_shipped { "tapline.toml".to_owned() } else { file.clone() });
        }
    }
    (Hold::Files(hold), orphans.into_iter().map(decision).collect())
}

fn decision(orphan: &Orphan) -> Waiting {
    let Orphan { pipeline, stage, keys, .. } = orphan;
    let keys = if *keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") };
    let what = format!(
        "waiting for a decision: the state of {keys} of `{pipeline}/{stage}` would have no owner; \
         bring the stage back, give the one that follows it `state_from = \"{stage}\"` (a \
         pipeline that follows: `state_from = \"{pipeline}\"`), or agree with `tapline reload \
         --drop-state`, which parks it for 7 days"
    );
    Waiting { what }
}

#[cfg(test)]
mod tests {
    use super::super::changes::Change;
    use super::*;

    fn pipeline(change: How, name: &str) -> Change {
        let file = match name {
            "shipped" => "pipelines/shipped.toml (shipped)".to_owned(),
            name => format!("pipelines/{name}.toml"),
        };
        let (kind, name) = ("pipeline".to_owned(), name.to_owned());
        Change { change, kind, name, file: Some(file), fields: Vec::new(), parts: Vec::new() }
    }

    fn changes(pipelines: &[(How, &str)], orphaned: &[&str]) -> Changes {
        let orphan = |name: &&str| Orphan {
            pipeline: (*name).to_owned(),
            stage: "session".to_owned(),
            keys: 2,
            by_this_change: true,
        };
        Changes {
            pipelines: pipelines.iter().map(|(change, name)| pipeline(*change, name)).collect(),
            orphaned: orphaned.iter().map(orphan).collect(),
            ..Changes::default()
        }
    }

    #[test]
    fn holds_what_nobody_has_agreed_to_and_nothing_else() {
        use Consent::{DropState, Nothing, Reload as Asked};
        use How::{Added, Changed, Removed};
        let nothing = changes(&[], &[]);
        let harmless = changes(&[(Changed, "a"), (Added, "b")], &[]);
        let renamed = changes(&[(Removed, "a"), (Added, "b"), (Changed, "c")], &["a"]);
        let shipped = changes(&[(Removed, "shipped")], &["shipped"]);
        let files = |files: &[&str]| Hold::Files(files.iter().map(|f| (*f).to_owned()).collect());
        let (auto, confirm) = (Reload::Auto, Reload::Confirm);
        let both = files(&["pipelines/a.toml", "pipelines/b.toml"]);
        let cases = [
            (auto, Nothing, &nothing, files(&[]), 0),
            (confirm, Nothing, &nothing, files(&[]), 0),
            (auto, Nothing, &harmless, files(&[]), 0),
            (confirm, Nothing, &harmless, Hold::Everything, 1),
            (confirm, Asked, &harmless, files(&[]), 0),
            (confirm, Nothing, &renamed, Hold::Everything, 2),
            (auto, Nothing, &renamed, both.clone(), 1),
            (auto, Asked, &renamed, both.clone(), 1),
            (confirm, Asked, &renamed, both, 1),
            (auto, DropState, &renamed, files(&[]), 0),
            (confirm, DropState, &renamed, files(&[]), 0),
            (auto, Nothing, &shipped, files(&["tapline.toml"]), 1),
        ];
        for (number, (mode, consent, changes, hold, waits)) in cases.into_iter().enumerate() {
            let (held, waiting) = judge(mode, consent, changes);
            assert_eq!(held, hold, "case {number}");
            assert_eq!(waiting.len(), waits, "case {number}");
        }
    }
}
