//! The history: every message that came and went, for as long and as much as the site says.
//!
//! It is written in the commit that a message's effects are in, one block for a batch, so it
//! costs one row and no sync of its own. Nothing in the program depends on it: it is the first
//! to go when room is short (see `space`).
//! Invariant: blocks go from the oldest on, so an entry's number keeps its meaning until it is
//! gone, and how many bytes are kept follows from the first and the last row.

mod read;
mod sent;
mod wire;

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::apply::signed;
use super::commit::NewDelivery;
use crate::message::{DeviceId, MessageId, Properties, Publication, Timestamp};

pub use read::{Entry, Filter, Page};
pub(super) use sent::Sent;

/// Entries of a block at most: their places are the last 12 bits of an entry's number.
const ENTRIES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 12;

/// What a row costs beside its body.
const ROW: usize = 32;

/// Blocks that go at a time when they are too old or too many.
const PRUNED: i64 = 256;

/// Blocks that are looked at, and bytes that go at a time, when room is short.
const SHED_BLOCKS: i64 = 4_096;
const SHED_BYTES: i64 = 4 << 20;

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub keep: Duration,
    pub max_size: u64,
}

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Received,
    Sent,
}

impl Direction {
    /// As the API says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
        }
    }
}

/// A message on its way into the history.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub direction: Direction,
    /// When it was received, or its broker had confirmed it.
    pub at: Timestamp,
    pub broker: &'a str,
    pub pipeline: &'a str,
    /// The filter by which it came.
    pub subscription: Option<&'a str>,
    pub topic: &'a str,
    pub device: Option<&'a DeviceId>,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
    pub properties: &'a Properties,
    /// Its own id, or that of the message that it follows from.
    pub message: Option<&'a MessageId>,
    pub delivery: Option<Uuid>,
    /// What became of it, in one word and, where it was filtered, by what.
    pub fate: &'a str,
}

impl<'a> Record<'a> {
    /// A publication that its broker has confirmed.
    pub fn confirmed(
        delivery: &'a NewDelivery,
        broker: &'a str,
        publication: &'a Publication,
        at: Timestamp,
    ) -> Self {
        Self {
            direction: Direction::Sent,
            at,
            broker,
            pipeline: &delivery.sink.pipeline,
            subscription: None,
            topic: &publication.topic,
            device: delivery.device.as_ref(),
            payload: &publication.payload,
            qos: publication.qos,
            retain: publication.retain,
            properties: &publication.properties,
            message: delivery.message.as_ref(),
            delivery: Some(delivery.id),
            fate: "confirmed",
        }
    }
}

/// Messages of one batch, as they are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    from: Timestamp,
    until: Timestamp,
    count: usize,
    body: Vec<u8>,
}

impl Block {
    /// Packs messages; more than one block only where there are thousands.
    pub fn pack(records: &[Record<'_>]) -> Vec<Self> {
        records.chunks(ENTRIES).filter_map(Self::of).collect()
    }

    fn of(records: &[Record<'_>]) -> Option<Self> {
        let from = records.iter().map(|record| record.at).min()?;
        let until = records.iter().map(|record| record.at).max()?;
        match wire::encode(records) {
            Ok(body) => Some(Self { from, until, count: records.len(), body }),
            // The messages themselves go on: nothing depends on the history.
            Err(error) => {
                let messages = records.len();
                tracing::error!(event = "history_not_written", messages, error = %error);
                None
            }
        }
    }
}

/// Adds blocks at the end.
pub(super) fn add(connection: &Connection, blocks: &[Block]) -> rusqlite::Result<()> {
    for block in blocks {
        let bytes = i64::try_from(block.body.len() + ROW).unwrap_or(i64::MAX);
        connection
            .prepare_cached(
                "INSERT INTO history (from_at, until_at, count, bytes, upto, body) \
                 VALUES (?1, ?2, ?3, ?4, \
                 ?4 + COALESCE((SELECT upto FROM history ORDER BY n DESC LIMIT 1), 0), ?5)",
            )?
            .execute(params![
                signed(block.from.0),
                signed(block.until.0),
                i64::try_from(block.count).unwrap_or(i64::MAX),
                bytes,
                block.body
            ])?;
    }
    Ok(())
}

/// Number, time, bytes and sum of the block at one end.
struct End {
    until: i64,
    bytes: i64,
    upto: i64,
}

fn end(connection: &Connection, order: &str) -> rusqlite::Result<Option<End>> {
    let sql = format!("SELECT until_at, bytes, upto FROM history ORDER BY n {order} LIMIT 1");
    connection
        .prepare_cached(&sql)?
        .query_row([], |row| Ok(End { until: row.get(0)?, bytes: row.get(1)?, upto: row.get(2)? }))
        .optional()
}

/// Bytes that are kept.
pub(super) fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let (Some(oldest), Some(newest)) = (end(connection, "ASC")?, end(connection, "DESC")?) else {
        return Ok(0);
    };
    Ok(u64::try_from(newest.upto - oldest.upto + oldest.bytes).unwrap_or(0))
}

/// Lets go what is too old or too much; without limits there is no history, so all of it.
pub(super) fn prune(
    connection: &Connection,
    limits: Option<Limits>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (Some(oldest), Some(newest)) = (end(connection, "ASC")?, end(connection, "DESC")?) else {
        return Ok(());
    };
    let (mut expired, mut upto) = (i64::MAX, i64::MAX);
    if let Some(limits) = limits {
        let keep = u64::try_from(limits.keep.as_millis()).unwrap_or(u64::MAX);
        let max = i64::try_from(limits.max_size).unwrap_or(i64::MAX);
        let size = newest.upto - oldest.upto + oldest.bytes;
        // Some at a time: a transaction for each block would cost a sync for each batch.
        let is_due = oldest.until < signed(now.minus_ms(keep.saturating_add(keep / 100)).0);
        if !is_due && size <= max {
            return Ok(());
        }
        expired = signed(now.minus_ms(keep).0);
        upto = if size > max { newest.upto - (max - max / 50) } else { i64::MIN };
    }
    connection
        .prepare_cached(
            "DELETE FROM history WHERE n IN (SELECT n FROM history ORDER BY n LIMIT ?1) \
             AND (until_at < ?2 OR upto - bytes < ?3)",
        )?
        .execute(params![PRUNED, expired, upto])?;
    Ok(())
}

/// Lets some of the oldest go; says how many messages.
pub(super) fn shed(connection: &Connection) -> rusqlite::Result<u64> {
    let Some(oldest) = end(connection, "ASC")? else { return Ok(0) };
    let gone = params![SHED_BLOCKS, oldest.upto.saturating_add(SHED_BYTES)];
    let which = "n IN (SELECT n FROM history ORDER BY n LIMIT ?1) AND upto <= ?2";
    let messages: i64 = connection
        .prepare_cached(&format!("SELECT COALESCE(SUM(count), 0) FROM history WHERE {which}"))?
        .query_row(gone, |row| row.get(0))?;
    connection.prepare_cached(&format!("DELETE FROM history WHERE {which}"))?.execute(gone)?;
    Ok(u64::try_from(messages).unwrap_or(0))
}
