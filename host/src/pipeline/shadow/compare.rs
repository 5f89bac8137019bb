//! Compares what two versions made of one input: items by their lines, rejections by their codes.

use std::sync::Arc;

use serde_json::Value;

use super::tally::Outcome;
use super::{Difference, Shadowed};
use crate::message::{DeviceId, Item, Message, Rejection, Timestamp};
use crate::pipeline::item::{Emitted, Position};
use crate::pipeline::line::{Clock, write_item, write_rejection};

/// Lines that are kept of one side, and bytes of one line: a module may say megabytes.
const LINES: usize = 20;
const LINE: usize = 1024;

type Said = Result<Vec<Item>, Rejection>;

/// How the shadow's answer compares with the live one.
pub(super) fn compare(input: &Shadowed, shadow: &Said) -> Outcome {
    match (&input.live, shadow) {
        (Err(live), Err(shadow)) if live.code == shadow.code => Outcome::Same,
        (Err(_), _) | (_, Err(_)) => Outcome::RefusedDifferently,
        (Ok(live), Ok(shadow)) => match (live.is_empty(), shadow.is_empty()) {
            (true, true) => Outcome::Same,
            (false, true) => Outcome::OnlyLive,
            (true, false) => Outcome::OnlyShadow,
            (false, false) if are_same(input, live, shadow) => Outcome::Same,
            (false, false) => Outcome::Different,
        },
    }
}

/// The difference for people to read.
pub(super) fn difference(outcome: Outcome, input: &Shadowed, shadow: &Said) -> Difference {
    Difference {
        outcome,
        at: input.message.received_at,
        topic: Some(input.message.topic.clone()),
        key: None,
        device: input.whose.clone(),
        live: shown(input, &input.live),
        shadow: shown(input, shadow),
    }
}

fn are_same(input: &Shadowed, live: &[Item], shadow: &[Item]) -> bool {
    if live.len() != shadow.len() {
        return false;
    }
    let mut clock = Clock::default();
    live.iter().zip(shadow).all(|(live, shadow)| {
        let live = line(input, live, &mut clock);
        let shadow = line(input, shadow, &mut clock);
        live == shadow || are_equal_by_value(&live, &shadow)
    })
}

/// The order of measurements and the sign of zero make other bytes of the same values.
pub(super) fn are_equal_by_value(one: &[u8], other: &[u8]) -> bool {
    let read = |line| serde_json::from_slice::<Value>(line).ok();
    read(one).is_some_and(|one| Some(one) == read(other))
}

fn line(input: &Shadowed, item: &Item, clock: &mut Clock) -> Vec<u8> {
    let stated = match item {
        Item::Reading(reading) => reading.at,
        Item::Event(event) => event.at,
        Item::Publication(_) => None,
    };
    let Message { received_at, .. } = *input.message;
    item_line(&input.stage, item, input.whose.as_ref(), (stated, received_at), clock)
}

/// An item as people see it; `device` is whose it is unless it says so itself.
pub(super) fn item_line(
    stage: &Arc<str>,
    item: &Item,
    device: Option<&DeviceId>,
    (stated, received_at): (Option<Timestamp>, Timestamp),
    clock: &mut Clock,
) -> Vec<u8> {
    let own = match item {
        Item::Reading(reading) => reading.device.clone(),
        Item::Event(event) => event.device.clone(),
        Item::Publication(_) => None,
    };
    let emitted = Emitted {
        item: item.clone(),
        stage: stage.clone(),
        device: own.or_else(|| device.cloned()),
        bound: None,
        stated,
        received_at,
        qos: 0,
        retained: false,
        message: None,
        woken: None,
        position: Position { input: 0, stage: 0, output: 0 },
        identity: None,
        counts: false,
    };
    let mut bytes = Vec::new();
    write_item(&mut bytes, &emitted, clock);
    bytes
}

fn shown(input: &Shadowed, said: &Said) -> Vec<Arc<str>> {
    let items = match said {
        Ok(items) => items,
        Err(rejection) => {
            return vec![cut(&rejection_line(&input.stage, rejection))];
        }
    };
    let mut clock = Clock::default();
    more(items.iter().map(|item| cut(&line(input, item, &mut clock))), items.len())
}

/// The first lines of so many.
pub(super) fn more(lines: impl Iterator<Item = Arc<str>>, count: usize) -> Vec<Arc<str>> {
    let more = count.saturating_sub(LINES);
    lines.take(LINES).chain((more > 0).then(|| format!("and {more} more").into())).collect()
}

/// Why a stage refused an input, as people see it.
pub(super) fn rejection_line(stage: &str, rejection: &Rejection) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_rejection(&mut bytes, stage, &rejection.code, &rejection.detail, None);
    bytes
}

pub(super) fn cut(line: &[u8]) -> Arc<str> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    match text.char_indices().nth(LINE) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}
