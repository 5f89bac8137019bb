//! What the author of a module needs around the code: a project to begin with, a compiler
//! for its language, and the samples that travel inside the file.
//!
//! Nothing here runs a module or speaks to a running Tapline. Invariant: nothing is installed
//! into the system; what is fetched lies in a folder that can be thrown away.

mod build;
mod capture;
pub mod component;
pub mod contract;
mod create;
pub mod debian;
mod embedded;
mod error;
mod javascript;
mod places;
mod progress;
mod project;
mod python;
mod quantities;
mod rust;
pub mod samples;
mod sdk;
mod tool;
pub mod wasm_target;

pub use build::{Built, build, carry, put};
pub use capture::Capture;
pub use create::{create, place};
pub use error::Error;
pub use places::cache;
pub use progress::{Progress, Silent, run};
pub use project::{Language, Name, Project, Role};
