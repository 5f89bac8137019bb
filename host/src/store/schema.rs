//! The tables, and how a database of an older program becomes one of ours.
//!
//! Invariant: `user_version` is the number of migrations that ran; a migration is one
//! transaction, before which the whole database was copied beside itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::OpenError;

/// What makes format n + 1 of format n. Only ever append: each stands in databases out there.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
];

/// A damaged page is found at opening up to this size, by reading everything; beyond, it is
/// found when it is read, because a start must not take minutes.
const CHECKED_UP_TO: u64 = 64 << 20;

/// Opens the writer's connection and brings the database up to date.
pub(super) fn open_writer(file: &Path, migrations: &[&str]) -> Result<Connection, OpenError> {
    let wrong = |source| OpenError::database(file.to_owned(), source);
    create_private(file)
        .map_err(|source| OpenError::Directory { dir: parent(file).to_owned(), source })?;
    let mut connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(wrong)?;
    check_pages(file, &connection)?;
    configure_writer(&connection).map_err(wrong)?;

    let found: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(wrong)?;
    let supported = u32::try_from(migrations.len()).expect("there are few migrations");
    if found > supported {
        return Err(OpenError::TooNew { file: file.to_owned(), found, supported });
    }
    if found == supported {
        return Ok(connection);
    }
    if found > 0 {
        back_up(file, found, &connection)?;
    }
    migrate(&mut connection, &migrations[found as usize..], supported).map_err(|source| {
        OpenError::Migrate { file: file.to_owned(), from: found, to: supported, source }
    })?;
    if found > 0 {
        tracing::info!(from = found, to = supported, "store_migrated");
    }
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// The file that holds the database in a data directory.
pub(super) fn database_file(dir: &Path) -> PathBuf {
    dir.join("tapline.db")
}

/// The copy that is made of a database in `format` before it is migrated.
pub(super) fn backup_file(file: &Path, format: u32) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".v{format}.bak"));
    file.with_file_name(name)
}

/// Payloads are nobody else's business. SQLite gives its WAL the rights of the database.
pub(super) fn create_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn parent(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    // Takes effect in an empty database only: lets a drained outbox give its pages back.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer checkpoints between groups, never inside one.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn check_pages(file: &Path, connection: &Connection) -> Result<(), OpenError> {
    let size = std::fs::metadata(file).map_or(0, |meta| meta.len());
    let wrong = |source| OpenError::database(file.to_owned(), source);
    if size > CHECKED_UP_TO {
        return Ok(());
    }
    let answer: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(wrong)?;
    if answer == "ok" {
        return Ok(());
    }
    let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(wrong(rusqlite::Error::SqliteFailure(failure, Some(answer))))
}

/// A copy under another name that gets its own name when it is complete.
fn back_up(file: &Path, format: u32, connection: &Connection) -> Result<(), OpenError> {
    let backup = backup_file(file, format);
    let partial = backup.with_extension("partial");
    let failed = |source| OpenError::Backup { file: backup.clone(), source };
    let io =
        |error: std::io::Error| failed(rusqlite::Error::ToSqlConversionFailure(Box::new(error)));
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    create_private(&partial).map_err(io)?;
    connection.backup("main", &partial, None::<fn(rusqlite::backup::Progress)>).map_err(failed)?;
    std::fs::File::open(&partial).and_then(|copy| copy.sync_all()).map_err(io)?;
    std::fs::rename(&partial, &backup).map_err(io)?;
    std::fs::File::open(parent(file)).and_then(|dir| dir.sync_all()).map_err(io)
}

fn migrate(connection: &mut Connection, steps: &[&str], version: u32) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
