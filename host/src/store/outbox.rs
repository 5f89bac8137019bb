//! Reading the outbox: heads of keys, and pages of rows, never all of them at once.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::watch;

use super::Store;
use super::apply::{signed, unsigned};
use super::commit::{NewDelivery, RowId, SinkId};
use super::encoding::{self, DeliveryColumns};
use super::error::StoreError;
use super::large;
use super::shared::OutboxFlow;
use crate::message::Timestamp;
use crate::telemetry;

/// The oldest waiting row of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    pub row: RowId,
    pub key: Arc<str>,
}

/// A row of the outbox.
#[derive(Clone, PartialEq, Debug)]
pub struct Waiting {
    pub row: RowId,
    /// Counts up by one per key and sink, in commit order.
    pub seq: u64,
    /// Answers so far that blamed this delivery without saying for good.
    pub tries: u32,
    pub last_error: Option<String>,
    pub delivery: NewDelivery,
}

/// Rows as they were found.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Rows {
    pub waiting: Vec<Waiting>,
    pub unreadable: Vec<Unreadable>,
    /// For these there was no room: they are to be asked for again.
    pub unread: Vec<RowId>,
    /// Bytes of the bodies that were read.
    bytes: usize,
}

/// A row that this program cannot decode: it can never be sent, only set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreadable {
    pub row: RowId,
    pub key: Arc<str>,
    /// Its id in hexadecimal.
    pub id: String,
    pub tries: u32,
    pub why: String,
    /// What could not be decoded.
    pub raw: Vec<u8>,
}

/// Bytes of bodies after which no further row is read in one go: a row may have megabytes.
const ROOM: usize = 4 << 20;

const SINK: &str = "SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2";

const SELECT: &str =
    "SELECT row, key, seq, id, at, expires_at, tries, last_error, body FROM outbox";

/// Asked before every batch, so it must not read what is known already.
pub(super) const SINCE: &str =
    "SELECT row, key FROM outbox WHERE sink = ?1 AND row > ?2 ORDER BY row LIMIT ?3";

/// Asked with every look at the metrics.
pub(super) const OLDEST: &str = "SELECT at FROM outbox WHERE sink = ?1 ORDER BY row LIMIT 1";

impl Store {
    /// The oldest row of each key that waits for `sink`, in commit order. Reads an index
    /// once from end to end, so it is for the start.
    pub fn outbox_heads(&self, sink: &SinkId) -> Result<Vec<Head>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT MIN(row) AS head, key FROM outbox WHERE sink = ({SINK}) \
                 GROUP BY key ORDER BY head"
            ))?;
            let heads = select.query_map([&*sink.pipeline, &*sink.stage], head)?;
            Ok(heads.collect::<Result<_, _>>()?)
        })
    }

    /// The last row of the outbox, whatever sink it belongs to.
    pub fn outbox_last(&self) -> Result<RowId, StoreError> {
        self.read(|connection| {
            let mut select =
                connection.prepare_cached("SELECT COALESCE(MAX(row), 0) FROM outbox")?;
            Ok(RowId(select.query_row([], |row| row.get(0))?))
        })
    }

    /// At most `limit` rows of `sink` that were added after `after`, in commit order.
    pub fn outbox_since(
        &self,
        sink: &SinkId,
        after: RowId,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError> {
        self.read(|connection| {
            let Some(sink) = sink_number(connection, sink)? else { return Ok(Vec::new()) };
            let mut select = connection.prepare_cached(SINCE)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let heads = select.query_map(params![sink, after.0, limit], head)?;
            Ok(heads.collect::<Result<_, _>>()?)
        })
    }

    /// For each key and row of `behind`, the key's next row behind that one, if there is one.
    pub fn outbox_next(
        &self,
        sink: &SinkId,
        behind: &[Head],
    ) -> Result<Vec<Option<RowId>>, StoreError> {
        self.read(|connection| {
            let Some(sink) = sink_number(connection, sink)? else {
                return Ok(vec![None; behind.len()]);
            };
            let mut select = connection.prepare_cached(
                "SELECT row FROM outbox WHERE sink = ?1 AND key = ?2 AND row > ?3 \
                 ORDER BY row LIMIT 1",
            )?;
            let mut next = Vec::with_capacity(behind.len());
            for head in behind {
                let row = select
                    .query_row(params![sink, &*head.key, head.row.0], |row| row.get(0))
                    .optional()?;
                next.push(row.map(RowId));
            }
            Ok(next)
        })
    }

    /// Rows by number, as far as there is room; one that is gone, or belongs to another sink, is
    /// left out.
    pub fn outbox_rows(&self, sink: &SinkId, rows: &[RowId]) -> Result<Rows, StoreError> {
        self.read(|connection| {
            let Some(number) = sink_number(connection, sink)? else { return Ok(Rows::default()) };
            let mut select =
                connection.prepare_cached(&format!("{SELECT} WHERE row = ?1 AND sink = ?2"))?;
            let mut all = Rows::default();
            for row in rows {
                let read = select
                    .query_row(params![row.0, number], |row| all.read(connection, sink, row))
                    .optional();
                read?;
            }
            Ok(all)
        })
    }

    /// At most `limit` rows of `sink` whose time is up at `now`, the first to expire first, as
    /// far as there is room.
    pub fn outbox_expired(
        &self,
        sink: &SinkId,
        now: Timestamp,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        self.read(|connection| {
            let Some(number) = sink_number(connection, sink)? else { return Ok(Rows::default()) };
            let mut select = connection.prepare_cached(&format!(
                "{SELECT} WHERE sink = ?1 AND expires_at <= ?2 ORDER BY expires_at LIMIT ?3"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = select.query(params![number, signed(now.0), limit])?;
            let mut all = Rows::default();
            while let Some(row) = rows.next()? {
                all.read(connection, sink, row)?;
            }
            Ok(all)
        })
    }

    /// When the next row of `sink` expires.
    pub fn outbox_next_expiry(&self, sink: &SinkId) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let Some(number) = sink_number(connection, sink)? else { return Ok(None) };
            let mut select = connection.prepare_cached(
                "SELECT MIN(expires_at) FROM outbox WHERE sink = ?1 AND expires_at IS NOT NULL",
            )?;
            let at: Option<i64> = select.query_row([number], |row| row.get(0))?;
            Ok(at.map(|at| Timestamp(unsigned(at))))
        })
    }

    /// Time of the oldest row that waits for `sink`.
    pub fn outbox_oldest(&self, sink: &SinkId) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let Some(sink) = sink_number(connection, sink)? else { return Ok(None) };
            let mut select = connection.prepare_cached(OLDEST)?;
            let at: Option<i64> = select.query_row([sink], |row| row.get(0)).optional()?;
            Ok(at.map(|at| Timestamp(unsigned(at))))
        })
    }

    /// The number of rows that wait for `sink`, without asking the disk.
    pub fn outbox_count(&self, sink: &SinkId) -> u64 {
        self.inner.shared.flow(sink).waiting
    }

    /// What went through the outbox of `sink` since the store was opened, without asking the
    /// disk.
    pub fn outbox_flow(&self, sink: &SinkId) -> OutboxFlow {
        self.inner.shared.flow(sink)
    }

    /// How many deliveries were ever queued for `sink`. Reads a row for each key.
    pub fn outbox_queued(&self, sink: &SinkId) -> Result<u64, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT COALESCE(SUM(seq), 0) FROM seqs WHERE sink = ({SINK})"
            ))?;
            let queued: i64 =
                select.query_row([&*sink.pipeline, &*sink.stage], |row| row.get(0))?;
            Ok(unsigned(queued))
        })
    }

    /// All sinks that something waits for, configured or not, without asking the disk.
    pub fn outbox_counts(&self) -> Vec<(SinkId, u64)> {
        self.inner.shared.waiting_sinks()
    }

    /// Changes whenever rows for `sink` become durable: the newest of them.
    pub fn outbox_watch(&self, sink: &SinkId) -> watch::Receiver<RowId> {
        self.inner.shared.watch(sink)
    }
}

fn sink_number(connection: &Connection, sink: &SinkId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(SINK)?
        .query_row([&*sink.pipeline, &*sink.stage], |row| row.get(0))
        .optional()
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { row: RowId(row.get(0)?), key: row.get::<_, String>(1)?.into() })
}

impl Rows {
    fn read(
        &mut self,
        connection: &Connection,
        sink: &SinkId,
        row: &Row<'_>,
    ) -> rusqlite::Result<()> {
        let number = RowId(row.get(0)?);
        if self.bytes >= ROOM {
            self.unread.push(number);
            return Ok(());
        }
        let key: Arc<str> = row.get::<_, String>(1)?.into();
        let tries = row.get(6)?;
        let body = row.get_ref(8)?.as_bytes().unwrap_or_default();
        let id = row.get_ref(3)?.as_bytes().unwrap_or_default();
        // The row is still being read, so this is of the same moment.
        let whole = large::load(connection, body)?;
        self.bytes += whole.as_ref().map_or(body.len(), |whole| whole.len());
        let decoded = match (<[u8; 16]>::try_from(id), whole) {
            (Ok(id), Some(body)) => {
                let columns = DeliveryColumns {
                    sink: sink.clone(),
                    key: key.clone(),
                    id,
                    at: Timestamp(unsigned(row.get(4)?)),
                    expires_at: row.get::<_, Option<i64>>(5)?.map(|at| Timestamp(unsigned(at))),
                };
                let delivery = encoding::decode_delivery(columns, &body);
                delivery.map_err(|error| telemetry::words(&error))
            }
            (Ok(_), None) => Err("parts of its body are missing".to_owned()),
            (Err(_), _) => Err(format!("its id has {} bytes instead of 16", id.len())),
        };
        match decoded {
            Ok(delivery) => self.waiting.push(Waiting {
                row: number,
                seq: unsigned(row.get(2)?),
                tries,
                last_error: row.get(7)?,
                delivery,
            }),
            Err(why) => {
                let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
                let raw = body.to_owned();
                self.unreadable.push(Unreadable { row: number, key, id, tries, why, raw });
            }
        }
        Ok(())
    }
}
