//! Whose state is whose: stages that keep some, and what becomes of it when a stage is gone,
//! has another name, or comes back.
//!
//! Invariant: state that nobody owns any more is parked, not deleted, for [`PARKED_MS`].

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::Store;
use super::apply::{signed, unsigned};
use super::commit::SinkId;
use super::error::StoreError;
use crate::message::Timestamp;

/// How long removed state can be found again: 7 days.
pub const PARKED_MS: u64 = 7 * 24 * 3600 * 1000;

/// The identity of state: pipeline and stage by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StageId {
    pub pipeline: Arc<str>,
    pub stage: Arc<str>,
}

impl StageId {
    /// From the two names.
    pub fn new(pipeline: impl Into<Arc<str>>, stage: impl Into<Arc<str>>) -> Self {
        Self { pipeline: pipeline.into(), stage: stage.into() }
    }
}

/// `pipeline/stage`.
impl std::fmt::Display for StageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.stage)
    }
}

/// A stage of which something is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageState {
    pub id: StageId,
    /// Keys that have state.
    pub keys: u64,
    /// Keys of which only the time of their last input is kept.
    pub bare: u64,
}

/// A stage whose state is parked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedState {
    pub id: StageId,
    /// Keys that have state.
    pub keys: u64,
    /// When the first of them was parked.
    pub since: Timestamp,
}

/// What a change of stages means for state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// Stages that run: they get back what was parked of theirs.
    pub owners: Vec<StageId>,
    /// From a stage that is gone to one that says `state_from`. Keys that the new one has
    /// already stay its own.
    pub heirs: Vec<(StageId, StageId)>,
    /// Stages that are gone.
    pub park: Vec<StageId>,
    /// Pipelines with another name, from and to: what waits for their sinks, the numbers of
    /// their deliveries and what they know of redelivered messages go on under the new one.
    /// Nobody may deliver from the old one meanwhile.
    pub renamed: Vec<(Arc<str>, Arc<str>)>,
}

impl Succession {
    /// Whether nothing changes hands.
    pub fn is_empty(&self) -> bool {
        let Self { owners, heirs, park, renamed } = self;
        owners.is_empty() && heirs.is_empty() && park.is_empty() && renamed.is_empty()
    }

    /// What stages of `pipeline` get.
    #[must_use]
    pub fn of(&self, pipeline: &str) -> Self {
        let is_of = |id: &StageId| *id.pipeline == *pipeline;
        Self {
            owners: self.owners.iter().filter(|id| is_of(id)).cloned().collect(),
            heirs: self.heirs.iter().filter(|(_, to)| is_of(to)).cloned().collect(),
            park: Vec::new(),
            renamed: self.renamed.iter().filter(|(_, to)| **to == *pipeline).cloned().collect(),
        }
    }
}

/// How many keys changed hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Succeeded {
    pub restored: u64,
    pub inherited: u64,
    pub parked: u64,
}

const COLUMNS: &str = "key, device, state, state_version, at, ordinal, late, lag_ms, wake_at, \
                       settings, unsure";

impl Store {
    /// Stages of which something is kept, by name.
    pub fn stages_with_state(&self) -> Result<Vec<StageState>, StoreError> {
        self.read(|connection| {
            let mut stages = connection.prepare_cached(
                "SELECT pipeline, stage, kept, bare FROM stages JOIN \
                 (SELECT stage AS s, COUNT(state) AS kept, COUNT(*) - COUNT(state) AS bare \
                 FROM keys GROUP BY stage) ON s = id ORDER BY pipeline, stage",
            )?;
            let rows = stages.query_map([], |row| {
                Ok(StageState {
                    id: StageId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?),
                    keys: unsigned(row.get(2)?),
                    bare: unsigned(row.get(3)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Pipelines that have delivered something, or have something to deliver.
    pub fn pipelines_with_deliveries(&self) -> Result<BTreeSet<String>, StoreError> {
        self.read(|connection| {
            let mut pipelines = connection.prepare_cached(
                "SELECT DISTINCT pipeline FROM stages WHERE id IN (SELECT sink FROM seqs) \
                 OR id IN (SELECT sink FROM outbox)",
            )?;
            let rows = pipelines.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Stages whose state is parked, by name.
    pub fn parked_state(&self) -> Result<Vec<ParkedState>, StoreError> {
        self.read(|connection| {
            let mut stages = connection.prepare_cached(
                "SELECT pipeline, stage, COUNT(state), MIN(parked_at) FROM parked \
                 GROUP BY pipeline, stage ORDER BY pipeline, stage",
            )?;
            let rows = stages.query_map([], |row| {
                Ok(ParkedState {
                    id: StageId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?),
                    keys: unsigned(row.get(2)?),
                    since: Timestamp(unsigned(row.get(3)?)),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Lets state change hands, all in one transaction, and forgets what has been parked for
    /// longer than [`PARKED_MS`]. Waits until it is durable; whatever was submitted before is
    /// written before. Stages whose pipeline is running at that moment must not be in it.
    pub fn succeed(
        &self,
        succession: &Succession,
        now: Timestamp,
    ) -> Result<Succeeded, StoreError> {
        let succession = succession.clone();
        let (succeeded, moved) = self.call(move |connection| {
            expire(connection, now)?;
            let mut succeeded = Succeeded::default();
            for owner in &succession.owners {
                succeeded.restored += unpark(connection, owner, owner)?;
            }
            for (from, to) in &succession.heirs {
                succeeded.inherited += inherit(connection, from, to)?;
                succeeded.inherited += unpark(connection, from, to)?;
                succeeded.parked += park(connection, from, now)?;
            }
            for stage in &succession.park {
                succeeded.parked += park(connection, stage, now)?;
            }
            let mut moved = Vec::new();
            for (from, to) in &succession.renamed {
                moved.extend(rename(connection, from, to)?);
            }
            Ok((succeeded, moved))
        })?;
        for queue in &moved {
            self.inner.shared.move_waiting(&queue.from, &queue.to, queue.waiting);
        }
        Ok(succeeded)
    }

    /// Forgets what has been parked for longer than [`PARKED_MS`]. Returns the number of keys.
    pub fn forget_parked(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.call(move |connection| expire(connection, now))
    }
}

fn expire(connection: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let gone = connection
        .execute("DELETE FROM parked WHERE parked_at < ?1", [signed(now.minus_ms(PARKED_MS).0)])?;
    // What was said of a key goes with the last that is kept of it.
    connection.execute(
        "DELETE FROM said WHERE NOT EXISTS \
         (SELECT 1 FROM keys WHERE keys.stage = said.stage AND keys.key = said.key) \
         AND NOT EXISTS (SELECT 1 FROM parked JOIN stages USING (pipeline, stage) \
         WHERE stages.id = said.stage AND parked.key = said.key)",
        [],
    )?;
    Ok(count(gone))
}

fn add_stage(connection: &Connection, id: &StageId) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO stages (pipeline, stage) VALUES (?1, ?2)",
        params![&*id.pipeline, &*id.stage],
    )?;
    Ok(())
}

/// What `to` has already is newer than what `from` left.
fn inherit(connection: &Connection, from: &StageId, to: &StageId) -> rusqlite::Result<u64> {
    add_stage(connection, to)?;
    let moved = connection.execute(
        "UPDATE OR IGNORE keys \
         SET stage = (SELECT id FROM stages WHERE pipeline = ?3 AND stage = ?4) \
         WHERE stage = (SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2)",
        params![&*from.pipeline, &*from.stage, &*to.pipeline, &*to.stage],
    )?;
    connection.execute(
        "UPDATE OR IGNORE said \
         SET stage = (SELECT id FROM stages WHERE pipeline = ?3 AND stage = ?4) \
         WHERE stage = (SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2)",
        params![&*from.pipeline, &*from.stage, &*to.pipeline, &*to.stage],
    )?;
    Ok(count(moved))
}

fn unpark(connection: &Connection, from: &StageId, to: &StageId) -> rusqlite::Result<u64> {
    let names = params![&*from.pipeline, &*from.stage, &*to.pipeline, &*to.stage];
    let is_there = "SELECT EXISTS (SELECT 1 FROM parked WHERE pipeline = ?1 AND stage = ?2)";
    if !connection.query_row(is_there, &names[..2], |row| row.get::<_, bool>(0))? {
        return Ok(0);
    }
    add_stage(connection, to)?;
    let moved = connection.execute(
        &format!(
            "INSERT OR IGNORE INTO keys (stage, {COLUMNS}) SELECT stages.id, parked.key, \
             parked.device, parked.state, parked.state_version, parked.at, parked.ordinal, \
             parked.late, parked.lag_ms, parked.wake_at, parked.settings, parked.unsure \
             FROM parked JOIN stages ON stages.pipeline = ?3 AND stages.stage = ?4 \
             WHERE parked.pipeline = ?1 AND parked.stage = ?2"
        ),
        names,
    )?;
    connection.execute("DELETE FROM parked WHERE pipeline = ?1 AND stage = ?2", &names[..2])?;
    Ok(count(moved))
}

fn park(connection: &Connection, stage: &StageId, now: Timestamp) -> rusqlite::Result<u64> {
    let (pipeline, name) = (&*stage.pipeline, &*stage.stage);
    let parked = connection.execute(
        &format!(
            "INSERT OR REPLACE INTO parked (pipeline, stage, parked_at, {COLUMNS}) \
             SELECT ?1, ?2, ?3, {COLUMNS} FROM keys \
             WHERE stage = (SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2)"
        ),
        params![pipeline, name, signed(now.0)],
    )?;
    connection.execute(
        "DELETE FROM keys WHERE stage = \
         (SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2)",
        params![pipeline, name],
    )?;
    Ok(count(parked))
}

/// What waited for one sink and waits for another now.
struct Queue {
    from: SinkId,
    to: SinkId,
    waiting: u64,
}

fn rename(connection: &Connection, from: &str, to: &str) -> rusqlite::Result<Vec<Queue>> {
    connection
        .execute("UPDATE OR IGNORE links SET pipeline = ?2 WHERE pipeline = ?1", [from, to])?;
    let mut sinks = connection.prepare(
        "SELECT id, stage FROM stages WHERE pipeline = ?1 \
         AND (id IN (SELECT sink FROM seqs) OR id IN (SELECT sink FROM outbox))",
    )?;
    let sinks: Vec<(i64, String)> = sinks
        .query_map([from], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut moved = Vec::new();
    for (old, name) in sinks {
        let heir = StageId::new(to, name.as_str());
        add_stage(connection, &heir)?;
        let new: i64 = connection.query_row(
            "SELECT id FROM stages WHERE pipeline = ?1 AND stage = ?2",
            [to, &name],
            |row| row.get(0),
        )?;
        connection.execute(
            "INSERT INTO seqs (sink, key, seq) SELECT ?2, key, seq FROM seqs WHERE sink = ?1 \
             ON CONFLICT (sink, key) DO UPDATE SET seq = MAX(seq, excluded.seq)",
            [old, new],
        )?;
        connection.execute("DELETE FROM seqs WHERE sink = ?1", [old])?;
        let waiting = connection
            .execute("UPDATE OR IGNORE outbox SET sink = ?2 WHERE sink = ?1", [old, new])?;
        connection
            .execute("UPDATE OR IGNORE delivered SET sink = ?2 WHERE sink = ?1", [old, new])?;
        moved.push(Queue {
            from: SinkId::new(from, name.as_str()),
            to: SinkId::new(to, name.as_str()),
            waiting: count(waiting),
        });
    }
    Ok(moved)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
