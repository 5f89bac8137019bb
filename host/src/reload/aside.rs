//! Modules that are put aside: one that fails ten times within a minute, no longer than a day
//! after it came, makes room for the version before it.
//!
//! Which version came before, and which are put aside, is kept with the accepted files, so that
//! a restart changes nothing. Invariant: the version before comes back only where everything
//! that runs can run with it, its state included; else what fails goes on, and `/health` says
//! why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accepted::Unit;
use super::files::Pending;
use super::prepare::Inputs;
use super::start::blocking;
use super::{Tapline, modules};
use crate::config::Problem;
use crate::message::Timestamp;
use crate::module::{Hash, Module};
use crate::pipeline::{FAILURES, Failing};
use crate::store::{self, Audit, Commit};
use crate::telemetry::clock;

/// For so long after a change there is a way back. Later, what fails is more likely what comes in.
const TRIAL_MS: u64 = 24 * 3600 * 1000;
/// How long after its last failure a module without a way back is spoken of.
const SPOKEN_OF: Duration = Duration::from_secs(3600);
/// Versions put aside that are remembered; the oldest is forgotten first.
const KEPT: usize = 100;

/// One version of a module that is put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aside {
    /// The name of its file.
    pub(super) module: String,
    #[serde(with = "hex")]
    pub(super) hash: Hash,
    /// The version that runs in its place.
    #[serde(with = "hex")]
    pub(super) instead: Hash,
    pub(super) at: Timestamp,
    /// As `pipeline/stage`.
    pub(super) stage: String,
    /// What went wrong last.
    pub(super) what: String,
}

impl Aside {
    /// For `/health`: which, why, and what to do about it.
    pub(super) fn problem(&self) -> String {
        let Self { module, hash, instead, stage, what, .. } = self;
        format!(
            "module `{module}` ({}) is put aside since {}: it failed {FAILURES} times within a \
             minute in `{stage}`, at last: {what}; the version before it ({}) runs: put a mended \
             one in place of modules/{module}.wasm",
            hash.short(),
            self.at.rfc3339(),
            instead.short()
        )
    }
}

/// The version of a module before the one that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    #[serde(with = "hex")]
    pub(super) hash: Hash,
    /// When it was replaced.
    pub(super) until: Timestamp,
}

/// What is kept with the accepted files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Versions {
    /// By the name of a module's file.
    pub(super) before: BTreeMap<String, Before>,
    pub(super) aside: Vec<Aside>,
}

impl Versions {
    /// What runs in place of this version, if it is put aside.
    pub(super) fn aside(&self, module: &str, hash: Hash) -> Option<&Aside> {
        self.aside.iter().find(|aside| aside.module == module && aside.hash == hash)
    }

    /// The contents that must be kept for it.
    pub(super) fn hashes(&self) -> impl Iterator<Item = Hash> {
        let before = self.before.values().map(|before| before.hash);
        before.chain(self.aside.iter().map(|aside| aside.instead))
    }
}

/// What is known while Tapline runs.
#[derive(Default)]
pub(super) struct Trials(Mutex<State>);

#[derive(Default)]
struct State {
    versions: Versions,
    /// What was last accepted, by the name of a module's file.
    accepted: BTreeMap<String, Hash>,
    /// Modules that fail too often and stay.
    helpless: BTreeMap<Hash, String>,
}

impl Trials {
    /// As the last run left it.
    pub(super) fn of(versions: Versions, accepted: &BTreeMap<String, Unit>) -> Self {
        let accepted = accepted.values().flat_map(|unit| unit.modules.clone()).collect();
        Self(Mutex::new(State { versions, accepted, ..State::default() }))
    }

    pub(super) fn versions(&self) -> Versions {
        self.lock().versions.clone()
    }

    /// These units run from now on. What is to be kept, the modules that run, and those among
    /// them that have a version to go back to.
    pub(super) fn accept(
        &self,
        units: &BTreeMap<String, Unit>,
        now: Timestamp,
    ) -> (Versions, BTreeSet<Hash>, BTreeSet<Hash>) {
        let mut state = self.lock();
        let mut names: BTreeMap<&String, BTreeSet<Hash>> = BTreeMap::new();
        for (name, hash) in units.values().flat_map(|unit| &unit.modules) {
            names.entry(name).or_default().insert(*hash);
        }
        let running: BTreeSet<Hash> = names.values().flatten().copied().collect();
        for (name, hashes) in names {
            state.run(name, &hashes, now);
        }
        state.helpless.retain(|hash, _| running.contains(hash));
        let on_trial = state.accepted.iter().filter(|(name, _)| state.before(name, now).is_some());
        let on_trial = on_trial.map(|(_, hash)| *hash).collect();
        (state.versions.clone(), running, on_trial)
    }

    /// A module takes the place of a version that ran under another name, so that this is the
    /// one to go back to. Nothing where the name has versions of its own.
    pub(super) fn takes_place(&self, name: &str, of: Hash, now: Timestamp) {
        let mut state = self.lock();
        if !state.accepted.contains_key(name) {
            state.versions.before.insert(name.to_owned(), Before { hash: of, until: now });
        }
    }

    /// It did not come to that.
    pub(super) fn takes_no_place(&self, name: &str) {
        let mut state = self.lock();
        if !state.accepted.contains_key(name) {
            state.versions.before.remove(name);
        }
    }

    fn helpless(&self, module: Hash, why: String) {
        self.lock().helpless.insert(module, why);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A module runs in these versions; several where a pipeline's file is held back.
    fn run(&mut self, name: &str, hashes: &BTreeSet<Hash>, now: Timestamp) {
        let Some(last) = self.accepted.get(name).copied() else {
            self.accepted.extend(hashes.first().map(|hash| (name.to_owned(), *hash)));
            return;
        };
        let before = self.versions.before.get(name).map(|before| before.hash);
        let mut others = hashes.iter().filter(|hash| **hash != last && Some(**hash) != before);
        if let Some(new) = others.next() {
            let before = Before { hash: last, until: now };
            self.versions.before.insert(name.to_owned(), before);
            self.accepted.insert(name.to_owned(), *new);
        } else if !hashes.contains(&last)
            && let Some(new) = hashes.first()
        {
            // Back to what it was, by hand or because it was put aside.
            self.versions.before.remove(name);
            self.accepted.insert(name.to_owned(), *new);
        }
    }

    /// The version to go back to.
    fn before(&self, name: &str, now: Timestamp) -> Option<Hash> {
        let before = self.versions.before.get(name)?;
        let usable =
            now.since(before.until) < TRIAL_MS && self.versions.aside(name, before.hash).is_none();
        usable.then_some(before.hash)
    }
}

/// Waits for modules that fail too often, for as long as there is a Tapline.
pub(super) async fn watch(tapline: Weak<Tapline>) {
    loop {
        let Some(probation) = tapline.upgrade().map(|t| t.activity.probation().clone()) else {
            return;
        };
        let failing = probation.next().await;
        let Some(tapline) = tapline.upgrade() else { return };
        tapline.fails_too_often(&failing).await;
    }
}

impl Tapline {
    async fn fails_too_often(&self, failing: &Failing) {
        let _one_at_a_time = self.changing.lock().await;
        let inputs = self.inputs();
        // It may have been replaced meanwhile.
        let names = inputs.names_of(failing.module);
        if let Some(name) = names.first()
            && let Err(why) = self.put_aside(failing, &inputs, &names).await
        {
            let Failing { module, pipeline, stage, what } = failing;
            let problem = format!(
                "module `{name}` ({}) failed {FAILURES} times within a minute in \
                 `{pipeline}/{stage}`, at last: {what}; it stays, since {why}: put a mended one \
                 in place of modules/{name}.wasm",
                module.short()
            );
            tracing::error!(event = "module_fails", module = %name, hash = %module, pipeline = %pipeline, stage = %stage, what, why, "a module fails again and again");
            self.trials.helpless(*module, problem);
            self.activity.probation().decide(*module, None);
        }
    }

    /// Brings the version before back, or says why not.
    async fn put_aside(
        &self,
        failing: &Failing,
        inputs: &Arc<Inputs>,
        names: &BTreeSet<Arc<str>>,
    ) -> Result<(), String> {
        let now = clock::now();
        let mut instead = Vec::new();
        for name in names {
            let before = self.trials.lock().before(name, now);
            let none = "there is no version before it to go back to";
            let module = self.version(before.ok_or(none)?, inputs).await?;
            let aside = Aside {
                module: name.to_string(),
                hash: failing.module,
                instead: module.hash(),
                at: now,
                stage: format!("{}/{}", failing.pipeline, failing.stage),
                what: failing.what.clone(),
            };
            instead.push((aside, module));
        }
        let probation = self.activity.probation();
        let running = inputs.version(failing.module);
        let same_state = |module: &Arc<Module>| {
            running.as_ref().is_some_and(|running| {
                (running.role(), running.state_version()) == (module.role(), module.state_version())
            })
        };
        let at_once = instead.iter().all(|(_, module)| same_state(module));
        if !at_once {
            // To try whether the state can be read, the pipeline has to go on.
            probation.decide(failing.module, None);
        }
        let wanted = Arc::new(inputs.instead_of(failing.module, &instead));
        let (mut held, mut pending) = (BTreeSet::new(), Pending::default());
        let tried = self.without_broken(&wanted, inputs, &mut held, &mut pending).await;
        let (inputs, prepared) = tried.map_err(|error| error.to_string())?;
        let cannot = |problems: &[Problem]| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            format!("the version before it cannot take its place: {first}")
        };
        if !held.is_empty() {
            return Err(cannot(&pending.broken));
        }
        if !prepared.broken.is_subset(&self.running().broken) {
            return Err(cannot(&prepared.problems));
        }
        if let Some((_, module)) = instead.first().filter(|_| at_once) {
            probation.decide(failing.module, Some(module.clone()));
        }
        let devices = prepared.config.devices.by_id.len();
        let asides: Vec<_> = instead.into_iter().map(|(aside, _)| aside).collect();
        {
            let mut state = self.trials.lock();
            state.versions.aside.extend(asides.iter().cloned());
            let surplus = state.versions.aside.len().saturating_sub(KEPT);
            state.versions.aside.drain(..surplus);
        }
        *self.inputs.write().unwrap_or_else(PoisonError::into_inner) = inputs;
        self.apply(prepared).await;
        self.accept().await;
        for aside in asides {
            self.tell(&aside, devices).await;
        }
        Ok(())
    }

    /// A version of a module that ran once.
    async fn version(&self, hash: Hash, inputs: &Inputs) -> Result<Arc<Module>, String> {
        if let Some(module) = inputs.version(hash) {
            return Ok(module);
        }
        let (engine, accepted) = (self.engine.clone(), self.accepted.clone());
        let load = move || modules::version(hash, &engine, &accepted);
        blocking(load).await.map_err(|why| format!("the version before it cannot be loaded: {why}"))
    }

    /// Says in log, audit and journal what was done.
    async fn tell(&self, aside: &Aside, devices: usize) {
        let Aside { module, hash, instead, at, stage, what } = aside;
        tracing::error!(event = "module_put_aside", module, hash = %hash, instead = %instead, stage, what, "a module that failed again and again made room for the version before it");
        let in_short = format!(
            "module `{module}` ({}) put aside for ({}): {FAILURES} failures in `{stage}`, at \
             last: {what}",
            hash.short(),
            instead.short()
        );
        let author = "tapline".to_owned();
        let action = "module.put-aside";
        let audit = Audit { at: *at, author: author.clone(), action, what: in_short.clone() };
        let change = store::Change { at: *at, author, devices, what: in_short };
        let store = self.store.clone();
        let write = move || {
            let commit = Commit { audit: vec![audit], ..Commit::default() };
            store.submit(commit, Box::new(|_| {}))?;
            store.add_change(&change)
        };
        if let Err(error) = blocking(write).await {
            tracing::error!(
                event = "change_not_written_down",
                error = &error as &dyn std::error::Error,
                "the journal lacks this change"
            );
        }
    }

    /// What `/health` says of modules that fail.
    pub(super) fn module_problems(&self) -> Vec<String> {
        let probation = self.activity.probation();
        let recent = |hash: &Hash| probation.last(hash).is_some_and(|ago| ago < SPOKEN_OF);
        let inputs = self.inputs();
        let aside = inputs.aside.iter().map(Aside::problem);
        let state = self.trials.lock();
        let helpless = state.helpless.iter().filter(|(hash, _)| recent(hash));
        aside.chain(helpless.map(|(_, problem)| problem.clone())).collect()
    }
}

/// Hashes as text.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::module::Hash;

    pub(super) fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(from)?;
        super::super::accepted::parse(&text).ok_or_else(|| D::Error::custom("this is no hash"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Timestamp = Timestamp(1_800_000_000_000);

    fn units(file: &str, content: &[u8]) -> BTreeMap<String, Unit> {
        let modules = [("own".to_owned(), Hash::of(content))].into();
        [(file.to_owned(), Unit { modules, ..Unit::default() })].into()
    }

    #[test]
    fn the_version_before_is_known_for_a_day_and_over_a_restart() {
        let (one, two) = (Hash::of(b"one"), Hash::of(b"two"));
        let trials = Trials::of(Versions::default(), &units("a.toml", b"one"));
        let (_, running, on_trial) = trials.accept(&units("a.toml", b"one"), DAY);
        assert_eq!((running, on_trial), ([one].into(), [].into()));
        let (versions, running, on_trial) = trials.accept(&units("a.toml", b"two"), DAY);
        assert_eq!((running, on_trial), ([two].into(), [two].into()));
        let again = Trials::of(versions, &units("a.toml", b"two"));
        assert_eq!(again.lock().before("own", DAY), Some(one));
        assert_eq!(again.lock().before("own", DAY.plus_ms(TRIAL_MS)), None);
        let (_, _, on_trial) = again.accept(&units("a.toml", b"two"), DAY.plus_ms(TRIAL_MS));
        assert!(on_trial.is_empty());
    }

    #[test]
    fn what_was_put_aside_is_no_version_to_go_back_to() {
        let trials = Trials::of(Versions::default(), &units("a.toml", b"one"));
        trials.accept(&units("a.toml", b"two"), DAY);
        let aside = Aside {
            module: "own".to_owned(),
            hash: Hash::of(b"two"),
            instead: Hash::of(b"one"),
            at: DAY,
            stage: "hall/parse".to_owned(),
            what: "broke".to_owned(),
        };
        trials.lock().versions.aside.push(aside.clone());
        let (versions, _, on_trial) = trials.accept(&units("a.toml", b"one"), DAY);
        assert!(on_trial.is_empty() && versions.before.is_empty(), "{versions:?}");
        assert_eq!(versions.hashes().collect::<Vec<_>>(), [Hash::of(b"one")]);
        // A third version may fail, too, and has the first one behind it.
        let (versions, _, on_trial) = trials.accept(&units("a.toml", b"three"), DAY);
        assert_eq!(on_trial, [Hash::of(b"three")].into());
        assert_eq!(versions.before["own"].hash, Hash::of(b"one"));
        let text = serde_json::to_string(&versions).unwrap();
        assert_eq!(serde_json::from_str::<Versions>(&text).unwrap(), versions);
    }

    #[test]
    fn a_module_of_which_two_versions_run_has_the_older_one_before_it() {
        let trials = Trials::of(Versions::default(), &units("a.toml", b"one"));
        let mut both = units("a.toml", b"two");
        both.extend(units("b.toml", b"one"));
        for _ in 0..3 {
            let (versions, _, on_trial) = trials.accept(&both, DAY);
            assert_eq!(versions.before["own"].hash, Hash::of(b"one"));
            assert_eq!(on_trial, [Hash::of(b"two")].into());
        }
    }
}
