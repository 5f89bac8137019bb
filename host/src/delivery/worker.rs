//! One sink's task: what waits, what may be sent, and what to do when it cannot be.
//!
//! Invariant: at most one batch of a sink is on its way, so at most one request per key.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::back_off::BackOff;
use super::books::{Again, Books, Page};
use super::form::Form;
use super::lapse::Lapse;
use super::plan::{Publisher, SinkPlan};
use super::publishing::publish;
use super::queue::Queue;
use super::rows::Outbox;
use super::run::{Exchanger, Stop};
use super::status::Paused;
use super::{Options, Surroundings};
use crate::message::{Rejection, Timestamp};
use crate::store::{Head, RowId, Rows, StoreError, Unreadable, Waiting};

/// How long to wait before reading a store again that could not be read.
const UNREADABLE: Duration = Duration::from_secs(5);

/// How a sink reaches the other side.
pub(super) enum Channel {
    Http(Box<Exchanger>),
    /// With how a publication is made of what is none.
    Publish(Arc<dyn Publisher>, Option<Arc<Form>>),
    /// It cannot, for this reason.
    Closed(String),
}

pub(super) struct Worker {
    pub(super) plan: SinkPlan,
    pub(super) channel: Channel,
    pub(super) books: Books,
    pub(super) options: Options,
    pub(super) surroundings: watch::Receiver<Surroundings>,
    pub(super) resume: Arc<Notify>,
    /// Set once the task has to end, by then at the latest.
    pub(super) stop: watch::Receiver<Option<Instant>>,
    pub(super) queue: Queue,
    pub(super) back_off: BackOff,
    /// Deliveries per batch at the moment: fewer after a batch whose outcome is unknown.
    pub(super) limit: usize,
    /// The sink as a whole waits until then.
    pub(super) until: Option<Instant>,
    /// A batch that is not full goes out then.
    pub(super) gather_until: Option<Instant>,
}

impl Worker {
    /// Delivers until it is told to stop.
    pub(super) async fn run(mut self) {
        let mut rows = self.books.store.outbox_watch(&self.books.sink);
        if let Channel::Closed(reason) = &self.channel {
            self.pause(reason.clone());
        }
        let mut loaded = false;
        while self.goes_on() {
            rows.borrow_and_update();
            let next_expiry = match self.take_in(&mut loaded).await {
                Ok(next_expiry) => next_expiry,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(sink = %self.books.sink, error = %error, "outbox_unreadable");
                    self.books.board.edit(|status| status.last_error = Some(error.to_string()));
                    self.wait(Some(Instant::now() + UNREADABLE), None).await;
                    continue;
                }
            };
            let now = Instant::now();
            let expiry = next_expiry.map(|at| self.instant_of(at));
            if self.is_paused() {
                tokio::select! {
                    () = self.resume.notified() => {
                        self.books.board.edit(|status| status.paused = None);
                        self.until = None;
                        // What was held back is in the outbox and comes first again.
                        loaded = false;
                    }
                    // What comes while it is paused may expire as well.
                    () = more(&mut rows) => {}
                    () = wait_until(expiry) => {}
                    _ = self.stop.changed() => {}
                }
                continue;
            }
            self.queue.wake(now);
            let due = match self.until {
                Some(until) if until > now => Some(until),
                _ => self.gathered(now),
            };
            match due {
                Some(due) if due <= now => self.send().await,
                due => {
                    if due.is_none() && self.books.bury_held().await.is_err() {
                        return;
                    }
                    let wake = self.queue.next_wake();
                    let first = [due.or(wake), expiry].into_iter().flatten().min();
                    self.wait(first, Some(&mut rows)).await;
                }
            }
        }
    }

    /// Nobody has told it to stop, or gone without a word.
    fn goes_on(&self) -> bool {
        self.stop.borrow().is_none() && self.stop.has_changed().is_ok()
    }

    /// Waits for a time, new rows, a person or the end.
    async fn wait(&mut self, until: Option<Instant>, rows: Option<&mut watch::Receiver<RowId>>) {
        let changed = async {
            match rows {
                Some(rows) => more(rows).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = wait_until(until) => {}
            () = self.resume.notified() => self.until = None,
            _ = self.stop.changed() => {}
        }
    }

    /// When the next batch may go; `None`: there is nothing to send.
    fn gathered(&mut self, now: Instant) -> Option<Instant> {
        let ready = self.queue.ready();
        if ready == 0 {
            self.gather_until = None;
            return None;
        }
        let until = *self.gather_until.get_or_insert(now + self.plan.batch.wait);
        Some(if ready >= self.plan.batch.max { now } else { until })
    }

    /// Brings the queue up to date and sets aside what has expired. Returns the next expiry.
    async fn take_in(&mut self, loaded: &mut bool) -> Result<Option<Timestamp>, StoreError> {
        if !*loaded {
            self.queue = Queue::new(self.options.key_waits);
            let (last, heads) = self.outbox().heads().await?;
            self.queue.start(last, heads);
            *loaded = true;
        }
        loop {
            let news = self.outbox().news(self.queue.seen(), self.books.now()).await?;
            for head in news.heads {
                if self.books.refusals.holds(head.row) {
                    continue;
                }
                self.queue.add(head);
            }
            self.bury(news.expired.unreadable).await?;
            self.expire(news.expired.waiting).await?;
            if !news.goes_on {
                return Ok(news.next_expiry);
            }
        }
    }

    fn outbox(&self) -> Outbox {
        Outbox::new(&self.books.store, &self.books.sink)
    }

    /// Sets aside what has expired, and lets the senders of commands know.
    async fn expire(&mut self, expired: Vec<Waiting>) -> Result<(), StoreError> {
        if expired.is_empty() {
            return Ok(());
        }
        let allowed = match &self.plan.way {
            super::Way::Publish(_, allowed) => allowed.clone(),
            super::Way::Http(_) | super::Way::Compose(..) => Arc::default(),
        };
        let (mut settle, mut words) = (Vec::with_capacity(expired.len()), Vec::new());
        for row in &expired {
            let Lapse { why, word } = Lapse::of(&row.delivery, &allowed);
            settle.push(self.books.dead_letter(row, why, row.tries, row.last_error.clone()));
            words.extend(word);
        }
        self.books.write(settle, words).await.map_err(|_| StoreError::Closed)?;
        let gone = expired
            .into_iter()
            .filter(|row| self.queue.is_head(&row.delivery.key, row.row))
            .map(|row| Head { row: row.row, key: row.delivery.key })
            .collect();
        self.advance(gone).await
    }

    /// Sets aside what can never be sent: it must not stop what stands behind it.
    async fn bury(&mut self, unreadable: Vec<Unreadable>) -> Result<(), StoreError> {
        if unreadable.is_empty() {
            return Ok(());
        }
        let (settle, gone) = unreadable
            .into_iter()
            .map(|row| {
                tracing::error!(
                    event = "outbox_row_unreadable",
                    sink = %self.books.sink,
                    key = %row.key,
                    id = row.id,
                    why = row.why,
                    "the row is set aside"
                );
                let head = Head { row: row.row, key: row.key.clone() };
                (self.books.unreadable_letter(row), head)
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        self.books.write(settle, Vec::new()).await.map_err(|_| StoreError::Closed)?;
        let gone = gone.into_iter().filter(|head| self.queue.is_head(&head.key, head.row));
        let gone = gone.collect();
        self.advance(gone).await
    }

    /// The keys of `behind` go on with their next rows.
    async fn advance(&mut self, behind: Vec<Head>) -> Result<(), StoreError> {
        if behind.is_empty() {
            return Ok(());
        }
        let (behind, next) = self.outbox().behind(behind).await?;
        for (head, next) in behind.iter().zip(next) {
            self.queue.advance(&head.key, next);
        }
        Ok(())
    }

    /// Sends one batch.
    async fn send(&mut self) {
        let picked = self.queue.pick(self.limit.min(self.plan.batch.max).max(1));
        let result = match self.read_batch(picked).await {
            Ok(rows) if rows.is_empty() => return,
            Ok(rows) => self.send_rows(rows).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::error!(sink = %self.books.sink, error = %error, "outbox_unreadable");
            self.until = Some(Instant::now() + UNREADABLE);
        }
    }

    /// The rows of a batch, in commit order.
    async fn read_batch(&mut self, picked: Vec<Head>) -> Result<Vec<Waiting>, StoreError> {
        let room = if self.keeps_order() { self.limit.min(self.plan.batch.max) } else { 0 };
        let (picked, rows) = self.outbox().batch(picked, room).await?;
        let Rows { waiting: rows, unreadable, unread, .. } = rows;
        self.bury(unreadable).await?;
        let found: HashSet<RowId> = rows.iter().map(|row| row.row).chain(unread).collect();
        let gone = picked.into_iter().filter(|head| !found.contains(&head.row)).collect();
        self.advance(gone).await?;
        Ok(rows)
    }

    fn keeps_order(&self) -> bool {
        match &self.plan.way {
            super::Way::Http(way) => way.endpoint.in_order,
            super::Way::Publish(..) | super::Way::Compose(..) => false,
        }
    }

    async fn send_rows(&mut self, rows: Vec<Waiting>) -> Result<(), StoreError> {
        self.books.board.edit(|status| status.in_flight = rows.len());
        let mut page = Page {
            books: &mut self.books,
            rows: &rows,
            through: HashSet::new(),
            again: Default::default(),
            accepted: false,
            composed: Default::default(),
        };
        let surroundings = self.surroundings.borrow().clone();
        let mut stop = self.stop.clone();
        let sending = async {
            match &mut self.channel {
                Channel::Http(exchanger) => {
                    let deliveries: Vec<_> =
                        rows.iter().map(|row| surroundings.describe(row)).collect();
                    exchanger.send(&deliveries, &mut page).await
                }
                Channel::Publish(publisher, form) => {
                    let form = form.clone();
                    let compose = |row: &Waiting| match &form {
                        Some(form) => {
                            let made = form.compose(&surroundings.describe(row))?;
                            Ok((form.broker.clone(), made))
                        }
                        None => {
                            let why = "only publications can be published";
                            Err(Rejection::new("not-a-publication", why))
                        }
                    };
                    publish(publisher, &compose, &rows, &mut page).await
                }
                Channel::Closed(reason) => Err(Stop::Pause(reason.clone())),
            }
        };
        let ended = tokio::select! {
            ended = sending => ended,
            // It may have taken effect; the next start sends it again under the same ids.
            () = stopped(&mut stop) => Ok(()),
        };
        let Page { through, mut again, accepted, .. } = page;
        self.books.board.edit(|status| status.in_flight = 0);
        if accepted {
            self.back_off.reset();
            self.limit = self.limit.saturating_mul(2).min(self.plan.batch.max.max(1));
        }
        let now = Instant::now();
        match ended {
            Ok(()) => {}
            Err(Stop::Pause(reason)) => self.pause(reason),
            Err(Stop::Again { error, at_least }) => self.hold_back(error, at_least, now),
            Err(Stop::Unknown { error, members }) => {
                self.limit = (members.len() / 2).max(1);
                if let [index] = members[..] {
                    again.insert(index, Again { at_least: Duration::ZERO, blamed: true });
                }
                self.hold_back(error, Duration::ZERO, now);
            }
        }
        self.requeue(&rows, &through, &again, now).await
    }

    /// Puts each key of the batch where it belongs.
    async fn requeue(
        &mut self,
        rows: &[Waiting],
        through: &HashSet<usize>,
        again: &std::collections::HashMap<usize, Again>,
        now: Instant,
    ) -> Result<(), StoreError> {
        let mut keys: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            keys.entry(row.delivery.key.clone()).or_default().push(index);
        }
        let mut done = Vec::new();
        for (key, indices) in keys {
            match indices.iter().find(|index| !through.contains(index)) {
                None => {
                    let last = indices.last().map_or(RowId::START, |index| rows[*index].row);
                    done.push(Head { row: last, key });
                }
                Some(index) => match again.get(index) {
                    Some(Again { at_least, blamed }) => {
                        self.queue.delay(&key, rows[*index].row, now, *at_least, *blamed);
                    }
                    None => self.queue.keep(&key, rows[*index].row),
                },
            }
        }
        self.advance(done).await
    }

    fn hold_back(&mut self, error: String, at_least: Duration, now: Instant) {
        let wait = self.back_off.fail().max(at_least);
        // The name that operators of the bridge before this one search for.
        let odoo = self.plan.module.as_ref().is_some_and(|module| module.name == "odoo");
        tracing::warn!(
            event = if odoo { "odoo_send_failed" } else { "send_failed" },
            sink = %self.books.sink,
            error,
            retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            "deliveries wait"
        );
        self.until = Some(now + wait);
        self.books.board.edit(|status| {
            status.retries += 1;
            status.last_error = Some(error);
        });
    }

    fn pause(&mut self, reason: String) {
        tracing::error!(sink = %self.books.sink, reason, "sink_paused");
        let since = self.books.now();
        self.books.board.edit(|status| status.paused = Some(Paused { reason, since }));
    }

    fn is_paused(&self) -> bool {
        self.books.board.edit(|status| status.paused.is_some())
    }

    fn instant_of(&self, at: Timestamp) -> Instant {
        // One more millisecond, so that a rounded clock does not ask again and again.
        let wait = at.since(self.books.now()).saturating_add(1);
        // A day is enough to look again, and never more than an instant can hold.
        Instant::now() + Duration::from_millis(wait).min(Duration::from_secs(24 * 3600))
    }
}

/// Waits for new rows, for ever where nobody brings any more.
async fn more(rows: &mut watch::Receiver<RowId>) {
    if rows.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Ends when the task has to end now.
async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) {
    let by = match stop.wait_for(Option::is_some).await {
        Ok(by) => *by,
        Err(_) => None,
    };
    if let Some(by) = by {
        tokio::time::sleep_until(by).await;
    }
}
