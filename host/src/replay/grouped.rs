//! Orders what comes out by device and by what it says, so that two replays can be compared one
//! device after the other with a few lines in memory.
//!
//! Within a group, what a parser read from a line stands at that line, and what a detector said
//! at the time at which it counts. Invariant: bytes compare as the parts do.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::message::{Item, Timestamp};
use crate::pipeline::Emitted;
use crate::store::DeadLetter;

/// What stands at a line of the input.
const AT_LINE: u8 = 0;
/// What stands at a time.
const AT_TIME: u8 = 1;

/// The kinds of what comes out, in the order in which they are shown.
const KINDS: [&str; 4] = ["reading", "event", "publication", "rejection"];

/// The stages that both sides have. Where a stage has another name on each side, its name sets
/// nothing apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(pub(super) Arc<BTreeSet<Arc<str>>>);

/// What lines are about that are compared with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Empty: of no device.
    pub device: String,
    /// `reading`, `event`, `publication` or `rejection`.
    pub item: &'static str,
    /// Of an event its kind, of a publication its topic, else empty.
    pub name: String,
    pub channel: String,
    /// Empty where the two sides call their stages differently.
    pub stage: String,
}

/// Where within its group a line stands.
pub(super) enum Place<'a> {
    Line(u64),
    Time(Timestamp, &'a str),
}

impl Shared {
    pub(super) fn item(&self, bytes: &mut Vec<u8>, item: &Emitted, place: &Place<'_>) -> usize {
        let (kind, name, channel) = match &item.item {
            Item::Reading(reading) => (0, "", &*reading.channel),
            Item::Event(event) => (1, &*event.kind, &*event.channel),
            Item::Publication(publication) => (2, &*publication.topic, ""),
        };
        let device = item.device.as_ref().map_or("", |device| device.as_str());
        self.order(bytes, device, kind, [name, channel, &*item.stage], place)
    }

    pub(super) fn rejection(
        &self,
        bytes: &mut Vec<u8>,
        letter: &DeadLetter,
        place: &Place<'_>,
    ) -> usize {
        let device = letter.device.as_ref().map_or("", |device| device.as_str());
        self.order(bytes, device, 3, ["", "", &*letter.stage], place)
    }

    fn order(
        &self,
        bytes: &mut Vec<u8>,
        device: &str,
        kind: u8,
        [name, channel, stage]: [&str; 3],
        place: &Place<'_>,
    ) -> usize {
        text(bytes, device);
        bytes.push(kind);
        text(bytes, name);
        text(bytes, channel);
        text(bytes, if self.0.contains(stage) { stage } else { "" });
        match place {
            Place::Line(line) => {
                bytes.push(AT_LINE);
                bytes.extend(line.to_be_bytes());
            }
            Place::Time(at, key) => {
                bytes.push(AT_TIME);
                bytes.extend(at.0.to_be_bytes());
                bytes.extend(key.as_bytes());
            }
        }
        bytes.len()
    }
}

/// A text that ends where it ends: a module may name devices and channels as it likes.
fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.bytes().map(|byte| if byte == 0 { b' ' } else { byte }));
    bytes.push(0);
}

/// How many bytes of an order name its group.
pub(super) fn group_length(order: &[u8]) -> usize {
    let mut at = 0;
    for part in 0..4 {
        // Behind the device stands the kind, one byte.
        at += usize::from(part == 1);
        let rest = order.get(at..).unwrap_or_default();
        at += rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |end| end + 1);
    }
    at.min(order.len())
}

/// The time of what stands at one; `None`: it stands at a line.
pub(super) fn time(place: &[u8]) -> Option<Timestamp> {
    let at = place.strip_prefix(&[AT_TIME])?.first_chunk()?;
    Some(Timestamp(u64::from_be_bytes(*at)))
}

impl Group {
    /// Reads what [`Shared::item`] wrote.
    pub(super) fn of(order: &[u8]) -> Self {
        let take = |at: &mut usize| {
            let rest = order.get(*at..).unwrap_or_default();
            let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            *at += text.len() + 1;
            String::from_utf8_lossy(text).into_owned()
        };
        let mut at = 0;
        let device = take(&mut at);
        let kind = order.get(at).copied().unwrap_or_default();
        at += 1;
        let (name, channel, stage) = (take(&mut at), take(&mut at), take(&mut at));
        let item = KINDS.get(usize::from(kind)).copied().unwrap_or_default();
        Self { device, item, name, channel, stage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(device: &str, kind: u8, texts: [&str; 3], place: &Place<'_>) -> Vec<u8> {
        let shared = Shared(Arc::new(BTreeSet::from(["shelly".into()])));
        let mut bytes = Vec::new();
        shared.order(&mut bytes, device, kind, texts, place);
        bytes
    }

    #[test]
    fn a_group_reads_back_as_it_was_written() {
        let at = Place::Time(Timestamp(256), "a\0b");
        for (device, texts) in [("press", ["started", "switch:0", "shelly"]), ("", ["", "", ""])] {
            let order = order(device, 1, texts, &at);
            let [name, channel, stage] = texts.map(str::to_owned);
            let group = Group { device: device.to_owned(), item: "event", name, channel, stage };
            assert_eq!(Group::of(&order), group);
            assert_eq!(time(&order[group_length(&order)..]), Some(Timestamp(256)));
        }
        let other = order("press", 3, ["", "", "other"], &Place::Line(7));
        assert_eq!(Group::of(&other).stage, "", "a stage of one side alone sets nothing apart");
        assert_eq!(time(&other[group_length(&other)..]), None);
    }

    #[test]
    fn devices_come_by_name_and_within_a_group_lines_and_times_in_order() {
        let event = ["started", "", "shelly"];
        let orders = [
            order("a", 0, ["", "", "shelly"], &Place::Line(900)),
            order("a", 1, event, &Place::Time(Timestamp(1), "k")),
            order("a", 1, event, &Place::Time(Timestamp(256), "a")),
            order("a-b", 0, ["", "", "shelly"], &Place::Line(1)),
            order("a-b", 0, ["", "", "shelly"], &Place::Line(256)),
        ];
        assert!(orders.is_sorted(), "{orders:?}");
    }
}
