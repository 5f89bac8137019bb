//! A box in one file: its site directory, a consistent copy of its database, and the last
//! accepted versions of its files; and the way back from there.
//!
//! An archive is a tar file that begins with `manifest.json`, which lists every other file with
//! its size and hash. Neighbours: `store` copies the database, `cli` names the places.
//! Invariants: without `with_secrets` nothing secret is in an archive; nothing is put anywhere
//! before the whole archive was checked.

mod make;
mod restore;
mod site;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use make::{Gathered, Wanted, gather};
pub use restore::{Checked, Target, Who, check};
pub use site::open_texts;

use crate::store::{CopyError, OpenError};

/// Of the archive; a later one may be unreadable for this program.
const FORMAT: u32 = 1;
const KIND: &str = "tapline-backup";
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "data/tapline.db";
const SECRETS: &str = "data/secrets.json";
const ACCEPTED: &str = "data/accepted/";
const SITE: &str = "site/";

/// What an archive says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    kind: String,
    format: u32,
    /// Of the program that made it.
    pub version: String,
    pub made_at: String,
    /// Of the database.
    pub store_format: u32,
    pub with_secrets: bool,
    /// What belongs to the box and is not in here.
    pub left_out: Vec<LeftOut>,
    pub files: Vec<FileEntry>,
}

/// Something that has to be brought to the new place in another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub what: String,
    pub why: String,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub path: String,
    pub size: u64,
    pub sha256: String,
    /// For its owner alone.
    #[serde(default)]
    pub private: bool,
}

impl Manifest {
    /// Whether there is a site directory in it.
    pub fn has_site(&self) -> bool {
        self.files.iter().any(|file| file.path.starts_with(SITE))
    }
}

/// Why there is no backup, or why one cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{}` cannot be used", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] CopyError),
    #[error(transparent)]
    InUse(#[from] OpenError),
    #[error(
        "`{}` cannot be read as TOML, so what in it is secret is not known: mend it \
         (`tapline check`), or back up with --with-secrets",
        .0.display()
    )]
    SiteFile(PathBuf),
    #[error("the site directory `{}` holds more than {most} files or folders within folders", dir.display())]
    SiteSize { dir: PathBuf, most: usize },
    #[error("`accepted` in the data directory changes all the time: try again")]
    Restless,
    #[error("the archive cannot be read")]
    Archive(#[source] std::io::Error),
    #[error("the archive cannot be written")]
    Write(#[source] std::io::Error),
    #[error("this is no backup of Tapline: {0}")]
    NoBackup(String),
    #[error(
        "the archive is in format {found}, this Tapline reads up to format {FORMAT}: use the \
         version that made it, or a later one"
    )]
    TooNew { found: u32 },
    #[error("the archive is damaged or was changed: {0}")]
    Damaged(String),
    #[error(
        "`{}` is not empty: choose another directory, or pass --force, which moves what is there \
         aside",
        .0.display()
    )]
    NotEmpty(PathBuf),
    #[error("the archive holds a site directory: say with --site DIR where it shall go")]
    NoSite,
}

/// Wraps an error of a file with its place.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.into();
    move |source| BackupError::File { path, source }
}
