//! A site's texts → everything checked, unit by unit.
//!
//! Start and reload both read all texts and check all of them; what a unit (the site file, a
//! pipeline, a device file, a push) gets wrong stops that unit alone. Nothing here depends on
//! the process: environment, time and generated name come in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::device;
use super::document::{Document, Format};
use super::environment::Env;
use super::layers::Origins;
use super::pipeline::{self, Pipeline};
use super::problem::Problem;
use super::push::Pushed;
use super::schema::ticked;
use super::shipped::{SHIPPED, Shipped};
use super::site::{self, Site};
use super::{Config, Devices};
use crate::message::Timestamp;

mod known;
mod texts;

use known::Known;
pub use texts::{Text, Texts};

/// What stands around the texts.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub env: &'a Env,
    /// The pushed document in force.
    pub pushed: Option<&'a Pushed>,
    /// The name of a site that says none, made once and kept.
    pub generated_name: &'a str,
    /// To warn of secrets that expire.
    pub now: Timestamp,
}

/// All units, each right or with all its problems.
#[derive(Debug)]
pub struct Checked {
    /// `tapline.toml` with its layers.
    pub site: Result<Arc<Site>, Vec<Problem>>,
    /// In order of file name, shipped ones last.
    pub pipelines: Vec<PipelineUnit>,
    /// Device files in order of file name.
    pub devices: Vec<DeviceUnit>,
    /// What the pushed document gets wrong only together with the rest. A new push with any
    /// of these is refused; one that was in force before runs on without what is disputed.
    pub push: Vec<Problem>,
    /// All devices of all units that are right.
    pub registry: Arc<Devices>,
    pub warnings: Vec<Problem>,
    pub origins: Arc<Origins>,
}

/// One pipeline.
#[derive(Debug)]
pub struct PipelineUnit {
    pub file: Arc<str>,
    pub text: Arc<str>,
    pub result: Result<Arc<Pipeline>, Vec<Problem>>,
}

/// One device file.
#[derive(Debug)]
pub struct DeviceUnit {
    pub file: Arc<str>,
    pub text: Arc<str>,
    /// How many devices it gives.
    pub result: Result<usize, Vec<Problem>>,
}

/// Checks everything at once.
pub fn check(texts: &Texts, around: Around<'_>) -> Checked {
    let mqtt = around.pushed.and_then(Pushed::mqtt);
    let site = site::load(
        texts.site.as_deref(),
        site::Around {
            dir: texts.dir.as_deref(),
            env: around.env,
            mqtt,
            generated_name: around.generated_name,
            now: around.now,
        },
    );
    let mut check = Check { texts, warnings: Vec::new(), push: Vec::new() };
    let (site, shipped, topics, origins) = match site {
        Ok(loaded) => {
            check.warnings.extend(loaded.warnings);
            (Ok(Arc::new(loaded.site)), loaded.shipped, loaded.topics, Arc::new(loaded.origins))
        }
        Err(problems) => (Err(problems), None, BTreeMap::new(), Arc::default()),
    };
    let site = match texts.unreadable_site() {
        Some(problem) if site.is_ok() => Err(vec![problem.clone()]),
        _ => site,
    };
    let is_pushed = |site: &Arc<Site>| site.brokers.values().any(|broker| broker.pushed);
    if mqtt.is_some() && site.as_ref().is_ok_and(|site| !is_pushed(site)) {
        let what = "no broker of tapline.toml is marked `pushed`";
        let remedy = "add `pushed = true` to one, or leave `mqtt` out of the document";
        check.push.push(Problem::of("POST /config", what, remedy));
    }
    let pipelines = check.pipelines(site.as_deref().ok(), shipped.as_deref(), &topics);
    let running = pipelines.iter().filter_map(|unit| unit.result.as_deref().ok());
    check.warnings.extend(pipeline::circles(running));
    let (devices, registry) = check.devices(around.pushed, &pipelines);
    Checked {
        site,
        pipelines,
        devices,
        push: check.push,
        registry: Arc::new(registry),
        warnings: check.warnings,
        origins,
    }
}

impl Checked {
    /// Every problem of every unit.
    pub fn problems(&self) -> Vec<Problem> {
        let site = self.site.as_ref().err().into_iter().flatten();
        let pipelines = self.pipelines.iter().filter_map(|unit| unit.result.as_ref().err());
        let devices = self.devices.iter().filter_map(|unit| unit.result.as_ref().err());
        site.chain(pipelines.flatten())
            .chain(devices.flatten())
            .chain(&self.push)
            .cloned()
            .collect()
    }

    /// What can run: all units that are right; `None` without a site.
    pub fn config(&self) -> Option<Config> {
        let site = self.site.as_ref().ok()?.clone();
        let pipelines =
            self.pipelines.iter().filter_map(|unit| unit.result.as_ref().ok().cloned()).collect();
        let (devices, warnings) = (self.registry.clone(), self.warnings.clone());
        let origins = self.origins.clone();
        Some(Config { site, pipelines, devices, warnings, origins })
    }
}

struct Check<'t> {
    texts: &'t Texts,
    warnings: Vec<Problem>,
    push: Vec<Problem>,
}

impl Check<'_> {
    fn pipelines(
        &mut self,
        site: Option<&Site>,
        shipped: Option<&[String]>,
        topics: &BTreeMap<String, String>,
    ) -> Vec<PipelineUnit> {
        let texts = self.texts;
        let open = |file: &str| texts.open(file);
        let context = pipeline::Context { site, open: &open, topics };
        let mut units: Vec<PipelineUnit> = Vec::new();
        for Text { file, text } in &texts.pipelines {
            let result = pipeline::load(file, text, context).map(|(pipeline, warnings)| {
                self.warnings.extend(warnings);
                Arc::new(pipeline)
            });
            let result = result.and_then(|pipeline| match taken(&units, &pipeline) {
                None => Ok(pipeline),
                Some(problem) => Err(vec![name_problem(problem, file, text)]),
            });
            if let Some(shipped) = SHIPPED.iter().find(|shipped| is_file_of(shipped, file)) {
                let odd = shipped.compared_with(text);
                self.warnings.extend(odd.map(|(what, remedy)| Problem::of(&**file, what, remedy)));
            }
            units.push(PipelineUnit { file: file.clone(), text: text.clone(), result });
        }
        for (file, problems) in texts.unreadable_in("pipelines") {
            units.push(PipelineUnit { file, text: "".into(), result: Err(problems) });
        }
        for one in SHIPPED {
            let replaced = units.iter().any(|unit| is_file_of(one, &unit.file));
            let wanted = shipped.is_none_or(|names| names.iter().any(|name| name == one.name));
            if replaced || !wanted {
                continue;
            }
            let file: Arc<str> = format!("pipelines/{}.toml (shipped)", one.name).into();
            match pipeline::load(&file, one.text, context) {
                Ok((pipeline, _)) if taken(&units, &pipeline).is_some() => {}
                Ok((pipeline, warnings)) => {
                    self.warnings.extend(warnings);
                    let (text, result) = (one.text.into(), Ok(Arc::new(pipeline)));
                    units.push(PipelineUnit { file, text, result });
                }
                // A site that has no Odoo did not ask for this one.
                Err(problems) => {
                    let why: Vec<_> = problems.into_iter().map(|p| p.what).collect();
                    let what = format!(
                        "the shipped pipeline `{}` does not run: {}",
                        one.name,
                        why.join(", ")
                    );
                    let remedy = "add what it needs, or write `shipped = []` to do without";
                    self.warnings.push(Problem::of("tapline.toml", what, remedy));
                }
            }
        }
        if let Some(unknown) = shipped.and_then(|names| {
            names.iter().find(|name| !SHIPPED.iter().any(|one| one.name == name.as_str()))
        }) {
            let known: Vec<&str> = SHIPPED.iter().map(|one| one.name).collect();
            let what = format!("no shipped pipeline is called `{unknown}`");
            let remedy = format!("shipped are {}", ticked(&known));
            self.warnings.push(Problem::of("tapline.toml", what, remedy));
        }
        units
    }

    fn devices(
        &mut self,
        pushed: Option<&Pushed>,
        pipelines: &[PipelineUnit],
    ) -> (Vec<DeviceUnit>, Devices) {
        let mut registry = Devices::default();
        let mut units = Vec::new();
        for Text { file, text } in &self.texts.devices {
            let result = device::load(file, text).and_then(|devices| {
                let doubled: Vec<_> = devices
                    .iter()
                    .filter_map(|device| {
                        let other = registry.by_id.get(&device.id)?;
                        let owner = other.place("").file;
                        let what = format!("device `{}` belongs to {owner} already", device.id);
                        let place = device.place("/device_id");
                        Some(Problem::at(place, what, "keep one of the two"))
                    })
                    .collect();
                if doubled.is_empty() { Ok(devices) } else { Err(doubled) }
            });
            let result = result.map(|devices| {
                let count = devices.len();
                registry.by_id.extend(devices.into_iter().map(|d| (d.id.clone(), Arc::new(d))));
                count
            });
            units.push(DeviceUnit { file: file.clone(), text: text.clone(), result });
        }
        for (file, problems) in self.texts.unreadable_in("devices") {
            units.push(DeviceUnit { file, text: "".into(), result: Err(problems) });
        }
        let known = Known::of(pipelines);
        for device in registry.by_id.values() {
            self.warnings.extend(known.problems(device));
        }
        for device in pushed.map(Pushed::devices).unwrap_or_default() {
            if let Some(owner) = registry.by_id.get(&device.id) {
                let owner = owner.place("").file;
                let what = format!("device `{}` belongs to {owner}", device.id);
                let remedy = "change it there, or remove it there and push it again";
                self.push.push(Problem::at(device.place("/device_id"), what, remedy));
                continue;
            }
            self.push.extend(known.problems(device));
            registry.by_id.insert(device.id.clone(), device.clone());
        }
        (units, registry)
    }
}

/// Two pipelines of one name would share state.
fn taken(units: &[PipelineUnit], pipeline: &Pipeline) -> Option<Problem> {
    let other = units.iter().filter_map(|unit| unit.result.as_ref().ok());
    let other = other.into_iter().find(|other| other.name == pipeline.name)?;
    let what = format!("pipeline `{}` is {} already", pipeline.name, other.file);
    Some(Problem::of(&*pipeline.file, what, "give one of the two another `name`"))
}

/// The problem at the name in the file, if it is written there.
fn name_problem(problem: Problem, file: &str, text: &str) -> Problem {
    let Ok((document, value)) = Document::parse(file, text, Format::Toml) else { return problem };
    if value.get("name").is_none() {
        return problem;
    }
    Problem::at(document.place("/name"), problem.what, problem.remedy)
}

fn is_file_of(shipped: &Shipped, file: &str) -> bool {
    Path::new(file).file_stem().and_then(|stem| stem.to_str()) == Some(shipped.name)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
