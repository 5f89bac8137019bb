//! What `tapline check` finds: everything that is wrong with a site, at once, without starting
//! anything.
//!
//! What one file gets wrong hides no problem of another, nor of its own modules: each file is
//! checked as far as it can be read. Invariant: problems come sorted by file and line, each once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use crate::config::load::{Around, Texts, check as check_texts};
use crate::config::pipeline::{Context, draft};
use crate::config::{Config, Problem};
use crate::message::Timestamp;
use crate::module::{Engine, EngineOptions, LoadError, Module, shipped};
use crate::pipeline::{ModuleSet, Plan, check_modules};
use crate::telemetry;

/// What a check found.
#[derive(Debug, Default)]
pub struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// What there is, if nothing is wrong.
    pub summary: String,
}

/// Checks everything as a start would.
pub fn check(options: &Options) -> Findings {
    match Engine::new(None, EngineOptions::default()) {
        Ok(engine) => check_with(options, &engine, telemetry::clock::now()),
        Err(error) => {
            let what = telemetry::words(&error);
            let problem = Problem::of("module engine", what, "see what the system refuses");
            Findings { problems: vec![problem], ..Findings::default() }
        }
    }
}

pub(super) fn check_with(options: &Options, engine: &Engine, now: Timestamp) -> Findings {
    let mut found = Findings::default();
    let pushed = options.config_file.as_ref().and_then(|file| {
        super::pushed::read_document(file).map_err(|wrong| found.problems.extend(wrong)).ok()
    });
    let texts = options.site.as_deref().map(Texts::read).unwrap_or_default();
    let modules = Modules::read(options, engine, &mut found);
    let around =
        Around { env: &options.env, pushed: pushed.as_ref(), generated_name: "tapline", now };
    let checked = check_texts(&texts, around);
    found.problems.extend(checked.problems());
    found.warnings.extend(checked.warnings.iter().cloned());
    let config = checked.config();
    for unit in &checked.pipelines {
        let problems = match (&unit.result, &config) {
            (Ok(pipeline), Some(config)) => match Plan::build(pipeline, config, &modules.set) {
                Ok((_, unfit)) => unfit,
                Err(problems) => problems,
            },
            (Ok(pipeline), None) => check_modules(pipeline, &modules.set),
            (Err(_), _) => {
                // Names of the site are taken on trust here: they have been checked.
                let (open, topics) = (|_: &str| Err(ErrorKind::NotFound.into()), BTreeMap::new());
                let context = Context { site: None, open: &open, topics: &topics };
                let draft = draft(&unit.file, &unit.text, context);
                draft.map(|draft| check_modules(&draft, &modules.set)).unwrap_or_default()
            }
        };
        found.problems.extend(problems.into_iter().map(|problem| modules.told(problem)));
    }
    modules.warn_of_unused(&mut found);
    sort(&mut found.problems);
    sort(&mut found.warnings);
    if let Some(config) = config {
        found.summary = summary(&config);
    }
    found
}

fn summary(config: &Config) -> String {
    let names: Vec<_> = config.pipelines.iter().map(|p| &*p.name).collect();
    format!(
        "ok: {} pipeline(s) ({}), {} broker(s), {} device(s)",
        names.len(),
        names.join(", "),
        config.site.brokers.len(),
        config.devices.by_id.len()
    )
}

/// By file and place; what two ways led to is said once.
fn sort(problems: &mut Vec<Problem>) {
    let place = |problem: &Problem| {
        let file = match (&problem.place, &problem.origin) {
            (Some(place), _) => place.file.to_string(),
            (None, Some(origin)) => origin.display().to_string(),
            (None, None) => String::new(),
        };
        (file, problem.place.as_ref().map_or(0, |place| place.span.start))
    };
    problems.sort_by_cached_key(place);
    let mut said: Vec<Problem> = Vec::with_capacity(problems.len());
    for problem in problems.drain(..) {
        let here = place(&problem);
        if !said.iter().rev().take_while(|other| place(other) == here).any(|o| *o == problem) {
            said.push(problem);
        }
    }
    *problems = said;
}

/// The modules at hand, and why others are not.
struct Modules {
    set: ModuleSet,
    /// File and reason of those that cannot be loaded, by name.
    broken: BTreeMap<Arc<str>, (String, String, &'static str)>,
}

impl Modules {
    fn read(options: &Options, engine: &Engine, found: &mut Findings) -> Self {
        let mut files: BTreeMap<Arc<str>, PathBuf> = BTreeMap::new();
        let mut modules = Self { set: ModuleSet::new(), broken: BTreeMap::new() };
        let shipped: BTreeMap<Arc<str>, _> =
            shipped::modules().into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
        let site = options.site.as_deref();
        let own = site.map(|site| site.join("modules"));
        for folder in [own.as_deref(), options.modules.as_deref()].into_iter().flatten() {
            for (name, path) in wasm_files(folder, found) {
                if let Some(first) = files.get(&name) {
                    let what = format!(
                        "module `{name}` stands in {} too, and this one is taken",
                        shown(first, site)
                    );
                    let remedy = "give one of the two another name";
                    found.warnings.push(Problem::of(shown(&path, site), what, remedy));
                }
                files.insert(name, path);
            }
        }
        for (name, bytes) in &shipped {
            if !files.contains_key(name) {
                let module = engine.load(bytes);
                modules.insert(name, format!("{name}.wasm (shipped)"), module);
            }
        }
        for (name, path) in &files {
            let file = shown(path, site);
            let read = super::modules::read(path, site, engine.module_size());
            // The same bytes replace nothing.
            let other =
                |bytes: &Cow<[u8]>| read.as_ref().is_ok_and(|own| own.as_slice() != &**bytes);
            let replaces = shipped.get(name).is_some_and(other);
            match read {
                Ok(bytes) => modules.insert(name, file, engine.load(&bytes)),
                Err(error) => {
                    let why = format!("it cannot be read: {error}");
                    let remedy =
                        "put a module's file there that the user who runs Tapline may read";
                    modules.set.insert(name.clone(), Err(why.clone()));
                    modules.broken.insert(name.clone(), (file, why, remedy));
                }
            }
            if replaces && modules.set.get(name).is_some_and(Result::is_ok) {
                let what = format!("it replaces the module `{name}` that ships");
                let remedy = "rename it if that is not meant";
                found.warnings.push(Problem::of(shown(path, site), what, remedy));
            }
        }
        modules
    }

    fn insert(&mut self, name: &Arc<str>, file: String, module: Result<Arc<Module>, LoadError>) {
        let module = module.map_err(|error| {
            let why = telemetry::words(&error);
            self.broken.insert(name.clone(), (file, why.clone(), error.remedy()));
            why
        });
        self.set.insert(name.clone(), module);
    }

    /// A problem of a stage whose module cannot be loaded, with the module's file and the
    /// remedy for what is wrong with it.
    fn told(&self, problem: Problem) -> Problem {
        let said = |name: &str, why: &str| format!("module `{name}` cannot be loaded: {why}");
        let is_of = |name: &str, why: &str| problem.what.ends_with(&said(name, why));
        match self.broken.iter().find(|(name, (_, why, _))| is_of(name, why)) {
            None => problem,
            Some((name, (file, why, remedy))) => {
                let told = format!("module `{name}` ({file}) cannot be loaded: {why}");
                let what = problem.what.replace(&said(name, why), &told);
                Problem { what, remedy: (*remedy).to_owned(), ..problem }
            }
        }
    }

    /// What no stage names stops nothing, but is not there by intent.
    fn warn_of_unused(&self, found: &mut Findings) {
        for (file, why, remedy) in self.broken.values() {
            let said = |problem: &Problem| problem.what.contains(&format!("({file})"));
            if !found.problems.iter().any(said) {
                let what = format!("no stage uses it, and it cannot be loaded: {why}");
                found.warnings.push(Problem::of(file.clone(), what, *remedy));
            }
        }
    }
}

/// The modules of a folder by name; one that is not there has none.
fn wasm_files(folder: &Path, found: &mut Findings) -> BTreeMap<Arc<str>, PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            let what = format!("cannot be listed: {error}");
            found.problems.push(Problem::of(
                folder,
                what,
                "make it a folder that Tapline may read",
            ));
            return BTreeMap::new();
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let named = paths.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".wasm")?;
        let name: Arc<str> = (!name.is_empty() && !name.starts_with('.')).then(|| name.into())?;
        Some((name, path))
    });
    named.collect()
}

/// A path as the user would name it: relative to the site.
fn shown(path: &Path, site: Option<&Path>) -> String {
    let relative = site.and_then(|site| path.strip_prefix(site).ok());
    relative.unwrap_or(path).display().to_string()
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
