//! What an instance has while it lives: wasmtime's store, set up with the limits.
//!
//! Invariant: no code of the module runs but with its deadline armed and the epochs
//! passing.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::exports::tapline::module::{detector, module, parser, sink, validator};
use super::error::CallError;
use super::explain::explain;
use super::host::{Host, Limits};
use super::load::{Functions, RoleFunctions};
use super::log::Log;
use super::runtime::Runtime;

/// A store with an instance in it, and its functions.
pub(super) struct Live {
    pub(super) store: Store<Host>,
    module: module::Guest,
    role: RoleGuest,
}

/// The functions of its role.
pub(super) enum RoleGuest {
    Validator(validator::Guest),
    Parser(parser::Guest),
    Detector(detector::Guest),
    Sink(sink::Guest),
}

impl Live {
    pub(super) fn new(
        runtime: &Runtime,
        pre: &InstancePre<Host>,
        functions: &Functions,
        limits: &Limits,
        log: Log,
    ) -> Result<Self, LiveError> {
        let mut store = Store::new(&runtime.wasmtime, Host::new(limits, log));
        store.limiter(|host| &mut host.memory);
        store.epoch_deadline_callback(Host::on_tick);
        store.set_hostcall_fuel(usize::try_from(limits.output).unwrap_or(usize::MAX));
        store.set_epoch_deadline(1);
        let running = runtime.running();
        let instance = match pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(LiveError::Call(explain(error, store.data_mut(), limits))),
        };
        drop(running);
        let module = functions.module.load(&mut store, &instance).map_err(LiveError::Shape)?;
        let role = match &functions.role {
            RoleFunctions::Validator(f) => f.load(&mut store, &instance).map(RoleGuest::Validator),
            RoleFunctions::Parser(f) => f.load(&mut store, &instance).map(RoleGuest::Parser),
            RoleFunctions::Detector(f) => f.load(&mut store, &instance).map(RoleGuest::Detector),
            RoleFunctions::Sink(f) => f.load(&mut store, &instance).map(RoleGuest::Sink),
        }
        .map_err(LiveError::Shape)?;
        Ok(Self { store, module, role })
    }

    /// Calls a function with the deadline armed.
    pub(super) fn call<T>(
        &mut self,
        runtime: &Runtime,
        limits: &Limits,
        function: impl FnOnce(&mut Store<Host>, &module::Guest, &RoleGuest) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        self.store.data_mut().begin_call();
        self.store.set_epoch_deadline(1);
        let running = runtime.running();
        let result = function(&mut self.store, &self.module, &self.role);
        drop(running);
        result.map_err(|error| explain(error, self.store.data_mut(), limits))
    }
}

/// Why there is no instance.
pub(super) enum LiveError {
    Call(CallError),
    Shape(wasmtime::Error),
}
