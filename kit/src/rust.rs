//! Builds a Rust project.
//!
//! The SDK comes from this program, not from a registry: it is written into the project's
//! `.tapline`, as this version has it, before each build.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;

use serde::Deserialize;

use crate::build::{Made, put};
use crate::component::wrap;
use crate::embedded::{CONTRACT, RUST_SDK, refresh};
use crate::progress::{run, run_reading};
use crate::wasm_target::Toolchain;
use crate::{Error, Progress, Project, places};

/// What the compiler says that is kept.
const MOST_SAID: usize = 100;

/// Compiles the crate and makes a component of it.
pub(crate) fn build(project: &Project, progress: &mut dyn Progress) -> Result<Made, Error> {
    let cache = places::cache()?;
    let toolchain = Toolchain::find(&project.root, &cache, progress)?;
    progress.begin(project.name.as_str());
    prepare(project)?;
    let _turn = turn(project, &cache, progress)?;
    let file = project.root.join(".tapline").join(format!("{}.wasm", project.name));
    let mut told = compile(project, &toolchain, progress)?;
    let mut component = told.component(project)?;
    if told.is_fresh && fs::read(&file).ok().as_ref() != Some(&component) {
        // What lies there is not what was made of this source the last time.
        let mut clean = toolchain.cargo("clean");
        clean.args(["--release", "-p", project.name.as_str()]).current_dir(&project.root);
        run(&mut clean, progress)?;
        told = compile(project, &toolchain, progress)?;
        component = told.component(project)?;
    }
    put(&file, &component)?;
    progress.done(&format!("compiled, {} KiB", component.len() / 1024));
    Ok(Made { file, warnings: told.said.join("\n") })
}

/// The right to build a project of this name. Cargo names a module's file after the package
/// alone: two of one name that share a target directory write the same one, and each takes what
/// the other made there for its own.
fn turn(project: &Project, cache: &Path, progress: &mut dyn Progress) -> Result<File, Error> {
    let folder = cache.join("building");
    let path = folder.join(project.name.as_str());
    let mut open = || -> io::Result<File> {
        fs::create_dir_all(&folder)?;
        let file = File::options().create(true).append(true).open(&path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                progress.show("waits for another build of this name");
                file.lock()?;
            }
            locked => locked?,
        }
        Ok(file)
    };
    open().map_err(Error::file(&path, "locked"))
}

fn compile(
    project: &Project,
    toolchain: &Toolchain,
    progress: &mut dyn Progress,
) -> Result<Told, Error> {
    let rendered =
        if io::stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" };
    let mut cargo = toolchain.cargo("rustc");
    cargo
        // One crate type: with the `rlib` of the manifest beside it, cargo would leave
        // link-time optimisation out.
        .args(["--release", "--lib", "--crate-type", "cdylib"])
        .arg(format!("--message-format={rendered}"))
        .env("CARGO_TERM_COLOR", "never")
        .current_dir(&project.root);
    let manifest = project.root.join("Cargo.toml");
    let own = manifest.canonicalize().unwrap_or(manifest);
    let (told, ended) = run_reading(&mut cargo, progress, move |out| Told::read(out, &own))?;
    if ended.status.success() { Ok(told) } else { Err(ended.failed(told.said)) }
}

/// Writes the SDK of this version where the project's manifest looks for it.
pub(crate) fn prepare(project: &Project) -> Result<(), Error> {
    let folder = project.root.join(".tapline");
    refresh(&folder, RUST_SDK)?;
    refresh(&folder, CONTRACT)
}

/// A line of cargo's.
#[derive(Deserialize)]
struct Line {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    message: Option<Diagnostic>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    /// Nothing was compiled.
    #[serde(default)]
    fresh: bool,
}

#[derive(Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
    level: String,
}

/// What cargo tells while it compiles.
#[derive(Default)]
struct Told {
    /// What the compiler says, as it writes it for a person: all errors, and the warnings about
    /// the project's own source.
    said: Vec<String>,
    /// The project's core module.
    core: Option<PathBuf>,
    /// It lay there before.
    is_fresh: bool,
}

impl Told {
    fn read(from: ChildStdout, own: &Path) -> Self {
        let mut told = Self::default();
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Build scripts may print lines of their own among cargo's.
            let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
            let is_own = line.manifest_path == own;
            match line.message {
                Some(message) if line.reason == "compiler-message" => {
                    let counts = is_own || message.level == "error";
                    let room = told.said.len() < MOST_SAID;
                    told.said.extend(message.rendered.filter(|_| counts && room));
                }
                _ if is_own => {
                    let is_wasm = |file: &PathBuf| file.extension().is_some_and(|e| e == "wasm");
                    told.core = line.filenames.into_iter().find(is_wasm).or(told.core);
                    told.is_fresh = line.fresh;
                }
                _ => {}
            }
        }
        told
    }

    /// The core module as a component.
    fn component(&self, project: &Project) -> Result<Vec<u8>, Error> {
        // Where the target directory lies is cargo's to say: a person may have set it.
        let core = self.core.as_ref().ok_or_else(|| {
            Error::missing(
                format!("the crate of `{}` makes no WebAssembly module", project.name),
                "have `crate-type = [\"cdylib\", \"rlib\"]` under `[lib]` in Cargo.toml",
            )
        })?;
        wrap(core)
    }
}
