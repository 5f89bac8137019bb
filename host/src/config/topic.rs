//! Topic filters with captures.
//!
//! `{x}` captures one level, `{x...}` one or more, `{device}` binds the device; `+` and `#`
//! as in MQTT. A leading `$share/<group>/` is kept for the subscription and ignored in matching.

/// A checked topic filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// As written.
    text: String,
    // The config author fills this in.
}
