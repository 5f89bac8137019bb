//! Writes verdicts down: rows leave the outbox, dead letters come, tries are counted.
//!
//! Invariant: a row leaves the outbox only as delivered or into the dead letters, in the
//! store's own transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Clock;
use super::refusals::{Refusals, Refused};
use super::run::{Ledger, Settled, Stop};
use super::status::Board;
use super::verdict::Judged;
use crate::message::{Publication, Rejection, Timestamp};
use crate::store::{
    Block, Commit, DeadDelivery, DeadLetter, Fate, ModuleTag, NewDelivery, Record, RowId,
    Settlement, SinkId, Store, Unreadable, Waiting,
};
use crate::telemetry::failpoint;

/// Answers that blame a delivery without saying for good, before it is given up.
const TRIES: u32 = 10;

/// What a sink writes down.
pub(super) struct Books {
    pub(super) store: Store,
    pub(super) sink: SinkId,
    pub(super) module: Option<ModuleTag>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    pub(super) refusals: Refusals,
}

/// The rows of a batch, and what became of them.
pub(super) struct Page<'a> {
    pub(super) books: &'a mut Books,
    pub(super) rows: &'a [Waiting],
    /// Rows that are through, or held as refused: the key goes on behind them.
    pub(super) through: HashSet<usize>,
    /// Rows that have to be sent again, and how long the other side wants us to wait.
    pub(super) again: HashMap<usize, Again>,
    /// Something was accepted.
    pub(super) accepted: bool,
    /// What was made of rows that are no publications, and for which broker, where that goes
    /// into the history.
    pub(super) composed: HashMap<usize, (Arc<str>, Publication)>,
}

/// How a delivery is to be sent again.
#[derive(Clone, Copy)]
pub(super) struct Again {
    pub(super) at_least: Duration,
    /// It is to blame: keep it apart.
    pub(super) blamed: bool,
}

impl Books {
    /// A dead letter for `row`.
    pub(super) fn dead_letter(
        &self,
        row: &Waiting,
        rejection: Rejection,
        attempts: u32,
        answer: Option<String>,
    ) -> Settlement {
        let delivery = &row.delivery;
        let letter = DeadLetter {
            pipeline: self.sink.pipeline.clone(),
            stage: self.sink.stage.clone(),
            code: rejection.code,
            detail: rejection.detail,
            at: self.now(),
            device: delivery.device.clone(),
            key: None,
            message: None,
            delivery: Some(DeadDelivery { delivery: delivery.clone(), seq: row.seq }),
            module: self.module.clone(),
            attempts,
            answer,
            raw: None,
        };
        self.settlement(row.row, Fate::Dead(Box::new(letter)))
    }

    /// A dead letter for a row that this program cannot decode.
    pub(super) fn unreadable_letter(&self, row: Unreadable) -> Settlement {
        let Unreadable { row, key, id, tries, why, raw } = row;
        let letter = DeadLetter {
            pipeline: self.sink.pipeline.clone(),
            stage: self.sink.stage.clone(),
            code: "unreadable".to_owned(),
            detail: format!("delivery `{id}` of `{key}` cannot be read: {why}"),
            at: self.now(),
            device: None,
            key: None,
            message: None,
            delivery: None,
            module: None,
            attempts: tries,
            answer: None,
            raw: Some(raw),
        };
        self.settlement(row, Fate::Dead(Box::new(letter)))
    }

    pub(super) fn settlement(&self, row: RowId, fate: Fate) -> Settlement {
        Settlement { sink: self.sink.clone(), row, fate }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Writes down what was held back, if there is anything.
    pub(super) async fn bury_held(&mut self) -> Result<(), Stop> {
        let settle = self.refusals.rest();
        self.write(settle, Vec::new()).await
    }

    /// Commits; the store tries again by itself, so an error means that it is closed.
    pub(super) async fn write(
        &self,
        settle: Vec<Settlement>,
        follow: Vec<NewDelivery>,
    ) -> Result<(), Stop> {
        self.commit(Commit { settle, outbox: follow, ..Commit::default() }).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<(), Stop> {
        commit.pipeline = Some(self.sink.pipeline.clone());
        if commit.settle.is_empty() && commit.outbox.is_empty() {
            return Ok(());
        }
        match self.store.submit_async(commit).await {
            Ok(_) => {
                failpoint::pass("delivery-marked");
                Ok(())
            }
            Err(error) => Err(Stop::Pause(error.to_string())),
        }
    }
}

/// What one verdict asks the books to write.
enum Entry {
    Through,
    Again(Again),
    /// Left as it is: the sink is about to be paused.
    Left,
}

impl Page<'_> {
    fn enter_one(
        &mut self,
        settled: &Settled,
        settle: &mut Vec<Settlement>,
        too_many: &mut Option<String>,
    ) -> Entry {
        let rows = self.rows;
        let row = &rows[settled.index];
        let answer = settled.answer.clone();
        match &settled.judged {
            Judged::Delivered { duplicate } => {
                let at = self.books.now();
                self.accepted = true;
                settle.extend(self.books.refusals.accept());
                settle.push(self.books.settlement(row.row, Fate::Delivered { at }));
                self.books.board.accepted(row.delivery.at, at);
                self.books.board.edit(|status| {
                    status.duplicates += u64::from(*duplicate);
                    status.last_delivered_at = Some(at);
                    status.last_error = None;
                });
                Entry::Through
            }
            Judged::Later { error, at_least } => {
                self.note(error);
                Entry::Again(Again { at_least: *at_least, blamed: false })
            }
            Judged::Tried(error) if row.tries + 1 < TRIES => {
                self.note(error);
                settle.push(self.books.settlement(row.row, Fate::Tried { error: error.clone() }));
                Entry::Again(Again { at_least: Duration::ZERO, blamed: true })
            }
            Judged::Tried(error) => {
                let detail = format!("given up after {TRIES} tries: {error}");
                self.refuse(row, Rejection::new("gave-up", detail), answer, settle, too_many)
            }
            Judged::Refused(rejection) => {
                self.refuse(row, rejection.clone(), answer, settle, too_many)
            }
        }
    }

    fn refuse(
        &mut self,
        row: &Waiting,
        rejection: Rejection,
        answer: Option<String>,
        settle: &mut Vec<Settlement>,
        too_many: &mut Option<String>,
    ) -> Entry {
        if too_many.is_some() {
            return Entry::Left;
        }
        let detail = rejection.detail.clone();
        self.note(&detail);
        let dead = self.books.dead_letter(row, rejection, row.tries + 1, answer);
        let device = row.delivery.device.as_ref().map_or(&*row.delivery.key, |id| id.as_str());
        match self.books.refusals.refuse(device, dead) {
            Refused::Held(spare) => {
                settle.extend(spare);
                Entry::Through
            }
            Refused::TooMany => {
                *too_many = Some(format!(
                    "twenty refusals in a row over several devices; they wait in the outbox; \
                     the last one: {detail}"
                ));
                Entry::Left
            }
        }
    }

    /// What was composed and has been confirmed. Rows that are publications are added by the
    /// store, which has them.
    fn history(&self, settled: &[Settled]) -> Vec<Block> {
        let at = self.books.now();
        let records = settled.iter().filter_map(|settled| {
            let Judged::Delivered { .. } = settled.judged else { return None };
            let (broker, publication) = self.composed.get(&settled.index)?;
            let delivery = &self.rows[settled.index].delivery;
            Some(Record::confirmed(delivery, broker, publication, at))
        });
        Block::pack(&records.collect::<Vec<_>>())
    }

    fn note(&self, error: &str) {
        self.books.board.edit(|status| {
            status.retries += 1;
            status.last_error = Some(error.to_owned());
        });
    }
}

impl Ledger for Page<'_> {
    async fn enter(&mut self, settled: Vec<Settled>, follow: Vec<NewDelivery>) -> Result<(), Stop> {
        let history = self.history(&settled);
        let mut settle = Vec::with_capacity(settled.len());
        let mut too_many = None;
        for settled in settled {
            match self.enter_one(&settled, &mut settle, &mut too_many) {
                Entry::Through => {
                    self.through.insert(settled.index);
                }
                Entry::Again(again) => {
                    self.again.insert(settled.index, again);
                }
                Entry::Left => {}
            }
        }
        self.books.commit(Commit { settle, outbox: follow, history, ..Commit::default() }).await?;
        match too_many {
            Some(reason) => Err(Stop::Pause(reason)),
            None => Ok(()),
        }
    }
}
