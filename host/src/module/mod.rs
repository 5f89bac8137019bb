//! Modules: WebAssembly components that read, judge and follow messages, and that speak
//! the protocols of other systems.
//!
//! [`Engine::load`] checks a file and makes a [`Module`] of it; [`Module::instantiate`]
//! gives an [`Instance`], whose methods are the functions of its role. Everything is
//! synchronous and meant for worker threads. Neighbours: `message` below, `pipeline` and
//! `delivery` above. This is the only place that names wasmtime, and where host types and
//! those of `wit/` meet.
//!
//! Invariant: nothing a module does costs more than the call it did it in. Time, memory,
//! stack, output, state and log lines are limited; after a failed call the instance is
//! dead and its memory gone.

mod bindings;
mod bounds;
mod cache;
mod call;
mod compilers;
mod convert;
mod deadline;
mod description;
mod engine;
mod error;
mod explain;
mod host;
mod instance;
mod live;
mod load;
mod loaded;
mod log;
mod outline;
mod runtime;
pub mod samples;
pub mod shipped;
pub mod sink;
mod sniff;
mod stats;

pub use call::{Companions, DetectInput, Input, Keyed, SettingsId, Step};
pub use description::{OwnQuantity, SettingsError};
pub use engine::{Engine, EngineOptions};
pub use error::{CallError, Clock, EngineError, LoadError};
pub use host::{Limits, LogContext};
pub use instance::Instance;
pub use loaded::{Hash, Module, Role};
pub use outline::Outline;
pub use stats::LoadStats;

#[cfg(test)]
pub(crate) mod tests;
