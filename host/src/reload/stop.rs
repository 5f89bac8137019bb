//! The end of a run: intake first, then what is under way, then the rest, all by one deadline.
//!
//! Invariant: what is not done by then is where the next start finds it. Messages without an
//! answer are kept by the broker, deliveries without one by the outbox.

use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::Tapline;
use crate::broker::Farewell;

/// Kept back from the deadline: for pipelines to end and the store to close.
const CLOSE: Duration = Duration::from_secs(3);
/// Kept back for connections to end once nothing more is waited for.
const PART: Duration = Duration::from_secs(2);
/// Of the rest, for the store alone.
const LAST: Duration = Duration::from_secs(1);

impl Tapline {
    /// Takes nothing in any more; what came is worked off and acknowledged, and deliveries
    /// under way end. The brokers keep our sessions. Whatever hangs is left before `by`.
    pub async fn settle(&self, by: Instant) {
        if let Some(watch) = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watch.abort();
        }
        let connections = self.links.all();
        connections.values().for_each(|connection| connection.link.pause());
        let part = by - CLOSE;
        let finish = part - PART;
        // A change under way may hang on a broker; what it has not done, the next start does.
        let _one_at_a_time = timeout_at(finish, self.changing.lock()).await;
        let patience = finish.saturating_duration_since(Instant::now());
        let mut partings = JoinSet::new();
        for (name, connection) in connections {
            partings.spawn(async move {
                let parting = connection.link.stop(Farewell::KeepSession, patience);
                in_time(part, &format!("broker {name}"), parting).await;
            });
        }
        let partings = async { while partings.join_next().await.is_some() {} };
        let delivered = in_time(part, "deliveries", self.delivery.stop(patience));
        tokio::join!(partings, delivered);
    }

    /// Ends everything by `by`, whatever is under way.
    pub async fn stop(&self, by: Instant) {
        self.settle(by).await;
        let shards = self.change_running(|running| std::mem::take(&mut running.shards));
        let mut endings = JoinSet::new();
        for (name, shard) in shards {
            endings.spawn(async move {
                let ending = spawn_blocking(move || shard.stop());
                in_time(by - LAST, &format!("pipeline {name}"), ending).await;
            });
        }
        while endings.join_next().await.is_some() {}
        self.asker.abort();
        let store = self.store.clone();
        in_time(by, "store", spawn_blocking(move || store.close())).await;
        tracing::info!(event = "stopped", "Tapline has stopped");
    }
}

async fn in_time<T>(by: Instant, what: &str, ending: impl Future<Output = T>) {
    if timeout_at(by, ending).await.is_err() {
        tracing::warn!(event = "stop_cut_off", what, "it did not end in time and is left");
    }
}
