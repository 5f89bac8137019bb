//! The session detector, step by step as the host drives it.

mod host;
mod oracle;
mod readings;
mod rules;
mod script;
mod silence;
mod traces;
