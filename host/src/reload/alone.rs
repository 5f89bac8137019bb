//! One pipeline by itself, resolved as a start would, without anything that runs: for replay.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Options;
use crate::config::load::{Around, Text, Texts, check};
use crate::config::push::Pushed;
use crate::config::{Config, Pipeline, Problem};
use crate::module::{Engine, EngineOptions};
use crate::pipeline::{ModuleSet, Plan};
use crate::telemetry::{self, clock};

/// Which pipeline, and what stands around it.
pub struct Asked<'a> {
    /// A name, or a path to a `.toml` file.
    pub pipeline: &'a str,
    pub site: Option<&'a Path>,
    pub modules: Option<&'a Path>,
    /// Where compiled modules are kept.
    pub compiled: Option<&'a Path>,
    pub env: &'a BTreeMap<String, String>,
    /// In place of what is pushed.
    pub document: Option<Pushed>,
    /// The document, where there is one, stands for the site's device files too.
    pub only_devices_of_document: bool,
}

/// A pipeline that can be given messages.
pub struct Alone {
    pub plan: Arc<Plan>,
    /// What is odd, and devices that do not fit and are left out, as a start does.
    pub warnings: Vec<Problem>,
    config: Config,
    modules: ModuleSet,
    /// Ends its ticker when it goes, so it stays for as long as modules run.
    engine: Engine,
}

/// What the files say, before any module is looked at.
struct Resolved {
    pipeline: Arc<Pipeline>,
    config: Config,
    warnings: Vec<Problem>,
}

/// Reads and checks what is asked for.
///
/// # Errors
/// What keeps this pipeline from running.
pub fn alone(asked: &Asked<'_>) -> Result<Alone, Vec<Problem>> {
    let Resolved { pipeline, config, mut warnings } = resolve(asked)?;
    let engine = Engine::new(asked.compiled.map(Path::to_owned), EngineOptions::default());
    let engine = engine.map_err(|error| {
        let what = telemetry::words(&error);
        vec![Problem::of("module engine", what, "see what the system refuses")]
    })?;
    let options = Options {
        site: asked.site.map(Path::to_owned),
        data: asked.compiled.map(Path::to_owned).unwrap_or_default(),
        env: BTreeMap::new(),
        config_file: None,
        modules: asked.modules.map(Path::to_owned),
    };
    let (modules, _) = super::modules::load(&options, &engine, None, None);
    let (plan, unfit) = Plan::build(&pipeline, &config, &modules)?;
    warnings.extend(unfit);
    Ok(Alone { plan: Arc::new(plan), warnings, config, modules, engine })
}

impl Alone {
    /// Another pipeline, or the same with other devices, on the modules that are loaded; and
    /// what is odd about it.
    ///
    /// # Errors
    /// What keeps it from running.
    pub fn beside(&self, asked: &Asked<'_>) -> Result<(Arc<Plan>, Vec<Problem>), Vec<Problem>> {
        let Resolved { pipeline, config, mut warnings } = resolve(asked)?;
        let (plan, unfit) = Plan::build(&pipeline, &config, &self.modules)?;
        warnings.extend(unfit);
        Ok((Arc::new(plan), warnings))
    }

    /// This pipeline with the module in `file` in place of that of `stage`; without one, in
    /// place of the module of the same name, else of the only one of its role.
    ///
    /// # Errors
    /// If it is no module, fits no stage or more than one, or does not take the settings.
    pub fn with_module(&self, file: &Path, stage: Option<&str>) -> Result<Arc<Plan>, Vec<Problem>> {
        let problem = |what: String, remedy: &str| vec![Problem::of(file, what, remedy)];
        let bytes = std::fs::read(file).map_err(|error| {
            problem(format!("cannot be read: {error}"), "name a module's .wasm file")
        })?;
        let module = self.engine.load(&bytes).map_err(|error| {
            let what = format!("cannot be loaded: {}", telemetry::words(&error));
            problem(what, "build it anew")
        })?;
        let stages = self.plan.module_stages();
        let replaced: Vec<Arc<str>> = match stage {
            Some(name) => stages.iter().filter(|s| *s.name == *name).map(|s| &s.name).collect(),
            None => {
                let role = stages.iter().filter(|s| s.module.role() == module.role());
                let named = role.clone().filter(|s| s.module.name() == module.name());
                let (role, named): (Vec<_>, Vec<_>) =
                    (role.map(|s| &s.name).collect(), named.map(|s| &s.name).collect());
                if named.is_empty() { role } else { named }
            }
        }
        .into_iter()
        .cloned()
        .collect();
        let said = format!("`{}` is a {}", module.name(), module.role());
        match (&*replaced, stage) {
            ([], Some(stage)) => {
                let known: Vec<_> = stages.iter().map(|s| format!("`{}`", s.name)).collect();
                let what = format!("no stage that a replay runs is called `{stage}`");
                return Err(problem(what, &format!("name one of {}", known.join(", "))));
            }
            ([], None) => {
                let what = format!("{said}, and the pipeline runs none in a replay");
                return Err(problem(what, "name a module of a role that the pipeline has"));
            }
            ([_], _) => {}
            (several, _) => {
                let is_named = |s: &&Arc<str>| {
                    stages.iter().any(|t| t.name == **s && t.module.name() == module.name())
                };
                if !several.iter().all(|s| is_named(&s)) {
                    let names: Vec<_> = several.iter().map(|s| format!("`{s}`")).collect();
                    let what = format!("{said} and could replace {}", names.join(" or "));
                    return Err(problem(what, "say which one with --stage"));
                }
            }
        }
        let mut pipeline = Pipeline::clone(&self.plan.file);
        // No file of the site can have this name, so it replaces nothing else.
        let name: Arc<str> = file.display().to_string().into();
        for stage in pipeline.module_stages_mut().filter(|s| replaced.contains(&s.name)) {
            stage.module = name.clone();
        }
        let mut modules = self.modules.clone();
        modules.insert(name, Ok(module));
        let (plan, _) = Plan::build(&Arc::new(pipeline), &self.config, &modules)?;
        Ok(Arc::new(plan))
    }
}

fn resolve(asked: &Asked<'_>) -> Result<Resolved, Vec<Problem>> {
    let mut texts = asked.site.map(Texts::read).unwrap_or_default();
    let file = asked.pipeline.ends_with(".toml").then(|| Path::new(asked.pipeline));
    if let Some(file) = file {
        texts.pipelines = vec![read(file)?];
        if texts.dir.is_none() {
            texts.dir = file.parent().map(Path::to_owned);
        }
    }
    if asked.document.is_some() && asked.only_devices_of_document {
        texts.devices.clear();
    }
    let around = Around {
        env: asked.env,
        pushed: asked.document.as_ref(),
        // No result depends on it.
        generated_name: "replay",
        now: clock::now(),
    };
    let checked = check(&texts, around);
    let Some(config) = checked.config() else {
        return Err(checked.site.err().unwrap_or_default());
    };
    let names_it = |name: &str| name == asked.pipeline;
    let unit = checked.pipelines.iter().find(|unit| match (file, &unit.result) {
        (Some(_), _) => names_it(&unit.file),
        (None, Ok(pipeline)) => names_it(&pipeline.name),
        (None, Err(_)) => {
            let file = unit.file.strip_suffix(" (shipped)").unwrap_or(&unit.file);
            let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
            stem.is_some_and(names_it)
        }
    });
    let pipeline = match unit.map(|unit| &unit.result) {
        Some(Ok(pipeline)) => pipeline.clone(),
        Some(Err(problems)) => return Err(problems.clone()),
        None => return Err(vec![unknown(asked.pipeline, &config.pipelines)]),
    };
    let warnings = checked
        .devices
        .iter()
        .filter_map(|unit| unit.result.as_ref().err())
        .flatten()
        .chain(&checked.push)
        .cloned()
        .collect();
    Ok(Resolved { pipeline, config, warnings })
}

fn read(file: &Path) -> Result<Text, Vec<Problem>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Text { file: file.to_string_lossy().into(), text: text.into() }),
        Err(error) => {
            let what = format!("cannot be read: {error}");
            Err(vec![Problem::of(file, what, "name a pipeline, or a readable pipeline file")])
        }
    }
}

fn unknown(name: &str, pipelines: &[Arc<Pipeline>]) -> Problem {
    let known: Vec<_> = pipelines.iter().map(|pipeline| format!("`{}`", pipeline.name)).collect();
    let remedy = format!("name one of {}, or a path to a .toml file", known.join(", "));
    Problem::of("PIPELINE", format!("there is no pipeline `{name}`"), remedy)
}
