//! Accepted configurations, by revision.

use rusqlite::{OptionalExtension, Row, params};

use super::Store;
use super::apply::{signed, unsigned};
use super::error::StoreError;
use crate::message::Timestamp;

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

impl Store {
    /// Keeps `document` as the next revision and waits until it is durable. Returns its number.
    pub fn add_revision(
        &self,
        author: &str,
        at: Timestamp,
        document: &[u8],
    ) -> Result<u64, StoreError> {
        let (author, document) = (author.to_owned(), document.to_owned());
        self.call(move |connection| {
            connection.execute(
                "INSERT INTO revisions (at, author, document) VALUES (?1, ?2, ?3)",
                params![signed(at.0), author, document],
            )?;
            Ok(unsigned(connection.last_insert_rowid()))
        })
    }

    /// The revision that was accepted last.
    pub fn latest_revision(&self) -> Result<Option<Revision>, StoreError> {
        Ok(self.revisions(1, None)?.pop())
    }

    /// The revision with this number.
    pub fn revision(&self, rev: u64) -> Result<Option<Revision>, StoreError> {
        self.read(|connection| {
            let mut select = connection
                .prepare_cached("SELECT rev, at, author, document FROM revisions WHERE rev = ?1")?;
            Ok(select.query_row([signed(rev)], revision).optional()?)
        })
    }

    /// At most `limit` revisions, the newest first, older than `before`.
    pub fn revisions(
        &self,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<Revision>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT rev, at, author, document FROM revisions \
                 WHERE rev < ?1 ORDER BY rev DESC LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = select.query_map((before.map_or(i64::MAX, signed), limit), revision)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision {
        rev: unsigned(row.get(0)?),
        at: Timestamp(unsigned(row.get(1)?)),
        author: row.get(2)?,
        document: row.get(3)?,
    })
}
