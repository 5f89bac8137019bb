//! The one thread that writes: it drains what waits into one transaction, and calls back
//! once that is on the disk.
//!
//! Invariant: a group is written as it was handed in (see `turns`), completely and in order, or
//! the process ends. While the disk is full or the database busy the same group is tried again;
//! what follows waits behind it. After an I/O error nothing is tried again (see `cure`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::apply::{self, Numbers, Tally};
use super::commit::{Commit, Committed, Done};
use super::error::{Cure, StoreError, cure};
use super::large::{self, Bodies, Parts};
use super::shared::Shared;
use super::space::{self, Gauge};
use super::turns::Turns;
use crate::telemetry::failpoint::{self, Failure};

/// A checkpoint is due when this many pages of the log are not yet in the database: 4 MiB.
const CHECKPOINT_PAGES: i64 = 1_000;

/// Beyond this many pages a checkpoint waits for readers, so that the log starts anew: 64 MiB.
const LONGEST_LOG: i64 = 16_000;

/// Free pages beyond which they are given back to the file system, some at a time.
const FREE_PAGES: i64 = 4_096;

/// Between two looks at the room there is, while groups come.
const LOOKS: Duration = Duration::from_millis(20);

/// Between two attempts at the same group.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A piece of work for the writer.
pub(super) enum Work {
    /// With bodies of it that were written ahead.
    Commit(Box<Commit>, Bodies, Done),
    /// A statement of the store's own; may run again if the transaction is tried again.
    Call(Call, Done),
    /// Parts of a large commit that comes behind them.
    Parts(Parts),
    /// Some parts of this body go: nothing refers to it.
    Sweep(i64),
    /// A look at the room there is.
    Look,
    /// The last piece of work.
    End,
}

pub(super) type Call = Box<dyn FnMut(&Connection) -> rusqlite::Result<()> + Send>;

/// A moment in the writer's work at which tests let something go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// The transaction has begun.
    Begun,
    /// Everything is written, nothing is durable.
    Written,
    /// It is durable, and nobody knows.
    Durable,
    /// Before a checkpoint.
    Checkpoint,
    /// Behind it.
    Checkpointed,
}

impl Moment {
    /// The failpoint of the same moment.
    fn place(self) -> &'static str {
        match self {
            Self::Begun => "transaction-begun",
            Self::Written => "transaction-written",
            Self::Durable => "transaction-durable",
            Self::Checkpoint => "before-checkpoint",
            Self::Checkpointed => "after-checkpoint",
        }
    }
}

/// What a test lets go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    DiskFull,
    Busy,
    FsyncFailed,
}

/// Asked at each [`Moment`].
pub type Faults = Arc<dyn Fn(Moment) -> Option<Fault> + Send + Sync>;

/// Runs when nothing can be written any more; expected not to return.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) turns: Turns,
    pub(super) shared: Arc<Shared>,
    pub(super) numbers: Numbers,
    pub(super) faults: Option<Faults>,
    pub(super) on_fatal: OnFatal,
    pub(super) gauge: Gauge,
    /// When room was last looked at.
    pub(super) looked: Option<Instant>,
    /// Held for as long as anything may be written.
    pub(super) _lock: std::fs::File,
}

impl Writer {
    /// Writes until every [`super::Store`] is gone, or until nothing can be written any more.
    pub(super) fn run(mut self) {
        let mut last = false;
        while !last {
            let mut group = match self.turns.next() {
                Ok(Some(group)) => group,
                Ok(None) => break,
                Err(error) => return (self.on_fatal)(&error),
            };
            let is_look = |work: &Work| matches!(work, Work::Look);
            let asked = group.iter().any(is_look);
            group.retain(|work| !is_look(work));
            last = group.iter().any(|work| matches!(work, Work::End));
            let result = match group.is_empty() {
                true => Ok(()),
                false => self
                    .write(&mut group)
                    .and_then(|durable| if durable { self.maintain() } else { Ok(()) }),
            };
            let result = result.and_then(|()| if asked { self.look() } else { self.glance() });
            if let Err(error) = result {
                // Whoever still waits is never called: nothing after this is acknowledged.
                (self.on_fatal)(&error);
                return;
            }
            if !group.is_empty() {
                return;
            }
        }
        // Leaves a small log behind; the next start does not depend on it.
        if let Err(error) = self.checkpoint("TRUNCATE") {
            tracing::debug!(error = %error, "store_last_checkpoint_failed");
        }
    }

    /// Writes `group` and calls back, however often it takes. `false`: the store was closed
    /// while the disk would not take it; the group stays.
    fn write(&mut self, group: &mut Vec<Work>) -> Result<bool, StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            match self.attempt(group) {
                Ok((tally, results)) => {
                    self.fail_at(Moment::Durable)?;
                    self.count(group, begun.elapsed());
                    self.shared.heal();
                    self.shared.count(&tally);
                    for (work, committed) in group.drain(..).zip(results) {
                        match work {
                            Work::Commit(_, _, done) | Work::Call(_, done) => done(committed),
                            Work::Parts(_) | Work::Sweep(_) | Work::Look | Work::End => {}
                        }
                    }
                    self.shared.announce(&tally);
                    self.turns.add_waste(tally.waste);
                    tally.swept.into_iter().for_each(|body| self.turns.is_swept(body));
                    return Ok(true);
                }
                Err(error) => {
                    self.numbers.undo();
                    self.shared.stats.failures.inc();
                    let Cure::Wait(what) = cure(&error) else { return Err(error) };
                    self.shared.ail(what, &error);
                    if self.shared.wait_or_close(pause) {
                        return Ok(false);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One transaction; undone when dropped before its end.
    fn attempt(&mut self, group: &mut [Work]) -> Result<(Tally, Vec<Committed>), StoreError> {
        let faults = self.faults.clone();
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        fail(faults.as_ref(), Moment::Begun)?;
        let mut tally = Tally::default();
        let keeps_history = self.shared.room.keeps_history();
        let mut results = Vec::with_capacity(group.len());
        for work in group {
            results.push(match work {
                Work::Commit(commit, bodies, _) => apply::apply(
                    &transaction,
                    &mut self.numbers,
                    &mut tally,
                    (commit, bodies),
                    keeps_history,
                )?,
                Work::Parts(parts) => {
                    large::add(&transaction, parts)?;
                    Committed::default()
                }
                Work::Sweep(body) => {
                    if large::sweep(&transaction, *body)? {
                        tally.swept.push(*body);
                    }
                    Committed::default()
                }
                Work::Call(call, _) => {
                    call(&transaction)?;
                    // It may have given names to other numbers.
                    self.numbers.undo();
                    Committed::default()
                }
                Work::Look | Work::End => Committed::default(),
            });
        }
        fail(faults.as_ref(), Moment::Written)?;
        let begun = Instant::now();
        transaction.commit()?;
        self.shared.stats.sync.took(begun.elapsed());
        Ok((tally, results))
    }

    /// Takes a durable group into the numbers.
    fn count(&self, group: &[Work], took: Duration) {
        let commits = group.iter().filter(|work| matches!(work, Work::Commit(..))).count();
        if commits > 0 {
            let stats = &self.shared.stats;
            stats.commits.add(commits as u64);
            stats.group.size(commits);
            stats.write.took(took);
        }
    }

    /// Moves the log into the database when it has grown, and gives free pages back.
    fn maintain(&mut self) -> Result<(), StoreError> {
        let (log, pending) = self.log_pages()?;
        if pending < CHECKPOINT_PAGES {
            return Ok(());
        }
        self.fail_at(Moment::Checkpoint)?;
        match self.checkpoint(if log > LONGEST_LOG { "RESTART" } else { "PASSIVE" }) {
            // A reader is in the way or the disk is full: the log grows until next time.
            Err(error) if matches!(cure(&error), Cure::Wait(_)) => {
                tracing::debug!(error = %error, pages = log, "store_checkpoint_postponed");
                return Ok(());
            }
            result => result?,
        }
        self.fail_at(Moment::Checkpointed)?;
        let free: i64 =
            self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free > FREE_PAGES {
            self.connection.execute_batch("PRAGMA incremental_vacuum(256)")?;
        }
        Ok(())
    }

    /// Looks unless that was done just now: between groups there may be less than a
    /// millisecond.
    fn glance(&mut self) -> Result<(), StoreError> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOKS) { Ok(()) } else { self.look() }
    }

    /// Looks how much room there is, and lets go what may go.
    fn look(&mut self) -> Result<(), StoreError> {
        self.looked = Some(Instant::now());
        match space::look(&mut self.connection, &self.shared.room, &self.gauge) {
            Ok(()) => Ok(()),
            Err(error) => match StoreError::from(error) {
                // Whatever is in the way is in the way of the next group, too, which says so.
                error if matches!(cure(&error), Cure::Wait(_)) => {
                    tracing::debug!(error = %error, "store_look_postponed");
                    Ok(())
                }
                error => Err(error),
            },
        }
    }

    /// Pages in the log, and how many of them are not yet in the database.
    fn log_pages(&self) -> Result<(i64, i64), StoreError> {
        let (log, moved): (i64, i64) = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")?
            .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok((log, log - moved))
    }

    fn checkpoint(&self, mode: &str) -> Result<(), StoreError> {
        self.connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
            .map_err(StoreError::from)
    }

    fn fail_at(&self, moment: Moment) -> Result<(), StoreError> {
        fail(self.faults.as_ref(), moment)
    }
}

fn fail(faults: Option<&Faults>, moment: Moment) -> Result<(), StoreError> {
    use rusqlite::ffi;
    let armed = || match failpoint::failure(moment.place())? {
        Failure::DiskFull => Some(Fault::DiskFull),
        Failure::FsyncFailed => Some(Fault::FsyncFailed),
    };
    let code = match faults.and_then(|faults| faults(moment)).or_else(armed) {
        None => return Ok(()),
        Some(Fault::DiskFull) => ffi::SQLITE_FULL,
        Some(Fault::Busy) => ffi::SQLITE_BUSY,
        Some(Fault::FsyncFailed) => ffi::SQLITE_IOERR_FSYNC,
    };
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into())
}
