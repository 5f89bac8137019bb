//! `cargo xtask modules`: guest crates to components.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tapline_kit::component::wrap;
use tapline_kit::samples;
use tapline_kit::wasm_target::{TARGET, Toolchain};

use crate::step::{Step, Steps};
use crate::workspace::{Guest, Workspace};

/// Builds the modules that ship into `target/modules` and, where asked for, those of the
/// tests into `target/fixtures`. Files that would not change are left alone, so that a
/// build which embeds them is not repeated.
pub(crate) fn build(workspace: &Workspace, fixtures: bool) -> Result<()> {
    let guests: Vec<&Guest> = workspace.guests(fixtures).collect();
    let toolchain = Toolchain::find(&workspace.root, &workspace.tools(), &mut Steps::default())?;
    let step = Step::begin("modules");
    let built = workspace.target.join("guests");
    let mut bytes = 0;
    for (done, guest) in guests.iter().enumerate() {
        step.show_before(&format!("{}/{} {}", done + 1, guests.len(), guest.name));
        // One crate type: with the `rlib` of the manifest beside it, cargo would leave
        // link-time optimisation out.
        step.run(
            toolchain
                .cargo("rustc")
                .args(["--profile", "guest", "--lib", "--crate-type", "cdylib"])
                .args(["--package", &guest.package])
                .arg("--target-dir")
                .arg(&built)
                .current_dir(&workspace.root),
        )?;
        let core = built.join(TARGET).join("guest").join(format!("{}.wasm", guest.library));
        let folder = samples::read_folder(&guest.folder)
            .with_context(|| format!("samples of `{}`", guest.name))?;
        let component = samples::attach(&wrap(&core)?, &folder.text())?;
        bytes += component.len();
        let folder = if guest.fixture { workspace.fixtures() } else { workspace.modules() };
        write_if_new(&folder, &guest.name, &component)?;
    }
    remove_strangers(workspace, fixtures)?;
    step.done(&format!("{} built, {} KiB", guests.len(), bytes / 1024));
    Ok(())
}

fn write_if_new(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(format!("{name}.wasm"));
    if fs::read(&path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    // Renamed into place: a running Tapline that watches the folder sees whole files only.
    let fresh = folder.join(format!(".{name}.wasm.new"));
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A module whose crate is gone must not be embedded any more.
fn remove_strangers(workspace: &Workspace, fixtures: bool) -> Result<()> {
    let folders = [(workspace.modules(), false), (workspace.fixtures(), true)];
    for (folder, fixture) in folders.into_iter().filter(|(_, fixture)| fixtures || !fixture) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            let known = workspace.guests(true).any(|guest| {
                guest.fixture == fixture
                    && path
                        .file_name()
                        .is_some_and(|file| file == format!("{}.wasm", guest.name).as_str())
            });
            if !known {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}
