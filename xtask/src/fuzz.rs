//! `cargo xtask fuzz`: throws nonsense at everything that reads what others wrote, beginning
//! with what the tests have. Needs a nightly toolchain; what it finds stays below `fuzz/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::Step;
use crate::workspace::{Workspace, cargo};

/// Of cargo-fuzz.
const VERSION: &str = "0.13.2";

/// What nonsense is thrown at.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Target {
    /// A site's pipeline file
    PipelineFile,
    /// A pushed document, as JSON and as YAML
    ConfigDocument,
    /// Lines of captures and recordings; payloads, for the parsers that ship
    MessageLines,
    /// A file in `modules/`
    ModuleBytes,
    /// Topic filters, against the letter of MQTT
    TopicFilter,
}

impl Target {
    const ALL: [Self; 5] = [
        Self::PipelineFile,
        Self::ConfigDocument,
        Self::MessageLines,
        Self::ModuleBytes,
        Self::TopicFilter,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::PipelineFile => "pipeline_file",
            Self::ConfigDocument => "config_document",
            Self::MessageLines => "message_lines",
            Self::ModuleBytes => "module_bytes",
            Self::TopicFilter => "topic_filter",
        }
    }

    /// Where to begin: a folder of the repository or of what was built, and how names end there.
    fn seeds(self, workspace: &Workspace) -> Vec<(PathBuf, &'static str)> {
        let root = &workspace.root;
        match self {
            Self::PipelineFile => vec![
                (root.join("pipelines"), ".toml"),
                (root.join("host/tests-data/config/pipeline"), ".toml"),
            ],
            Self::ConfigDocument => vec![
                (root.join("pipelines/tests"), "devices.json"),
                (root.join("host/tests-data/config/push"), ".json"),
            ],
            Self::MessageLines => {
                vec![(root.join("parsers"), ".jsonl"), (root.join("pipelines/tests"), ".jsonl")]
            }
            Self::ModuleBytes => vec![(workspace.fixtures(), ".wasm")],
            Self::TopicFilter => Vec::new(),
        }
    }
}

/// Fuzzes one target, or all, each for so many seconds.
pub(crate) fn run(workspace: &Workspace, target: Option<Target>, seconds: u32) -> Result<()> {
    let tools = tool(workspace)?;
    for target in target.map_or(Target::ALL.to_vec(), |target| vec![target]) {
        let corpus = workspace.root.join("fuzz/corpus").join(target.name());
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        for (folder, ending) in target.seeds(workspace) {
            sow(&folder, ending, &corpus)?;
        }
        let mut path = vec![tools.join("bin")];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let status = Command::new("cargo")
            // The cargo that runs this task would overrule `+nightly`.
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("PATH", std::env::join_paths(path)?)
            .args(["+nightly", "fuzz", "run", "--sanitizer", "none", target.name(), "--"])
            .arg(format!("-max_total_time={seconds}"))
            .args(["-timeout=30", "-rss_limit_mb=4096", "-max_len=65536", "-print_final_stats=1"])
            .current_dir(&workspace.root)
            .status()
            .context("cannot run `cargo +nightly fuzz`: install nightly with rustup")?;
        if !status.success() {
            bail!(
                "{} found something: fuzz/artifacts/{0} holds the input; see above",
                target.name()
            );
        }
    }
    Ok(())
}

/// Copies what the tests have, so that a run begins where they end.
fn sow(folder: &Path, ending: &str, corpus: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| {
        format!("cannot read {}: run `cargo xtask modules --fixtures` first", folder.display())
    })?;
    for entry in entries {
        let path = entry?.path();
        let name = path.to_string_lossy().replace(['/', '\\'], "-");
        if path.is_dir() {
            sow(&path, ending, corpus)?;
        } else if name.ends_with(ending) {
            fs::copy(&path, corpus.join(name.trim_start_matches('-')))
                .with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// cargo-fuzz below the target directory.
fn tool(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.tools().join("cargo-fuzz");
    if !root.join("bin/cargo-fuzz").exists() {
        Step::begin("cargo-fuzz").run(
            Command::new(cargo())
                .args(["install", "--locked", "cargo-fuzz", "--version", VERSION, "--root"])
                .arg(&root),
        )?;
    }
    Ok(root)
}
