//! One shadow's thread: takes what was handed over, calls the shadow's module and compares.
//!
//! It works at most half of the time, so that it never takes a whole core from the live way.
//! Invariant: [`Lane::offer`] returns at once, and between two calls of the module the thread
//! looks whether it is to end: so its end waits for one call, which has its time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::compare::{compare, difference};
use super::stepping::{Stepping, Tick};
use super::tally::{Outcome, ShadowTally};
use super::told::Stepped;
use super::{Given, Shadowed};
use crate::message::{Item, Rejection, Timestamp};
use crate::module::Role;
use crate::pipeline::flow::Flow;
use crate::pipeline::ingest;
use crate::pipeline::plan::ShadowStage;
use crate::pipeline::probation::FAILURES;
use crate::pipeline::runner::Runner;

/// What may wait for a shadow: inputs, and bytes of their payloads.
const ROOM: usize = 2048;
const ROOM_BYTES: usize = 8 << 20;
/// Inputs of one call.
const PART: usize = 32;
/// The longest rest between two parts.
const REST: Duration = Duration::from_secs(60);
/// No time at all.
const NEVER: u64 = u64::MAX;

/// A shadow at work.
#[derive(Debug)]
pub(super) struct Lane {
    shadow: Arc<ShadowStage>,
    shared: Arc<Shared>,
    /// `None` once it is to end, or if there is no thread.
    inputs: Option<SyncSender<Handed>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    tally: Arc<ShadowTally>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    ends: Arc<AtomicBool>,
    /// When it wants to be told the time.
    wants_the_clock: AtomicU64,
}

/// What is handed over to a shadow.
#[derive(Debug)]
pub(super) enum Handed {
    Inputs(Vec<Shadowed>),
    Steps(Vec<Stepped>),
    Time(Tick),
}

impl Handed {
    /// Inputs, and what they take.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Inputs(inputs) => (inputs.len(), bytes(inputs)),
            Self::Steps(steps) => (steps.len(), steps.iter().map(Stepped::bytes).sum()),
            Self::Time(_) => (0, 0),
        }
    }
}

impl Lane {
    pub(super) fn start(
        pipeline: &Arc<str>,
        stage: &Arc<str>,
        shadow: &Arc<ShadowStage>,
        tally: Arc<ShadowTally>,
    ) -> Self {
        let shared = Arc::new(Shared {
            tally,
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            ends: Arc::default(),
            wants_the_clock: AtomicU64::new(NEVER),
        });
        // More batches than inputs there cannot be.
        let (inputs, received) = sync_channel(ROOM);
        let role = shadow.stage.module.role();
        let work = if role == Role::Detector {
            let (tally, ends) = (shared.tally.clone(), shared.ends.clone());
            Work::Steps(Box::new(Stepping::new(pipeline, stage, shadow, tally, ends)))
        } else {
            // Its calls are no calls of the stage, and its failures no failures of a live module.
            Work::Calls(Box::new(Runner::new(pipeline, &shadow.stage, &Flow::default())))
        };
        let thread = Thread { work, shared: shared.clone(), role };
        let name = format!("shadow-{pipeline}-{stage}");
        let thread = std::thread::Builder::new().name(name).spawn(move || thread.run(&received));
        if let Err(error) = &thread {
            shared.tally.stop(&format!("this machine gives no thread for it: {error}"));
        } else {
            tracing::info!(
                event = "shadow_started",
                pipeline = %pipeline,
                stage = %stage,
                module = %shadow.module,
                hash = %shadow.stage.module.hash(),
                "another version of a module is compared with the live one"
            );
        }
        Self { shadow: shadow.clone(), shared, inputs: Some(inputs), thread: thread.ok() }
    }

    /// Whether it runs exactly this.
    pub(super) fn runs(&self, shadow: &ShadowStage) -> bool {
        self.shared.tally.is_of(shadow)
            && self.shadow.module == shadow.module
            && self.shadow.stage.limits == shadow.stage.limits
    }

    /// Gives back what it has no room for.
    pub(super) fn offer(&self, handed: Handed) -> Option<Handed> {
        let (count, bytes) = handed.size();
        let shared = &self.shared;
        shared.tally.handed_over(count);
        let waiting = shared.waiting.fetch_add(count, Ordering::Relaxed) + count;
        let held = shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = waiting <= ROOM && held <= ROOM_BYTES;
        let left = match &self.inputs {
            Some(to) if has_room => match to.try_send(handed) {
                Ok(()) => return None,
                Err(TrySendError::Full(handed) | TrySendError::Disconnected(handed)) => handed,
            },
            _ => handed,
        };
        shared.release(count, bytes);
        shared.tally.left_out(count);
        Some(left)
    }

    pub(super) fn wants_the_clock(&self, now: Timestamp) -> bool {
        self.shared.wants_the_clock.load(Ordering::Relaxed) <= now.0
    }

    /// It says anew when it wants to be told again.
    pub(super) fn tell_the_clock(&self, tick: Tick) {
        self.shared.wants_the_clock.store(NEVER, Ordering::Relaxed);
        self.offer(Handed::Time(tick));
    }

    /// It is to end after the call under way.
    pub(super) fn end(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.inputs = None;
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Whether something that was handed over is not worked off.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(super) fn join(mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic was printed by the thread itself; there is nothing left to do for it.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn release(&self, inputs: usize, bytes: usize) {
        self.waiting.fetch_sub(inputs, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn bytes(inputs: &[Shadowed]) -> usize {
    inputs.iter().map(|input| input.message.size()).sum()
}

struct Thread {
    work: Work,
    shared: Arc<Shared>,
    role: Role,
}

enum Work {
    Calls(Box<Runner>),
    Steps(Box<Stepping>),
}

type Said = Result<Vec<Item>, Rejection>;

impl Thread {
    fn run(mut self, received: &Receiver<Handed>) {
        while let Ok(handed) = received.recv() {
            match &handed {
                Handed::Inputs(inputs) => {
                    for part in inputs.chunks(PART) {
                        self.paced(|thread| thread.part(part));
                    }
                }
                Handed::Steps(steps) => {
                    for part in steps.chunks(PART) {
                        self.paced(|thread| thread.steps(part));
                    }
                }
                Handed::Time(tick) => self.time(tick),
            }
            let (count, bytes) = handed.size();
            self.shared.release(count, bytes);
            if let Work::Steps(stepping) = &self.work {
                let wants = stepping.wants_the_clock().filter(|_| !self.is_over());
                let wants = wants.map_or(NEVER, |at| at.0);
                self.shared.wants_the_clock.store(wants, Ordering::Relaxed);
            }
        }
        self.settle();
    }

    /// Does some work, and rests.
    fn paced(&mut self, work: impl FnOnce(&mut Self)) {
        let begun = Instant::now();
        work(self);
        self.rest(begun.elapsed());
    }

    /// Whether there is any use in going on.
    fn is_over(&self) -> bool {
        self.ends() || self.shared.tally.stopped().is_some()
    }

    /// Nothing waits any longer for the other version to say it, too, and no state is needed.
    fn settle(&mut self) {
        if let Work::Steps(stepping) = &mut self.work {
            stepping.give_up();
        }
    }

    fn steps(&mut self, part: &[Stepped]) {
        if self.is_over() {
            self.settle();
            return self.shared.tally.left_out(part.len());
        }
        if let Work::Steps(stepping) = &mut self.work {
            stepping.steps(part);
        }
    }

    fn time(&mut self, tick: &Tick) {
        if self.is_over() {
            return self.settle();
        }
        let Work::Steps(stepping) = &mut self.work else { return };
        let due = stepping.due(tick);
        for part in due.chunks(PART) {
            self.paced(|thread| {
                if let Work::Steps(stepping) = &mut thread.work {
                    stepping.wake(tick, part);
                }
            });
        }
        if let Work::Steps(stepping) = &mut self.work {
            stepping.expire();
        }
    }

    /// As long as it worked.
    fn rest(&self, worked: Duration) {
        let until = Instant::now() + worked.min(REST);
        while !self.ends() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }

    fn ends(&self) -> bool {
        self.shared.ends.load(Ordering::Relaxed)
    }

    fn part(&mut self, part: &[Shadowed]) {
        if self.is_over() {
            return self.shared.tally.left_out(part.len());
        }
        if let Ok(all) = self.call(part) {
            for (input, said) in part.iter().zip(all) {
                self.compared(input, &said);
            }
            return;
        }
        for (done, input) in part.iter().enumerate() {
            let goes_on = !self.ends() && self.alone(input);
            if !goes_on {
                return self.shared.tally.left_out(part.len() - done - 1);
            }
        }
    }

    /// One input in an instance that nothing else has harmed. `false`: there is no going on.
    fn alone(&mut self, input: &Shadowed) -> bool {
        let one = std::slice::from_ref(input);
        let had_served = matches!(&self.work, Work::Calls(runner) if runner.has_served());
        let mut said = self.call(one);
        if said.is_err() && had_served && !self.ends() {
            said = self.call(one);
        }
        match said {
            Ok(said) => {
                for said in &said {
                    self.compared(input, said);
                }
                true
            }
            Err(failure) => {
                let words = failure.detail.clone();
                let failed = difference(Outcome::Failed, input, &Err(failure));
                self.shared.tally.differs(failed);
                let stops = self.shared.tally.failed(&format!(
                    "it failed {FAILURES} times within a minute, at last: {words}"
                ));
                if stops {
                    warn_of_the_end(&words);
                }
                !stops
            }
        }
    }

    fn compared(&self, input: &Shadowed, said: &Said) {
        match compare(input, said) {
            Outcome::Same => self.shared.tally.same(),
            other => self.shared.tally.differs(difference(other, input, said)),
        }
    }

    fn call(&mut self, inputs: &[Shadowed]) -> Result<Vec<Said>, Rejection> {
        let Work::Calls(runner) = &mut self.work else { return Ok(Vec::new()) };
        let given: Vec<Given<'_>> = inputs
            .iter()
            .map(|input| (input.settings.clone(), (&*input.message, input.device.as_ref())))
            .collect();
        if self.role == Role::Validator {
            let said =
                runner.once(&given, |instance, batch| instance.validate(&ingest::inputs(batch)))?;
            return Ok(said.into_iter().map(|verdict| verdict.map(|()| Vec::new())).collect());
        }
        runner.once(&given, |instance, batch| instance.parse(&ingest::inputs(batch)))
    }
}

pub(super) fn warn_of_the_end(words: &str) {
    tracing::warn!(
        event = "shadow_stopped",
        thread = std::thread::current().name(),
        what = words,
        "a shadow failed again and again; the live version is not concerned"
    );
}
