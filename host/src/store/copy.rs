//! A copy of the whole database, made while its writer works or while nobody does, and what
//! such a copy is: its format, and whether it may be taken for the one it was made of.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::apply::put_meta;
use super::error::OpenError;
use super::schema::{self, MIGRATIONS};
use super::{Store, StoreError, lock_directory};

/// Under this name the store keeps what sets a copy apart from its original.
const MARK: &str = "copy";

/// Why a database cannot be copied, or a copy not be used.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is no database in `{}`", .0.display())]
    Absent(PathBuf),
    #[error("the database `{}` cannot be copied", file.display())]
    Copy {
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the copy of the database is damaged: {0}")]
    Damaged(String),
    #[error("the copy of the database cannot be read")]
    Unreadable(#[source] rusqlite::Error),
    #[error(
        "the copy of the database is in format {found}, this Tapline reads up to format \
         {supported}: use the version that made it, or a later one"
    )]
    TooNew { found: u32, supported: u32 },
    #[error("it is not on the disk yet")]
    Disk(#[source] std::io::Error),
}

/// A data directory that nobody else uses for as long as this lives.
#[derive(Debug)]
pub struct Held {
    _lock: std::fs::File,
}

impl Held {
    /// Takes the data directory `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// If a running Tapline has it, or it cannot be used.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        lock_directory(dir).map(|lock| Self { _lock: lock })
    }
}

/// Writes a copy of the database in `data` to `target`, as it is at one moment. Whoever has
/// it open goes on meanwhile. Returns its format.
///
/// What was deleted is not in the copy: its pages are written anew from what is there.
///
/// # Errors
/// If there is none, it cannot be read, or there is no room.
pub fn copy_database(data: &Path, target: &Path) -> Result<u32, CopyError> {
    let file = schema::database_file(data);
    if !file.is_file() {
        return Err(CopyError::Absent(data.to_owned()));
    }
    let copy = || {
        // After a power cut the log has to be read, which a connection for reading cannot.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&file, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.execute("VACUUM INTO ?1", [target.to_string_lossy()])?;
        format(&connection)
    };
    schema::create_private(target).map_err(CopyError::Disk)?;
    let found = copy().map_err(|source| CopyError::Copy { file: file.clone(), source })?;
    std::fs::File::open(target).and_then(|file| file.sync_all()).map_err(CopyError::Disk)?;
    Ok(found)
}

/// Reads all of a copy. Returns its format.
///
/// # Errors
/// If it is damaged, or of a later program.
pub fn check_copy(file: &Path) -> Result<u32, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = || {
        let connection = Connection::open_with_flags(file, flags)?;
        let said: String =
            connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        Ok((format(&connection)?, said))
    };
    let (found, said) = read().map_err(CopyError::Unreadable)?;
    let supported = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if said != "ok" {
        return Err(CopyError::Damaged(said));
    }
    if found == 0 {
        return Err(CopyError::Damaged("it has no tables".to_owned()));
    }
    if found > supported {
        return Err(CopyError::TooNew { found, supported });
    }
    Ok(found)
}

/// Sets a copy apart: whoever runs on it is a client of its own at the brokers.
///
/// # Errors
/// If it cannot be written.
pub fn set_apart(file: &Path, mark: &str) -> Result<(), CopyError> {
    let write = || {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        put_meta(&connection, MARK, mark.as_bytes())
    };
    write().map_err(CopyError::Unreadable)
}

impl Store {
    /// What sets this copy apart from the store it was made of; `None`: it is no copy.
    pub fn copy_mark(&self) -> Result<Option<String>, StoreError> {
        Ok(self.meta_get(MARK)?.and_then(|mark| String::from_utf8(mark).ok()))
    }
}

fn format(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
