//! Reading dead letters.

use rusqlite::{OptionalExtension, Row};

use super::Store;
use super::apply::{signed, unsigned};
use super::commit::DeadLetter;
use super::encoding;
use super::error::StoreError;
use crate::message::{DeviceId, Timestamp};

/// A dead letter under the number that people call it by.
#[derive(Clone, PartialEq, Debug)]
pub struct NumberedDeadLetter {
    pub number: u64,
    pub letter: DeadLetter,
}

/// How many dead letters of one kind there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterCount {
    pub pipeline: String,
    pub stage: String,
    pub code: String,
    pub count: u64,
}

const SELECT: &str = "SELECT n, pipeline, stages.stage, at, code, detail, device, attempts, body \
                      FROM dead_letters JOIN stages ON dead_letters.stage = stages.id";

impl Store {
    /// At most `limit` dead letters, the newest first, older than number `before`.
    pub fn dead_letters(
        &self,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<NumberedDeadLetter>, StoreError> {
        self.read(|connection| {
            let mut select = connection
                .prepare_cached(&format!("{SELECT} WHERE n < ?1 ORDER BY n DESC LIMIT ?2"))?;
            let before = before.map_or(i64::MAX, signed);
            let mut rows = select.query((before, i64::try_from(limit).unwrap_or(i64::MAX)))?;
            let mut letters = Vec::new();
            while let Some(row) = rows.next()? {
                letters.push(numbered(row)?);
            }
            Ok(letters)
        })
    }

    /// The dead letter with this number.
    pub fn dead_letter(&self, number: u64) -> Result<Option<NumberedDeadLetter>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!("{SELECT} WHERE n = ?1"))?;
            select.query_row([signed(number)], |row| Ok(numbered(row))).optional()?.transpose()
        })
    }

    /// The number of dead letters, without asking the disk.
    pub fn dead_letter_count(&self) -> u64 {
        self.inner.shared.dead()
    }

    /// The number of dead letters by stage and code.
    pub fn dead_letter_counts(&self) -> Result<Vec<DeadLetterCount>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT pipeline, stages.stage, code, COUNT(*) FROM dead_letters \
                 JOIN stages ON dead_letters.stage = stages.id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            )?;
            let counts = select.query_map([], |row| {
                Ok(DeadLetterCount {
                    pipeline: row.get(0)?,
                    stage: row.get(1)?,
                    code: row.get(2)?,
                    count: unsigned(row.get(3)?),
                })
            })?;
            Ok(counts.collect::<Result<_, _>>()?)
        })
    }
}

fn numbered(row: &Row<'_>) -> Result<NumberedDeadLetter, StoreError> {
    let number: i64 = row.get(0)?;
    let mut letter = DeadLetter {
        pipeline: row.get::<_, String>(1)?.into(),
        stage: row.get::<_, String>(2)?.into(),
        at: Timestamp(unsigned(row.get(3)?)),
        code: row.get(4)?,
        detail: row.get(5)?,
        device: row.get::<_, Option<String>>(6)?.map(|device| DeviceId(device.into())),
        attempts: row.get(7)?,
        message: None,
        delivery: None,
        module: None,
        answer: None,
    };
    encoding::decode_dead(&mut letter, row.get_ref(8)?.as_blob().unwrap_or_default())
        .map_err(|source| StoreError::Row { table: "dead_letters", row: number, source })?;
    Ok(NumberedDeadLetter { number: unsigned(number), letter })
}
