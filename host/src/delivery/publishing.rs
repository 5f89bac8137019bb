//! Publishes a batch: what waits is a publication already, or one is made of it.
//!
//! Nothing waits for an acknowledgement but its own row, so a device that is slow to be told holds
//! up no other. Neighbours: `plan` says what a broker is asked, `books` writes down what it said.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::books::Page;
use super::plan::{PublishError, Publisher};
use super::run::{Ledger, Settled, Stop};
use super::verdict::Judged;
use crate::message::{Content, Item, Publication, Rejection};
use crate::store::Waiting;

/// Makes of a waiting item what is published, and where.
pub(super) type Compose<'a> =
    dyn Fn(&Waiting) -> Result<(Arc<str>, Publication), Rejection> + Sync + 'a;

/// Publishes a batch at once: its keys differ, so there is no order between them.
pub(super) async fn publish(
    publisher: &Arc<dyn Publisher>,
    compose: &Compose<'_>,
    rows: &[Waiting],
    page: &mut Page<'_>,
) -> Result<(), Stop> {
    let now = page.books.now();
    let keeps_history = page.books.store.keeps_history();
    let mut publishing = JoinSet::new();
    let mut settled = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let publication = match &row.delivery.content {
            Content::Item(Item::Publication(publication)) => publication.clone(),
            _ => match compose(row) {
                Ok((broker, publication)) => {
                    if keeps_history {
                        page.composed.insert(index, (broker, publication.clone()));
                    }
                    publication
                }
                Err(why) => {
                    settled.push(Settled { index, judged: Judged::Refused(why), answer: None });
                    continue;
                }
            },
        };
        let expiry = row.delivery.expires_at.map(|at| Duration::from_millis(at.since(now)));
        let publisher = publisher.clone();
        publishing.spawn(async move { (index, publisher.publish(publication, expiry).await) });
    }
    let mut stop = Ok(());
    while let Some(result) = publishing.join_next().await {
        match result {
            Ok((index, Ok(()))) => {
                let judged = Judged::Delivered { duplicate: false };
                settled.push(Settled { index, judged, answer: None });
            }
            Ok((index, Err(PublishError::Refused(reason)))) => {
                let judged = Judged::Refused(Rejection::new("refused", reason));
                settled.push(Settled { index, judged, answer: None });
            }
            Ok((_, Err(PublishError::Unreachable(error)))) => {
                stop = Err(Stop::Again { error, at_least: Duration::ZERO });
            }
            Err(panic) => {
                stop = Err(Stop::Again { error: panic.to_string(), at_least: Duration::ZERO });
            }
        }
    }
    page.enter(settled, Vec::new()).await?;
    stop
}
