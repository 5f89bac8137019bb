//! From brokers to pipelines, and questions back to devices.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::mpsc;

use crate::broker::{Intake, LinkEvent, Received};
use crate::message::Publication;
use crate::pipeline::{Outlet, Shard};

/// Questions to devices that wait at most; a lost one is asked again.
const QUESTIONS: usize = 256;

/// Something that waits for pipelines to have changed places.
enum Held {
    Message(Received),
    Link(LinkEvent),
}

/// Hands what one broker sends to the pipelines that want it.
pub(super) struct Router {
    broker: Arc<str>,
    shards: RwLock<Vec<Arc<Shard>>>,
    /// What came since pipelines began to change places; bounded as tickets are.
    held: Mutex<Option<Vec<Held>>>,
    last: Mutex<Option<LinkEvent>>,
    /// Messages that no pipeline wanted: left over from a subscription that is gone.
    unrouted: AtomicU64,
}

impl Router {
    pub(super) fn new(broker: &Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            broker: broker.clone(),
            shards: RwLock::default(),
            held: Mutex::default(),
            last: Mutex::default(),
            unrouted: AtomicU64::new(0),
        })
    }

    /// Keeps what comes until [`set`](Self::set) says who gets it.
    pub(super) fn hold(&self) {
        let _nobody_passes = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        self.held().get_or_insert_default();
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the pipelines, and hands them what was held. One that is new learns how the
    /// connection stands.
    pub(super) fn set(&self, shards: Vec<Arc<Shard>>) {
        let mut current = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for shard in &shards {
            let known = current.iter().any(|s| Arc::ptr_eq(s, shard));
            if let (false, Some(event)) = (known, &last) {
                if let LinkEvent::Drained { at } = event {
                    shard.link(self.broker.clone(), LinkEvent::Up { resumed: true, at: *at });
                }
                shard.link(self.broker.clone(), *event);
            }
        }
        *current = shards;
        for one in self.held().take().into_iter().flatten() {
            match one {
                Held::Message(received) => self.hand(&current, received),
                Held::Link(event) => self.tell(&current, event),
            }
        }
    }

    fn hand(&self, shards: &[Arc<Shard>], received: Received) {
        if let [only] = shards {
            only.message(received);
            return;
        }
        let topic = received.message.topic.clone();
        let mut wanted = shards.iter().filter(|s| s.plan().wants(&self.broker, &topic)).peekable();
        if wanted.peek().is_none() {
            self.unrouted.fetch_add(1, Ordering::Relaxed);
            received.ticket.done();
            return;
        }
        while let Some(shard) = wanted.next() {
            if wanted.peek().is_none() {
                shard.message(received);
                return;
            }
            shard.message(Received {
                message: received.message.clone(),
                packet: received.packet,
                ticket: received.ticket.clone(),
            });
        }
    }

    fn tell(&self, shards: &[Arc<Shard>], event: LinkEvent) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
        for shard in shards {
            shard.link(self.broker.clone(), event);
        }
    }

    pub(super) fn unrouted(&self) -> u64 {
        self.unrouted.load(Ordering::Relaxed)
    }
}

impl Intake for Router {
    fn message(&self, received: Received) {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        match &mut *self.held() {
            Some(held) => held.push(Held::Message(received)),
            None => self.hand(&shards, received),
        }
    }

    fn link(&self, event: LinkEvent) {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        match &mut *self.held() {
            Some(held) => held.push(Held::Link(event)),
            None => self.tell(&shards, event),
        }
    }
}

/// Where questions to devices go.
pub(super) struct Ways {
    questions: mpsc::Sender<Question>,
}

/// What to publish, and on which broker.
pub(super) type Question = (Option<Arc<str>>, Publication);

impl Ways {
    /// The ways, and the questions for whoever publishes them.
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        (Arc::new(Self { questions }), asked)
    }
}

impl Outlet for Ways {
    fn ask(&self, broker: Option<Arc<str>>, question: Publication) {
        if self.questions.try_send((broker, question)).is_err() {
            tracing::debug!(event = "question_dropped", "too many questions to devices wait");
        }
    }
}
