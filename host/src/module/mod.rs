//! Modules.

pub mod sink;
mod stub;
pub use stub::*;
