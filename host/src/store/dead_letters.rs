//! Reading dead letters. A letter that this program cannot decode is still found, with its
//! bytes, so that it can be looked at and discarded.

use rusqlite::{Connection, Params, Row, named_params};

use super::Store;
use super::apply::{signed, unsigned};
use super::commit::DeadLetter;
use super::encoding;
use super::error::StoreError;
use crate::message::{DeviceId, Timestamp};
use crate::telemetry;

/// A dead letter under the number that people call it by.
#[derive(Clone, PartialEq, Debug)]
pub struct NumberedDeadLetter {
    pub number: u64,
    pub letter: DeadLetter,
    /// Why its body cannot be decoded; then the letter has its bytes in `raw`, and no more
    /// than what stands in columns of its own.
    pub unreadable: Option<String>,
}

/// How many dead letters of one kind there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetterCount {
    pub pipeline: String,
    pub stage: String,
    pub code: String,
    pub count: u64,
}

/// Which dead letters; what is absent matches every letter.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LetterFilter {
    pub pipeline: Option<String>,
    pub stage: Option<String>,
    pub code: Option<String>,
    pub device: Option<String>,
    /// Set aside at this time or later.
    pub since: Option<Timestamp>,
}

const SELECT: &str = "SELECT n, pipeline, stages.stage, at, code, detail, device, attempts, \
                      body, key, raw FROM dead_letters JOIN stages ON dead_letters.stage = stages.id";

const MATCHES: &str = "(:pipeline IS NULL OR pipeline = :pipeline) \
                       AND (:stage IS NULL OR stages.stage = :stage) \
                       AND (:code IS NULL OR code = :code) \
                       AND (:device IS NULL OR device = :device) \
                       AND (:since IS NULL OR at >= :since)";

impl Store {
    /// At most `limit` dead letters that match, the newest first, older than number `before`.
    pub fn dead_letters(
        &self,
        filter: &LetterFilter,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<NumberedDeadLetter>, StoreError> {
        self.read(|connection| {
            let sql =
                format!("{SELECT} WHERE n < :before AND {MATCHES} ORDER BY n DESC LIMIT :limit");
            let (before, limit) = (before.map_or(i64::MAX, signed), rows(limit));
            let since = filter.since.map(|at| signed(at.0));
            let parameters = named_params! {
                ":before": before, ":limit": limit, ":pipeline": filter.pipeline,
                ":stage": filter.stage, ":code": filter.code, ":device": filter.device,
                ":since": since,
            };
            select(connection, &sql, parameters)
        })
    }

    /// Numbers of at most `limit` dead letters that match, the oldest first, of those behind
    /// `after` and up to `up_to`.
    pub fn dead_letter_numbers(
        &self,
        filter: &LetterFilter,
        (after, up_to): (u64, u64),
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT n FROM dead_letters JOIN stages ON dead_letters.stage = stages.id \
                 WHERE n > :after AND n <= :up_to AND {MATCHES} ORDER BY n LIMIT :limit"
            ))?;
            let since = filter.since.map(|at| signed(at.0));
            let numbers = select.query_map(
                named_params! {
                    ":after": signed(after), ":up_to": signed(up_to), ":limit": rows(limit),
                    ":pipeline": filter.pipeline, ":stage": filter.stage, ":code": filter.code,
                    ":device": filter.device, ":since": since,
                },
                |row| row.get(0).map(unsigned),
            )?;
            Ok(numbers.collect::<Result<_, _>>()?)
        })
    }

    /// How many dead letters match, and the number of the newest of them.
    pub fn dead_letters_matching(&self, filter: &LetterFilter) -> Result<(u64, u64), StoreError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(&format!(
                "SELECT COUNT(*), COALESCE(MAX(n), 0) FROM dead_letters \
                 JOIN stages ON dead_letters.stage = stages.id WHERE {MATCHES}"
            ))?;
            let since = filter.since.map(|at| signed(at.0));
            Ok(select.query_row(
                named_params! {
                    ":pipeline": filter.pipeline, ":stage": filter.stage, ":code": filter.code,
                    ":device": filter.device, ":since": since,
                },
                |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))),
            )?)
        })
    }

    /// The dead letter with this number.
    pub fn dead_letter(&self, number: u64) -> Result<Option<NumberedDeadLetter>, StoreError> {
        self.read(|connection| {
            let sql = format!("{SELECT} WHERE n = ?1");
            Ok(select(connection, &sql, [signed(number)])?.pop())
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

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn select(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<NumberedDeadLetter>, StoreError> {
    let mut select = connection.prepare_cached(sql)?;
    let letters = select.query_map(parameters, numbered)?;
    Ok(letters.collect::<Result<_, _>>()?)
}

fn numbered(row: &Row<'_>) -> rusqlite::Result<NumberedDeadLetter> {
    let mut letter = DeadLetter {
        pipeline: row.get::<_, String>(1)?.into(),
        stage: row.get::<_, String>(2)?.into(),
        at: Timestamp(unsigned(row.get(3)?)),
        code: row.get(4)?,
        detail: row.get(5)?,
        device: row.get::<_, Option<String>>(6)?.map(|device| DeviceId(device.into())),
        key: row.get::<_, Option<String>>(9)?.map(Into::into),
        attempts: row.get(7)?,
        message: None,
        delivery: None,
        module: None,
        answer: None,
        raw: row.get(10)?,
    };
    let body = row.get_ref(8)?.as_bytes().unwrap_or_default();
    let decoded = encoding::decode_dead(&mut letter, body);
    let unreadable = decoded.err().map(|error| telemetry::words(&error));
    if unreadable.is_some() && letter.raw.is_none() {
        letter.raw = Some(body.to_owned());
    }
    Ok(NumberedDeadLetter { number: unsigned(row.get(0)?), letter, unreadable })
}
