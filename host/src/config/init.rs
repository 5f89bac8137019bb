//! `tapline init` and `tapline schema`: what people begin with.

use std::io;
use std::path::{Path, PathBuf};

use super::schema::Shape;
use super::shipped::SHIPPED;
use super::{device, pipeline, push, site};

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pipeline,
    Site,
    Devices,
    /// The document of `POST /config`.
    Push,
}

/// The JSON Schema of a kind of file, for editors.
pub fn schema_text(kind: Kind) -> String {
    let shape: &Shape = match kind {
        Kind::Pipeline => &pipeline::SHAPE,
        Kind::Site => &site::SHAPE,
        Kind::Devices => &device::SHAPE,
        Kind::Push => &push::SHAPE,
    };
    let mut text = serde_json::to_string_pretty(shape.schema()).expect("a schema is JSON");
    text.push('\n');
    text
}

/// Why a site was not written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("`{0}` exists already, and nothing is overwritten")]
    Exists(PathBuf),
    #[error("cannot write `{file}`")]
    Write { file: PathBuf, source: io::Error },
}

const SITE: &str = include_str!("init/tapline.toml");
const DEVICES: &str = include_str!("init/devices.toml");
const MODULES: &str = include_str!("init/modules.md");

/// Writes a commented site into `dir` and says which files; writes nothing if one is there.
pub fn init(dir: &Path) -> Result<Vec<PathBuf>, InitError> {
    let mut files = vec![
        (dir.join("tapline.toml"), SITE.to_owned()),
        (dir.join("devices/devices.toml"), DEVICES.to_owned()),
        (dir.join("modules/README.md"), MODULES.to_owned()),
    ];
    for shipped in SHIPPED {
        let file = dir.join("pipelines").join(shipped.name).with_extension("toml");
        files.push((file, shipped.copy()));
    }
    if let Some((file, _)) = files.iter().find(|(file, _)| file.symlink_metadata().is_ok()) {
        return Err(InitError::Exists(file.clone()));
    }
    for (file, text) in &files {
        write(file, text).map_err(|source| InitError::Write { file: file.clone(), source })?;
    }
    Ok(files.into_iter().map(|(file, _)| file).collect())
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // `create_new`: a file that came in between is not overwritten either.
    let mut opened = std::fs::File::create_new(file)?;
    io::Write::write_all(&mut opened, text.as_bytes())
}
