//! Builds a Rust project.

use std::path::PathBuf;

use crate::wasm_target::{TARGET, Toolchain};
use crate::{Error, Progress, Project, build::put, component::wrap, places, run};

/// Compiles the crate and makes a component of it.
pub(crate) fn build(project: &Project, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
    let toolchain = Toolchain::find(&project.root, &places::cache()?, progress)?;
    progress.begin(project.name.as_str());
    let target = project.root.join("target");
    let mut cargo = toolchain.cargo("rustc");
    // One crate type: with the `rlib` of the manifest beside it, cargo would leave link-time
    // optimisation out.
    cargo.args(["--release", "--lib", "--crate-type", "cdylib", "--target-dir"]).arg(&target);
    run(cargo.current_dir(&project.root), progress)?;
    let folder = target.join(TARGET).join("release");
    let component = wrap(&folder.join(format!("{}.wasm", project.name.snake())))?;
    let file = folder.join(format!("{}.component.wasm", project.name));
    put(&file, &component)?;
    progress.done(&format!("built, {} KiB", component.len() / 1024));
    Ok(file)
}
