//! What the host keeps for one instance: limits, the deadline, the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use super::deadline::Deadline;
use super::log::{Allowance, Log};

/// Elements that one table may have; a table holds the functions of a module.
const TABLE_ELEMENTS: usize = 100_000;

/// How long a call may take by the clock, where its limit is not longer.
const WALL: Duration = Duration::from_secs(10);

/// What one instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, all of its memories together.
    pub memory: u64,
    /// Processor time of one call; by the clock a call may take 10 s, or this if longer.
    pub time: Duration,
    /// Bytes that one call gives back.
    pub output: u64,
    /// Bytes of state of one key.
    pub state: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 16 << 20, time: Duration::from_millis(50), output: 4 << 20, state: 4 << 10 }
    }
}

/// Whose lines these are in the log. Clones share what they may write, so that a stage
/// whose instances die one after the other writes no more than one that lives.
#[derive(Clone, Debug)]
pub struct LogContext {
    pub(super) pipeline: Arc<str>,
    pub(super) stage: Arc<str>,
    pub(super) allowance: Arc<Mutex<Allowance>>,
}

impl LogContext {
    /// Of one stage.
    pub fn new(pipeline: &Arc<str>, stage: &Arc<str>) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            stage: Arc::clone(stage),
            allowance: Arc::new(Mutex::new(Allowance::new())),
        }
    }
}

/// The data of one wasmtime store.
pub(super) struct Host {
    pub(super) log: Log,
    pub(super) memory: Memory,
    pub(super) deadline: Deadline,
}

/// Counts an instance's memory.
pub(super) struct Memory {
    limit: u64,
    used: u64,
    /// What was asked for last when it was too much.
    pub(super) refused: Option<u64>,
}

impl Host {
    pub(super) fn new(limits: &Limits, log: Log) -> Self {
        Self {
            log,
            memory: Memory { limit: limits.memory, used: 0, refused: None },
            deadline: Deadline::new(limits.time, limits.time.max(WALL)),
        }
    }

    /// Forgets what an earlier call left and starts the clock.
    pub(super) fn begin_call(&mut self) {
        self.log.begin_call();
        self.memory.refused = None;
        self.deadline.arm();
    }

    /// Called at each tick while a call runs.
    pub(super) fn on_tick(store: StoreContextMut<'_, Self>) -> wasmtime::Result<UpdateDeadline> {
        store.data().deadline.check()?;
        Ok(UpdateDeadline::Continue(1))
    }
}

impl Memory {
    pub(super) fn used(&self) -> u64 {
        self.used
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_sub(current as u64).saturating_add(desired as u64);
        if wanted > self.limit {
            self.refused = Some(wanted);
            return Ok(false);
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    // A component made by a language's tool chain holds a few core modules, no more.
    fn instances(&self) -> usize {
        100
    }

    fn tables(&self) -> usize {
        100
    }

    fn memories(&self) -> usize {
        16
    }
}
