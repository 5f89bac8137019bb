//! A module that was loaded: what it is, and how instances are made of it.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::component::InstancePre;

use super::cache::Cache;
use super::description::{Description, OwnQuantity, SettingsError};
use super::error::CallError;
use super::host::{Host, Limits, LogContext};
use super::instance::Instance;
use super::load::Functions;
use super::runtime::Runtime;
use super::samples::Carried;

/// The four things that a module can be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Validator,
    Parser,
    Detector,
    Sink,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::Validator, Self::Parser, Self::Detector, Self::Sink];

    /// As in `wit/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Parser => "parser",
            Self::Detector => "detector",
            Self::Sink => "sink",
        }
    }

    /// The table of a pipeline file in which such a module is a stage.
    pub fn table(self) -> &'static str {
        match self {
            Self::Validator => "validate",
            Self::Parser => "parse",
            Self::Detector => "detect",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// SHA-256 of a module's file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of the bytes of a file.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first digits, enough for a person to tell one from another.
    pub fn short(&self) -> String {
        self.0.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A module that was loaded and checked.
pub struct Module {
    pub(super) runtime: Arc<Runtime>,
    pub(super) pre: InstancePre<Host>,
    pub(super) functions: Functions,
    pub(super) hash: Hash,
    /// Of its file.
    pub(super) size: usize,
    pub(super) description: Description,
    /// Bytes of memory that an instance begins with.
    pub(super) begins_with: u64,
    pub(super) carried: Carried,
    pub(super) cache: Option<Arc<Cache>>,
}

/// How many times what it begins with an instance may have, where that is more than usual.
const ROOM: u64 = 3;

impl Module {
    /// Its own name, not its file's.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    pub fn version(&self) -> &str {
        &self.description.version
    }

    /// One sentence for a person.
    pub fn summary(&self) -> &str {
        &self.description.summary
    }

    pub fn role(&self) -> Role {
        self.functions.role.role()
    }

    /// Of the bytes that it was loaded from.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Bytes of the file that it was loaded from.
    pub fn size(&self) -> usize {
        self.size
    }

    /// JSON Schema (2020-12) of its settings.
    pub fn settings_schema(&self) -> &Value {
        &self.description.settings_schema
    }

    /// What it measures that `wit/quantities.toml` lacks.
    pub fn quantities(&self) -> &[OwnQuantity] {
        &self.description.quantities
    }

    /// Version of the state that it writes; 0 where it keeps none.
    pub fn state_version(&self) -> u32 {
        self.description.state_version
    }

    /// Everything that its schema has against these settings.
    pub fn check_settings(&self, settings: &Value) -> Vec<SettingsError> {
        self.description.check_settings(settings)
    }

    /// What an instance may use where nobody says otherwise. Modules of some languages begin with
    /// the memory of a whole interpreter, and need room beside it.
    pub fn usual_limits(&self) -> Limits {
        let usual = Limits::default();
        Limits { memory: usual.memory.max(self.begins_with.saturating_mul(ROOM)), ..usual }
    }

    /// Makes an instance, which has no settings yet.
    pub fn instantiate(
        self: &Arc<Self>,
        limits: Limits,
        log: LogContext,
    ) -> Result<Instance, CallError> {
        Instance::new(self, limits, log)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ({})", self.role(), self.name(), self.version(), self.hash)
    }
}
