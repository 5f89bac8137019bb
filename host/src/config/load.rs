//! A site's texts → everything checked, unit by unit.
//!
//! Start and reload both read all texts and check all of them; what a unit (the site file, a
//! pipeline, a device file, a push) gets wrong stops that unit alone. Nothing here depends on
//! the process: environment, time and generated name come in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::device;
use super::document::{Document, Format};
use super::environment::Env;
use super::layers::Origins;
use super::pipeline::{self, Pipeline};
use super::problem::Problem;
use super::push::Pushed;
use super::regular;
use super::schema::ticked;
use super::shipped::{SHIPPED, Shipped};
use super::site::{self, Site};
use super::{Config, Devices};
use crate::message::Timestamp;

mod known;

use known::Known;

/// Bytes of one file: some 100,000 devices.
const LARGEST: u64 = 64 << 20;

/// Everything that a site directory says, as text.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Where relative paths start.
    pub dir: Option<PathBuf>,
    /// `tapline.toml`.
    pub site: Option<Arc<str>>,
    /// In order of file name; also `devices`.
    pub pipelines: Vec<Text>,
    pub devices: Vec<Text>,
    /// Schema files that are to be used instead of those in `dir`, by relative path.
    pub schemas: BTreeMap<String, String>,
    /// Files that stand there and could not be read.
    pub unreadable: Vec<Problem>,
    /// The directory is not to be seen, so nobody knows what the site says.
    pub is_gone: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Relative to the site directory.
    pub file: Arc<str>,
    pub text: Arc<str>,
}

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

impl Texts {
    /// Reads a site directory.
    pub fn read(dir: &Path) -> Self {
        let mut texts = Self { dir: Some(dir.to_owned()), ..Self::default() };
        if !dir.is_dir() {
            texts.lose("is no directory", "name a site directory; `tapline init DIR` writes one");
        }
        texts.site = texts.file(Path::new("tapline.toml")).map(|text| text.text);
        texts.pipelines = texts.folder("pipelines");
        texts.devices = texts.folder("devices");
        texts
    }

    /// Reads it again. A directory that has nothing any more has lost its disk, its mount say:
    /// nobody removes a site that way.
    pub fn read_again(dir: &Path, before: &Self) -> Self {
        let mut texts = Self::read(dir);
        if texts.is_empty() && !before.is_empty() && !texts.is_gone {
            texts.lose(
                "has no files any more",
                "mount it or put them back; to run without them, start Tapline anew",
            );
        }
        texts
    }

    fn lose(&mut self, what: &str, remedy: &str) {
        let dir = self.dir.as_deref().unwrap_or(Path::new("")).display();
        let what = format!("the site `{dir}` {what}");
        self.unreadable.push(Problem::of("tapline.toml", what, remedy));
        self.is_gone = true;
    }

    /// Whether there is nothing at all, so that environment and shipped pipelines are all.
    pub fn is_empty(&self) -> bool {
        self.site.is_none() && self.pipelines.is_empty() && self.devices.is_empty()
    }

    /// The files; without a `tapline.toml` there are defaults.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let texts = self.pipelines.iter().chain(&self.devices);
        std::iter::once("tapline.toml").chain(texts.map(|text| &*text.file))
    }

    /// Whether this file is among them.
    pub fn has(&self, file: &str) -> bool {
        self.files().any(|name| name == file)
    }

    /// A pipeline's or device file's text.
    pub fn text(&self, file: &str) -> Option<&str> {
        let mut files = self.pipelines.iter().chain(&self.devices);
        files.find(|text| *text.file == *file).map(|text| &*text.text)
    }

    /// These texts, but the files in `held` as `before` has them, and their schemas as given.
    #[must_use]
    pub fn holding(
        &self,
        before: &Self,
        held: &BTreeSet<String>,
        schemas: BTreeMap<String, String>,
    ) -> Self {
        let is_held = |file: &str| held.contains(file);
        let mixed = |new: &[Text], old: &[Text]| {
            let new = new.iter().filter(|text| !is_held(&text.file));
            let old = old.iter().filter(|text| is_held(&text.file));
            let mut all: Vec<_> = new.chain(old).cloned().collect();
            all.sort_by(|a, b| a.file.cmp(&b.file));
            all
        };
        let site = if is_held("tapline.toml") { &before.site } else { &self.site };
        let unreadable = self.unreadable.iter().filter(|problem| {
            let file = problem.origin.as_ref().map(|file| file.to_string_lossy());
            !file.is_some_and(|file| is_held(&file))
        });
        Self {
            dir: self.dir.clone(),
            site: site.clone(),
            pipelines: mixed(&self.pipelines, &before.pipelines),
            devices: mixed(&self.devices, &before.devices),
            schemas,
            unreadable: unreadable.cloned().collect(),
            is_gone: self.is_gone,
        }
    }

    fn folder(&mut self, name: &str) -> Vec<Text> {
        let folder = self.dir.clone().unwrap_or_default().join(name);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let what = format!("cannot be listed: {error}");
                self.unreadable.push(Problem::of(name, what, "make it readable for Tapline"));
                return Vec::new();
            }
        };
        let mut files = BTreeSet::new();
        for entry in entries.flatten() {
            // Editors leave `.workshop.toml.swp` and the like.
            let file = entry.file_name();
            let Some(file) = file.to_str().filter(|file| !file.starts_with('.')) else { continue };
            if file.ends_with(".toml") {
                files.insert(Path::new(name).join(file));
            }
        }
        files.iter().filter_map(|file| self.file(file)).collect()
    }

    fn file(&mut self, file: &Path) -> Option<Text> {
        let path = self.dir.clone().unwrap_or_default().join(file);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let (what, remedy) = match error.kind() {
                    io::ErrorKind::IsADirectory => {
                        ("a folder stands in place of a file".to_owned(), "move it elsewhere")
                    }
                    _ => (
                        format!("cannot be read: {error}"),
                        "make it readable for the user that runs Tapline",
                    ),
                };
                self.unreadable.push(Problem::of(file, what, remedy));
                return None;
            }
        };
        match text_of(bytes) {
            Ok(text) => Some(Text { file: file.to_string_lossy().into(), text: text.into() }),
            Err(what) => {
                self.unreadable.push(Problem::of(file, what, "save it as UTF-8"));
                None
            }
        }
    }

    /// An unreadable `tapline.toml` is no absent one.
    fn unreadable_site(&self) -> Option<&Problem> {
        let is_site = |p: &&Problem| p.origin.as_deref() == Some(Path::new("tapline.toml"));
        self.unreadable.iter().find(is_site)
    }

    /// Those of a folder, by file.
    fn unreadable_in(&self, folder: &str) -> impl Iterator<Item = (Arc<str>, Vec<Problem>)> {
        self.unreadable.iter().filter_map(move |problem| {
            let file = problem.origin.as_deref().filter(|file| file.starts_with(folder))?;
            Some((file.to_string_lossy().into(), vec![problem.clone()]))
        })
    }

    /// A file that a pipeline names.
    fn open(&self, file: &str) -> io::Result<String> {
        match (self.schemas.get(file), &self.dir) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(dir)) => {
                let bytes = read(&dir.join(within(file)?))?;
                String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
            }
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// The path of a file that lies in the site directory, whatever is there.
fn within(file: &str) -> io::Result<&Path> {
    let path = Path::new(file);
    if path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(path);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it leads out of the site directory"))
}

/// A file's text, if it is one and not larger than a person's files are.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    regular::read(path, LARGEST)
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

/// The text of a file, without the mark that some editors put before it.
fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is no UTF-8 but UTF-16".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count();
        format!("is no UTF-8: line {line} holds the byte 0x{:02x}", bytes[valid])
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
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
