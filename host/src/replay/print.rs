//! Items as JSON lines, in their order: counted time, then wake-ups by key, then inputs by
//! line; of one input by stage, and as the stage emitted them. To be compared with those of
//! another replay, they are put in the order of `grouped`.

use std::io::{self, Write};
use std::sync::Arc;

use super::grouped::{Place, Shared};
use super::sorted::{InOrder, Sorted, WriteError};
use crate::message::{Message, Timestamp};
use crate::pipeline::{Clock, Effects, Emitted, Plan, write_item, write_rejection};

/// Lines of what a pipeline emits.
pub struct Output {
    lines: Sorted,
    clock: Clock,
    /// By device and not by time.
    grouped: Option<Shared>,
}

/// What an item follows from.
enum Cause<'a> {
    /// A wake-up, or what else concerns a key without a message.
    Key(&'a str),
    /// The message of a line.
    Line(u64),
}

impl Output {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { lines: Sorted::new(), clock: Clock::default(), grouped: None }
    }

    /// Nothing yet, by device; `shared` are the stages that the other side has, too.
    pub(super) fn grouped(shared: Shared) -> Self {
        Self { grouped: Some(shared), ..Self::new() }
    }

    /// How many lines there are.
    pub fn count(&self) -> u64 {
        self.lines.count()
    }

    /// Takes what followed from `messages`, which stand on these `lines`.
    ///
    /// # Errors
    /// If more waits than memory should hold, and the temporary directory does not take it.
    pub fn take(
        &mut self,
        plan: &Plan,
        effects: &Effects,
        messages: &[Arc<Message>],
        lines: &[u64],
    ) -> io::Result<()> {
        let line_of = |index: usize| lines.get(index).copied().unwrap_or_default();
        for item in &effects.items {
            let key = item.identity.as_ref().map_or("", |identity| &*identity.key);
            let cause = match (&item.woken, item.message) {
                (Some(key), _) => Cause::Key(key),
                (None, Some(index)) => Cause::Line(line_of(index)),
                (None, None) => Cause::Key(key),
            };
            let rank = plan.rank(&item.stage);
            let (clock, grouped) = (&mut self.clock, &self.grouped);
            self.lines.add(|bytes| {
                let at = counted(plan, item, rank);
                let end = match grouped {
                    None => order(bytes, at, &cause, rank),
                    Some(shared) => shared.item(
                        bytes,
                        item,
                        &place(at, &cause, rank < plan.first_detector_rank()),
                    ),
                };
                write_item(bytes, item, clock);
                end
            })?;
        }
        for letter in &effects.dead {
            let index = letter.message.as_ref().and_then(|message| {
                // A letter's own copy of one of these.
                messages.iter().position(|one| one.id == message.id)
            });
            let line = index.map(line_of);
            let cause = line.map_or(Cause::Key(""), Cause::Line);
            let grouped = &self.grouped;
            self.lines.add(|bytes| {
                let end = match grouped {
                    None => order(bytes, letter.at, &cause, plan.rank(&letter.stage)),
                    Some(shared) => {
                        shared.rejection(bytes, letter, &place(letter.at, &cause, true))
                    }
                };
                write_rejection(bytes, &letter.stage, &letter.code, &letter.detail, line);
                end
            })?;
        }
        Ok(())
    }

    /// Writes all lines in order.
    pub(super) fn write(self, output: &mut impl Write) -> Result<(), WriteError> {
        self.lines.write(output)
    }

    /// All lines in order, one by one.
    pub(super) fn into_order(self) -> io::Result<InOrder> {
        self.lines.into_order()
    }

    /// All lines in order, for those who have room for them.
    ///
    /// # Errors
    /// If the temporary directory cannot be read.
    pub fn into_bytes(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).map_err(|error| match error {
            WriteError::Scratch(error) | WriteError::Output(error) => error,
        })?;
        Ok(bytes)
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// When an item counts. What a parser emits has a time of its own; sinks that take it give it
/// another, which must not depend on whether there is one.
fn counted(plan: &Plan, item: &Emitted, rank: usize) -> Timestamp {
    match &item.identity {
        Some(identity) if rank >= plan.first_detector_rank() => identity.at,
        _ => item.stated.unwrap_or(item.received_at),
    }
}

/// Where a line stands within its group: what was `read` from a line of the input at that line.
fn place<'a>(at: Timestamp, cause: &Cause<'a>, read: bool) -> Place<'a> {
    match cause {
        Cause::Line(line) if read => Place::Line(*line),
        Cause::Line(_) => Place::Time(at, ""),
        Cause::Key(key) => Place::Time(at, key),
    }
}

/// Writes what a line is ordered by, such that bytes compare as the parts do.
fn order(bytes: &mut Vec<u8>, at: Timestamp, cause: &Cause<'_>, rank: usize) -> usize {
    bytes.extend(at.0.to_be_bytes());
    match cause {
        Cause::Key(key) => {
            bytes.push(0);
            bytes.extend(key.as_bytes());
            bytes.push(0);
        }
        Cause::Line(line) => {
            bytes.push(1);
            bytes.extend(line.to_be_bytes());
        }
    }
    // Validators have no rank and come first: what they refuse goes no further.
    let rank = u32::try_from(rank.wrapping_add(1)).unwrap_or(u32::MAX);
    bytes.extend(rank.to_be_bytes());
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_come_by_key_before_inputs_of_the_same_time() {
        let of = |at, cause: Cause<'_>, rank| {
            let mut bytes = Vec::new();
            order(&mut bytes, Timestamp(at), &cause, rank);
            bytes
        };
        let orders = [
            of(1, Cause::Line(900), 5),
            of(2, Cause::Key("a"), 3),
            of(2, Cause::Key("a-b"), 0),
            of(2, Cause::Key("b"), 0),
            of(2, Cause::Line(1), usize::MAX),
            of(2, Cause::Line(1), 0),
            of(2, Cause::Line(1), 1),
            of(2, Cause::Line(256), 0),
            of(256, Cause::Key(""), 0),
        ];
        assert!(orders.is_sorted(), "{orders:?}");
    }
}
