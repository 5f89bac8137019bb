//! The thread of a pipeline: takes what is there, lets the worker do it, commits, and only
//! then lets the broker be answered.

mod behind;
mod halt;
mod hearing;
mod queue;
mod share;
mod succession;
mod trust;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::effects::Effects;
use super::flow::{Flow, Held, Settled};
use super::letters::{Redo, Redone};
use super::marks::Marks;
use super::migrate::Unmigrated;
use super::plan::Plan;
use super::shadow::Shadows;
use super::worker::{Refusals, Worker};
use crate::broker::{LinkEvent, Received, Ticket};
use crate::message::{Message, Timestamp};
use crate::store::{Commit, Mark, Store, StoreError, Succession};
use crate::telemetry::{clock, failpoint};
use behind::{Failures, Left, Pace};
use halt::Standstill;
pub use halt::{Halted, Resume};
use hearing::Link;
use queue::{Entry, NewPlan, Queue};
use share::{Share, Writing};
use trust::Trust;
pub use watch::{Observed, Observer, Outlet, Turn};

/// Messages that one call of a module sees at most.
const BATCH: usize = 256;

/// Why a pipeline does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("what the pipeline remembers cannot be read")]
    Store(#[from] StoreError),
    #[error("what the pipeline remembers cannot be taken over")]
    State(#[from] Unmigrated),
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
}

/// A running pipeline.
pub struct Shard {
    plan: Mutex<Arc<Plan>>,
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    flow: Arc<Flow>,
    halted: Arc<Mutex<Option<Halted>>>,
}

impl Shard {
    /// Reads what the pipeline remembers and starts its thread, whose numbers go to `flow`.
    ///
    /// # Errors
    /// If the store cannot be read, or the thread not be started.
    pub fn start(
        plan: Arc<Plan>,
        store: Store,
        outlet: Arc<dyn Outlet>,
        observer: Arc<dyn Observer>,
        flow: Arc<Flow>,
    ) -> Result<Self, StartError> {
        let name = plan.file.name.clone();
        let rows = store.load_keys(&name)?;
        let marks = last_marks(&plan, &store)?;
        let last = store
            .meta_get(&last_commit(&name))?
            .and_then(|v| Some(Timestamp(u64::from_le_bytes(v.try_into().ok()?))));
        let queue = Arc::new(Queue::default());
        let mut worker = Worker::counted(plan.clone(), rows, flow.clone());
        worker.migrate(&plan)?;
        worker.set_refusals(Refusals::Halt);
        worker.serve_shadows();
        let halted = Arc::default();
        let thread = Thread {
            queue: queue.clone(),
            worker,
            store,
            outlet,
            observer,
            flow: flow.clone(),
            marks: Marks::load(marks),
            links: HashMap::new(),
            silent_since: last,
            trust: Trust::new(last, clock::now(), Instant::now()),
            shadows: Shadows::default(),
            standstill: None,
            halted: Arc::clone(&halted),
            failures: Failures::default(),
            share: Share::default(),
        };
        let handle = std::thread::Builder::new()
            .name(format!("pipeline-{name}"))
            .spawn(move || thread.run())
            .map_err(StartError::Thread)?;
        Ok(Self { plan: Mutex::new(plan), queue, thread: Mutex::new(Some(handle)), flow, halted })
    }

    /// What it runs now, or is about to.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its thread still runs.
    pub fn is_alive(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Hands a message over.
    pub fn message(&self, received: Received) {
        self.queue.push(Entry::Message(received, self.flow.hold()));
    }

    /// How much waits for its thread.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Tells what became of the connection to a broker.
    pub fn link(&self, broker: Arc<str>, event: LinkEvent) {
        self.queue.push(Entry::Link(broker, event));
    }

    /// Takes up a new plan after all messages before it; returns when it runs. State changes
    /// hands in between, so that no message meets a stage without what it inherits. One that
    /// does the same as the one that runs leaves everything as it is.
    ///
    /// # Errors
    /// If a module cannot read the state that is there; then the plan before goes on.
    pub fn apply(&self, plan: Arc<Plan>, succession: Succession) -> Result<(), Unmigrated> {
        // Kept until the end: to drop it takes longer than the thread may stand still.
        let before = self.plan();
        // One that stands still tries again.
        if succession.is_empty() && self.halted().is_none() && before.is_same(&plan) {
            return Ok(());
        }
        let concerned = before.concerned(&plan);
        let now_running = |plan| *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        now_running(plan.clone());
        let (done, wait) = sync_channel(1);
        let new = Box::new(NewPlan { plan, concerned, succession });
        self.queue.push(Entry::Apply(new, done));
        // An error says that the thread is gone: then there is nothing to wait for.
        let result = wait.recv().unwrap_or(Ok(()));
        if result.is_err() {
            now_running(before);
        }
        result
    }

    /// Runs `visit` on the pipeline's thread, after all messages before it and before all that
    /// come later; it should be quick. One that never runs is dropped.
    pub fn visit(&self, visit: impl FnOnce(&Worker) + Send + 'static) {
        self.queue.push(Entry::Visit(Box::new(visit)));
    }

    /// Works dead letters' messages off behind all messages before them, one by one; returns
    /// when what followed is durable. `None`: the pipeline ended first, and what it did not
    /// do is left.
    pub fn redo(&self, letters: Vec<Redo>) -> Option<Vec<Redone>> {
        let (done, wait) = sync_channel(1);
        self.queue.push(Entry::Redo(letters, done));
        wait.recv().ok()
    }

    /// Why it takes nothing, if it halts.
    pub fn halted(&self) -> Option<Halted> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets it go on from where it halts; says why if it halts again at once.
    pub fn resume(&self, how: Resume) -> Option<Halted> {
        let (done, wait) = sync_channel(1);
        self.queue.push(Entry::Resume(how, done));
        wait.recv().ok().flatten()
    }

    /// Ends the thread after all messages before it, and waits for that.
    pub fn stop(&self) {
        self.queue.push(Entry::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was printed by the thread itself; there is nothing left to do for it.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.queue.push(Entry::Stop);
    }
}

/// By what messages that are committed are recognised.
fn last_marks(plan: &Plan, store: &Store) -> Result<Vec<Mark>, StoreError> {
    let brokers: BTreeSet<_> = plan.file.sources.iter().map(|s| &s.broker).collect();
    let mut marks = Vec::new();
    for broker in brokers {
        let of_broker = store.load_marks(broker)?.into_iter();
        marks.extend(of_broker.filter(|mark| mark.pipeline == plan.file.name));
    }
    Ok(marks)
}

fn last_commit(pipeline: &str) -> String {
    format!("last-commit:{pipeline}")
}

/// What a batch owes once it is on the disk.
#[derive(Default)]
struct Owed {
    tickets: Vec<Ticket>,
    held: Vec<Held>,
}

impl Owed {
    fn with_capacity(count: usize) -> Self {
        Self { tickets: Vec::with_capacity(count), held: Vec::with_capacity(count) }
    }
}

struct Thread {
    queue: Arc<Queue>,
    worker: Worker,
    store: Store,
    outlet: Arc<dyn Outlet>,
    observer: Arc<dyn Observer>,
    flow: Arc<Flow>,
    marks: Marks,
    links: HashMap<Arc<str>, Link>,
    /// Until a broker is first connected: the last commit of the run before.
    silent_since: Option<Timestamp>,
    trust: Trust,
    shadows: Shadows,
    /// What waits while it halts.
    standstill: Option<Standstill>,
    /// The same for others to see.
    halted: Arc<Mutex<Option<Halted>>>,
    failures: Failures,
    share: Share,
}

impl Thread {
    /// Takes up the plan that it starts with.
    fn begin(&mut self) {
        let begun = self.shadows.take_up(self.worker.plan(), &self.flow);
        self.worker.followed.begin(&begun);
        let changes = self.worker.settle_changes(None);
        self.commit(Turn::Plan { now: None }, changes, Owed::default(), &[], 0, Instant::now());
    }

    /// Works until it is told to stop, or another thread is to go on at another pace.
    fn turns(&mut self, pace: Pace) -> Left {
        loop {
            let entries = self.queue.take(self.patience(), self.share.batch());
            if self.is_held_for_room() && !self.store.is_full() {
                self.go_on(Resume::Retry);
            }
            if !self.work(entries) {
                self.shadows.stop();
                return Left::Ended;
            }
            self.wake();
            if self.failures.judge(self.flow.failed_calls(), Instant::now()) != pace {
                return Left::Pace;
            }
        }
    }

    /// Works entries off in order. `false`: the thread is to end.
    fn work(&mut self, entries: Vec<Entry>) -> bool {
        let mut batch = Vec::new();
        for entry in entries {
            if let Entry::Message(received, held) = entry {
                batch.push((received, held));
                if batch.len() == BATCH {
                    self.messages(std::mem::take(&mut batch));
                }
                continue;
            }
            self.messages(std::mem::take(&mut batch));
            if self.is_halted() && matches!(entry, Entry::Link(..)) {
                self.hold(entry);
            } else if !self.control(entry) {
                return false;
            }
        }
        self.messages(batch);
        true
    }

    fn control(&mut self, entry: Entry) -> bool {
        let start = Instant::now();
        match entry {
            Entry::Message(..) => {}
            Entry::Link(broker, event) => {
                let (turn, effects) = self.link_changed(&broker, event);
                self.commit(turn, effects, Owed::default(), &[], 0, start);
            }
            Entry::Apply(new, done) => {
                // What is due acts by the settings of before.
                self.wake();
                let _nobody_waits = done.send(self.take_up(*new, start));
                self.go_on(Resume::Retry);
            }
            Entry::Resume(how, done) => {
                self.go_on(how);
                let _nobody_waits = done.send(self.halted_now());
            }
            // Behind the messages that wait, so not now.
            Entry::Redo(..) if self.is_halted() => {}
            Entry::Visit(visit) => visit(&self.worker),
            Entry::Redo(letters, done) => self.redo(&letters, done),
            Entry::Stop => return false,
        }
        true
    }

    fn redo(&mut self, letters: &[Redo], done: SyncSender<Vec<Redone>>) {
        let mut all = Vec::with_capacity(letters.len());
        for letter in letters {
            let start = Instant::now();
            let (effects, redone) = self.worker.redo(letter);
            let message = std::slice::from_ref(&letter.message);
            self.commit(Turn::Letter(&letter.letter), effects, Owed::default(), message, 0, start);
            all.push(redone);
        }
        // Groups are written in order: when this is durable, so is what stands before it.
        let last = Box::new(move |_| {
            let _nobody_waits = done.send(all);
        });
        let _closed = self.store.submit(Commit::default(), last);
    }

    fn messages(&mut self, received: Vec<(Received, Held)>) {
        if received.is_empty() {
            return;
        }
        // Without room for what follows, messages stay where they are: unacknowledged.
        if self.is_halted() || self.store.is_full() {
            received.into_iter().for_each(|(one, held)| self.hold(Entry::Message(one, held)));
            return;
        }
        let start = Instant::now();
        let copies: Vec<_> = if self.worker.plan().may_halt() {
            received.iter().map(|(one, _)| (one.message.clone(), one.packet)).collect()
        } else {
            Vec::new()
        };
        let mut places = Vec::with_capacity(received.len());
        let mut messages = Vec::with_capacity(received.len());
        let mut owed = Owed::with_capacity(received.len());
        let mut marks = Vec::new();
        let mut duplicates = 0;
        for (place, (one, held)) in received.into_iter().enumerate() {
            owed.tickets.push(one.ticket);
            owed.held.push(held);
            if let Some(packet) = one.packet {
                let source = &one.message.id.source;
                if self.marks.has(source, &packet) {
                    duplicates += 1;
                    continue;
                }
                let mark = Mark {
                    broker: source.clone(),
                    pipeline: self.worker.plan().file.name.clone(),
                    packet_id: packet.packet_id,
                    epoch: packet.epoch,
                    hash: packet.hash,
                    sequence: one.message.id.sequence,
                };
                // At once: its redelivery may stand in the same batch.
                self.marks.add(&mark);
                marks.push(mark);
            }
            messages.push(Arc::new(one.message));
            places.push(place);
        }
        let mut effects = self.worker.batch(&messages);
        if let Some((at, letter)) = effects.take_first_halt() {
            let again = copies.into_iter().zip(owed.tickets).zip(owed.held);
            let entries = again.map(|(((message, packet), ticket), held)| {
                Entry::Message(Received { message, packet, ticket }, held)
            });
            let place = at.and_then(|at| places.get(at).copied()).unwrap_or(0);
            return self.halt(entries.collect(), place, letter);
        }
        effects.marks = marks;
        self.flow.batch_messages.size(owed.held.len());
        self.flow.batch_time.took(start.elapsed());
        self.commit(Turn::Messages, effects, owed, &messages, duplicates, start);
    }

    /// Hands over what shadows are to be compared on.
    fn tell_shadows(&mut self, effects: &mut Effects, turn: Turn<'_>) {
        let shadowed = std::mem::take(&mut effects.shadowed);
        let stepped = std::mem::take(&mut effects.stepped);
        // What is done once more was compared when it came, and steps a state that the shadow
        // does not see.
        if matches!(turn, Turn::Letter(_)) {
            stepped.iter().for_each(|step| {
                self.worker.followed.loses(&step.stage, &step.key);
            });
            return;
        }
        self.shadows.offer(shadowed);
        for (stage, key) in self.shadows.offer_steps(stepped) {
            self.worker.followed.loses(&stage, &key);
        }
    }

    fn commit(
        &mut self,
        turn: Turn<'_>,
        mut effects: Effects,
        owed: Owed,
        messages: &[Arc<Message>],
        duplicates: usize,
        start: Instant,
    ) {
        let now = clock::now();
        let name = self.worker.plan().file.name.clone();
        let plan = self.worker.plan().clone();
        self.observer.observe(&Observed {
            plan: &plan,
            turn,
            now,
            messages,
            duplicates,
            effects: &effects,
            took: start.elapsed(),
        });
        let comes = matches!(turn, Turn::Messages);
        self.tell_shadows(&mut effects, turn);
        let history = match self.store.keeps_history() {
            true => {
                let messages = if comes { messages } else { &[] };
                super::history::blocks(&plan, &effects, messages, now)
            }
            false => Vec::new(),
        };
        let mut settled = Settled::of(&effects, messages, duplicates);
        if matches!(turn, Turn::Letter(_)) {
            settled.forget_messages();
        }
        let flow = self.flow.clone();
        let mut commit = Commit {
            pipeline: Some(name.clone()),
            keys: effects.keys,
            outbox: effects.outbox,
            dead: effects.dead,
            dead_removed: effects.letters_gone,
            dead_again: effects.letters_again,
            said: super::sights::said(&plan, &effects.items),
            marks: effects.marks,
            history,
            ..Commit::default()
        };
        let nothing = commit.is_empty();
        if nothing && owed.tickets.is_empty() && effects.asks.is_empty() {
            flow.settle(owed.held, settled, now);
            return;
        }
        if !nothing {
            commit.meta.push((last_commit(&name), now.0.to_le_bytes().to_vec()));
        }
        let bytes = commit.size();
        let is_large = comes && self.share.learn(messages.len(), bytes);
        let writing = is_large.then(|| Writing::begin(&self.queue));
        let outlet = self.outlet.clone();
        let asks = effects.asks;
        let done = move |_| {
            drop(writing);
            flow.settle(owed.held, settled, clock::now());
            owed.tickets.into_iter().for_each(|ticket| ticket.done());
            failpoint::pass("acknowledged");
            for (broker, question) in asks {
                outlet.ask(broker, question);
            }
        };
        failpoint::pass("batch-computed");
        // A closed store commits nothing: the tickets stay undone, the broker keeps its own.
        let _closed = self.store.submit(commit, Box::new(done));
    }
}
