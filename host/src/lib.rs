//! Tapline: routes MQTT messages through pipelines of sandboxed WebAssembly modules.

pub mod broker;
pub mod config;
pub mod delivery;
pub mod message;
pub mod module;
pub mod stand_in;
pub mod store;
