//! Waiting: look again until it holds.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Long enough for a slow machine under load; nothing that works takes anywhere near it.
pub const PATIENCE: Duration = Duration::from_secs(180);
const BETWEEN: Duration = Duration::from_millis(20);

/// What `look` finds once it finds it.
///
/// # Panics
/// With `what` and the last reason, if it does not come to hold within [`PATIENCE`].
pub async fn eventually<T, E, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    loop {
        let last = match look().await {
            Ok(found) => return found,
            Err(why) => why,
        };
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; at last: {last}");
        sleep(BETWEEN).await;
    }
}
