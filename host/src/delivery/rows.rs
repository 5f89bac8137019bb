//! Reads a sink's part of the outbox, on threads where waiting for the disk is allowed.
//!
//! A worker never reads the store on the async runtime: all that it asks goes through here.

use crate::message::Timestamp;
use crate::store::{Head, RowId, Rows, SinkId, Store, StoreError};

/// Rows that are read at a time while the queue is brought up to date.
const PAGE: usize = 1_000;

/// What the outbox holds that the queue did not know.
pub(super) struct News {
    pub(super) heads: Vec<Head>,
    pub(super) expired: Rows,
    pub(super) next_expiry: Option<Timestamp>,
    /// There is more behind it.
    pub(super) goes_on: bool,
}

/// One sink's rows.
#[derive(Clone)]
pub(super) struct Outbox {
    store: Store,
    sink: SinkId,
}

impl Outbox {
    pub(super) fn new(store: &Store, sink: &SinkId) -> Self {
        Self { store: store.clone(), sink: sink.clone() }
    }

    /// Each key's oldest row, and the last row that there was before they were read.
    pub(super) async fn heads(self) -> Result<(RowId, Vec<Head>), StoreError> {
        blocking(move || {
            // Read first: what comes between is found again as new.
            let last = self.store.outbox_last()?;
            Ok((last, self.store.outbox_heads(&self.sink)?))
        })
        .await
    }

    /// What came behind `seen`, and what has expired by `now`.
    pub(super) async fn news(self, seen: RowId, now: Timestamp) -> Result<News, StoreError> {
        blocking(move || {
            let heads = self.store.outbox_since(&self.sink, seen, PAGE)?;
            let expired = self.store.outbox_expired(&self.sink, now, PAGE)?;
            let next_expiry = self.store.outbox_next_expiry(&self.sink)?;
            let expired_rows = expired.waiting.len() + expired.unreadable.len();
            let goes_on = heads.len() == PAGE || expired_rows == PAGE || !expired.unread.is_empty();
            Ok(News { heads, expired, next_expiry, goes_on })
        })
        .await
    }

    /// The rows of `heads` and, up to `room`, those behind them, in commit order, as far as
    /// their bodies are not too large to be held together.
    pub(super) async fn batch(
        self,
        heads: Vec<Head>,
        room: usize,
    ) -> Result<(Vec<Head>, Rows), StoreError> {
        blocking(move || {
            let ids = with_followers(&self.store, &self.sink, &heads, room)?;
            let rows = self.store.outbox_rows(&self.sink, &ids)?;
            Ok((heads, rows))
        })
        .await
    }

    /// What stands behind each of these rows in its key.
    pub(super) async fn behind(
        self,
        heads: Vec<Head>,
    ) -> Result<(Vec<Head>, Vec<Option<RowId>>), StoreError> {
        blocking(move || {
            let next = self.store.outbox_next(&self.sink, &heads)?;
            Ok((heads, next))
        })
        .await
    }
}

/// Heads and, up to `room`, the rows behind them, in commit order.
fn with_followers(
    store: &Store,
    sink: &SinkId,
    heads: &[Head],
    room: usize,
) -> Result<Vec<RowId>, StoreError> {
    let mut rows: Vec<RowId> = heads.iter().map(|head| head.row).collect();
    let mut last = heads.to_vec();
    while rows.len() < room && !last.is_empty() {
        let next = store.outbox_next(sink, &last)?;
        last = last
            .into_iter()
            .zip(next)
            .filter_map(|(head, next)| next.map(|row| Head { row, key: head.key }))
            .take(room - rows.len())
            .collect();
        rows.extend(last.iter().map(|head| head.row));
    }
    rows.sort();
    Ok(rows)
}

/// Reads the store on a thread where waiting is allowed.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(StoreError::Closed))
}
