//! wasmtime's engine and the thread that makes its epochs pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Config, OptLevel};

use super::engine::EngineOptions;
use super::error::EngineError;

/// How often a running call looks at the clock.
const TICK: Duration = Duration::from_millis(10);

/// Ticks without a call after which the thread sleeps until the next.
const IDLE_TICKS: u32 = 100;

/// The smallest module with a memory: `(module (memory 1))`.
const PROBE: &[u8] = b"\0asm\x01\0\0\0\x05\x03\x01\0\x01";

/// Shared by all modules of one engine; the last of them ends the thread.
pub(super) struct Runtime {
    pub(super) wasmtime: wasmtime::Engine,
    activity: Arc<Activity>,
    ticker: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Activity {
    calls: AtomicUsize,
    asleep: AtomicBool,
    stopped: AtomicBool,
}

/// Keeps the epochs passing while it lives.
pub(super) struct Running<'a>(&'a Activity);

impl Runtime {
    pub(super) fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        let wasmtime =
            engine(options).map_err(|error| EngineError { what: format!("{error:#}") })?;
        let activity = Arc::new(Activity::default());
        let ticker = thread::Builder::new()
            .name("module-epochs".into())
            .spawn({
                let (wasmtime, activity) = (wasmtime.clone(), Arc::clone(&activity));
                move || activity.tick(&wasmtime)
            })
            .map_err(|error| EngineError { what: error.to_string() })?;
        Ok(Self { wasmtime, activity, ticker: Some(ticker) })
    }

    /// To be held while a call runs.
    pub(super) fn running(&self) -> Running<'_> {
        self.activity.calls.fetch_add(1, SeqCst);
        if self.activity.asleep.swap(false, SeqCst) {
            self.wake();
        }
        Running(&self.activity)
    }

    fn wake(&self) {
        if let Some(ticker) = &self.ticker {
            ticker.thread().unpark();
        }
    }
}

impl Activity {
    fn tick(&self, wasmtime: &wasmtime::Engine) {
        let mut idle = 0;
        while !self.stopped.load(SeqCst) {
            idle = if self.calls.load(SeqCst) == 0 { idle + 1 } else { 0 };
            if idle < IDLE_TICKS {
                thread::park_timeout(TICK);
                wasmtime.increment_epoch();
                continue;
            }
            // A call that began before the flag was up is seen here; one that begins
            // later sees the flag and wakes us.
            self.asleep.store(true, SeqCst);
            if self.calls.load(SeqCst) == 0 && !self.stopped.load(SeqCst) {
                thread::park();
            }
            self.asleep.store(false, SeqCst);
            idle = 0;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.activity.stopped.store(true, SeqCst);
        self.wake();
        if let Some(ticker) = self.ticker.take() {
            // It can only fail by a panic, which was reported when it happened.
            let _ = ticker.join();
        }
    }
}

/// Memories reserve address space so that bounds need no checks; a machine or a limit
/// that does not give it gets memories that grow, at some cost in speed.
fn engine(options: &EngineOptions) -> wasmtime::Result<wasmtime::Engine> {
    if let Some(reservation) = options.memory_reservation {
        return wasmtime::Engine::new(&config(Some(reservation)));
    }
    let engine = wasmtime::Engine::new(&config(None))?;
    match probe(&engine) {
        Ok(()) => Ok(engine),
        Err(error) => {
            tracing::info!(error = %format!("{error:#}"), "module_memory_not_reserved");
            wasmtime::Engine::new(&config(Some(0)))
        }
    }
}

fn probe(engine: &wasmtime::Engine) -> wasmtime::Result<()> {
    let module = wasmtime::Module::new(engine, PROBE)?;
    let mut store = wasmtime::Store::new(engine, ());
    store.set_epoch_deadline(1);
    wasmtime::Instance::new(&mut store, &module, &[]).map(drop)
}

fn config(memory_reservation: Option<u64>) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // The bits of a NaN differ between processors.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .epoch_interruption(true)
        .wasm_memory64(false)
        // Nothing here awaits; without it a call costs a ninth.
        .concurrency_support(false);
    if let Some(bytes) = memory_reservation {
        config
            .memory_reservation(bytes)
            .memory_reservation_for_growth(1024 * 1024)
            .memory_guard_size(64 * 1024);
    }
    config
}
