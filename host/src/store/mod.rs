//! What must survive: keys' states and wake-ups, the outbox, dead letters, dedupe marks and
//! accepted configurations, in one SQLite database with one writer.
//!
//! Everything that follows from a batch is one [`Commit`]; [`Store::submit`] hands it to the
//! writer, which calls back once it is durable (WAL, `synchronous=FULL`). Readers have
//! connections of their own and wait for nobody. Neighbours: `pipeline` commits, `delivery`
//! reads the outbox and settles it, `api` and `reload` read and add revisions; below are
//! `telemetry` and `message`. Invariant: a callback runs only after all effects of its
//! commit are on the disk; no callback ever runs after a write has failed for good.

mod apply;
mod audit;
mod commit;
mod copy;
mod dead_letters;
mod encoding;
mod error;
mod history;
mod keys;
mod large;
mod outbox;
mod ownership;
mod revisions;
mod schema;
mod secrets;
mod shared;
mod space;
mod stats;
#[cfg(test)]
mod tests;
mod turns;
mod writer;

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::mpsc;

pub use audit::NumberedAudit;
pub use commit::{
    Audit, Commit, Committed, DeadDelivery, DeadLetter, Done, Fate, KeyId, KeyRow, Mark, ModuleTag,
    NewDelivery, RowId, Said, Settlement, SinkId,
};
pub use copy::{CopyError, Held, check_copy, copy_database, set_apart};
pub use dead_letters::{DeadLetterCount, LetterFilter, NumberedDeadLetter};
pub use error::{OpenError, StoreError};
pub use history::{
    Block, Direction, Entry as HistoryEntry, Filter as HistoryFilter, Limits as HistoryLimits,
    Page as HistoryPage, Record,
};
pub use keys::StoredKey;
pub use large::LARGE;
pub use outbox::{Head, Rows, Unreadable, Waiting};
pub use ownership::{PARKED_MS, ParkedState, StageId, StageState, Succeeded, Succession};
pub use revisions::{Change, Entry, Revision};
pub use secrets::{SecretsError, SecretsFile};
pub use shared::{OutboxFlow, Trouble};
pub use space::{FileSystem, Gauge, Level, Limit, Limits, Space};
pub use stats::StoreStats;
pub use writer::{Fault, Faults, Moment, OnFatal};

use apply::Numbers;
use large::{Bodies, Waste};
use shared::{Shared, lock};
use turns::Turns;
use writer::{Work, Writer};

/// Groups that may be ahead of the disk; the next [`Store::submit`] waits.
const AHEAD: usize = 4;

/// How a store differs from the usual. The default is for production.
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// Lets writes fail on purpose.
    pub faults: Option<Faults>,
    /// Runs on the writer's thread after an I/O error, which has been logged. The default
    /// ends the process at once, so that nothing unwritten is acknowledged.
    pub on_fatal: Option<OnFatal>,
    /// Tells how much room the file system has. The default asks it.
    pub gauge: Option<Gauge>,
}

/// A handle to the store; clones share it. The last one to go closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    work: mpsc::Sender<Work>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in the data directory `dir`, which is made if it is missing.
    ///
    /// A database of an older program is migrated after a backup was written beside it.
    ///
    /// # Errors
    /// A second instance on the same directory, a newer or a damaged database: each says
    /// what to do about it.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_with(dir, options, schema::MIGRATIONS)
    }

    fn open_with(
        dir: &Path,
        options: StoreOptions,
        migrations: &[&str],
    ) -> Result<Self, OpenError> {
        let lock = lock_directory(dir)?;
        let file = schema::database_file(dir);
        let connection = schema::open_writer(&file, migrations)?;
        let counted = Shared::count_all(file.clone(), &connection).and_then(|shared| {
            Ok((shared, Numbers::read(&connection)?, Waste::find(&connection)?))
        });
        let (shared, numbers, waste) =
            counted.map_err(|source| OpenError::database(file, source))?;
        let shared = Arc::new(shared);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let data = dir.to_owned();
        let writer = Writer {
            connection,
            gauge: options.gauge.unwrap_or_else(|| Arc::new(move || space::file_system(&data))),
            turns: Turns::new(receiver, waste),
            shared: shared.clone(),
            numbers,
            looked: None,
            faults: options.faults,
            on_fatal: options.on_fatal.unwrap_or_else(|| Arc::new(end_process)),
            _lock: lock,
        };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        let inner = Inner { shared, work: sender, writer: Mutex::new(Some(thread)) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Hands `commit` to the writer; `done` runs on its thread once everything in it is
    /// durable. Waits while four groups are ahead of the disk, so never call it on the async
    /// runtime: there is [`Store::submit_async`].
    ///
    /// # Errors
    /// [`StoreError::Closed`]; `done` is dropped uncalled.
    pub fn submit(&self, commit: Commit, done: Done) -> Result<(), StoreError> {
        self.inner
            .work
            .blocking_send(Work::Commit(Box::new(commit), Bodies::new(), done))
            .map_err(|_| StoreError::Closed)
    }

    /// Hands `commit` to the writer and waits until it is durable.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if the store ends first.
    pub async fn submit_async(&self, commit: Commit) -> Result<Committed, StoreError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = Box::new(move |committed| {
            let _ = sender.send(committed);
        });
        self.inner
            .work
            .send(Work::Commit(Box::new(commit), Bodies::new(), done))
            .await
            .map_err(|_| StoreError::Closed)?;
        receiver.await.map_err(|_| StoreError::Closed)
    }

    /// Why nothing can be written at the moment; `None`: all is well.
    pub fn trouble(&self) -> Option<Trouble> {
        self.inner.shared.trouble()
    }

    /// What writing costs.
    pub fn stats(&self) -> &StoreStats {
        &self.inner.shared.stats
    }

    /// Bytes of the database and its log on the disk.
    pub fn size(&self) -> u64 {
        self.inner.shared.size()
    }

    /// Claims that the writer is at work. Once it is not, nothing will be committed any more.
    pub fn is_alive(&self) -> bool {
        !self.inner.work.is_closed()
    }

    /// Writes what was submitted and ends the writer. What the disk does not take is left
    /// unwritten, its callbacks uncalled. Waits, so never call it on the async runtime.
    pub fn close(&self) {
        self.inner.shared.close();
        // Refused only if the writer is gone already.
        let _ = self.inner.work.blocking_send(Work::End);
        self.inner.join();
    }

    /// Runs `read` on a connection that cannot write. Waits for the disk.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.inner.shared.read(read)
    }

    /// Runs `write` in the writer's next transaction and waits for it. It may run several
    /// times, and must not fail but because of the disk.
    fn call<T: Send + 'static>(
        &self,
        mut write: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let value = Arc::new(Mutex::new(None));
        let slot = value.clone();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let call = Box::new(move |connection: &Connection| {
            let value = write(connection)?;
            *lock(&slot) = Some(value);
            Ok(())
        });
        let done = Box::new(move |_| {
            let _ = sender.send(());
        });
        self.inner.work.blocking_send(Work::Call(call, done)).map_err(|_| StoreError::Closed)?;
        receiver.recv().map_err(|_| StoreError::Closed)?;
        lock(&value).take().ok_or(StoreError::Closed)
    }
}

impl Inner {
    fn join(&self) {
        let Some(thread) = lock(&self.writer).take() else { return };
        // The last handle may go inside a callback, on the writer's own thread.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("store_writer_panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
        // A closed channel ends the writer once it has written what is in it.
        let (gone, _) = mpsc::channel(1);
        self.work = gone;
        self.join();
    }
}

/// Takes the data directory for this process alone, for as long as the file is open.
fn lock_directory(dir: &Path) -> Result<std::fs::File, OpenError> {
    let wrong = |source| OpenError::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(wrong)?;
    let path: PathBuf = dir.join("tapline.lock");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: the holder may be just about to write its number.
            let _ = file.take(32).read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown" } else { holder }.to_owned();
            return Err(OpenError::InUse { dir: dir.to_owned(), holder });
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(wrong(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(wrong)?;
    writeln!(file, "{}", std::process::id()).map_err(wrong)?;
    Ok(file)
}

/// Ends the process: the exit code is that of `sysexits.h` for an I/O error.
fn end_process(error: &StoreError) {
    let detail =
        std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    tracing::error!(
        detail,
        "store_failed: what is not on the disk is not acknowledged; ending, so that a new \
         start reads what is really there"
    );
    std::process::exit(74);
}
