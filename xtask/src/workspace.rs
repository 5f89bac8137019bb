//! Where things lie: the project's root, its target directory and its guest crates.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
pub(crate) use tapline_kit::wasm_target::cargo;

/// The folders whose crates are modules that ship.
const SHIPPED: [&str; 4] = ["validators", "parsers", "detectors", "sinks"];

/// The folder whose crates are modules for tests only.
const FIXTURES: &str = "tests/modules";

/// The project on this machine.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    guests: Vec<Guest>,
}

/// A crate that is built into a module.
#[derive(Clone)]
pub(crate) struct Guest {
    /// Name of its folder, and of the module's file.
    pub(crate) name: String,
    /// Where its manifest lies.
    pub(crate) folder: PathBuf,
    pub(crate) package: String,
    /// Name of the library without the extension, as the compiler writes it.
    pub(crate) library: String,
    pub(crate) fixture: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version=1"])
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot read cargo's metadata")?;
        let root = metadata.workspace_root;
        let mut guests: Vec<_> =
            metadata.packages.iter().filter_map(|package| guest(&root, package)).collect();
        guests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { root, target: metadata.target_directory, guests })
    }

    /// The crates of modules that ship, and those for tests where asked for.
    pub(crate) fn guests(&self, fixtures: bool) -> impl Iterator<Item = &Guest> {
        self.guests.iter().filter(move |guest| fixtures || !guest.fixture)
    }

    /// Where modules that ship are put; the host's build embeds what lies here.
    pub(crate) fn modules(&self) -> PathBuf {
        self.target.join("modules")
    }

    /// Where modules for tests are put, apart so that none of them ever ships.
    pub(crate) fn fixtures(&self) -> PathBuf {
        self.target.join("fixtures")
    }

    /// Where fetched tools are kept.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}

fn guest(root: &Path, package: &Package) -> Option<Guest> {
    let folder = package.manifest_path.parent()?;
    let place = folder.parent()?.strip_prefix(root).ok()?;
    let fixture = place == Path::new(FIXTURES);
    if !fixture && !SHIPPED.iter().any(|shipped| place == Path::new(shipped)) {
        return None;
    }
    let target = package
        .targets
        .iter()
        .find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))?;
    Some(Guest {
        name: folder.file_name()?.to_str()?.to_owned(),
        folder: folder.to_owned(),
        package: package.name.clone(),
        library: target.name.replace('-', "_"),
        fixture,
    })
}
