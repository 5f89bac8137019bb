//! Commits with large outputs come to the disk in parts, and others' go in between.
//!
//! What a transaction takes to write, everybody's next one waits. So the bodies of a commit of
//! 256 KiB or more are written ahead of it, so many bytes at a time, into a table of their own;
//! the commit itself then brings rows that refer to them. Until then nothing can be seen of it,
//! and if the program ends before, parts to which no row refers go at the next start.
//! Invariant: a row of the outbox becomes visible with the rest of its commit, when all parts of
//! its body are durable; parts go when their row is durably gone.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::commit::{Commit, Done};
use super::encoding;
use super::error::StoreError;
use super::writer::Work;

/// Bytes of outputs from which on a commit is large. A full batch of the usual events has a
/// quarter of it.
pub const LARGE: usize = 256 << 10;

/// Bytes that are written ahead at a time.
const PART: usize = 256 << 10;

/// A body of fewer bytes stays in its row.
const SMALL: usize = 4 << 10;

/// Bits of a part's number within its body.
const PART_BITS: u32 = 16;

/// Parts that go at a time.
const SWEPT: i64 = 4;

/// First byte of a row's body that only refers to one; see `encoding` for the others.
const REFERENCE: u8 = 2;
/// This byte, the number and the count of parts.
const REFERENCE_LEN: usize = 1 + 8 + 4;

impl Commit {
    /// Bytes of all that is to be delivered.
    pub fn size(&self) -> usize {
        self.outbox.iter().map(|delivery| delivery.content.size()).sum()
    }

    /// Claims that it should come in parts. Without a pipeline it is not known who may go
    /// before it.
    pub(super) fn is_large(&self) -> bool {
        self.pipeline.is_some() && self.size() >= LARGE
    }
}

/// A body that has been written ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Body {
    number: i64,
    parts: u32,
}

impl Body {
    /// What stands in the row.
    pub(super) fn reference(self) -> Vec<u8> {
        let mut bytes = vec![REFERENCE];
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.parts.to_le_bytes());
        bytes
    }

    /// The body that a row's `body` refers to.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let (&REFERENCE, rest) = body.split_first()? else { return None };
        let (number, parts) = rest.split_first_chunk()?;
        let parts = u32::from_le_bytes(parts.try_into().ok()?);
        Some(Self { number: i64::from_le_bytes(*number), parts })
    }

    fn first(self) -> i64 {
        self.number << PART_BITS
    }
}

/// Bodies of a commit that were written ahead, by their deliveries' places.
pub(super) type Bodies = HashMap<usize, Body>;

/// Parts on their way to the disk, by number.
pub(super) type Parts = Vec<(i64, Vec<u8>)>;

/// A large commit of which not everything is on the disk.
pub(super) struct Large {
    commit: Box<Commit>,
    done: Done,
    bodies: Bodies,
    /// The delivery that is looked at next.
    next: usize,
    /// The body that is being written, and how much of it was.
    current: Option<(Body, Vec<u8>, usize)>,
}

impl Large {
    pub(super) fn new(commit: Box<Commit>, done: Done) -> Self {
        Self { commit, done, bodies: Bodies::new(), next: 0, current: None }
    }

    pub(super) fn pipeline(&self) -> Option<&Arc<str>> {
        self.commit.pipeline.as_ref()
    }

    /// What is to be written next; nothing: only the commit itself is left.
    pub(super) fn parts(&mut self, last: &mut i64) -> Result<Parts, StoreError> {
        let (mut parts, mut left) = (Parts::new(), PART);
        while left > 0 {
            let Some((body, bytes, written)) = &mut self.current else {
                if !self.begin(last)? {
                    break;
                }
                continue;
            };
            let end = bytes.len().min(*written + left);
            parts.push((body.first() + i64::from(body.parts), bytes[*written..end].to_owned()));
            left -= end - *written;
            (*written, body.parts) = (end, body.parts + 1);
            if *written == bytes.len() {
                self.bodies.insert(self.next - 1, *body);
                self.current = None;
            }
        }
        Ok(parts)
    }

    /// Takes up the next delivery's body that is to be written ahead, if there is one.
    fn begin(&mut self, last: &mut i64) -> Result<bool, StoreError> {
        let rest = &self.commit.outbox[self.next..];
        let Some(at) = rest.iter().position(|delivery| delivery.content.size() >= SMALL) else {
            self.next = self.commit.outbox.len();
            return Ok(false);
        };
        let bytes = encoding::encode_delivery(&rest[at])
            .map_err(|source| StoreError::Encode { table: "bodies", source })?;
        *last += 1;
        self.next += at + 1;
        self.current = Some((Body { number: *last, parts: 0 }, bytes, 0));
        Ok(true)
    }

    /// The commit itself, of which everything large is on the disk.
    pub(super) fn rest(self) -> Work {
        Work::Commit(self.commit, self.bodies, self.done)
    }
}

/// Writes parts.
pub(super) fn add(connection: &Connection, parts: &Parts) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO bodies (n, bytes) VALUES (?1, ?2)")?;
    for (number, bytes) in parts {
        insert.execute(params![number, bytes])?;
    }
    Ok(())
}

/// A row's whole body; `None`: parts of it are missing.
pub(super) fn load<'a>(
    connection: &Connection,
    body: &'a [u8],
) -> rusqlite::Result<Option<Cow<'a, [u8]>>> {
    let Some(reference) = Body::of(body) else { return Ok(Some(body.into())) };
    let mut select = connection
        .prepare_cached("SELECT bytes FROM bodies WHERE n BETWEEN ?1 AND ?2 ORDER BY n")?;
    let (first, parts) = (reference.first(), i64::from(reference.parts));
    let mut rows = select.query([first, first + parts - 1])?;
    let (mut whole, mut found) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        whole.extend_from_slice(row.get_ref(0)?.as_bytes().unwrap_or_default());
        found += 1;
    }
    Ok((found == parts).then_some(whole.into()))
}

/// The column of a row that tells which body it refers to, without reading a large one.
pub(super) fn reference_column() -> String {
    format!("CASE WHEN length(body) = {REFERENCE_LEN} THEN body END")
}

/// Bodies to which no row refers any more, to be removed some parts at a time.
#[derive(Default)]
pub(super) struct Waste {
    bodies: Vec<i64>,
}

impl Waste {
    /// What a run that ended early has left, and the last number that is taken.
    pub(super) fn find(connection: &Connection) -> rusqlite::Result<(Self, i64)> {
        let mut select = connection.prepare("SELECT n FROM bodies")?;
        let numbers = select.query_map([], |row| Ok(row.get::<_, i64>(0)? >> PART_BITS))?;
        let mut bodies = numbers.collect::<rusqlite::Result<BTreeSet<i64>>>()?;
        let last = bodies.last().copied().unwrap_or(0);
        if !bodies.is_empty() {
            let sql = format!("SELECT body FROM outbox WHERE length(body) = {REFERENCE_LEN}");
            let mut select = connection.prepare(&sql)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(body) = Body::of(row.get_ref(0)?.as_bytes().unwrap_or_default()) {
                    bodies.remove(&body.number);
                }
            }
        }
        Ok((Self { bodies: bodies.into_iter().collect() }, last))
    }

    pub(super) fn add(&mut self, bodies: Vec<Body>) {
        self.bodies.extend(bodies.into_iter().map(|body| body.number));
    }

    /// The body of which the next parts are to go.
    pub(super) fn first(&self) -> Option<i64> {
        self.bodies.last().copied()
    }

    /// Nothing of that one is left.
    pub(super) fn is_gone(&mut self, body: i64) {
        if let Some(at) = self.bodies.iter().rposition(|one| *one == body) {
            self.bodies.swap_remove(at);
        }
    }
}

/// Removes some parts of a body; `true`: none is left.
pub(super) fn sweep(connection: &Connection, body: i64) -> rusqlite::Result<bool> {
    let gone = connection
        .prepare_cached(
            "DELETE FROM bodies WHERE n IN \
             (SELECT n FROM bodies WHERE n BETWEEN ?1 AND ?2 ORDER BY n LIMIT ?3)",
        )?
        .execute([body << PART_BITS, ((body + 1) << PART_BITS) - 1, SWEPT])?;
    Ok(i64::try_from(gone).unwrap_or(SWEPT) < SWEPT)
}
