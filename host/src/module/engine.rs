//! The engine: one per process, from which all modules come.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::EveryRole;
use super::cache::Cache;
use super::compilers::Compilers;
use super::error::EngineError;
use super::host::{Host, Limits};
use super::runtime::Runtime;
use super::stats::LoadStats;

/// How an engine treats the files that it loads.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Bytes of a module's file.
    pub module_size: usize,
    /// Time to compile one; compiling is not covered by wasmtime's promise of safety
    /// against hostile input, so it must end.
    pub compile_time: Duration,
    /// What a module may use to describe itself when it is loaded.
    pub describe: Limits,
    /// Address space to reserve for each memory. `None`: 4 GiB, or none where the machine
    /// does not give it.
    pub memory_reservation: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            module_size: 32 << 20,
            compile_time: Duration::from_secs(120),
            describe: Limits {
                memory: 256 << 20,
                time: Duration::from_secs(2),
                output: 1 << 20,
                ..Limits::default()
            },
            memory_reservation: None,
        }
    }
}

/// Loads modules. All of them share its compiler, its cache and the thread by which
/// deadlines are kept.
pub struct Engine {
    pub(super) runtime: Arc<Runtime>,
    pub(super) linker: Linker<Host>,
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) options: EngineOptions,
    pub(super) stats: LoadStats,
    pub(super) compilers: Compilers,
}

impl Engine {
    /// The largest module, in bytes, that is loaded.
    pub fn module_size(&self) -> usize {
        self.options.module_size
    }

    /// Starts an engine. Compiled modules are kept in `cache`, which may be deleted at any
    /// time; without one each start compiles anew.
    pub fn new(cache: Option<PathBuf>, options: EngineOptions) -> Result<Self, EngineError> {
        let runtime = Arc::new(Runtime::start(&options)?);
        let mut linker = Linker::new(&runtime.wasmtime);
        EveryRole::add_to_linker::<_, HasSelf<Host>>(&mut linker, |host| host)
            .map_err(|error| EngineError { what: format!("{error:#}") })?;
        let cache = cache.map(|folder| Arc::new(Cache::new(folder, &runtime.wasmtime)));
        let (stats, compilers) = (LoadStats::default(), Compilers::default());
        Ok(Self { runtime, linker, cache, options, stats, compilers })
    }

    /// What loading modules costs.
    pub fn stats(&self) -> &LoadStats {
        &self.stats
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}
