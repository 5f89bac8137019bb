//! From a file's bytes to a module that is known to be sound.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread;

use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};
use wit_component::ComponentEncoder;

use super::bindings::exports::tapline::module::{detector, module, parser, sink, validator};
use super::description::{Description, OwnQuantity, SettingsError};
use super::engine::Engine;
use super::error::{CallError, LoadError};
use super::host::{Host, Limits, LogContext};
use super::instance::Instance;
use super::runtime::Runtime;

/// The one function that a module may import.
const ALLOWED: &str = "tapline:host/log";

/// Where a module's functions are found, without the version.
const CONTRACT: &str = "tapline:module/";
const VERSION: &str = "0.1.0";

/// The four things that a module can be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Validator,
    Parser,
    Detector,
    Sink,
}

impl Role {
    const ALL: [Self; 4] = [Self::Validator, Self::Parser, Self::Detector, Self::Sink];

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
    hash: Hash,
    pub(super) description: Description,
}

/// Where the functions of a role are in the component.
pub(super) struct Functions {
    pub(super) module: module::GuestIndices,
    pub(super) role: RoleFunctions,
}

pub(super) enum RoleFunctions {
    Validator(validator::GuestIndices),
    Parser(parser::GuestIndices),
    Detector(detector::GuestIndices),
    Sink(sink::GuestIndices),
}

impl RoleFunctions {
    pub(super) fn role(&self) -> Role {
        match self {
            Self::Validator(_) => Role::Validator,
            Self::Parser(_) => Role::Parser,
            Self::Detector(_) => Role::Detector,
            Self::Sink(_) => Role::Sink,
        }
    }
}

impl Engine {
    /// Makes a module of a component, or of a core module with WIT metadata. Compiles
    /// unless the cache has it, which takes from milliseconds to seconds: not for a thread
    /// that others wait for.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        let limit = self.options.module_size;
        if bytes.len() > limit {
            return Err(LoadError::TooLarge { size: bytes.len(), limit });
        }
        let hash = Hash::of(bytes);
        let kept = self.cache.as_ref().and_then(|cache| cache.get(&self.runtime.wasmtime, &hash));
        let component = match kept {
            Some(component) => component,
            None => {
                let component = self.compile(wrapped(bytes)?)?;
                if let Some(cache) = &self.cache {
                    cache.put(&hash, &component);
                }
                component
            }
        };
        self.check_imports(&component)?;
        let role = self.role(&component)?;
        let pre = self.linker.instantiate_pre(&component).map_err(shape)?;
        let functions = Functions {
            module: module::GuestIndices::new(&pre).map_err(shape)?,
            role: match role {
                Role::Validator => validator::GuestIndices::new(&pre).map(RoleFunctions::Validator),
                Role::Parser => parser::GuestIndices::new(&pre).map(RoleFunctions::Parser),
                Role::Detector => detector::GuestIndices::new(&pre).map(RoleFunctions::Detector),
                Role::Sink => sink::GuestIndices::new(&pre).map(RoleFunctions::Sink),
            }
            .map_err(shape)?,
        };
        let given = Instance::describe(&self.runtime, &pre, &functions, &self.options.describe)?;
        let description = Description::check(given)?;
        Ok(Arc::new(Module {
            runtime: Arc::clone(&self.runtime),
            pre,
            functions,
            hash,
            description,
        }))
    }

    /// Compiles on a thread of its own, because compiling cannot be interrupted: what is
    /// late goes on unseen to its end, and is thrown away.
    fn compile(&self, bytes: Vec<u8>) -> Result<Component, LoadError> {
        let (send, receive) = mpsc::sync_channel(1);
        let engine = self.runtime.wasmtime.clone();
        thread::Builder::new()
            .name("module-compile".into())
            .spawn(move || {
                // Nobody listens any more if it took too long.
                let _ = send.send(Component::from_binary(&engine, &bytes));
            })
            .map_err(LoadError::NoThread)?;
        let limit = self.options.compile_time;
        receive
            .recv_timeout(limit)
            .map_err(|_| LoadError::CompileTimeout { limit })?
            .map_err(|error| LoadError::NotCompiled { what: format!("{error:#}") })
    }

    fn check_imports(&self, component: &Component) -> Result<(), LoadError> {
        let engine = &self.runtime.wasmtime;
        let mut names = Vec::new();
        for (name, import) in component.component_type().imports(engine) {
            let ComponentItem::ComponentInstance(instance) = import.ty else {
                names.push(name.to_owned());
                continue;
            };
            let (interface, version) = name.split_once('@').unwrap_or((name, ""));
            let ours = interface == ALLOWED || interface.starts_with(CONTRACT);
            if ours && version != VERSION {
                return Err(LoadError::OtherVersion {
                    found: name.to_owned(),
                    spoken: format!("{interface}@{VERSION}"),
                });
            }
            let functions = instance
                .exports(engine)
                .filter(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)) || !ours);
            names.extend(
                functions
                    .filter(|(function, _)| !(interface == ALLOWED && *function == "write"))
                    .map(|(function, _)| format!("{name}#{function}")),
            );
        }
        if names.is_empty() {
            return Ok(());
        }
        Err(LoadError::ForbiddenImports { names, allowed: ALLOWED })
    }

    fn role(&self, component: &Component) -> Result<Role, LoadError> {
        let exports: Vec<String> = component
            .component_type()
            .exports(&self.runtime.wasmtime)
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut roles = Vec::new();
        for export in &exports {
            let Some((interface, version)) =
                export.strip_prefix(CONTRACT).and_then(|rest| rest.split_once('@'))
            else {
                continue;
            };
            if version != VERSION {
                return Err(LoadError::OtherVersion {
                    found: export.clone(),
                    spoken: format!("{CONTRACT}{interface}@{VERSION}"),
                });
            }
            roles.extend(Role::ALL.into_iter().filter(|role| role.name() == interface));
        }
        match roles[..] {
            [role] => Ok(role),
            [] => Err(LoadError::NoRole { exports }),
            [first, second, ..] => Err(LoadError::TwoRoles { roles: [first, second] }),
        }
    }
}

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

/// A component as it is; a core module made into one.
fn wrapped(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    // Magic, then version (1, or 13 for components) and layer (0, or 1 for components).
    match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(bytes.to_vec()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => ComponentEncoder::default()
            .validate(true)
            .module(bytes)
            .and_then(|mut encoder| encoder.encode())
            .map_err(|error| LoadError::NotWrapped { what: format!("{error:#}") }),
        [] => Err(LoadError::NotWebAssembly { what: "the file is empty".into() }),
        _ => Err(LoadError::NotWebAssembly { what: "it does not begin as one".into() }),
    }
}

fn shape(error: wasmtime::Error) -> LoadError {
    LoadError::WrongShape { what: format!("{error:#}") }
}
