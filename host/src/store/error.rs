//! What can be wrong with the store, and which of it heals by waiting.

use std::path::PathBuf;

use rusqlite::ffi;

use super::encoding::EncodingError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data directory `{}` cannot be used", dir.display())]
    Directory {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "another Tapline (process {holder}) already uses the data directory `{}`: stop it, or \
         choose another directory with --data",
        dir.display()
    )]
    InUse { dir: PathBuf, holder: String },
    #[error(
        "the database `{}` is in format {found}, this Tapline reads up to format {supported}: \
         run the newer Tapline that wrote it, or put the backup beside it back in its place",
        file.display()
    )]
    TooNew { file: PathBuf, found: u32, supported: u32 },
    #[error(
        "the database `{}` is damaged: move it away, or put a backup in its place",
        file.display()
    )]
    Corrupt {
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "the database `{}` is locked by another program: close whatever has it open (a backup, a \
         database browser), and start again",
        file.display()
    )]
    Locked {
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the disk with the database `{}` is full: make room, and start again", file.display())]
    Full {
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the backup `{}` before the change of format could not be written", file.display())]
    Backup {
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the database `{}` could not be brought from format {from} to {to}", file.display())]
    Migrate {
        file: PathBuf,
        from: u32,
        to: u32,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the database `{}` cannot be opened", file.display())]
    Database {
        file: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    /// Tells damage, a lock and a full disk apart from everything else that SQLite may answer at opening.
    pub(super) fn database(file: PathBuf, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                Self::Corrupt { file, source }
            }
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                Self::Locked { file, source }
            }
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { file, source },
            _ => Self::Database { file, source },
        }
    }
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store is closed")]
    Closed,
    #[error("the database could not be read or written")]
    Database(#[from] rusqlite::Error),
    #[error("a row for `{table}` cannot be written")]
    Encode {
        table: &'static str,
        #[source]
        source: EncodingError,
    },
}

/// What to do about a failed transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cure {
    /// The same transaction again, unchanged, after a while.
    Wait(&'static str),
    /// Nothing that this process does can be trusted to reach the disk any more.
    End,
}

/// Classifies a failed write.
///
/// After a failed fsync the kernel may have thrown the dirty pages away and report success
/// the next time, so an I/O error is never tried again: only a new process that reads what
/// is really on disk knows where it stands.
pub(super) fn cure(error: &StoreError) -> Cure {
    let StoreError::Database(error) = error else { return Cure::End };
    let Some(failure) = error.sqlite_error() else { return Cure::End };
    match failure.extended_code & 0xff {
        ffi::SQLITE_FULL => Cure::Wait("disk full"),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Cure::Wait("database busy"),
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN => {
            Cure::Wait("database not writable")
        }
        ffi::SQLITE_NOMEM => Cure::Wait("out of memory"),
        _ => Cure::End,
    }
}
