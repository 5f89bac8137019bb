//! One [`Commit`] as SQL, inside the writer's transaction.
//!
//! Invariant: nothing here can fail because of what a commit says, only because of the disk:
//! a row that is there already is replaced or left, a row that is gone is skipped. Otherwise
//! one commit could stop all that share its transaction for ever.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::commit::{
    Audit, Commit, Committed, DeadLetter, Fate, KeyId, KeyRow, Mark, NewDelivery, RowId, Said,
    Settlement, SinkId,
};
use super::encoding;
use super::error::StoreError;
use super::history::{self, Sent};
use super::large::{self, Bodies, Body};
use crate::message::Timestamp;

/// How long a delivered id is remembered.
const REMEMBERED_MS: u64 = 7 * 24 * 3600 * 1000;

/// How many delivered ids are remembered at most, the oldest go first: some 80 MB.
const REMEMBERED: i64 = 1_000_000;

/// How long it is kept what was done on a person's word.
const AUDITED_MS: u64 = 365 * 24 * 3600 * 1000;

/// How many entries of that are kept at most, the oldest go first.
const AUDITED: i64 = 100_000;

/// How many of them are looked at when one comes. More than one, so that a backlog shrinks.
const PRUNED: i64 = 4;

/// The numbers that the database gave to names, and the last row of the outbox.
pub(super) struct Numbers {
    stages: HashMap<(Arc<str>, Arc<str>), i64>,
    links: HashMap<(Arc<str>, Arc<str>), i64>,
    last_row: i64,
}

impl Numbers {
    /// Begins behind the rows that are there now. Read before anybody can settle one of them:
    /// whoever has seen the last would never look at one that is numbered below it.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let last = "SELECT COALESCE(MAX(row), 0) FROM outbox";
        let last_row = connection.query_row(last, [], |row| row.get(0))?;
        Ok(Self { stages: HashMap::new(), links: HashMap::new(), last_row })
    }

    /// Forgets what an undone transaction may have given. The rows' count goes on, so that
    /// no row number comes twice while somebody may still hold the first.
    pub(super) fn undo(&mut self) {
        self.stages.clear();
        self.links.clear();
    }
}

/// What a transaction has changed in what the store counts.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) sinks: HashMap<SinkId, SinkTally>,
    pub(super) dead: i64,
    /// Bodies to which nothing refers any more.
    pub(super) waste: Vec<Body>,
    /// Bodies that are gone.
    pub(super) swept: Vec<i64>,
}

/// The change of one sink's outbox.
#[derive(Clone, Copy, Default)]
pub(super) struct SinkTally {
    pub(super) waiting: i64,
    pub(super) queued: u64,
    pub(super) delivered: u64,
    pub(super) dead: u64,
    /// The highest row added.
    pub(super) newest: Option<RowId>,
}

/// Writes `commit`.
pub(super) fn apply(
    connection: &Connection,
    numbers: &mut Numbers,
    tally: &mut Tally,
    (commit, bodies): (&Commit, &Bodies),
    keeps_history: bool,
) -> Result<Committed, StoreError> {
    let sent = keeps_history.then(Sent::default);
    let mut step = Step { connection, numbers, tally, committed: Committed::default(), sent };
    for said in &commit.said {
        step.say(said)?;
    }
    for (id, row) in &commit.keys {
        match row {
            Some(row) => step.put_key(id, row)?,
            None => step.forget_key(id)?,
        }
    }
    for (place, delivery) in commit.outbox.iter().enumerate() {
        step.enqueue(delivery, bodies.get(&place).copied())?;
    }
    for letter in &commit.dead {
        step.bury(letter)?;
    }
    for number in &commit.dead_removed {
        step.unbury(*number)?;
    }
    for (number, letter) in &commit.dead_again {
        step.rebury(*number, letter)?;
    }
    for audit in &commit.audit {
        step.audit(audit)?;
    }
    for mark in &commit.marks {
        step.mark(mark)?;
    }
    for settlement in &commit.settle {
        step.settle(settlement)?;
    }
    for (name, value) in &commit.meta {
        put_meta(connection, name, value)?;
    }
    history::add(connection, &commit.history)?;
    history::add(connection, &step.sent.unwrap_or_default().blocks())?;
    Ok(step.committed)
}

/// Sets one value of `meta`.
pub(super) fn put_meta(connection: &Connection, name: &str, value: &[u8]) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

/// SQLite's integers are signed: hashes go in bit by bit, and come out again.
pub(super) fn signed(value: u64) -> i64 {
    i64::from_ne_bytes(value.to_ne_bytes())
}

/// The inverse of [`signed`].
pub(super) fn unsigned(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

struct Step<'a> {
    connection: &'a Connection,
    numbers: &'a mut Numbers,
    tally: &'a mut Tally,
    committed: Committed,
    /// What was published, where that goes into the history.
    sent: Option<Sent>,
}

impl Step<'_> {
    fn put_key(&mut self, id: &KeyId, row: &KeyRow) -> Result<(), StoreError> {
        let stage = self.stage(&id.pipeline, &id.stage)?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO keys (stage, key, device, state, state_version, at, \
                 ordinal, late, lag_ms, wake_at, settings, unsure) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                stage,
                &*id.key,
                row.device.as_ref().map(|device| device.as_str()),
                row.state,
                row.state_version,
                row.at.map(|at| signed(at.0)),
                row.ordinal,
                row.late,
                signed(row.lag_ms),
                row.wake_at.map(|at| signed(at.0)),
                &row.settings[..],
                row.undated_or_qos0,
            ])?;
        Ok(())
    }

    fn forget_key(&mut self, id: &KeyId) -> Result<(), StoreError> {
        let stage = self.stage(&id.pipeline, &id.stage)?;
        self.connection
            .prepare_cached("DELETE FROM keys WHERE stage = ?1 AND key = ?2")?
            .execute(params![stage, &*id.key])?;
        self.connection
            .prepare_cached("DELETE FROM said WHERE stage = ?1 AND key = ?2")?
            .execute(params![stage, &*id.key])?;
        Ok(())
    }

    fn say(&mut self, said: &Said) -> Result<(), StoreError> {
        let stage = self.stage(&said.id.pipeline, &said.id.stage)?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO said (stage, key, device, kind, at, data) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                stage,
                &*said.id.key,
                said.device.as_ref().map(|device| device.as_str()),
                said.kind,
                signed(said.at.0),
                said.data,
            ])?;
        Ok(())
    }

    fn enqueue(&mut self, delivery: &NewDelivery, ahead: Option<Body>) -> Result<(), StoreError> {
        let sink = self.stage(&delivery.sink.pipeline, &delivery.sink.stage)?;
        let id = delivery.id.into_bytes();
        let known: bool = self
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM outbox WHERE sink = ?1 AND id = ?2) \
                 OR EXISTS (SELECT 1 FROM delivered WHERE sink = ?1 AND id = ?2)",
            )?
            .query_row(params![sink, &id[..]], |row| row.get(0))?;
        if known {
            self.committed.known += 1;
            self.tally.waste.extend(ahead);
            return Ok(());
        }
        let body = match ahead {
            Some(body) => body.reference(),
            None => encoding::encode_delivery(delivery)
                .map_err(|source| StoreError::Encode { table: "outbox", source })?,
        };
        let seq: i64 = self
            .connection
            .prepare_cached(
                "INSERT INTO seqs (sink, key, seq) VALUES (?1, ?2, 1) \
                 ON CONFLICT DO UPDATE SET seq = seq + 1 RETURNING seq",
            )?
            .query_row(params![sink, &*delivery.key], |row| row.get(0))?;
        let row = self.next_row();
        self.connection
            .prepare_cached(
                "INSERT INTO outbox (row, sink, key, seq, id, at, expires_at, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                row,
                sink,
                &*delivery.key,
                seq,
                &id[..],
                signed(delivery.at.0),
                delivery.expires_at.map(|at| signed(at.0)),
                body,
            ])?;
        let tally = self.tally.sinks.entry(delivery.sink.clone()).or_default();
        tally.waiting += 1;
        tally.queued += 1;
        tally.newest = Some(RowId(row));
        self.committed.queued += 1;
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<(), StoreError> {
        let sink = self.stage(&settlement.sink.pipeline, &settlement.sink.stage)?;
        let row = settlement.row.0;
        if let Fate::Tried { error } = &settlement.fate {
            self.connection
                .prepare_cached(
                    "UPDATE outbox SET tries = tries + 1, last_error = ?3 \
                     WHERE row = ?1 AND sink = ?2",
                )?
                .execute(params![row, sink, error])?;
            return Ok(());
        }
        if let (Some(sent), Fate::Delivered { at }) = (&mut self.sent, &settlement.fate) {
            sent.note(self.connection, settlement, *at)?;
        }
        let gone: Option<(Vec<u8>, Option<Vec<u8>>)> = self
            .connection
            .prepare_cached(&format!(
                "DELETE FROM outbox WHERE row = ?1 AND sink = ?2 RETURNING id, {}",
                large::reference_column()
            ))?
            .query_row(params![row, sink], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        // Settled before: its dead letter must not come twice.
        let Some((id, reference)) = gone else { return Ok(()) };
        self.tally.waste.extend(reference.as_deref().and_then(Body::of));
        let tally = self.tally.sinks.entry(settlement.sink.clone()).or_default();
        tally.waiting -= 1;
        match &settlement.fate {
            Fate::Delivered { at } => {
                tally.delivered += 1;
                self.remember(sink, &id, *at)
            }
            Fate::Dead(letter) => {
                tally.dead += 1;
                self.bury(letter)
            }
            Fate::Tried { .. } => Ok(()),
        }
    }

    fn remember(&mut self, sink: i64, id: &[u8], at: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO delivered (sink, id, at) VALUES (?1, ?2, ?3)")?
            .execute(params![sink, id, signed(at.0)])?;
        self.connection
            .prepare_cached(
                "DELETE FROM delivered WHERE n <= (SELECT MAX(n) FROM \
                 (SELECT n, at FROM delivered ORDER BY n LIMIT ?1) WHERE at < ?2 \
                 OR n <= (SELECT MAX(n) FROM delivered) - ?3)",
            )?
            .execute(params![PRUNED, signed(at.minus_ms(REMEMBERED_MS).0), REMEMBERED])?;
        Ok(())
    }

    fn bury(&mut self, letter: &DeadLetter) -> Result<(), StoreError> {
        let stage = self.stage(&letter.pipeline, &letter.stage)?;
        let body = encoding::encode_dead(letter)
            .map_err(|source| StoreError::Encode { table: "dead_letters", source })?;
        self.connection
            .prepare_cached(
                "INSERT INTO dead_letters \
                 (stage, at, code, detail, device, attempts, body, key, raw) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                stage,
                signed(letter.at.0),
                letter.code,
                letter.detail,
                letter.device.as_ref().map(|device| device.as_str()),
                letter.attempts,
                body,
                letter.key.as_deref(),
                letter.raw,
            ])?;
        self.tally.dead += 1;
        self.committed.dead += 1;
        Ok(())
    }

    fn unbury(&mut self, number: u64) -> Result<(), StoreError> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM dead_letters WHERE n = ?1")?
            .execute(params![signed(number)])?;
        self.tally.dead -= i64::try_from(removed).unwrap_or(0);
        Ok(())
    }

    /// The letter keeps its number and the time at which it was first set aside.
    fn rebury(&mut self, number: u64, letter: &DeadLetter) -> Result<(), StoreError> {
        let stage = self.stage(&letter.pipeline, &letter.stage)?;
        let body = encoding::encode_dead(letter)
            .map_err(|source| StoreError::Encode { table: "dead_letters", source })?;
        self.connection
            .prepare_cached(
                "UPDATE dead_letters SET stage = ?2, code = ?3, detail = ?4, device = ?5, \
                 attempts = ?6, body = ?7, key = ?8 WHERE n = ?1",
            )?
            .execute(params![
                signed(number),
                stage,
                letter.code,
                letter.detail,
                letter.device.as_ref().map(|device| device.as_str()),
                letter.attempts,
                body,
                letter.key.as_deref(),
            ])?;
        Ok(())
    }

    fn audit(&mut self, audit: &Audit) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT INTO audit (at, author, action, what) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![signed(audit.at.0), audit.author, audit.action, audit.what])?;
        self.connection
            .prepare_cached(
                "DELETE FROM audit WHERE n <= (SELECT MAX(n) FROM \
                 (SELECT n, at FROM audit ORDER BY n LIMIT ?1) WHERE at < ?2 \
                 OR n <= (SELECT MAX(n) FROM audit) - ?3)",
            )?
            .execute(params![PRUNED, signed(audit.at.minus_ms(AUDITED_MS).0), AUDITED])?;
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) -> Result<(), StoreError> {
        let link = number(
            self.connection,
            &mut self.numbers.links,
            (&mark.broker, &mark.pipeline),
            "SELECT id FROM links WHERE broker = ?1 AND pipeline = ?2",
            "INSERT INTO links (broker, pipeline) VALUES (?1, ?2)",
        )?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO marks (slot, epoch, hash, seq) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                link << 16 | i64::from(mark.packet_id),
                signed(mark.epoch),
                signed(mark.hash),
                signed(mark.sequence)
            ])?;
        Ok(())
    }

    fn stage(&mut self, pipeline: &Arc<str>, stage: &Arc<str>) -> Result<i64, StoreError> {
        number(
            self.connection,
            &mut self.numbers.stages,
            (pipeline, stage),
            "SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2",
            "INSERT INTO stages (pipeline, stage) VALUES (?1, ?2)",
        )
    }

    fn next_row(&mut self) -> i64 {
        self.numbers.last_row += 1;
        self.numbers.last_row
    }
}

/// The number of a pair of names, given now if it has none.
fn number(
    connection: &Connection,
    known: &mut HashMap<(Arc<str>, Arc<str>), i64>,
    (first, second): (&Arc<str>, &Arc<str>),
    find: &str,
    add: &str,
) -> Result<i64, StoreError> {
    let pair = (first.clone(), second.clone());
    if let Some(number) = known.get(&pair) {
        return Ok(*number);
    }
    let found = connection
        .prepare_cached(find)?
        .query_row(params![&**first, &**second], |row| row.get(0))
        .optional()?;
    let number = match found {
        Some(number) => number,
        None => {
            connection.prepare_cached(add)?.execute(params![&**first, &**second])?;
            connection.last_insert_rowid()
        }
    };
    known.insert(pair, number);
    Ok(number)
}
