//! What was configured: pushed documents by revision, and a journal of every change.
//!
//! Both are bounded: the last ones are kept, the oldest go when a new one comes.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Store;
use super::apply::{signed, unsigned};
use super::error::StoreError;
use crate::message::Timestamp;

/// Documents that are kept to go back to.
const REVISIONS: i64 = 200;
/// Of large documents fewer are kept: beyond so many bytes only the last [`FEW`].
const REVISION_BYTES: i64 = 256 << 20;
const FEW: i64 = 10;
/// Lines of the journal.
const JOURNAL: i64 = 2_000;

/// A configuration that was accepted once. Secrets are not in it: see [`super::SecretsFile`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revision {
    /// Counts up by one.
    pub rev: u64,
    pub at: Timestamp,
    /// Who pushed it, in words for a person.
    pub author: String,
    pub document: Vec<u8>,
}

/// A change of what runs, for the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub at: Timestamp,
    /// Who asked for it, in words for a person.
    pub author: String,
    /// Devices that are registered after it.
    pub devices: usize,
    /// What it changed, in words.
    pub what: String,
}

/// A line of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Counts up.
    pub number: u64,
    /// The revision that it brought, if it was a pushed document.
    pub rev: Option<u64>,
    pub change: Change,
}

impl Store {
    /// Keeps `document` as the next revision, with its line of the journal, and waits until
    /// both are durable. Returns its number.
    pub fn add_revision(&self, change: &Change, document: &[u8]) -> Result<u64, StoreError> {
        let (change, document) = (change.clone(), document.to_owned());
        self.call(move |connection| {
            connection.execute(
                "INSERT INTO revisions (at, author, document) VALUES (?1, ?2, ?3)",
                params![signed(change.at.0), change.author, document],
            )?;
            let rev = connection.last_insert_rowid();
            connection.execute(
                "DELETE FROM revisions WHERE rev IN (SELECT rev FROM \
                 (SELECT rev, SUM(LENGTH(document)) OVER newest AS bytes, \
                 ROW_NUMBER() OVER newest AS place FROM revisions \
                 WINDOW newest AS (ORDER BY rev DESC)) \
                 WHERE place > ?1 OR (place > ?2 AND bytes > ?3))",
                [REVISIONS, FEW, REVISION_BYTES],
            )?;
            write_down(connection, &change, Some(rev))?;
            Ok(unsigned(rev))
        })
    }

    /// Writes down a change that brought no new document, and waits until that is durable.
    pub fn add_change(&self, change: &Change) -> Result<(), StoreError> {
        let change = change.clone();
        self.call(move |connection| write_down(connection, &change, None))
    }

    /// The number of the revision that was accepted last.
    pub fn latest_revision_number(&self) -> Result<Option<u64>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT MAX(rev) FROM revisions")?;
            let number: Option<i64> = select.query_row([], |row| row.get(0))?;
            Ok(number.map(unsigned))
        })
    }

    /// The revision that was accepted last.
    pub fn latest_revision(&self) -> Result<Option<Revision>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT rev, at, author, document FROM revisions ORDER BY rev DESC LIMIT 1",
            )?;
            Ok(select.query_row([], revision).optional()?)
        })
    }

    /// The revision with this number.
    pub fn revision(&self, rev: u64) -> Result<Option<Revision>, StoreError> {
        self.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT rev, at, author, document FROM revisions WHERE rev = ?1")?;
            Ok(select.query_row([signed(rev)], revision).optional()?)
        })
    }

    /// The numbers of the oldest and the newest revision that are kept.
    pub fn kept_revisions(&self) -> Result<Option<(u64, u64)>, StoreError> {
        self.read(|connection| {
            let (first, last): (Option<i64>, Option<i64>) =
                connection.query_row("SELECT MIN(rev), MAX(rev) FROM revisions", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            Ok(first.map(unsigned).zip(last.map(unsigned)))
        })
    }

    /// At most `limit` lines of the journal, the newest first, below `before`.
    pub fn journal(&self, limit: usize, before: Option<u64>) -> Result<Vec<Entry>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT n, at, author, rev, devices, what FROM journal \
                 WHERE n < ?1 ORDER BY n DESC LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = select.query_map((before.map_or(i64::MAX, signed), limit), entry)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

fn write_down(connection: &Connection, change: &Change, rev: Option<i64>) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO journal (at, author, rev, devices, what) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            signed(change.at.0),
            change.author,
            rev,
            i64::try_from(change.devices).unwrap_or(i64::MAX),
            change.what
        ],
    )?;
    let last = connection.last_insert_rowid();
    connection.execute("DELETE FROM journal WHERE n <= ?1", [last - JOURNAL])?;
    Ok(())
}

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision {
        rev: unsigned(row.get(0)?),
        at: Timestamp(unsigned(row.get(1)?)),
        author: row.get(2)?,
        document: row.get(3)?,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let devices: i64 = row.get(4)?;
    Ok(Entry {
        number: unsigned(row.get(0)?),
        rev: row.get::<_, Option<i64>>(3)?.map(unsigned),
        change: Change {
            at: Timestamp(unsigned(row.get(1)?)),
            author: row.get(2)?,
            devices: usize::try_from(devices).unwrap_or(0),
            what: row.get(5)?,
        },
    })
}
