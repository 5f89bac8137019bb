//! Embeds what a project gets: the SDK's sources with the contract, the templates, and the
//! versions of dependencies that Tapline itself was tested with.
//!
//! Every file of those folders is embedded, so that none is forgotten. The SDK's manifest
//! takes much from its workspace, which a project does not have: that is written out.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use toml::{Table, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Folders beside this crate, the constant that holds their files, and where those are put.
const FOLDERS: [(&str, &str, &str); 5] = [
    ("../guest-sdk", "RUST_SDK", "sdk"),
    ("../sdk-javascript", "JAVASCRIPT_SDK", "sdk"),
    ("../sdk-python", "PYTHON_SDK", "sdk"),
    ("../wit", "CONTRACT", "wit"),
    ("templates", "TEMPLATES", ""),
];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    let workspace = read(&here.join("../Cargo.toml"))?;
    let lock = read(&here.join("../Cargo.lock"))?;
    fs::write(
        out.join("sdk.toml"),
        manifest(&read(&here.join("../guest-sdk/Cargo.toml"))?, &workspace)?,
    )?;
    fs::write(out.join("locked.toml"), locked(&lock)?)?;

    let mut source = String::new();
    for (folder, constant, into) in FOLDERS {
        let folder = here.join(folder);
        let mut files = BTreeSet::new();
        files_below(&folder, &mut files)?;
        writeln!(source, "pub(crate) const {constant}: &[(&str, &str)] = &[")?;
        for path in files {
            let name = path.strip_prefix(&folder)?.to_str().ok_or("a name is no text")?.to_owned();
            let to = if into.is_empty() { name.clone() } else { format!("{into}/{name}") };
            let path = match (constant, &*name) {
                ("RUST_SDK", "Cargo.toml") => out.join("sdk.toml"),
                _ => path,
            };
            writeln!(source, "    ({to:?}, include_str!({path:?})),")?;
        }
        writeln!(source, "];")?;
    }
    let path = out.join("locked.toml");
    writeln!(source, "pub(crate) const LOCKED: &str = include_str!({path:?});")?;
    fs::write(out.join("embedded.rs"), source)?;
    Ok(())
}

fn read(path: &Path) -> Result<Table> {
    println!("cargo::rerun-if-changed={}", path.display());
    Ok(toml::from_str(&fs::read_to_string(path)?)?)
}

fn files_below(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, found)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            found.insert(path);
        }
    }
    Ok(())
}

/// The SDK's manifest with everything that it has from the workspace written out.
fn manifest(sdk: &Table, workspace: &Table) -> Result<String> {
    let shared = |section: &str, name: &str| -> Result<Value> {
        let found = workspace["workspace"].get(section).and_then(|section| section.get(name));
        Ok(found.ok_or_else(|| format!("the workspace has no `{name}`"))?.clone())
    };
    let own = |section: &str, from: &str| -> Result<Table> {
        let mut written = Table::new();
        for (name, value) in sdk[section].as_table().ok_or("a section is a table")? {
            let inherited = value.get("workspace").is_some_and(|is| is.as_bool() == Some(true));
            let value = if inherited { shared(from, name)? } else { value.clone() };
            written.insert(name.clone(), value);
        }
        Ok(written)
    };
    let mut written = Table::new();
    written.insert("package".into(), own("package", "package")?.into());
    written.insert("dependencies".into(), own("dependencies", "dependencies")?.into());
    written.insert("build-dependencies".into(), own("build-dependencies", "dependencies")?.into());
    Ok(toml::to_string(&written)?)
}

/// The part of the lock file that stands behind the SDK: a project begins with the versions
/// that Tapline was tested with.
fn locked(lock: &Table) -> Result<String> {
    let packages = lock["package"].as_array().ok_or("a lock file has packages")?;
    let text = |package: &Value, key: &str| {
        package.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut wanted = BTreeSet::new();
    let mut open = vec!["tapline-sdk".to_owned()];
    while let Some(next) = open.pop() {
        // A name, with its version where there are several.
        let (name, version) = next.split_once(' ').unwrap_or((&next, ""));
        let found = packages.iter().position(|package| {
            text(package, "name") == name
                && (version.is_empty() || text(package, "version") == version)
        });
        let index = found.ok_or_else(|| format!("the lock file has no `{next}`"))?;
        if wanted.insert(index) {
            let needs = packages[index].get("dependencies").and_then(Value::as_array);
            open.extend(needs.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let packages: Vec<Value> = wanted.into_iter().map(|index| packages[index].clone()).collect();
    let mut written = Table::new();
    written.insert("version".into(), lock["version"].clone());
    written.insert("package".into(), packages.into());
    Ok(toml::to_string(&written)?)
}
