//! Reads everything and checks everything, without touching what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Options;
use super::accepted::Accepted;
use super::aside::{Aside, Versions};
use crate::broker::Subscription;
use crate::config::load::{Around, Texts, check};
use crate::config::push::Pushed;
use crate::config::{Config, Problem};
use crate::message::Timestamp;
use crate::module::{Engine, Hash, Module};
use crate::pipeline::{ModuleSet, Plan, Shard, subscriptions as of_plan};
use crate::store::Succession;

/// What is ready to run.
pub(super) struct Prepared {
    pub(super) config: Arc<Config>,
    pub(super) plans: Vec<Arc<Plan>>,
    pub(super) pushed: Option<Arc<Pushed>>,
    pub(super) updated: Option<Timestamp>,
    /// Units that cannot run, and why; the others go on.
    pub(super) problems: Vec<Problem>,
    /// The files among them.
    pub(super) broken: BTreeSet<String>,
    /// Devices that a pipeline leaves out, by the pipeline's file.
    pub(super) unfit: Vec<(String, Problem)>,
    /// State that changes hands with it.
    pub(super) succession: Succession,
}

/// Who this Tapline is where no file says it.
pub(super) struct Identity {
    /// The name of a site that says none.
    pub(super) name: String,
    /// What sets a copy of another box apart from it.
    pub(super) copy: Option<String>,
}

impl Identity {
    /// For what never connects to anything.
    pub(super) fn nobody() -> Self {
        Self { name: "tapline".to_owned(), copy: None }
    }
}

/// What a start reads and a push builds upon: texts of the site, and modules.
pub(super) struct Inputs {
    pub(super) texts: Texts,
    pub(super) modules: Arc<ModuleSet>,
    /// Modules of files that stay as they were.
    held: BTreeMap<String, Arc<ModuleSet>>,
    /// Versions that stand in the files and are put aside.
    pub(super) aside: Vec<Aside>,
}

impl Inputs {
    /// Reads the site directory and loads every module that `before` does not have.
    pub(super) fn read(
        options: &Options,
        engine: &Engine,
        before: Option<&Self>,
        accepted: Option<(&Accepted, &Versions)>,
    ) -> Self {
        let texts = match (&options.site, before) {
            (Some(site), Some(before)) => Texts::read_again(site, &before.texts),
            (Some(site), None) => Texts::read(site),
            (None, _) => Texts::default(),
        };
        let before = before.map(|before| &*before.modules);
        let (modules, aside) = super::modules::load(options, engine, before, accepted);
        Self { texts, modules: Arc::new(modules), held: BTreeMap::new(), aside }
    }

    /// These files with the modules of each, which stood there once.
    pub(super) fn of_units(texts: Texts, held: BTreeMap<String, Arc<ModuleSet>>) -> Self {
        Self { texts, modules: Arc::default(), held, aside: Vec::new() }
    }

    /// The same, but with the files in `held` as they were `before`; `schemas` by file. Of a site
    /// that is gone everything is as it was, the modules that it had too.
    #[must_use]
    pub(super) fn holding(
        &self,
        before: &Self,
        held: &BTreeSet<String>,
        schemas: BTreeMap<String, String>,
    ) -> Self {
        if self.texts.is_gone {
            return Self {
                texts: Texts { schemas, ..before.texts.clone() },
                modules: before.modules.clone(),
                held: before.held.clone(),
                aside: before.aside.clone(),
            };
        }
        let texts = self.texts.holding(&before.texts, held, schemas);
        let modules = held.iter().map(|file| (file.clone(), before.modules_of(file).clone()));
        let (modules, held) = (self.modules.clone(), modules.collect());
        Self { texts, modules, held, aside: self.aside.clone() }
    }

    /// The names under which this version of a module runs.
    pub(super) fn names_of(&self, hash: Hash) -> BTreeSet<Arc<str>> {
        let all = self.held.values().chain([&self.modules]).flat_map(|set| &**set);
        let found = all.filter(|(_, module)| is(module, hash));
        found.map(|(name, _)| name.clone()).collect()
    }

    /// This version of a module, if it runs.
    pub(super) fn version(&self, hash: Hash) -> Option<Arc<Module>> {
        let all = self.held.values().chain([&self.modules]).flat_map(|set| set.values());
        all.filter(|module| is(module, hash)).find_map(|module| module.as_ref().ok().cloned())
    }

    /// The same with other versions in place of a module's.
    #[must_use]
    pub(super) fn instead_of(&self, hash: Hash, instead: &[(Aside, Arc<Module>)]) -> Self {
        let other = |set: &Arc<ModuleSet>| {
            let mut set = ModuleSet::clone(set);
            for (aside, module) in instead {
                if let Some(old) = set.get_mut(&*aside.module).filter(|old| is(old, hash)) {
                    *old = Ok(module.clone());
                }
            }
            Arc::new(set)
        };
        let held = self.held.iter().map(|(file, set)| (file.clone(), other(set)));
        let aside = self.aside.iter().chain(instead.iter().map(|(aside, _)| aside));
        Self {
            texts: self.texts.clone(),
            modules: other(&self.modules),
            held: held.collect(),
            aside: aside.cloned().collect(),
        }
    }

    /// The modules of a pipeline: its file's unit of load.
    pub(super) fn modules_of(&self, file: &str) -> &Arc<ModuleSet> {
        self.held.get(file).unwrap_or(&self.modules)
    }

    /// Checks everything with the pushed document, and against the modules.
    ///
    /// # Errors
    /// If `tapline.toml` or the environment is wrong: without it nothing can run.
    pub(super) fn prepare(
        &self,
        options: &Options,
        identity: &Identity,
        pushed: Option<Arc<Pushed>>,
        updated: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Prepared, Vec<Problem>> {
        let generated_name = identity.name.as_str();
        let around = Around { env: &options.env, pushed: pushed.as_deref(), generated_name, now };
        let checked = check(&self.texts, around);
        let Some(mut config) = checked.config() else { return Err(checked.problems()) };
        if let Some(mark) = &identity.copy {
            Arc::make_mut(&mut config.site).set_apart(mark);
        }
        let mut problems = checked.problems();
        let pipelines = checked.pipelines.iter().filter(|unit| unit.result.is_err());
        let devices = checked.devices.iter().filter(|unit| unit.result.is_err());
        let mut broken: BTreeSet<String> = pipelines
            .map(|unit| unit.file.to_string())
            .chain(devices.map(|unit| unit.file.to_string()))
            .collect();
        let mut plans = Vec::new();
        let mut left_out = Vec::new();
        for pipeline in &config.pipelines {
            // What does not fit comes back beside the plans that do.
            match Plan::build(pipeline, &config, self.modules_of(&pipeline.file)) {
                Ok((plan, unfit)) => {
                    plans.push(Arc::new(plan));
                    let file = pipeline.file.to_string();
                    left_out.extend(unfit.iter().map(|p| (file.clone(), p.clone())));
                    problems.extend(unfit);
                }
                Err(found) => {
                    broken.insert(pipeline.file.to_string());
                    problems.extend(found);
                }
            }
        }
        let (config, succession) = (Arc::new(config), Succession::default());
        let unfit = left_out;
        Ok(Prepared { config, plans, pushed, updated, problems, broken, unfit, succession })
    }
}

fn is(module: &Result<Arc<Module>, String>, hash: Hash) -> bool {
    module.as_ref().is_ok_and(|module| module.hash() == hash)
}

/// The pipelines that listen to a broker.
pub(super) fn on_broker(shards: &BTreeMap<Arc<str>, Arc<Shard>>, broker: &str) -> Vec<Arc<Shard>> {
    shards
        .values()
        .filter(|shard| shard.plan().file.sources.iter().any(|s| *s.broker == *broker))
        .cloned()
        .collect()
}

/// What all pipelines together want of a broker.
pub(super) fn subscriptions(plans: &[Arc<Plan>], broker: &str) -> BTreeMap<String, Subscription> {
    let mut all: BTreeMap<String, Subscription> = BTreeMap::new();
    for plan in plans {
        for (filter, wish) in of_plan(plan).remove(broker).unwrap_or_default() {
            all.entry(filter).and_modify(|old| old.qos = old.qos.max(wish.qos)).or_insert(wish);
        }
    }
    all
}
