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
use crate::wasm_target::{TARGET, Toolchain};
use crate::{Error, Progress, Project, places};

/// What the compiler says that is kept.
const MOST_SAID: usize = 100;

/// Compiles the crate and makes a component of it.
pub(crate) fn build(project: &Project, progress: &mut dyn Progress) -> Result<Made, Error> {
    let toolchain = Toolchain::find(&project.root, &places::cache()?, progress)?;
    progress.begin(project.name.as_str());
    prepare(project)?;
    let target = project.root.join("target");
    let rendered =
        if std::io::stderr().is_terminal() { "json-diagnostic-rendered-ansi" } else { "json" };
    let mut cargo = toolchain.cargo("rustc");
    cargo
        // One crate type: with the `rlib` of the manifest beside it, cargo would leave
        // link-time optimisation out.
        .args(["--release", "--lib", "--crate-type", "cdylib", "--target-dir"])
        .arg(&target)
        .arg(format!("--message-format={rendered}"))
        .env("CARGO_TERM_COLOR", "never")
        .current_dir(&project.root);
    let own = project.root.join("Cargo.toml");
    let (said, ended) = run_reading(&mut cargo, progress, move |out| diagnostics(out, &own))?;
    if !ended.status.success() {
        return Err(ended.failed(said));
    }
    let folder = target.join(TARGET).join("release");
    let core = folder.join(format!("{}.wasm", project.name.snake()));
    if !core.is_file() {
        return Err(Error::missing(
            format!("the crate makes no `{}.wasm`", project.name.snake()),
            format!(
                "give the package in Cargo.toml the name `{}`, as in module.toml",
                project.name
            ),
        ));
    }
    let component = wrap(&core)?;
    let file = folder.join(format!("{}.component.wasm", project.name));
    put(&file, &component)?;
    progress.done(&format!("compiled, {} KiB", component.len() / 1024));
    Ok(Made { file, warnings: said.join("\n") })
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
    manifest_path: Option<PathBuf>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Diagnostic {
    rendered: Option<String>,
    level: String,
}

/// What the compiler says, as it writes it for a person: all errors, and the warnings about the
/// project's own source.
fn diagnostics(from: ChildStdout, own: &Path) -> Vec<String> {
    let mut said = Vec::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        // Build scripts may print lines of their own among cargo's.
        let Ok(line) = serde_json::from_str::<Line>(&line) else { continue };
        let Some(message) = line.message.filter(|_| line.reason == "compiler-message") else {
            continue;
        };
        let counts = message.level == "error" || line.manifest_path.is_some_and(|path| path == own);
        if let Some(text) = message.rendered.filter(|_| counts && said.len() < MOST_SAID) {
            said.push(text);
        }
    }
    said
}
