//! The one place that reads the wall clock; everywhere else time is passed in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::message::Timestamp;

/// The wall clock now; the epoch itself on a machine whose clock stands before it.
#[allow(clippy::disallowed_methods)] // the one place
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
