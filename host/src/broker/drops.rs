//! What the broker says that it has dropped: Mosquitto counts it on a topic of its own.
//!
//! The publishing connection listens to it, because its session ends with it and nothing that
//! comes there goes to a pipeline. A broker that does not offer the count, refuses it or closes
//! the connection over it is left alone, before anything is published. Neighbours: `outlet` asks, `receive` takes the count.

use tokio::sync::watch;

use super::wire::{Granted, Inbound, Pending, Requests, WireError};
use super::{RetainHandling, Subscription};

/// Where Mosquitto publishes its count, retained, whenever it has changed.
pub(super) const TOPIC: &str = "$SYS/broker/publish/messages/dropped";
/// A broker may close the connection on a filter that it does not allow. After so many
/// connections that ended like this it is not asked any more.
const LOST: u8 = 2;

/// Listens to the broker's count over the connections of one outlet.
pub(super) struct Watch {
    counts: watch::Sender<Option<u64>>,
    asked: Option<Pending<Granted>>,
    /// Asked on this connection.
    is_asked: bool,
    lost: u8,
}

impl Watch {
    /// Tells each count to `counts`.
    pub(super) fn new(counts: watch::Sender<Option<u64>>) -> Self {
        Self { counts, asked: None, is_asked: false, lost: 0 }
    }

    /// A connection begins.
    pub(super) fn connected(&mut self) {
        (self.asked, self.is_asked) = (None, false);
    }

    /// Asks for the count, once a connection.
    pub(super) fn ask(&mut self, requests: &Requests) -> Result<(), WireError> {
        if self.is_asked || self.lost >= LOST {
            return Ok(());
        }
        self.is_asked = true;
        let how =
            Subscription { qos: 0, retain_handling: RetainHandling::Always, ..Default::default() };
        self.asked = Some(requests.subscribe(&[(TOPIC.to_owned(), how)])?);
        Ok(())
    }

    /// Waits for the broker's answer; for ever where none is owed.
    pub(super) async fn answered(&mut self) {
        match &mut self.asked {
            Some(asked) => {
                // Whatever it says: where it refuses, no count comes.
                let _granted_or_refused = asked.await;
                (self.asked, self.lost) = (None, 0);
            }
            None => std::future::pending().await,
        }
    }

    /// Whether the broker has answered on this connection, or will not be asked.
    pub(super) fn is_settled(&self) -> bool {
        self.lost >= LOST || (self.is_asked && self.asked.is_none())
    }

    /// The connection ended; whether the broker still owed the answer, so that asking may be
    /// why.
    pub(super) fn ended(&mut self) -> bool {
        let owed = self.asked.take().is_some();
        self.lost = self.lost.saturating_add(u8::from(owed));
        owed
    }

    /// Takes what came, if it is the count.
    pub(super) fn heard(&self, inbound: &Inbound) {
        if inbound.topic.as_ref() == TOPIC
            && let Some(count) = count(&inbound.payload)
        {
            self.counts.send_replace(Some(count));
        }
    }
}

fn count(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_count_and_nothing_else() {
        assert_eq!(count(b"42"), Some(42));
        assert_eq!(count(b" 7\n"), Some(7));
        for nonsense in [&b""[..], b"-1", b"4.5", b"many", b"\xff", b"99999999999999999999"] {
            assert_eq!(count(nonsense), None, "{nonsense:?}");
        }
    }
}
