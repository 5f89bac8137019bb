//! What the writer and the handles of a store share: counts, trouble, readers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::apply::Tally;
use super::commit::{RowId, SinkId};
use super::error::StoreError;
use super::schema;
use super::space::Room;
use super::stats::StoreStats;

/// Readers that are kept open between reads.
const KEPT_READERS: usize = 4;

/// Why nothing is written at the moment, and is tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// `disk full`, `database busy`, …
    pub what: &'static str,
    /// SQLite's own words.
    pub detail: String,
    /// Attempts at the group that waits.
    pub attempts: u32,
}

pub(super) struct Shared {
    file: PathBuf,
    readers: Mutex<Vec<Connection>>,
    trouble: Mutex<Option<Trouble>>,
    sinks: Mutex<HashMap<SinkId, SinkCount>>,
    dead: Mutex<u64>,
    closing: Mutex<bool>,
    closed: Condvar,
    pub(super) stats: StoreStats,
    pub(super) room: Room,
}

/// What went through one sink's outbox since the store was opened.
/// Queued = delivered + dead + waiting, at any moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OutboxFlow {
    /// Rows added, those that were found when the store was opened included.
    pub queued: u64,
    pub delivered: u64,
    /// Moved to the dead letters.
    pub dead: u64,
    /// Rows that are there.
    pub waiting: u64,
}

struct SinkCount {
    flow: OutboxFlow,
    newest: watch::Sender<RowId>,
}

impl Default for SinkCount {
    fn default() -> Self {
        Self { flow: OutboxFlow::default(), newest: watch::Sender::new(RowId::START) }
    }
}

impl Shared {
    /// Counts what `connection`'s database holds.
    pub(super) fn count_all(file: PathBuf, connection: &Connection) -> rusqlite::Result<Self> {
        let mut sinks = HashMap::new();
        let mut counts = connection.prepare(
            "SELECT pipeline, stage, n FROM stages JOIN \
             (SELECT sink, COUNT(*) AS n FROM outbox GROUP BY sink) ON sink = id",
        )?;
        let mut rows = counts.query([])?;
        while let Some(row) = rows.next()? {
            let sink = SinkId::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            let waiting = row.get::<_, i64>(2)?;
            let waiting = u64::try_from(waiting).unwrap_or(0);
            let flow = OutboxFlow { queued: waiting, waiting, ..OutboxFlow::default() };
            sinks.insert(sink, SinkCount { flow, ..SinkCount::default() });
        }
        let dead: i64 =
            connection.query_row("SELECT COUNT(*) FROM dead_letters", [], |row| row.get(0))?;
        Ok(Self {
            file,
            readers: Mutex::default(),
            trouble: Mutex::default(),
            sinks: Mutex::new(sinks),
            dead: Mutex::new(u64::try_from(dead).unwrap_or(0)),
            closing: Mutex::default(),
            closed: Condvar::new(),
            stats: StoreStats::default(),
            room: Room::default(),
        })
    }

    /// Runs `read` on a connection that cannot write.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let kept = lock(&self.readers).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => schema::open_reader(&self.file)?,
        };
        let result = read(&connection);
        let mut readers = lock(&self.readers);
        if readers.len() < KEPT_READERS {
            readers.push(connection);
        }
        result
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        lock(&self.trouble).clone()
    }

    /// Notes that a group could not be written and will be tried again.
    pub(super) fn ail(&self, what: &'static str, error: &StoreError) {
        let detail =
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let mut trouble = lock(&self.trouble);
        let attempts = trouble.as_ref().map_or(0, |trouble| trouble.attempts) + 1;
        if attempts == 1 {
            tracing::error!(what, detail, "store_cannot_write");
        }
        *trouble = Some(Trouble { what, detail, attempts });
    }

    /// Notes that a group was written.
    pub(super) fn heal(&self) {
        if let Some(trouble) = lock(&self.trouble).take() {
            tracing::info!(what = trouble.what, attempts = trouble.attempts, "store_writes_again");
        }
    }

    /// Takes a durable transaction's changes into the counts.
    pub(super) fn count(&self, tally: &Tally) {
        let mut sinks = lock(&self.sinks);
        for (sink, change) in &tally.sinks {
            let flow = &mut sinks.entry(sink.clone()).or_default().flow;
            flow.waiting = flow.waiting.saturating_add_signed(change.waiting);
            flow.queued += change.queued;
            flow.delivered += change.delivered;
            flow.dead += change.dead;
        }
        let mut dead = lock(&self.dead);
        *dead = dead.saturating_add_signed(tally.dead);
    }

    /// Counts what waited for one sink to another, and wakes that one.
    pub(super) fn move_waiting(&self, from: &SinkId, to: &SinkId, waiting: u64) {
        let mut sinks = lock(&self.sinks);
        if let Some(SinkCount { flow, .. }) = sinks.get_mut(from) {
            flow.queued = flow.queued.saturating_sub(waiting);
            flow.waiting = flow.waiting.saturating_sub(waiting);
        }
        let count = sinks.entry(to.clone()).or_default();
        count.flow.queued += waiting;
        count.flow.waiting += waiting;
        count.newest.send_modify(|_| {});
    }

    /// Wakes the sinks that have something new.
    pub(super) fn announce(&self, tally: &Tally) {
        let sinks = lock(&self.sinks);
        for (sink, change) in &tally.sinks {
            if let (Some(row), Some(count)) = (change.newest, sinks.get(sink)) {
                count.newest.send_replace(row);
            }
        }
    }

    pub(super) fn watch(&self, sink: &SinkId) -> watch::Receiver<RowId> {
        lock(&self.sinks).entry(sink.clone()).or_default().newest.subscribe()
    }

    pub(super) fn flow(&self, sink: &SinkId) -> OutboxFlow {
        lock(&self.sinks).get(sink).map_or_else(OutboxFlow::default, |count| count.flow)
    }

    /// A file that is not there has no size.
    pub(super) fn size(&self) -> u64 {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        let size = |file: &std::path::Path| std::fs::metadata(file).map_or(0, |m| m.len());
        size(&self.file) + size(log.as_ref())
    }

    pub(super) fn waiting_sinks(&self) -> Vec<(SinkId, u64)> {
        let sinks = lock(&self.sinks);
        let mut waiting: Vec<_> = sinks
            .iter()
            .filter(|(_, count)| count.flow.waiting > 0)
            .map(|(sink, count)| (sink.clone(), count.flow.waiting))
            .collect();
        waiting.sort();
        waiting
    }

    pub(super) fn dead(&self) -> u64 {
        *lock(&self.dead)
    }

    /// Tells the writer not to wait for a disk that takes nothing.
    pub(super) fn close(&self) {
        *lock(&self.closing) = true;
        self.closed.notify_all();
    }

    /// Waits for `pause`; `true`: the store was closed meanwhile.
    pub(super) fn wait_or_close(&self, pause: Duration) -> bool {
        let closing = lock(&self.closing);
        let waited = self.closed.wait_timeout_while(closing, pause, |closing| !*closing);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A panic elsewhere leaves these values whole: each is replaced in one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
