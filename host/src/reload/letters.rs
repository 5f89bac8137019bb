//! Dead letters on a person's word: through today's pipeline once more, or away.
//!
//! A request is worked off in turns of a bounded size, the oldest letters first, so that none
//! lasts long and the order of receipt is kept. Invariant: a letter is worked on by one
//! request at a time, and leaves in the commit that holds all that follows from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Tapline;
use super::start::blocking;
use crate::message::Timestamp;
use crate::pipeline::{Redo, Redone, Shard};
use crate::store::{
    Audit, Commit, DeadLetter, LetterFilter, NewDelivery, NumberedDeadLetter, SinkId, StoreError,
};
use crate::telemetry::clock;

/// Letters that one turn works on at most.
pub const TURN: usize = 100;

/// Which letters a turn begins with.
#[derive(Clone, Debug)]
pub enum Chosen {
    Numbers(Vec<u64>),
    /// All that match, behind `after` and up to `up_to`; absent: up to the newest of now.
    Matching {
        filter: LetterFilter,
        after: u64,
        up_to: Option<u64>,
    },
}

/// What a turn did.
#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// Letters that are gone: replayed or discarded.
    pub done: u64,
    /// Of these, those whose readings came too late for detectors to see them.
    pub late: u64,
    /// Tried, and set aside again under the same number.
    pub failed: Vec<Left>,
    /// Not even tried, for this reason.
    pub refused: Vec<Left>,
    /// Where the next turn goes on; absent: there is nothing left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// A letter that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub id: u64,
    pub code: String,
    pub detail: String,
}

/// Where a choice of many letters goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub after: u64,
    pub up_to: u64,
}

impl Left {
    fn new(id: u64, code: &str, detail: impl Into<String>) -> Self {
        Self { id, code: code.to_owned(), detail: detail.into() }
    }
}

/// The letters of one turn.
struct Picked {
    letters: Vec<NumberedDeadLetter>,
    missing: Vec<u64>,
    next: Option<Next>,
}

impl Tapline {
    /// Sends letters on their way again: messages through their pipeline, deliveries to their
    /// sink. `force` lets publications to devices go, too.
    ///
    /// # Errors
    /// If the store does not answer; what was not done by then stays.
    pub async fn replay_letters(
        &self,
        chosen: Chosen,
        force: bool,
        author: &str,
    ) -> Result<Turned, StoreError> {
        let _one_at_a_time = self.letters.lock().await;
        let picked = self.pick(chosen).await?;
        let mut turned = picked.begin();
        let mut letters = picked.letters.into_iter().peekable();
        while let Some(first) = letters.next() {
            if first.letter.message.is_none() {
                self.replay_delivery(first, force, author, &mut turned).await?;
                continue;
            }
            // Messages of one pipeline that follow each other go together.
            let pipeline = first.letter.pipeline.clone();
            let mut together = vec![first];
            while let Some(next) = letters
                .next_if(|next| next.letter.message.is_some() && next.letter.pipeline == pipeline)
            {
                together.push(next);
            }
            self.replay_messages(&pipeline, together, &mut turned).await;
        }
        tracing::info!(
            event = "dead_letters_replayed",
            author,
            done = turned.done,
            failed = turned.failed.len(),
            refused = turned.refused.len(),
            "dead letters were replayed"
        );
        Ok(turned)
    }

    /// Throws letters away, and writes down who asked for it.
    ///
    /// # Errors
    /// If the store does not answer; then all of them stay.
    pub async fn discard_letters(
        &self,
        chosen: Chosen,
        author: &str,
    ) -> Result<Turned, StoreError> {
        let _one_at_a_time = self.letters.lock().await;
        let picked = self.pick(chosen).await?;
        let mut turned = picked.begin();
        let at = clock::now();
        let audit = |one: &NumberedDeadLetter| Audit {
            at,
            author: author.to_owned(),
            action: "dead-letter.discarded",
            what: in_short(one.number, &one.letter),
        };
        let commit = Commit {
            dead_removed: picked.letters.iter().map(|one| one.number).collect(),
            audit: picked.letters.iter().map(audit).collect(),
            ..Commit::default()
        };
        turned.done = picked.letters.len() as u64;
        if turned.done > 0 {
            for audit in &commit.audit {
                tracing::info!(event = "dead_letter_discarded", author, what = audit.what, "gone");
            }
            self.store.submit_async(commit).await?;
        }
        Ok(turned)
    }

    async fn pick(&self, chosen: Chosen) -> Result<Picked, StoreError> {
        let store = self.store.clone();
        blocking(move || {
            let (numbers, up_to) = match chosen {
                Chosen::Numbers(numbers) => {
                    let numbers: BTreeSet<_> = numbers.into_iter().collect();
                    (numbers.into_iter().collect(), None)
                }
                Chosen::Matching { filter, after, up_to } => {
                    // What comes meanwhile is not meant: it would have no end.
                    let up_to = match up_to {
                        Some(up_to) => up_to,
                        None => store.dead_letters_matching(&filter)?.1,
                    };
                    (store.dead_letter_numbers(&filter, (after, up_to), TURN)?, Some(up_to))
                }
            };
            let next = match (up_to, numbers.last()) {
                (Some(up_to), Some(&after)) if numbers.len() == TURN => Some(Next { after, up_to }),
                _ => None,
            };
            let mut picked = Picked { letters: Vec::new(), missing: Vec::new(), next };
            for number in numbers {
                match store.dead_letter(number)? {
                    Some(letter) => picked.letters.push(letter),
                    None => picked.missing.push(number),
                }
            }
            Ok(picked)
        })
        .await
    }

    async fn replay_messages(
        &self,
        pipeline: &Arc<str>,
        letters: Vec<NumberedDeadLetter>,
        turned: &mut Turned,
    ) {
        let redo: Vec<_> = letters
            .into_iter()
            .filter_map(|one| {
                let message = Arc::new(one.letter.message.clone()?);
                Some(Redo { number: one.number, message, letter: one.letter })
            })
            .collect();
        let numbers: Vec<_> = redo.iter().map(|redo| redo.number).collect();
        let shard = self.running().shards.get(pipeline).cloned();
        if let Some(halted) = shard.as_ref().and_then(|shard| shard.halted()) {
            let why = format!("pipeline `{pipeline}` halts: {halted}");
            let left = numbers.into_iter().map(|id| Left::new(id, "halted", why.clone()));
            turned.refused.extend(left);
            return;
        }
        let done = match shard {
            Some(shard) => {
                tokio::task::spawn_blocking(move || shard.redo(redo)).await.unwrap_or_default()
            }
            None => None,
        };
        let Some(done) = done else {
            let why = format!("pipeline `{pipeline}` does not run; see /health");
            let left = numbers.into_iter().map(|id| Left::new(id, "no-pipeline", why.clone()));
            turned.refused.extend(left);
            return;
        };
        for (id, redone) in numbers.into_iter().zip(done) {
            match redone {
                Redone::Through { late } => {
                    turned.done += 1;
                    turned.late += u64::from(late);
                }
                Redone::Again(why) => turned.failed.push(Left::new(id, &why.code, why.detail)),
            }
        }
    }

    async fn replay_delivery(
        &self,
        one: NumberedDeadLetter,
        force: bool,
        author: &str,
        turned: &mut Turned,
    ) -> Result<(), StoreError> {
        let now = clock::now();
        let what = in_short(one.number, &one.letter);
        let sink = one.letter.delivery.as_ref().map(|dead| &dead.delivery.sink);
        let reach = Reach {
            is_there: sink.is_some_and(|sink| self.delivery.status().contains_key(sink)),
            publishes: sink.is_some_and(|sink| self.publishes(sink)),
        };
        let acts = reach.publishes;
        let delivery = match sendable(one, force, now, reach) {
            Ok(delivery) => delivery,
            Err(left) => {
                turned.refused.push(left);
                return Ok(());
            }
        };
        let (number, delivery) = delivery;
        let mut commit = Commit { dead_removed: vec![number], ..Commit::default() };
        if acts {
            tracing::warn!(event = "publication_replayed", author, what, "sent again on demand");
            let (author, action) = (author.to_owned(), "publication.replayed");
            commit.audit.push(Audit { at: now, author, action, what });
        }
        commit.outbox.push(NewDelivery { replayed: true, ..delivery });
        self.store.submit_async(commit).await?;
        turned.done += 1;
        Ok(())
    }
}

impl Tapline {
    /// Whether what reaches this sink is published.
    fn publishes(&self, sink: &SinkId) -> bool {
        let shard = self.running().shards.get(&sink.pipeline).cloned();
        let is_publisher = |shard: &Arc<Shard>| {
            shard.plan().publishers.iter().any(|stage| stage.publisher.name == sink.stage)
        };
        sink.broker().is_some() || shard.as_ref().is_some_and(is_publisher)
    }
}

/// What is at the other end of a delivery.
#[derive(Clone, Copy)]
struct Reach {
    is_there: bool,
    /// A device may act on it.
    publishes: bool,
}

impl Picked {
    fn begin(&self) -> Turned {
        let missing = |id: &u64| Left::new(*id, "not-found", "there is no such dead letter");
        let refused = self.missing.iter().map(missing).collect();
        Turned { refused, next: self.next, ..Turned::default() }
    }
}

/// The delivery of a letter, if it may go to its sink once more.
fn sendable(
    one: NumberedDeadLetter,
    force: bool,
    now: Timestamp,
    reach: Reach,
) -> Result<(u64, NewDelivery), Left> {
    let id = one.number;
    if let Some(why) = one.unreadable {
        return Err(Left::new(id, "unreadable", format!("it cannot be read: {why}")));
    }
    let Some(dead) = one.letter.delivery else {
        let why = match one.letter.raw {
            Some(_) => "its bytes cannot be read, so there is nothing to send",
            None => "a wake-up failed, no message: there is nothing to send",
        };
        return Err(Left::new(id, "nothing-to-replay", why));
    };
    let delivery = dead.delivery;
    if let Some(at) = delivery.expires_at.filter(|at| *at <= now) {
        let why = format!("it expired at {at}, and what has expired is never sent");
        return Err(Left::new(id, "expired", why));
    }
    if !reach.is_there {
        let why = format!("there is no sink `{}` any more", delivery.sink);
        return Err(Left::new(id, "no-sink", why));
    }
    if reach.publishes && !force {
        let why = "a publication to a device acts there once more: say so with --force";
        return Err(Left::new(id, "needs-force", why));
    }
    Ok((id, delivery))
}

/// A letter in one line, for those who ask what was done to it.
fn in_short(number: u64, letter: &DeadLetter) -> String {
    let mut text = format!("{number}: {}/{} {}", letter.pipeline, letter.stage, letter.code);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(", {name} {value}"));
        }
    };
    add("device", letter.device.as_ref().map(ToString::to_string));
    add("topic", letter.message.as_ref().map(|message| message.topic.to_string()));
    add("message", letter.message.as_ref().map(|message| message.id.to_string()));
    add("delivery", letter.delivery.as_ref().map(|dead| dead.delivery.id.to_string()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Content, DeviceId, Event, Item, Properties, Publication};
    use crate::store::DeadDelivery;

    fn letter(content: Content, expires_at: Option<Timestamp>) -> NumberedDeadLetter {
        let delivery = NewDelivery {
            sink: SinkId::new("workshop", "odoo"),
            id: uuid::Uuid::from_u128(7),
            key: "mill".into(),
            at: Timestamp(1),
            device: Some(DeviceId::from("mill")),
            content,
            origin: None,
            message: None,
            expires_at,
            replayed: false,
        };
        let letter = DeadLetter {
            pipeline: "workshop".into(),
            stage: "odoo".into(),
            code: "refused".into(),
            detail: String::new(),
            at: Timestamp(2),
            device: Some(DeviceId::from("mill")),
            key: None,
            message: None,
            delivery: Some(DeadDelivery { delivery, seq: 1 }),
            module: None,
            attempts: 1,
            answer: None,
            raw: None,
        };
        NumberedDeadLetter { number: 5, letter, unreadable: None }
    }

    fn event() -> Content {
        let (kind, channel) = ("session_started".to_owned(), String::new());
        let data = "{}".to_owned();
        Content::Item(Item::Event(Event { kind, device: None, channel, at: None, data }))
    }

    fn publication() -> Content {
        Content::Item(Item::Publication(Publication {
            broker: None,
            topic: "cmnd/mill/POWER".into(),
            payload: b"ON".to_vec(),
            qos: 1,
            retain: false,
            properties: Properties::default(),
        }))
    }

    #[test]
    fn a_delivery_goes_again_unless_that_could_do_harm() {
        let (now, later) = (Timestamp(100), Some(Timestamp(101)));
        let unreadable =
            NumberedDeadLetter { unreadable: Some("why".into()), ..letter(event(), None) };
        let mut wake = letter(event(), None);
        wake.letter.delivery = None;
        let cases = [
            (letter(event(), None), false, true, "ok"),
            (letter(event(), None), false, false, "no-sink"),
            (letter(event(), Some(now)), true, true, "expired"),
            (letter(event(), later), false, true, "ok"),
            (letter(publication(), later), false, true, "needs-force"),
            (letter(publication(), later), true, true, "ok"),
            (letter(publication(), Some(Timestamp(99))), true, true, "expired"),
            (unreadable, true, true, "unreadable"),
            (wake, true, true, "nothing-to-replay"),
        ];
        for (letter, force, has_sink, expected) in cases {
            let case = format!("{letter:?} {force}");
            let publication = letter.letter.delivery.as_ref().is_some_and(|dead| {
                matches!(dead.delivery.content, Content::Item(Item::Publication(_)))
            });
            let reach = Reach { is_there: has_sink, publishes: publication };
            let sent = sendable(letter, force, now, reach);
            let code = sent.map_or_else(|left| left.code, |_| "ok".to_owned());
            assert_eq!(code, expected, "{case}");
        }
    }
}
