//! Builds a Rust project.
//!
//! The SDK comes from this program, not from a registry: it is written into the project's
//! `.tapline`, as this version has it, before each build.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;

use serde::Deserialize;

use crate::build::{Made, put};
use crate::component::wrap;
use crate::embedded::{CONTRACT, RUST_SDK, refresh};
use crate::progress::run_reading;
use crate::wasm_target::Toolchain;
use crate::{Error, Progress, Project, places};

/// What the compiler says that is kept.
const MOST_SAID: usize = 100;

/// Compiles the crate and makes a component of it.
pub(crate) fn build(project: &Project, progress: &mut dyn Progress) -> Result<Made, Error> {
    let toolchain = Toolchain::find(&project.root, &places::cache()?, progress)?;
    progress.begin(project.name.as_str());
    prepare(project)?;
    let rendered =
        if std::io::stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" };
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
    if !ended.status.success() {
        return Err(ended.failed(told.said));
    }
    // Where the target directory lies is cargo's to say: a person may have set it.
    let core = told.core.ok_or_else(|| {
        Error::missing(
            format!("the crate of `{}` makes no WebAssembly module", project.name),
            "have `crate-type = [\"cdylib\", \"rlib\"]` under `[lib]` in Cargo.toml",
        )
    })?;
    let component = wrap(&core)?;
    let file = project.root.join(".tapline").join(format!("{}.wasm", project.name));
    put(&file, &component)?;
    progress.done(&format!("compiled, {} KiB", component.len() / 1024));
    Ok(Made { file, warnings: told.said.join("\n") })
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
                }
                _ => {}
            }
        }
        told
    }
}
