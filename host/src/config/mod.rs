//! What a site says: `tapline.toml`, pipeline files, device files and the pushed document.
//!
//! File shape → check everything → types that cannot be wrong. All problems come at once,
//! each with place and remedy. Neighbours: `message` below; `pipeline` and `reload` read the
//! checked types. Invariant: a [`Config`] that exists is consistent in itself; only what
//! needs modules (their existence, their settings schemas) is checked later, by `pipeline`.

pub mod device;
pub mod document;
pub mod environment;
mod formats;
pub mod init;
mod json_spans;
pub mod layers;
pub mod load;
mod mentions;
pub mod patch;
pub mod pipeline;
pub mod problem;
pub mod push;
mod reader;
pub(crate) mod regular;
pub mod render;
mod schema;
mod secret;
pub mod shipped;
pub mod site;
pub mod template;
pub mod topic;
mod units;
mod wording;

use std::sync::Arc;

pub use device::Devices;
pub use layers::{Origin, Origins};
pub use load::{Around, Checked, Texts, check};
pub use pipeline::Pipeline;
pub use problem::{Place, Problem};
pub use render::{Look, Severity, render, report};
pub use schema::check_against;
pub use site::Site;
pub(crate) use units::duration as parse_duration;

/// Everything a running Tapline is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    pub site: Arc<Site>,
    /// In order of file name.
    pub pipelines: Vec<Arc<Pipeline>>,
    pub devices: Arc<Devices>,
    /// What is odd but not wrong: a file value that the pushed document hides, a site file
    /// that replaces a shipped one, overlapping parse filters.
    pub warnings: Vec<Problem>,
    /// Where the values of the site come from.
    pub origins: Arc<Origins>,
}

#[cfg(test)]
mod tests;
