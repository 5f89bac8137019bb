//! `tapline inspect`: what a module's file is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::FINDING;
use super::table::{plain, text as table};
use crate::module::samples::{Ran, run};
use crate::module::{Engine, EngineOptions, Hash, Module, Outline};
use crate::telemetry::words;

/// Failed samples that are shown.
const SHOWN: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The module's file
    file: PathBuf,
    /// One JSON object, for programs
    #[arg(long)]
    json: bool,
}

/// Everything that can be said of a file.
struct Found {
    size: usize,
    hash: Hash,
    outline: Result<Outline, String>,
    /// The module, or why it is none, and what to do about it.
    module: Result<Arc<Module>, (String, &'static str)>,
    /// What became of its samples, or why they cannot be read.
    samples: Result<Vec<Ran>, String>,
}

pub(super) fn inspect(args: &Args) -> anyhow::Result<ExitCode> {
    let engine = Engine::new(None, EngineOptions::default())?;
    let bytes = match read(&args.file, engine.module_size()) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("error: {}: cannot be read: {error}", args.file.display());
            eprintln!("help: name a module's file");
            return Ok(ExitCode::from(FINDING));
        }
    };
    let module = engine.load(&bytes).map_err(|error| (words(&error), error.remedy()));
    let samples = match &module {
        Ok(module) => {
            module.samples().map(|samples| run(module, samples.iter(), module.usual_limits()))
        }
        Err(_) => Ok(Vec::new()),
    };
    let found = Found {
        size: bytes.len(),
        hash: Hash::of(&bytes),
        outline: Outline::read(&bytes),
        module,
        samples,
    };
    if args.json {
        println!("{}", found.json(&args.file));
    } else {
        print!("{}", found.text(&args.file));
    }
    if let Err((why, remedy)) = &found.module {
        eprintln!("error: {}: {}", args.file.display(), plain(why));
        eprintln!("help: {remedy}");
    }
    Ok(if found.is_accepted() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// The file, or as much of it as shows that it is too large.
fn read(file: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Found {
    fn is_accepted(&self) -> bool {
        self.module.is_ok()
            && self.samples.as_ref().is_ok_and(|all| all.iter().all(|ran| ran.verdict.is_passed()))
    }

    fn failed(&self) -> impl Iterator<Item = &Ran> {
        let all = self.samples.as_deref().unwrap_or_default();
        all.iter().filter(|ran| !ran.verdict.is_passed())
    }

    fn text(&self, file: &Path) -> String {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: &str| {
            lines.push(format!("{name:<11}{}\n", plain(value)));
        };
        line("file", &file.display().to_string());
        if let Ok(module) = &self.module {
            let (name, version) = (module.name(), module.version());
            line("name", &format!("{name} {version}, a {}", module.role()));
            line("summary", module.summary());
        }
        if let Ok(outline) = &self.outline {
            let listed = |names: &[String]| match names {
                [] => "nothing".to_owned(),
                names => names.join(", "),
            };
            line("contract", &listed(&outline.contracts()));
            line("imports", &listed(&outline.imports));
            line("exports", &listed(&outline.exports));
        }
        let size = bytesize::ByteSize(self.size as u64).display().iec();
        line("size", &format!("{size} ({} bytes)", self.size));
        line("sha-256", &self.hash.to_string());
        let Ok(module) = &self.module else { return lines.concat() };
        if module.state_version() > 0 {
            line("state", &format!("version {}", module.state_version()));
        }
        line("samples", &self.verdict());
        for ran in self.failed().take(SHOWN) {
            line("", &ran.to_string());
        }
        let mut text = lines.concat();
        let settings = settings(module.settings_schema());
        if settings.is_empty() {
            text.push_str("settings   none\n");
        } else {
            text.push('\n');
            text.push_str(&table(&["setting", "type", "default", "meaning"], settings));
            text.push('\n');
        }
        let own = module.quantities().iter().map(|own| {
            let kind = format!("{:?}", own.kind).to_lowercase();
            vec![own.name.clone(), own.unit.clone(), kind, own.meaning.clone()]
        });
        let own = table(&["quantity of its own", "unit", "kind", "meaning"], own.collect());
        if !own.is_empty() {
            text.push('\n');
            text.push_str(&own);
            text.push('\n');
        }
        text
    }

    fn verdict(&self) -> String {
        match &self.samples {
            Err(why) => format!("they cannot be read: {why}"),
            Ok(all) if all.is_empty() => "none".to_owned(),
            Ok(all) => match self.failed().count() {
                0 => format!("{}, all pass", all.len()),
                failed => format!("{}, of which {failed} fail", all.len()),
            },
        }
    }

    fn json(&self, file: &Path) -> Value {
        let module = self.module.as_ref().ok();
        let outline = self.outline.as_ref().ok();
        let refused = self
            .module
            .as_ref()
            .err()
            .map(|(why, remedy)| json!({"problem": why, "remedy": remedy}));
        let quantities = module.map(|module| {
            let own = module.quantities().iter().map(|own| {
                json!({
                    "number": own.number,
                    "name": own.name,
                    "unit": own.unit,
                    "kind": format!("{:?}", own.kind).to_lowercase(),
                    "meaning": own.meaning,
                })
            });
            own.collect::<Vec<_>>()
        });
        let failed: Vec<_> = self
            .failed()
            .map(|ran| json!({"place": ran.place, "id": ran.id, "problem": ran.to_string()}))
            .collect();
        json!({
            "file": file.display().to_string(),
            "accepted": self.is_accepted(),
            "refused": refused,
            "name": module.map(|module| module.name()),
            "version": module.map(|module| module.version()),
            "role": module.map(|module| module.role().name()),
            "summary": module.map(|module| module.summary()),
            "contract": outline.map(Outline::contracts),
            "imports": outline.map(|outline| &outline.imports),
            "exports": outline.map(|outline| &outline.exports),
            "size": self.size,
            "sha256": self.hash.to_string(),
            "state_version": module.map(|module| module.state_version()),
            "settings_schema": module.map(|module| module.settings_schema()),
            "quantities": quantities,
            "samples": {
                "count": self.samples.as_ref().map_or(0, Vec::len),
                "failed": failed,
                "problem": self.samples.as_ref().err(),
            },
        })
    }
}

/// Name, type, default and meaning of each setting, as far as the schema says it plainly.
fn settings(schema: &Value) -> Vec<Vec<String>> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let row = |(name, setting): (&String, &Value)| {
        let kind = match setting.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Array(kinds)) => {
                let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
                kinds.join(" or ")
            }
            _ => "see the schema".to_owned(),
        };
        let default = setting.get("default").map(Value::to_string).unwrap_or_default();
        let meaning = setting.get("description").and_then(Value::as_str).unwrap_or_default();
        vec![name.clone(), kind, default, meaning.to_owned()]
    };
    properties.iter().map(row).collect()
}
