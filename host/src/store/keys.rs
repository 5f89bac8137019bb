//! Keys' states, dedupe marks and small values.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};

use super::Store;
use super::apply::{put_meta, unsigned};
use super::commit::{KeyId, KeyRow, Mark, Said};
use super::error::StoreError;
use crate::message::{DeviceId, Timestamp};

/// Stage, key, and what is kept of it.
pub type StoredKey = (Arc<str>, Arc<str>, KeyRow);

impl Store {
    /// Everything that is kept of the keys of `pipeline`: stage, key, row.
    pub fn load_keys(&self, pipeline: &str) -> Result<Vec<StoredKey>, StoreError> {
        self.read(|connection| {
            let mut stages =
                connection.prepare_cached("SELECT id, stage FROM stages WHERE pipeline = ?1")?;
            let stages: Vec<(i64, String)> = stages
                .query_map([pipeline], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let mut keys = connection.prepare_cached(
                "SELECT key, device, state, state_version, at, ordinal, late, lag_ms, wake_at, \
                 settings, unsure FROM keys WHERE stage = ?1",
            )?;
            let mut all = Vec::new();
            for (id, stage) in stages {
                let stage: Arc<str> = stage.into();
                let mut rows = keys.query([id])?;
                while let Some(row) = rows.next()? {
                    let key: String = row.get(0)?;
                    all.push((stage.clone(), key.into(), key_row(row)?));
                }
            }
            Ok(all)
        })
    }

    /// By the wall clock, when the last input of a device that counted was received, in any
    /// stage of `pipeline`: whose key is the device, or begins with it.
    pub fn last_input(
        &self,
        pipeline: &str,
        device: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            // `0` follows `/`, which parts a key.
            let last: Option<i64> = connection
                .prepare_cached(
                    "SELECT MAX(at + lag_ms) FROM keys JOIN stages ON stages.id = keys.stage \
                     WHERE pipeline = ?1 \
                     AND (key = ?2 OR key > ?2 || '/' AND key < ?2 || '0')",
                )?
                .query_row([pipeline, device], |row| row.get(0))?;
            Ok(last.map(|at| Timestamp(unsigned(at))))
        })
    }

    /// The last that was said of each session, by pipeline, stage and key.
    pub fn load_said(&self) -> Result<Vec<Said>, StoreError> {
        self.read(|connection| {
            let mut said = connection.prepare_cached(
                "SELECT pipeline, stages.stage, key, device, kind, at, data \
                 FROM said JOIN stages ON stages.id = said.stage \
                 ORDER BY pipeline, stages.stage, key",
            )?;
            let rows = said.query_map([], |row| {
                let text = |column| row.get::<_, String>(column);
                Ok(Said {
                    id: KeyId {
                        pipeline: text(0)?.into(),
                        stage: text(1)?.into(),
                        key: text(2)?.into(),
                    },
                    device: row.get::<_, Option<String>>(3)?.map(|d| DeviceId(d.into())),
                    kind: text(4)?,
                    at: Timestamp(unsigned(row.get(5)?)),
                    data: text(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The marks of all pipelines that take messages of `broker`.
    pub fn load_marks(&self, broker: &str) -> Result<Vec<Mark>, StoreError> {
        self.read(|connection| {
            let mut links =
                connection.prepare_cached("SELECT id, pipeline FROM links WHERE broker = ?1")?;
            let links: Vec<(i64, String)> = links
                .query_map([broker], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            let mut marks = connection.prepare_cached(
                "SELECT slot & 65535, epoch, hash, seq FROM marks \
                 WHERE slot BETWEEN ?1 << 16 AND (?1 << 16) + 65535",
            )?;
            let broker: Arc<str> = broker.into();
            let mut all = Vec::new();
            for (id, pipeline) in links {
                let pipeline: Arc<str> = pipeline.into();
                let mut rows = marks.query([id])?;
                while let Some(row) = rows.next()? {
                    all.push(Mark {
                        broker: broker.clone(),
                        pipeline: pipeline.clone(),
                        packet_id: row.get(0)?,
                        epoch: unsigned(row.get(1)?),
                        hash: unsigned(row.get(2)?),
                        sequence: unsigned(row.get(3)?),
                    });
                }
            }
            Ok(all)
        })
    }

    /// A small value by name.
    pub fn meta_get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
            Ok(select.query_row([name], |row| row.get(0)).optional()?)
        })
    }

    /// Sets a small value and waits until it is durable. What belongs to a batch goes into
    /// its [`super::Commit`] instead.
    pub fn meta_put(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.call(move |connection| put_meta(connection, &name, &value))
    }
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(unsigned));
    Ok(KeyRow {
        device: row.get::<_, Option<String>>(1)?.map(|device| DeviceId(device.into())),
        state: row.get(2)?,
        state_version: row.get(3)?,
        at: time(4)?.map(Timestamp),
        ordinal: row.get(5)?,
        late: row.get(6)?,
        lag_ms: unsigned(row.get(7)?),
        wake_at: time(8)?.map(Timestamp),
        settings: row.get(9)?,
        undated_or_qos0: row.get(10)?,
    })
}
