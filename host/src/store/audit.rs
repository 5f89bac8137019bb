//! Reading what was done on a person's word.

use super::Store;
use super::apply::{signed, unsigned};
use super::error::StoreError;
use crate::message::Timestamp;

/// An entry under its number, which counts up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberedAudit {
    pub number: u64,
    pub at: Timestamp,
    pub author: String,
    pub action: String,
    pub what: String,
}

impl Store {
    /// At most `limit` entries, the newest first, older than number `before`.
    pub fn audit(
        &self,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<NumberedAudit>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT n, at, author, action, what FROM audit \
                 WHERE n < ?1 ORDER BY n DESC LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let entries = select.query_map((before.map_or(i64::MAX, signed), limit), |row| {
                Ok(NumberedAudit {
                    number: unsigned(row.get(0)?),
                    at: Timestamp(unsigned(row.get(1)?)),
                    author: row.get(2)?,
                    action: row.get(3)?,
                    what: row.get(4)?,
                })
            })?;
            Ok(entries.collect::<Result<_, _>>()?)
        })
    }
}
