//! How much room the store has, and what becomes of it when there is too little.
//!
//! Two limits: how large the database may become, and how much of the file system stays free
//! for others. Where one is reached, what is kept for convenience goes first: the history of
//! messages, then parked state, the oldest first. Outbox, dead letters and state never go.
//! Only when nothing is left that may go, the store is full: whoever takes messages in leaves
//! them unacknowledged (see `pipeline`), while deliveries go on and make room.
//! Invariant: a full store still writes whatever it is handed; the limits leave room for that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::shared::lock;
use super::writer::Work;
use super::{Store, history};
use crate::telemetry::clock;

const MIB: u64 = 1 << 20;

/// Free space to be left where nobody said how much, unless that is over a tenth of all.
const MIN_FREE: u64 = 256 * MIB;

/// Rows that go at a time.
const PARKED_ROWS: i64 = 1_000;

/// Times that something goes before the writer turns to other work.
const TURNS: usize = 16;

/// Free pages that are given back to the file system at a time where it has few: 2 MiB.
const GIVEN_BACK: i64 = 512;

/// What the store may take.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Largest size of what lies in the database.
    pub max_size: Option<u64>,
    /// Free space of the file system to be left; `None`: 256 MiB, a tenth of all at most.
    pub min_free: Option<u64>,
    /// `None`: no history of messages is kept.
    pub history: Option<history::Limits>,
}

/// The limit that is nearest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    MaxSize,
    MinFree,
}

impl Limit {
    /// The key of the site file.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxSize => "max_size",
            Self::MinFree => "min_free",
        }
    }
}

/// How the store stands to its limits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Level {
    #[default]
    Plenty,
    /// A limit is near, and little is left that may go.
    Low,
    /// At a limit; history and parked state go.
    Shedding,
    /// At a limit, and nothing is left that may go: messages are not acknowledged.
    Full,
}

impl Level {
    /// One word for `/health`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plenty => "ok",
            Self::Low => "low",
            Self::Shedding => "shedding",
            Self::Full => "full",
        }
    }
}

/// What the file system says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileSystem {
    pub free: u64,
    pub total: u64,
}

/// Asks for it; tests have an answer of their own.
pub type Gauge = Arc<dyn Fn() -> Option<FileSystem> + Send + Sync>;

/// The store's room at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Space {
    pub level: Level,
    /// Of the database, without pages that are free in it.
    pub used: u64,
    /// Pages that are free in the database.
    pub reusable: u64,
    /// Free space of the file system; `None`: it does not tell.
    pub free: Option<u64>,
    /// What may still come until a limit is reached; `None` without a limit.
    pub room: Option<u64>,
    /// The limit that `room` goes by, and what it is set to.
    pub limit: Option<(Limit, u64)>,
    /// Bytes of the history, which go before the store is full.
    pub history: u64,
}

/// Room as the writer and the handles share it.
#[derive(Default)]
pub(super) struct Room {
    full: AtomicBool,
    /// `None` until somebody says.
    limits: std::sync::Mutex<Option<Limits>>,
    keeps_history: AtomicBool,
    space: std::sync::Mutex<Space>,
}

impl Room {
    fn limits(&self) -> Option<Limits> {
        *lock(&self.limits)
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.keeps_history.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    fn set(&self, space: Space) {
        let before = std::mem::replace(&mut *lock(&self.space), space);
        self.full.store(space.level == Level::Full, Ordering::Release);
        if before.level != space.level {
            tell(before.level, &space);
        }
    }
}

impl Store {
    /// Sets what the store may take, from now on.
    pub fn set_limits(&self, limits: Limits) {
        let room = &self.inner.shared.room;
        *lock(&room.limits) = Some(limits);
        room.keeps_history.store(limits.history.is_some(), Ordering::Relaxed);
        self.look();
    }

    /// Lets the writer look how much room there is, also while nothing is written.
    pub fn look(&self) {
        // A full queue keeps it busy: it looks after each group.
        let _busy = self.inner.work.try_send(Work::Look);
    }

    /// How much room there was at the last look.
    pub fn space(&self) -> Space {
        *lock(&self.inner.shared.room.space)
    }

    /// Claims that no message should be taken in, because there is no room for what follows.
    pub fn is_full(&self) -> bool {
        self.inner.shared.room.is_full()
    }
}

/// Free and total bytes of the file system that `path` lies on.
#[cfg(unix)]
pub(super) fn file_system(path: &Path) -> Option<FileSystem> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(FileSystem { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
}

#[cfg(not(unix))]
pub(super) fn file_system(_path: &Path) -> Option<FileSystem> {
    None
}

/// One limit: what is left until it is reached, and when that is little.
struct Distance {
    limit: Limit,
    set: u64,
    left: i64,
    /// Below, it is said that the limit is near.
    low: u64,
}

fn distances(limits: &Limits, used: u64, reusable: u64, disk: Option<FileSystem>) -> Vec<Distance> {
    let size = limits.max_size.map(|set| Distance {
        limit: Limit::MaxSize,
        set,
        left: minus(set, used),
        low: set / 10,
    });
    let free = disk.map(|disk| {
        let set = limits.min_free.unwrap_or_else(|| MIN_FREE.min(disk.total / 10));
        Distance {
            limit: Limit::MinFree,
            set,
            left: minus(disk.free.saturating_add(reusable), set),
            low: set / 2,
        }
    });
    size.into_iter().chain(free).collect()
}

fn minus(a: u64, b: u64) -> i64 {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    signed(a) - signed(b)
}

/// What has to be free again before messages are taken in: between two looks, some come.
fn margin(set: u64) -> i64 {
    i64::try_from((set / 50).clamp(MIB / 8, 64 * MIB)).unwrap_or(i64::MAX)
}

/// Measures, and lets go what may go where a limit is reached.
pub(super) fn look(
    connection: &mut Connection,
    room: &Room,
    gauge: &Gauge,
) -> rusqlite::Result<()> {
    let said = room.limits();
    let limits = said.unwrap_or_default();
    let was = lock(&room.space).level;
    if let Some(limits) = said {
        history::prune(connection, limits.history, clock::now())?;
    }
    let mut shed = false;
    for turn in 0.. {
        let (used, reusable) = pages(connection)?;
        let disk = gauge();
        let history = history::bytes(connection)?;
        let distances = distances(&limits, used, reusable, disk);
        let nearest = distances.iter().min_by_key(|distance| distance.left);
        // What goes makes more room than is needed at once, and a full store takes messages
        // again only with some room: otherwise it would come and go with each of them.
        let reached = |with_margin: bool| {
            distances.iter().any(|d| d.left <= if with_margin { margin(d.set) } else { 0 })
        };
        if reached(was == Level::Full || shed) && turn < TURNS && shed_some(connection)? {
            shed = true;
            continue;
        }
        let sheddable = i64::try_from(history).unwrap_or(i64::MAX);
        let is_low = |d: &Distance| {
            let low = if was == Level::Low { d.low + d.low / 10 } else { d.low };
            d.left.saturating_add(sheddable) < minus(low, 0)
        };
        let level = match () {
            () if reached(was == Level::Full) && turn < TURNS => Level::Full,
            () if shed => Level::Shedding,
            () if distances.iter().any(is_low) => Level::Low,
            () => Level::Plenty,
        };
        room.set(Space {
            level,
            used,
            reusable,
            free: disk.map(|disk| disk.free),
            room: nearest.map(|distance| u64::try_from(distance.left).unwrap_or(0)),
            limit: nearest.map(|distance| (distance.limit, distance.set)),
            history,
        });
        let lacks_free = |d: &Distance| {
            d.limit == Limit::MinFree
                && minus(disk.map_or(0, |disk| disk.free), d.set) < margin(d.set)
        };
        if reusable > 0 && distances.iter().any(lacks_free) {
            connection.execute_batch(&format!("PRAGMA incremental_vacuum({GIVEN_BACK})"))?;
        }
        return Ok(());
    }
    Ok(())
}

/// Bytes of pages that hold something, and of those that are free in the database.
fn pages(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let number = |name: &str| -> rusqlite::Result<u64> {
        let value: i64 = connection
            .prepare_cached(&format!("PRAGMA {name}"))?
            .query_row([], |row| row.get(0))?;
        Ok(u64::try_from(value).unwrap_or(0))
    };
    let size = number("page_size")?;
    let (all, free) = (number("page_count")?, number("freelist_count")?);
    Ok((all.saturating_sub(free) * size, free * size))
}

/// Lets some of the oldest go of what may go; `false`: there is nothing.
fn shed_some(connection: &mut Connection) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    let messages = history::shed(&transaction)?;
    let gone = if messages > 0 {
        tracing::warn!(event = "history_shed", messages, "the oldest of the history made room");
        messages
    } else {
        let keys = transaction
            .prepare_cached(
                "DELETE FROM parked WHERE (pipeline, stage, key) IN \
                 (SELECT pipeline, stage, key FROM parked ORDER BY parked_at LIMIT ?1)",
            )?
            .execute([PARKED_ROWS])?;
        if keys > 0 {
            tracing::warn!(event = "parked_state_shed", keys, "the oldest parked state made room");
        }
        keys as u64
    };
    transaction.commit()?;
    Ok(gone > 0)
}

fn tell(before: Level, space: &Space) {
    let (limit, set) = space.limit.map_or(("none", 0), |(limit, set)| (limit.name(), set));
    let (used, free, room) = (space.used, space.free, space.room);
    match space.level {
        Level::Full => tracing::error!(
            event = "store_full",
            limit,
            set,
            used,
            free,
            "no room: messages are not acknowledged, the broker keeps them; deliveries go on"
        ),
        Level::Shedding => tracing::warn!(
            event = "store_shedding",
            limit,
            set,
            used,
            free,
            "a limit is reached: history goes first, then parked state"
        ),
        Level::Low => tracing::warn!(
            event = "store_low",
            limit,
            set,
            used,
            free,
            room,
            "a limit is near: at the limit, messages are not acknowledged any more"
        ),
        Level::Plenty => {}
    }
    if before == Level::Full {
        tracing::info!(event = "store_has_room", used, free, room, at = %clock::now(), "messages are taken in again");
    }
}
