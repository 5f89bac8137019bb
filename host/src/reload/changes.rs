//! What a change would do, before it is done: what runs compared with what is prepared.
//!
//! Neighbours: the rest of `reload` makes [`Outline`]s of both sides and acts on the result;
//! `api` and `cli` show it. Pure: nothing is read and nothing is touched. Invariant: no
//! difference shows a secret, only that it is another one.

mod outline;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) use outline::Outline;
pub use text::render;

use crate::config::Problem;
use crate::config::push::HIDDEN;
use crate::config::site::is_secret;
use crate::store::{ParkedState, StageId, StageState, Succession};
use outline::{Facts, Part};

/// Everything that would be different.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    pub pipelines: Vec<Change>,
    pub devices: Vec<Change>,
    pub brokers: Vec<Change>,
    pub endpoints: Vec<Change>,
    /// Modules that stages run, by name.
    pub modules: Vec<Change>,
    /// What else `tapline.toml` and the environment say.
    pub site: Vec<Difference>,
    /// State in the store that no stage would own.
    pub orphaned: Vec<Orphan>,
    /// State that a stage would take over, by `state_from` or because it comes back.
    pub inherited: Vec<Inheritance>,
    /// Deliveries that would wait for a sink that is gone. They stay until it comes back.
    pub stranded: Vec<Stranded>,
    /// What keeps parts of it from being taken up.
    pub problems: Vec<String>,
}

/// One thing that is added, changed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub change: How,
    /// What it is: `pipeline`, `device`, `broker`, a kind of stage, …
    pub kind: String,
    pub name: String,
    /// Where it is written, if in a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Difference>,
    /// Of a pipeline: its sources and stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    Added,
    Changed,
    Removed,
}

/// A value before and after; absent: not said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// In the words of the file: `settings.standby_threshold_w`.
    pub field: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// State that nobody would own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    pub pipeline: String,
    pub stage: String,
    pub keys: u64,
    /// Its stage runs now, so that it is this change that would orphan it.
    pub by_this_change: bool,
}

/// State that changes hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inheritance {
    /// `pipeline/stage`; the same as `to` for one that comes back.
    pub from: String,
    pub to: String,
    pub keys: u64,
}

/// Deliveries that wait for a sink that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranded {
    /// `pipeline/stage`.
    pub sink: String,
    pub waiting: u64,
}

/// What the store holds that a change may concern.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) state: Vec<StageState>,
    pub(super) parked: Vec<ParkedState>,
    /// Pipelines that have delivered something, or have something to deliver.
    pub(super) delivering: BTreeSet<String>,
    /// Sinks for which something waits.
    pub(super) waiting: Vec<(StageId, u64)>,
}

/// What is to become of state that nobody owns any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orphans {
    /// It stays where it is.
    Keep,
    /// It is parked, as somebody has agreed.
    Park,
}

impl Changes {
    /// From what runs to what is prepared.
    pub(super) fn between(before: &Outline, after: &Outline, kept: &Kept) -> Self {
        let heirs = heirs(after);
        let leaves: BTreeSet<&StageId> = heirs.iter().map(|(from, _)| from).collect();
        let orphaned = kept.state.iter().filter(|state| {
            state.keys > 0 && !after.owners.contains(&state.id) && !leaves.contains(&state.id)
        });
        let stranded = kept
            .waiting
            .iter()
            .filter(|(sink, _)| before.sinks.contains(sink) && !after.sinks.contains(sink));
        // One that comes or goes with its stages says nothing that they do not.
        let modules = parts(&before.modules, &after.modules).into_iter();
        let modules = modules.filter(|module| module.change == How::Changed);
        Self {
            pipelines: parts(&before.pipelines, &after.pipelines),
            devices: devices(before, after),
            brokers: parts(&before.brokers, &after.brokers),
            endpoints: parts(&before.endpoints, &after.endpoints),
            modules: modules.collect(),
            site: before.site.differences(&after.site),
            orphaned: orphaned
                .map(|state| Orphan {
                    pipeline: state.id.pipeline.to_string(),
                    stage: state.id.stage.to_string(),
                    keys: state.keys,
                    by_this_change: before.owners.contains(&state.id),
                })
                .collect(),
            inherited: inherited(after, &heirs, kept),
            stranded: stranded
                .map(|(sink, waiting)| Stranded { sink: sink.to_string(), waiting: *waiting })
                .collect(),
            problems: Vec::new(),
        }
    }

    /// The same with what is wrong.
    #[must_use]
    pub(super) fn with_problems(mut self, problems: &[Problem]) -> Self {
        self.problems = problems.iter().map(ToString::to_string).collect();
        self
    }

    /// Whether everything would be as it is.
    pub fn is_empty(&self) -> bool {
        let Self { pipelines, devices, brokers, endpoints, modules, site, .. } = self;
        [pipelines, devices, brokers, endpoints, modules].iter().all(|c| c.is_empty())
            && site.is_empty()
            && self.inherited.is_empty()
            && self.orphaned.iter().all(|orphan| !orphan.by_this_change)
    }

    /// State that this change would orphan, so that somebody has to agree to it.
    pub fn would_orphan(&self) -> impl Iterator<Item = &Orphan> {
        self.orphaned.iter().filter(|orphan| orphan.by_this_change)
    }
}

/// What `after` and the wish for orphans mean for state in the store.
pub(super) fn succession(after: &Outline, kept: &Kept, orphans: Orphans) -> Succession {
    let heirs = heirs(after);
    let park = kept.state.iter().filter(|state| {
        let is_owned = after.owners.contains(&state.id);
        let is_left = heirs.iter().any(|(from, _)| *from == state.id);
        // Bare keys hold nothing that a person would miss.
        !is_owned && !is_left && (state.keys == 0 || orphans == Orphans::Park)
    });
    let parked = |id: &&StageId| kept.parked.iter().any(|parked| parked.id == **id);
    Succession {
        renamed: renamed(after, kept),
        park: park.map(|state| state.id.clone()).collect(),
        owners: after.owners.iter().filter(parked).cloned().collect(),
        heirs: heirs
            .iter()
            .filter(|(from, _)| parked(&from) || kept.state.iter().any(|state| state.id == *from))
            .cloned()
            .collect(),
    }
}

/// Pipelines whose deliveries go on under another name.
fn renamed(after: &Outline, kept: &Kept) -> Vec<(Arc<str>, Arc<str>)> {
    let is_gone =
        |from: &str| !after.pipelines.contains_key(from) && kept.delivering.contains(from);
    after.renamed.iter().filter(|(from, _)| is_gone(from)).cloned().collect()
}

/// Who takes over from whom; a stage that runs itself leaves nothing.
fn heirs(after: &Outline) -> Vec<(StageId, StageId)> {
    after.heirs.iter().filter(|(from, _)| !after.owners.contains(from)).cloned().collect()
}

fn inherited(after: &Outline, heirs: &[(StageId, StageId)], kept: &Kept) -> Vec<Inheritance> {
    let state = kept.state.iter().map(|state| (&state.id, state.keys));
    let parked = kept.parked.iter().map(|parked| (&parked.id, parked.keys));
    let mut keys: BTreeMap<(&StageId, &StageId), u64> = BTreeMap::new();
    for (id, count) in state.chain(parked.clone()).filter(|(_, count)| *count > 0) {
        if let Some((from, to)) = heirs.iter().find(|(from, _)| from == id) {
            *keys.entry((from, to)).or_default() += count;
        }
    }
    for (id, count) in parked.filter(|(id, count)| *count > 0 && after.owners.contains(*id)) {
        *keys.entry((id, id)).or_default() += count;
    }
    let inheritance = |((from, to), keys): ((&StageId, &StageId), u64)| Inheritance {
        from: from.to_string(),
        to: to.to_string(),
        keys,
    };
    keys.into_iter().map(inheritance).collect()
}

fn devices(before: &Outline, after: &Outline) -> Vec<Change> {
    let change = |change, id: &crate::message::DeviceId, fields| Change {
        change,
        kind: "device".to_owned(),
        name: id.to_string(),
        file: None,
        fields,
        parts: Vec::new(),
    };
    let (old, new) = (&before.devices.by_id, &after.devices.by_id);
    let gone = old.keys().filter(|id| !new.contains_key(id));
    let mut changes: Vec<_> = gone.map(|id| change(How::Removed, id, Vec::new())).collect();
    for (id, device) in new {
        match old.get(id) {
            None => changes.push(change(How::Added, id, Vec::new())),
            // Most are the same, and a site may have 100,000.
            Some(old) if old.is_same(device) => {}
            Some(old) => {
                let fields = outline::device(old).differences(&outline::device(device));
                changes.push(change(How::Changed, id, fields));
            }
        }
    }
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

fn parts(before: &BTreeMap<String, Part>, after: &BTreeMap<String, Part>) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let one = |name: &String| {
        let (old, new) = (before.get(name), after.get(name));
        let (change, part) = match (old, new) {
            (None, Some(new)) => (How::Added, new),
            (Some(old), None) => (How::Removed, old),
            (Some(_), Some(new)) => (How::Changed, new),
            (None, None) => return None,
        };
        let mut result = Change {
            change,
            kind: part.kind.to_owned(),
            // `detect session` and `sink session` are two stages, each called `session`.
            name: part.name.clone(),
            file: part.file.clone(),
            fields: Vec::new(),
            parts: Vec::new(),
        };
        if let (Some(old), Some(new)) = (old, new) {
            result.fields = old.facts.differences(&new.facts);
            result.parts = parts(&old.parts, &new.parts);
            if result.fields.is_empty() && result.parts.is_empty() {
                return None;
            }
        } else if change == How::Added {
            result.parts = parts(&BTreeMap::new(), &part.parts);
        }
        Some(result)
    };
    names.into_iter().filter_map(one).collect()
}

impl Facts {
    /// Value by value, by the names that the user wrote.
    pub(super) fn differences(&self, after: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        compare(&mut Vec::new(), &self.open, &after.open, &mut all);
        let names: BTreeSet<&String> = self.secret.keys().chain(after.secret.keys()).collect();
        for name in names {
            let (from, to) = (self.secret.get(name), after.secret.get(name));
            if from != to {
                let hidden = |is_set: bool| is_set.then(|| Value::from(HIDDEN));
                let (from, to) = (hidden(from.is_some()), hidden(to.is_some()));
                all.push(Difference { field: name.clone(), from, to });
            }
        }
        all
    }
}

fn compare(
    path: &mut Vec<String>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let nothing = Map::new();
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let (from, to) = (before.get(key), after.get(key));
        if from == to {
            continue;
        }
        path.push(key.clone());
        match (from, to) {
            (Some(Value::Object(from)), Some(Value::Object(to))) => compare(path, from, to, found),
            (Some(Value::Object(from)), None) => compare(path, from, &nothing, found),
            (None, Some(Value::Object(to))) => compare(path, &nothing, to, found),
            (from, to) => {
                let is_secret = is_secret(&format!("/{}", path.join("/")));
                let shown = |value: Option<&Value>| match value {
                    Some(_) if is_secret => Some(HIDDEN.into()),
                    value => value.cloned(),
                };
                let field = path.join(".");
                found.push(Difference { field, from: shown(from), to: shown(to) });
            }
        }
        path.pop();
    }
}
