//! From a file's bytes to a module that is known to be sound.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use tapline_kit::contract::Contract;
use tapline_kit::samples::attach;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wit_component::ComponentEncoder;

use super::bindings::exports::tapline::module::{detector, module, parser, sink, validator};
use super::compilers;
use super::description::Description;
use super::engine::Engine;
use super::error::LoadError;
use super::instance::Instance;
use super::loaded::{Hash, Module, Role};
use super::samples::Carried;
use super::sniff::what_it_is;

/// The one function that a module may import.
const ALLOWED: &str = "tapline:host/log";

/// Where a module's functions are found, without the version.
pub(super) const CONTRACT: &str = "tapline:module/";
/// Of the contract. A module of another third number is taken too: it differs in what is not
/// called, or it is told in what (`wit/README.md`, Versions).
const VERSION: &str = "0.1.0";

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
        self.load_sound(bytes).map_err(|error| explained(error, bytes))
    }

    fn load_sound(&self, bytes: &[u8]) -> Result<Arc<Module>, LoadError> {
        let limit = self.options.module_size;
        if bytes.len() > limit {
            return Err(LoadError::TooLarge { size: bytes.len(), limit });
        }
        let hash = Hash::of(bytes);
        // Samples are no code: with others the module need not be compiled anew.
        let code = attach(bytes, "").map_or(hash, |code| Hash::of(&code));
        let kept = self.cache.as_ref().and_then(|cache| cache.get(&self.runtime.wasmtime, &code));
        let component = match kept {
            Some(component) => {
                self.stats.hits.inc();
                component
            }
            None => {
                self.stats.misses.inc();
                let begun = Instant::now();
                let component = self.compile(wrapped(bytes)?)?;
                self.stats.compile.took(begun.elapsed());
                if let Some(cache) = &self.cache {
                    cache.put(&code, &component);
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
        let (given, begins_with) =
            Instance::describe(&self.runtime, &pre, &functions, &self.options.describe)?;
        let description = Description::check(given)?;
        Ok(Arc::new(Module {
            runtime: Arc::clone(&self.runtime),
            pre,
            functions,
            hash,
            size: bytes.len(),
            description,
            begins_with,
            carried: Carried::of(bytes),
            cache: self.cache.clone(),
        }))
    }

    /// Compiles on a thread of its own, because compiling cannot be interrupted: what is
    /// late goes on unseen to its end, and is thrown away.
    fn compile(&self, bytes: Vec<u8>) -> Result<Component, LoadError> {
        let (send, receive) = mpsc::sync_channel(1);
        let engine = self.runtime.wasmtime.clone();
        let limit = self.options.compile_time;
        let Some(at_work) = self.compilers.begin(limit) else {
            return Err(LoadError::CompilersBusy { running: compilers::MOST });
        };
        thread::Builder::new()
            .name("module-compile".into())
            .spawn(move || {
                let compiled = Component::from_binary(&engine, &bytes);
                drop(at_work);
                // Nobody listens any more if it took too long.
                let _ = send.send(compiled);
            })
            .map_err(LoadError::NoThread)?;
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
            if ours && !is_spoken(version) {
                return Err(other_version(name, interface));
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
            if !is_spoken(version) {
                return Err(other_version(export, &format!("{CONTRACT}{interface}")));
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

/// Whether a version differs in its third number alone, or not at all.
fn is_spoken(version: &str) -> bool {
    let line = |version: &str| version.rsplit_once('.').map(|(line, _)| line.to_owned());
    line(version) == line(VERSION)
}

fn other_version(found: &str, interface: &str) -> LoadError {
    LoadError::OtherVersion {
        found: found.to_owned(),
        spoken: format!("{interface}@{VERSION}"),
        differences: Vec::new(),
    }
}

/// Says in what the contract differs that a refused module was built against.
fn explained(error: LoadError, bytes: &[u8]) -> LoadError {
    let of_contract = matches!(
        error,
        LoadError::OtherVersion { .. }
            | LoadError::WrongShape { .. }
            | LoadError::ForbiddenImports { .. }
    );
    if !of_contract {
        return error;
    }
    let theirs = wrapped(bytes).ok().and_then(|bytes| Contract::of_component(&bytes).ok());
    let Some((ours, theirs)) = Contract::current().ok().zip(theirs) else { return error };
    let differences = ours.differences(&theirs);
    match error {
        LoadError::OtherVersion { found, spoken, .. } => {
            LoadError::OtherVersion { found, spoken, differences }
        }
        _ if differences.is_empty() => error,
        _ => LoadError::OtherContract { differences },
    }
}

/// A component as it is; a core module made into one.
pub(super) fn wrapped(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    // Magic, then version (1, or 13 for components) and layer (0, or 1 for components).
    match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(bytes.to_vec()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => ComponentEncoder::default()
            .validate(true)
            .module(bytes)
            .and_then(|mut encoder| encoder.encode())
            .map_err(|error| LoadError::NotWrapped { what: format!("{error:#}") }),
        _ => Err(LoadError::NotWebAssembly { what: what_it_is(bytes) }),
    }
}

fn shape(error: wasmtime::Error) -> LoadError {
    LoadError::WrongShape { what: format!("{error:#}") }
}
