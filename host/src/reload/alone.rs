//! One pipeline by itself, resolved as a start would, without anything that runs: for replay.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Options;
use crate::config::load::{Around, Text, Texts, check};
use crate::config::push::Pushed;
use crate::config::{Pipeline, Problem};
use crate::module::{Engine, EngineOptions};
use crate::pipeline::Plan;
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
    /// Ends its ticker when it goes, so it stays for as long as modules run.
    _engine: Engine,
}

/// Reads and checks what is asked for.
///
/// # Errors
/// What keeps this pipeline from running.
pub fn alone(asked: Asked<'_>) -> Result<Alone, Vec<Problem>> {
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
    let mut warnings: Vec<_> = checked
        .devices
        .iter()
        .filter_map(|unit| unit.result.as_ref().err())
        .flatten()
        .chain(&checked.push)
        .cloned()
        .collect();
    warnings.extend(unfit);
    Ok(Alone { plan: Arc::new(plan), warnings, _engine: engine })
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
