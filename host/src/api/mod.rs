//! The HTTP interface: S3's `POST /config`, `GET /config` and `GET /health`, and what the
//! commands ask, below `/api/v1`.
//!
//! Neighbours: `reload` does what a request asks; here is only the protocol: who may ask,
//! how large and slow a request may be, and the exact shapes. Invariant: nothing that a
//! client controls is unbounded.

mod access;
mod config;
mod dead_letters;
mod floods;
mod history;
mod logs;
mod look;
mod metrics;
mod record;
mod reload;
mod resume;
mod routes;
mod serve;
mod shadow;
mod status;
mod stream;
mod tap;
mod tls;

pub use serve::{SOCKET, ServeError, Server};
