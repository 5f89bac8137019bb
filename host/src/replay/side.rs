//! One pipeline at work on an input, on threads of its own: some parse batches, one detects in
//! order, one writes.
//!
//! Parsing neither reads nor changes what a pipeline remembers, so batches may be parsed at
//! once and in any order. Everything else happens in the order of the input. Invariant: how
//! many threads there are changes no byte. Every queue is short, so that a file of any size
//! takes the same memory.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::ReplayError;
use super::entry::Entry;
use super::print::Output;
use super::run::{Outcome, Run, Summary};
use super::turns::{Batch, Cut, Cutter, Turn};
use crate::message::Timestamp;
use crate::pipeline::{Parsed, Plan, Worker};
use crate::store::StoredKey;

/// Batches and turns that wait between two threads.
const WAITING: usize = 8;

/// More threads than this find nothing to do.
const PARSERS: usize = 16;

/// A pipeline that is told entries.
pub(super) struct Side {
    cutter: Cutter,
    cuts: Vec<Cut>,
    jobs: SyncSender<Job>,
    steps: SyncSender<Step>,
    threads: Threads,
}

struct Threads {
    parsers: Vec<JoinHandle<()>>,
    detector: JoinHandle<Summary>,
    writer: JoinHandle<io::Result<Output>>,
}

/// A batch to parse, and where to put it.
type Job = (Arc<Batch>, SyncSender<Parsed>);

/// What the detecting thread does next.
enum Step {
    Batch(Arc<Batch>, Receiver<Parsed>),
    Turn(Turn),
}

/// The writer has failed, or a thread has panicked: `finish` tells.
pub(super) struct Ended;

impl Side {
    /// Starts the threads; `parsers` of them parse, as many as there are processors if nothing
    /// is said.
    pub(super) fn start(
        plan: &Arc<Plan>,
        rows: Vec<StoredKey>,
        cutter: Cutter,
        output: Output,
        parsers: Option<NonZeroUsize>,
    ) -> Result<Self, ReplayError> {
        let (jobs, job) = sync_channel::<Job>(WAITING);
        let (steps, step) = sync_channel(WAITING);
        let (outcomes, outcome) = sync_channel(WAITING);
        let count = parsers.or_else(|| std::thread::available_parallelism().ok());
        let job = Arc::new(Mutex::new(job));
        let parsers = (0..count.map_or(1, NonZeroUsize::get).min(PARSERS)).map(|_| {
            let (plan, job) = (plan.clone(), job.clone());
            thread("parse", move || parse(plan, &job))
        });
        let threads = Threads {
            parsers: parsers.collect::<Result<_, _>>()?,
            detector: {
                let plan = plan.clone();
                thread("detect", move || detect(plan, rows, &step, &outcomes))?
            },
            writer: {
                let plan = plan.clone();
                thread("write", move || write(&plan, output, &outcome))?
            },
        };
        Ok(Self { cutter, cuts: Vec::new(), jobs, steps, threads })
    }

    /// Tells it one entry.
    ///
    /// # Errors
    /// If there is nobody left to tell.
    pub(super) fn take(&mut self, entry: Entry) -> Result<(), Ended> {
        self.cutter.take(entry, &mut self.cuts);
        send(&mut self.cuts, &self.jobs, &self.steps)
    }

    /// Lets it come to its end.
    ///
    /// # Errors
    /// If the temporary directory did not take what comes out.
    pub(super) fn finish(self, until: Option<Timestamp>) -> io::Result<(Output, Summary)> {
        let Self { cutter, mut cuts, jobs, steps, threads } = self;
        cutter.finish(until, &mut cuts);
        // Where nobody takes them any more, the threads say why.
        let _ended = send(&mut cuts, &jobs, &steps);
        drop((jobs, steps));
        for parser in threads.parsers {
            joined(parser);
        }
        let mut summary = joined(threads.detector);
        let output = joined(threads.writer)?;
        summary.items = output.count();
        Ok((output, summary))
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ReplayError> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(ReplayError::Threads)
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn send(
    cuts: &mut Vec<Cut>,
    jobs: &SyncSender<Job>,
    steps: &SyncSender<Step>,
) -> Result<(), Ended> {
    for cut in cuts.drain(..) {
        let step = match cut {
            Cut::Turn(turn) => Step::Turn(turn),
            Cut::Batch(batch) => {
                let batch = Arc::new(batch);
                let (parsed, receiver) = sync_channel(1);
                jobs.send((batch.clone(), parsed)).map_err(|_| Ended)?;
                Step::Batch(batch, receiver)
            }
        };
        steps.send(step).map_err(|_| Ended)?;
    }
    Ok(())
}

/// Parses batches as they come, with instances of its own.
fn parse(plan: Arc<Plan>, jobs: &Mutex<Receiver<Job>>) {
    let mut worker = Worker::new(plan, Vec::new());
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((batch, parsed)) = job else { return };
        let result = worker.parse_batch(&batch.messages, &batch.told);
        // Where the detecting thread has ended, there is nothing more to do.
        if parsed.send(result).is_err() {
            return;
        }
    }
}

/// Does everything that has an order.
fn detect(
    plan: Arc<Plan>,
    rows: Vec<StoredKey>,
    steps: &Receiver<Step>,
    outcomes: &SyncSender<Outcome>,
) -> Summary {
    let mut run = Run::new(plan, rows);
    let take = &mut |outcome| outcomes.send(outcome).is_ok();
    let mut goes_on = run.settle(take);
    while goes_on {
        goes_on = match steps.recv() {
            Ok(Step::Turn(turn)) => run.turn(turn, take),
            Ok(Step::Batch(batch, parsed)) => {
                parsed.recv().is_ok_and(|parsed| run.batch(batch, parsed, take))
            }
            Err(_) => false,
        };
    }
    run.summary()
}

fn write(plan: &Plan, mut output: Output, outcomes: &Receiver<Outcome>) -> io::Result<Output> {
    while let Ok(Outcome { effects, batch }) = outcomes.recv() {
        output.take(plan, &effects, &batch.messages, &batch.lines)?;
    }
    Ok(output)
}
