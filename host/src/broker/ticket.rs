//! Tickets: what a received message owes to the broker.
//!
//! The [`Ledger`] of a link keeps what was received and not yet settled: the ceiling is measured
//! on it, and acknowledgements leave it in order of receipt. Invariant: a ticket of an earlier
//! connection never acknowledges anything on a later one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::site::Ceiling;

/// One holder's share of a received message.
///
/// Clone it for each further holder. When every clone was [`done`](Ticket::done), the message
/// is acknowledged; if one is dropped without, the message is never acknowledged on this
/// connection and comes again on the next. Either way it stops counting against the ceiling
/// once the last clone is gone.
pub struct Ticket {
    share: Arc<Share>,
    done: bool,
}

struct Share {
    settle: Settle,
    failed: AtomicBool,
}

enum Settle {
    Broker { ledger: Arc<Ledger>, bytes: usize, place: Option<Place> },
    Callback(Mutex<Option<Callback>>),
}

type Callback = Box<dyn FnOnce(bool) + Send>;

/// Where an acknowledgement stands in its connection.
#[derive(Clone, Copy)]
struct Place {
    connection: u64,
    index: u64,
}

impl Ticket {
    /// A ticket for a source other than a broker: calls `settled` once, with whether every
    /// clone was done.
    pub fn with(settled: impl FnOnce(bool) + Send + 'static) -> Self {
        Self::new(Settle::Callback(Mutex::new(Some(Box::new(settled)))))
    }

    fn new(settle: Settle) -> Self {
        Self { share: Arc::new(Share { settle, failed: AtomicBool::new(false) }), done: false }
    }

    /// Says that this holder's effects are durable.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Clone for Ticket {
    fn clone(&self) -> Self {
        Self { share: Arc::clone(&self.share), done: false }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.share.failed.store(true, Ordering::Release);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let done = !*self.failed.get_mut();
        match &mut self.settle {
            Settle::Broker { ledger, bytes, place } => ledger.settle(*bytes, *place, done),
            Settle::Callback(callback) => {
                let callback = callback.get_mut().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(callback) = callback {
                    callback(done);
                }
            }
        }
    }
}

/// Sends one acknowledgement (QoS, packet id) without waiting; `false` if it has to be tried
/// again later.
pub(super) type SendAck = Box<dyn Fn(u8, u16) -> bool + Send>;

/// What a link has received and not yet settled.
pub(super) struct Ledger {
    ceiling: Ceiling,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    acked: AtomicU64,
    freed: Notify,
    lane: Mutex<Lane>,
}

/// The acknowledgements of the present connection.
struct Lane {
    connection: u64,
    /// Index of the front entry.
    first: u64,
    entries: VecDeque<Entry>,
    send: Option<SendAck>,
}

struct Entry {
    qos: u8,
    packet_id: u16,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waiting,
    Ready,
    Never,
}

impl Ledger {
    pub(super) fn new(ceiling: Ceiling) -> Self {
        Self {
            ceiling,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            acked: AtomicU64::new(0),
            freed: Notify::new(),
            lane: Mutex::new(Lane {
                connection: 0,
                first: 0,
                entries: VecDeque::new(),
                send: None,
            }),
        }
    }

    /// Begins a connection: what was owed to the one before is forgotten.
    pub(super) fn open(&self, send: SendAck) {
        self.replace(Some(send));
    }

    /// Ends the connection: no acknowledgement goes out any more.
    pub(super) fn close(&self) {
        self.replace(None);
    }

    fn replace(&self, send: Option<SendAck>) {
        let mut lane = self.lane();
        lane.connection += 1;
        lane.first = 0;
        lane.entries.clear();
        lane.send = send;
    }

    /// A ticket for a message of QoS 0: it counts against the ceiling and owes nothing.
    pub(super) fn unconfirmed(self: &Arc<Self>, bytes: usize) -> Ticket {
        self.hold(bytes, None)
    }

    /// A ticket for a message of QoS 1 or 2.
    pub(super) fn confirmed(self: &Arc<Self>, bytes: usize, qos: u8, packet_id: u16) -> Ticket {
        let place = {
            let mut lane = self.lane();
            lane.entries.push_back(Entry { qos, packet_id, state: State::Waiting });
            Place { connection: lane.connection, index: lane.first + lane.entries.len() as u64 - 1 }
        };
        self.hold(bytes, Some(place))
    }

    fn hold(self: &Arc<Self>, bytes: usize, place: Option<Place>) -> Ticket {
        self.messages.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Ticket::new(Settle::Broker { ledger: Arc::clone(self), bytes, place })
    }

    fn settle(&self, bytes: usize, place: Option<Place>, done: bool) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if let Some(place) = place {
            let mut lane = self.lane();
            if place.connection == lane.connection {
                let at =
                    place.index.checked_sub(lane.first).and_then(|at| usize::try_from(at).ok());
                if let Some(entry) = at.and_then(|at| lane.entries.get_mut(at)) {
                    entry.state = if done { State::Ready } else { State::Never };
                }
                self.send_ready(&mut lane);
            }
        }
        self.freed.notify_waiters();
    }

    /// Sends what is ready at the front. A message that is never acknowledged does not hold up
    /// those behind it: the rest still leaves in order of receipt.
    fn send_ready(&self, lane: &mut Lane) {
        let Some(send) = &lane.send else { return };
        while let Some(front) = lane.entries.front() {
            match front.state {
                State::Waiting => break,
                State::Never => {}
                State::Ready => {
                    if !send(front.qos, front.packet_id) {
                        break;
                    }
                    self.acked.fetch_add(1, Ordering::Relaxed);
                }
            }
            lane.entries.pop_front();
            lane.first += 1;
        }
    }

    /// Tries again what the request queue had no room for.
    pub(super) fn nudge(&self) {
        self.send_ready(&mut self.lane());
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages() >= self.ceiling.messages || self.bytes() >= self.ceiling.bytes
    }

    /// Waits until there is room for another message.
    pub(super) async fn room(&self) {
        self.wait(|ledger| !ledger.is_full()).await;
    }

    /// Waits until at most half of the ceiling is held, so that a reconnect is worth its while.
    pub(super) async fn half_empty(&self) {
        self.wait(|ledger| {
            ledger.messages() <= ledger.ceiling.messages / 2
                && ledger.bytes() <= ledger.ceiling.bytes / 2
        })
        .await;
    }

    /// Waits until nothing is held.
    pub(super) async fn empty(&self) {
        self.wait(|ledger| ledger.messages() == 0).await;
    }

    async fn wait(&self, until: impl Fn(&Self) -> bool) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if until(self) {
                return;
            }
            freed.await;
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        // A panic while it was held can only have come from the sender; the entries are sound.
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(messages: usize) -> (Arc<Ledger>, Arc<Mutex<Vec<u16>>>) {
        let ledger = Arc::new(Ledger::new(Ceiling { messages, bytes: 1 << 20 }));
        let sent = Arc::new(Mutex::new(Vec::new()));
        open(&ledger, &sent);
        (ledger, sent)
    }

    fn open(ledger: &Ledger, sent: &Arc<Mutex<Vec<u16>>>) {
        let log = Arc::clone(sent);
        ledger.open(Box::new(move |_, id| {
            log.lock().unwrap().push(id);
            true
        }));
    }

    #[test]
    fn acknowledges_in_order_of_receipt_whatever_is_done_first() {
        let (ledger, sent) = ledger(10);
        let tickets: Vec<_> = (1..=3).map(|id| ledger.confirmed(10, 1, id)).collect();
        let [one, two, three] = tickets.try_into().unwrap();
        three.done();
        two.done();
        assert!(sent.lock().unwrap().is_empty());
        one.done();
        assert_eq!(*sent.lock().unwrap(), [1, 2, 3]);
        assert_eq!((ledger.messages(), ledger.bytes(), ledger.acked()), (0, 0, 3));
    }

    #[test]
    fn waits_for_every_clone() {
        let (ledger, sent) = ledger(10);
        let ticket = ledger.confirmed(10, 1, 7);
        let other = ticket.clone();
        ticket.done();
        assert!(sent.lock().unwrap().is_empty());
        other.done();
        assert_eq!(*sent.lock().unwrap(), [7]);
    }

    #[test]
    fn a_ticket_dropped_without_done_is_never_acknowledged_but_frees_its_place() {
        let (ledger, sent) = ledger(1);
        let ticket = ledger.confirmed(10, 1, 7);
        let other = ticket.clone();
        assert!(ledger.is_full());
        ticket.done();
        drop(other);
        ledger.confirmed(10, 1, 8).done();
        assert_eq!(*sent.lock().unwrap(), [8]);
        assert!(!ledger.is_full());
    }

    #[test]
    fn a_ticket_of_an_earlier_connection_acknowledges_nothing_on_a_later_one() {
        let (ledger, sent) = ledger(10);
        let old = ledger.confirmed(10, 1, 1);
        ledger.close();
        open(&ledger, &sent);
        let new = ledger.confirmed(10, 1, 1);
        old.done();
        assert!(sent.lock().unwrap().is_empty());
        new.done();
        assert_eq!(*sent.lock().unwrap(), [1]);
    }

    #[test]
    fn keeps_what_the_request_queue_has_no_room_for() {
        let ledger = Arc::new(Ledger::new(Ceiling { messages: 10, bytes: 1000 }));
        let room = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&room);
        ledger.open(Box::new(move |_, _| open.load(Ordering::Relaxed)));
        ledger.confirmed(1, 1, 1).done();
        assert_eq!(ledger.acked(), 0);
        room.store(true, Ordering::Relaxed);
        ledger.nudge();
        assert_eq!(ledger.acked(), 1);
    }

    #[test]
    fn tells_another_source_how_it_ended() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        for done in [true, false] {
            let seen = Arc::clone(&seen);
            let ticket = Ticket::with(move |ok| seen.lock().unwrap().push(ok));
            if done {
                ticket.done();
            }
        }
        assert_eq!(*seen.lock().unwrap(), [true, false]);
    }
}
