//! An embedded broker.

/// An embedded broker.
pub struct EmbeddedBroker;
