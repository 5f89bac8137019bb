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
pub async fn eventually<T, E, F>(what: &str, look: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    eventually_moving(what, || (), look).await
}

/// The same where there may be any amount of work before it: patience begins anew whenever
/// `progress` has changed.
///
/// # Panics
/// With `what` and the last reason, if it does not come to hold and nothing moves for
/// [`PATIENCE`].
pub(crate) async fn eventually_moving<T, E, F, P>(
    what: &str,
    progress: impl Fn() -> P,
    mut look: impl FnMut() -> F,
) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
    P: PartialEq,
{
    let (mut begun, mut reached) = (Instant::now(), progress());
    loop {
        let last = match look().await {
            Ok(found) => return found,
            Err(why) => why,
        };
        let now = progress();
        if now != reached {
            (begun, reached) = (Instant::now(), now);
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; at last: {last}");
        sleep(BETWEEN).await;
    }
}
