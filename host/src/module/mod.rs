//! Modules: what the host and the sandboxed code say to each other.

pub mod sink;
