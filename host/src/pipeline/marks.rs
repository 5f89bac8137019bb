//! By what a redelivered message is recognised as committed.
//!
//! Invariant: how long ago a mark was made is counted in messages of its broker, since packet
//! ids come round again; receipt sequences do not tell it, as they jump from one process to
//! the next.

use std::collections::HashMap;
use std::sync::Arc;

use crate::broker::PacketMark;
use crate::store::Mark;

/// A packet id comes round again after 65,535 others; a mark older than this is of an
/// earlier message.
const WITHIN: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Marks {
    by_packet: HashMap<(Arc<str>, u16), Known>,
    /// Messages that were marked so far, by broker.
    made: HashMap<Arc<str>, u64>,
}

#[derive(Debug)]
struct Known {
    epoch: u64,
    hash: u64,
    /// How many were made before.
    place: u64,
}

impl Marks {
    /// What the store kept. The brokers sent nothing while nobody was there, so the next
    /// message follows the last mark.
    pub(super) fn load(mut marks: Vec<Mark>) -> Self {
        marks.sort_by_key(|mark| mark.sequence);
        let mut all = Self::default();
        for mark in &marks {
            all.add(mark);
        }
        all
    }

    pub(super) fn add(&mut self, mark: &Mark) {
        let made = self.made.entry(mark.broker.clone()).or_default();
        let known = Known { epoch: mark.epoch, hash: mark.hash, place: *made };
        *made += 1;
        self.by_packet.insert((mark.broker.clone(), mark.packet_id), known);
    }

    /// Whether this is the second coming of a message that is committed, or about to be.
    pub(super) fn has(&self, broker: &Arc<str>, packet: &PacketMark) -> bool {
        let made = self.made.get(broker).copied().unwrap_or_default();
        packet.dup
            && self.by_packet.get(&(broker.clone(), packet.packet_id)).is_some_and(|known| {
                known.epoch == packet.epoch
                    && known.hash == packet.hash
                    && made - known.place < WITHIN
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(packet_id: u16, sequence: u64) -> Mark {
        let (broker, pipeline) = ("main".into(), "workshop".into());
        Mark { broker, pipeline, packet_id, epoch: 1, hash: 5, sequence }
    }

    fn packet(packet_id: u16) -> PacketMark {
        PacketMark { packet_id, epoch: 1, dup: true, hash: 5 }
    }

    #[test]
    fn knows_a_message_that_another_process_committed() {
        // Each process begins its sequence at its own time.
        let marks = Marks::load(vec![mark(2, 7 << 40), mark(1, 3 << 40)]);
        let main = "main".into();
        assert!(marks.has(&main, &packet(1)) && marks.has(&main, &packet(2)));
        assert!(!marks.has(&main, &packet(3)) && !marks.has(&"other".into(), &packet(1)));
        assert!(!marks.has(&main, &PacketMark { dup: false, ..packet(1) }));
        assert!(!marks.has(&main, &PacketMark { epoch: 2, ..packet(1) }));
        assert!(!marks.has(&main, &PacketMark { hash: 6, ..packet(1) }));
    }

    #[test]
    fn forgets_a_mark_whose_packet_id_may_have_come_round() {
        let mut marks = Marks::load(vec![mark(1, 1)]);
        let main = "main".into();
        for sequence in 2..WITHIN {
            marks.add(&mark(9, sequence));
        }
        assert!(marks.has(&main, &packet(1)));
        marks.add(&mark(9, WITHIN));
        assert!(!marks.has(&main, &packet(1)));
    }
}
