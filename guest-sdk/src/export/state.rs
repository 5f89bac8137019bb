//! How a detector's state becomes bytes and back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::Rejection;

/// Writes `state`.
///
/// # Errors
/// `state-unwritable` where the type has something that postcard cannot express.
pub fn write<S: Serialize>(state: &S) -> Result<Vec<u8>, Rejection> {
    postcard::to_allocvec(state)
        .map_err(|error| Rejection::new("state-unwritable", format!("the new state: {error}")))
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// `state-unreadable` where the bytes are of another type, too few or too many.
pub fn read<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, Rejection> {
    let unreadable = |what: String| {
        Rejection::new("state-unreadable", format!("{} bytes of state: {what}", bytes.len()))
    };
    match postcard::take_from_bytes(bytes) {
        Ok((state, [])) => Ok(state),
        Ok((_, rest)) => Err(unreadable(format!("the last {} belong to nothing", rest.len()))),
        Err(error) => Err(unreadable(error.to_string())),
    }
}
