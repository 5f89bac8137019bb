//! What is handed to the intake, and with what ticket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::link::Shared;
use super::wire::Inbound;
use super::{PacketMark, Received, hash};
use crate::message::{Message, MessageId};

/// Counted for a message beside topic and payload: what it costs to hold.
const OVERHEAD: usize = 256;

/// The last gate before the intake.
pub(super) struct Admission {
    shared: Arc<Shared>,
    source: Arc<str>,
    /// Whether the last message of QoS 0 was shed, so that a log line marks the first alone.
    shedding: bool,
}

impl Admission {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let source = shared.broker.name.as_str().into();
        Self { shared, source, shedding: false }
    }

    /// Sorts out what is not handed over: after a pause, at the ceiling (QoS 0), over the limit.
    pub(super) fn admit(&mut self, inbound: Inbound) -> Option<Inbound> {
        if self.shared.paused.load(Ordering::Acquire) {
            return None; // unacknowledged: it comes again, or belongs to a session that ends
        }
        let size = inbound.topic.len() + inbound.payload.len();
        if size > self.shared.broker.max_packet as usize {
            // Over MQTT 5 the broker drops it before we see it. Over 3.1.1 it cannot know our
            // limit, and a message that is never acknowledged would end every connection.
            tracing::warn!(event = "mqtt_message_too_large", broker = %self.shared.broker.name, topic = %inbound.topic, size, limit = self.shared.broker.max_packet, "a message over the limit was acknowledged unread");
            self.shared.board.oversize.fetch_add(1, Ordering::Relaxed);
            if inbound.qos > 0 {
                self.shared.ledger.confirmed(0, inbound.qos, inbound.packet_id).done();
            }
            return None;
        }
        let full = self.shared.ledger.is_full();
        if inbound.qos == 0 && full {
            self.shared.board.shed.fetch_add(1, Ordering::Relaxed);
            if !self.shedding {
                tracing::warn!(event = "mqtt_messages_shed", broker = %self.shared.broker.name, "messages of QoS 0 are dropped at the ceiling");
            }
            self.shedding = true;
            return None;
        }
        self.shedding = full;
        Some(inbound)
    }

    /// Hands a message over with its ticket.
    pub(super) fn hand_over(&self, inbound: Inbound, epoch: u64) {
        let shared = &self.shared;
        let size = inbound.topic.len() + inbound.payload.len() + OVERHEAD;
        shared.board.received.fetch_add(1, Ordering::Relaxed);
        let ticket = match inbound.qos {
            0 => shared.ledger.unconfirmed(size),
            qos => shared.ledger.confirmed(size, qos, inbound.packet_id),
        };
        let packet = (inbound.qos > 0).then(|| PacketMark {
            packet_id: inbound.packet_id,
            epoch,
            dup: inbound.dup,
            hash: hash::content(inbound.topic.as_bytes(), &inbound.payload),
        });
        let id = MessageId {
            source: Arc::clone(&self.source),
            epoch,
            sequence: shared.sequence.fetch_add(1, Ordering::Relaxed),
        };
        let message = Message {
            id,
            topic: inbound.topic,
            payload: inbound.payload,
            received_at: shared.now(),
            qos: inbound.qos,
            retained: inbound.retain,
            properties: Arc::new(inbound.properties.unwrap_or_default()),
        };
        shared.intake.message(Received { message, packet, ticket });
    }
}
