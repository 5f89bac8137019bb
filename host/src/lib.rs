//! Tapline: routes MQTT messages through pipelines of sandboxed WebAssembly modules.
//!
//! Modules are pure; the host owns time, state and input/output. `ARCHITECTURE.md` tells
//! a message's way through these modules.

pub mod api;
pub mod backup;
pub mod broker;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod message;
pub mod module;
pub mod pipeline;
pub mod quantity;
pub mod reload;
pub mod replay;
pub mod simulate;
pub mod stand_in;
pub mod store;
pub mod telemetry;
