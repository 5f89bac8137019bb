//! `tapline test` of a module: its samples against what it makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use tapline_kit::samples::{self, Folder, Sample};
use tapline_kit::{Progress, Project, build, carry};

use super::test::shown;
use super::{FINDING, REFUSED};
use crate::module::samples::{Ran, Verdict, run_again};
use crate::module::{Engine, EngineOptions, Module};
use crate::telemetry::words;

/// Differences of one sample that are shown.
const SHOWN: usize = 20;

/// Folders of a project in which no source lies.
const NO_SOURCE: [&str; 5] = ["dist", "target", "samples", "node_modules", "__pycache__"];

pub(super) struct Options<'a> {
    pub(super) path: &'a Path,
    /// Only samples whose place or id contains this.
    pub(super) only: Option<&'a str>,
    pub(super) accept: bool,
    pub(super) compiled: Option<PathBuf>,
}

/// Whether a path leads to a module's project or file.
pub(super) fn is_module(path: &Path) -> bool {
    path.join("module.toml").is_file()
        || path.extension().is_some_and(|extension| extension == "wasm") && path.is_file()
}

/// What cannot be tested, and what to do about it.
struct Problem {
    what: String,
    remedy: Option<String>,
}

pub(super) fn test(options: &Options<'_>) -> anyhow::Result<ExitCode> {
    let result = match options.path.is_file() {
        true => test_file(options),
        false => test_project(options),
    };
    result.or_else(|Problem { what, remedy }| {
        eprintln!("error: {what}");
        if let Some(remedy) = remedy {
            eprintln!("help: {remedy}");
        }
        Ok(ExitCode::from(FINDING))
    })
}

fn test_file(options: &Options<'_>) -> Result<ExitCode, Problem> {
    if options.accept {
        eprintln!("error: a module's file holds what was built, and nothing is written there");
        eprintln!("help: name the module's project, and build it anew afterwards");
        return Ok(ExitCode::from(REFUSED));
    }
    let (module, _engine) = load(options, options.path)?;
    let samples = module.samples().map_err(|why| Problem {
        what: format!("{}: {why}", options.path.display()),
        remedy: Some("build it anew with `tapline build`".to_owned()),
    })?;
    let samples: Vec<_> = samples.iter().filter(|sample| is_wanted(options, sample)).collect();
    if samples.is_empty() {
        return Err(none(options));
    }
    let ran = run_again(&module, &samples, module.usual_limits());
    Ok(told(&ran, |_| false))
}

fn test_project(options: &Options<'_>) -> Result<ExitCode, Problem> {
    let project = Project::read(options.path).map_err(|error| problem(&error))?;
    let folder = read_folder(&project)?;
    if folder.samples().next().is_none() {
        return Err(none(options));
    }
    if is_stale(&project) {
        build(&project, &mut Spoken).map_err(|error| {
            if let Some(said) = error.said() {
                eprintln!("{said}");
            }
            problem(&error)
        })?;
    }
    let (module, _engine) = load(options, &project.built())?;
    let samples: Vec<_> = folder.samples().filter(|sample| is_wanted(options, sample)).collect();
    if samples.is_empty() {
        return Err(none(options));
    }
    let ran = run_again(&module, &samples, module.usual_limits());
    let written = |ran: &Ran| options.accept && !ran.verdict.is_passed() && ran.found.is_some();
    if ran.iter().any(written) {
        accept(&folder, &ran, written)?;
    }
    // Whoever takes the file up runs the samples as they stand now.
    carry(&project, &read_folder(&project)?).map_err(|error| problem(&error))?;
    Ok(told(&ran, written))
}

fn read_folder(project: &Project) -> Result<Folder, Problem> {
    samples::read_folder(&project.root)
        .map_err(|error| Problem { what: words(&error), remedy: Some(error.remedy().to_owned()) })
}

/// Writes what came out as what is expected.
fn accept(folder: &Folder, ran: &[Ran], written: impl Fn(&Ran) -> bool) -> Result<(), Problem> {
    for file in &folder.files {
        let outcomes: Vec<_> = file
            .samples()
            .map(|sample| {
                let ran = ran.iter().find(|ran| ran.place == sample.place);
                ran.filter(|ran| written(ran)).and_then(|ran| ran.found.clone())
            })
            .collect();
        if outcomes.iter().all(Option::is_none) {
            continue;
        }
        fs::write(&file.path, file.accepting(&outcomes)).map_err(|error| Problem {
            what: format!("{}: cannot be written: {error}", file.path.display()),
            remedy: None,
        })?;
    }
    Ok(())
}

fn is_wanted(options: &Options<'_>, sample: &Sample) -> bool {
    let has = |text: &str| options.only.is_none_or(|part| text.contains(part));
    has(&sample.place) || sample.id.as_deref().is_some_and(has)
}

fn none(options: &Options<'_>) -> Problem {
    let remedy = "write a message and what is to come of it into samples/NAME.jsonl, one sample a \
                  line: {\"topic\": \"meter/1\", \"payload\": \"…\"}; `--accept` adds what comes \
                  out";
    Problem {
        what: format!("{}: there are no such samples", options.path.display()),
        remedy: Some(remedy.to_owned()),
    }
}

fn problem(error: &tapline_kit::Error) -> Problem {
    Problem { what: words(error), remedy: error.remedy() }
}

/// The engine stays for as long as the module runs.
fn load(options: &Options<'_>, file: &Path) -> Result<(Arc<Module>, Engine), Problem> {
    let said = |what: String| Problem { what, remedy: None };
    let engine = Engine::new(options.compiled.clone(), EngineOptions::default())
        .map_err(|error| said(words(&error)))?;
    let bytes = fs::read(file)
        .map_err(|error| said(format!("{}: cannot be read: {error}", file.display())))?;
    let module = engine.load(&bytes).map_err(|error| Problem {
        what: format!("{}: {}", file.display(), words(&error)),
        remedy: Some(error.remedy().to_owned()),
    })?;
    Ok((module, engine))
}

/// Whether a source is newer than what was built, or nothing was.
fn is_stale(project: &Project) -> bool {
    let Ok(built) = fs::metadata(project.built()).and_then(|file| file.modified()) else {
        return true;
    };
    newest(&project.root).is_none_or(|source| source > built)
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let times = entries.filter_map(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            return None;
        }
        match entry.file_type().ok()?.is_dir() {
            true if NO_SOURCE.contains(&&*name) => None,
            true => newest(&entry.path()),
            false => entry.metadata().and_then(|file| file.modified()).ok(),
        }
    });
    times.max()
}

/// Prints what became of the samples.
fn told(ran: &[Ran], written: impl Fn(&Ran) -> bool) -> ExitCode {
    let mut failed = 0;
    let mut files: Vec<(&str, usize, usize)> = Vec::new();
    for one in ran {
        let file = one.place.rsplit_once(':').map_or(&*one.place, |(file, _)| file);
        if files.last().is_none_or(|(last, ..)| *last != file) {
            files.push((file, 0, 0));
        }
        if let Some((_, passed, accepted)) = files.last_mut() {
            *passed += usize::from(one.verdict.is_passed());
            *accepted += usize::from(written(one));
        }
        if !one.verdict.is_passed() && !written(one) {
            failed += 1;
            print!("{}", failure(one));
        }
    }
    for (file, passed, accepted) in files {
        if passed > 0 {
            println!("ok      {file} ({passed} passed)");
        }
        if accepted > 0 {
            println!("written {file} ({accepted} changed)");
        }
    }
    println!("{} of {} samples passed", ran.len() - failed, ran.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FINDING) }
}

/// A sample that does not pass, in lines for a person; nothing of one that does.
pub(super) fn failure(ran: &Ran) -> String {
    let id = ran.id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let begin = format!("FAILED  {}{id}: ", ran.place);
    match &ran.verdict {
        Verdict::Passed => String::new(),
        Verdict::Broken(why) => format!("{begin}{}\n", super::table::plain(why)),
        Verdict::Open => {
            format!("{begin}it does not say what is to come out; `--accept` writes it\n")
        }
        Verdict::Differs(differences) => {
            let s = if differences.len() == 1 { "" } else { "s" };
            let mut text = format!("{begin}{} difference{s}\n", differences.len());
            for difference in differences.iter().take(SHOWN) {
                let mut lines = String::new();
                if let Some(expected) = &difference.expected {
                    lines.push_str(&format!("-   {expected}\n"));
                }
                if let Some(found) = &difference.found {
                    lines.push_str(&format!("+   {found}\n"));
                }
                text.push_str(&format!("  {}\n{}", difference.at, shown(&lines)));
            }
            if let Some(more @ 1..) = differences.len().checked_sub(SHOWN) {
                text.push_str(&format!("  … and {more} more\n"));
            }
            text
        }
    }
}

/// Says on stderr which step is at work.
struct Spoken;

impl Progress for Spoken {
    fn begin(&mut self, title: &str) {
        eprintln!("{title} …");
    }

    fn show(&mut self, _line: &str) {}

    fn done(&mut self, _result: &str) {}
}
