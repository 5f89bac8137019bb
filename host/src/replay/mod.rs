//! What a pipeline makes of recorded messages: the same stages, in virtual time.
//!
//! `written` is the format of captures and recordings, `entry` decodes its lines, `turns` cuts
//! them, `run` drives the pipeline's own worker over them on the threads of a `side`, `print`
//! and `sorted` write what it emits, `against`, `grouped` and `compare` find what another version
//! makes of the same, `record` writes down what a running pipeline gets, `cases`
//! are the tests of a pipeline. Neighbours: `reload` resolves the pipeline as a start would,
//! `pipeline` does the work. Invariant: the same input gives the same bytes, on any machine,
//! on any number of threads and however it is cut into batches.

mod against;
pub mod cases;
mod compare;
mod entry;
mod grouped;
mod head;
mod lines;
mod print;
mod record;
mod redact;
mod run;
mod side;
mod sorted;
mod turns;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

pub use against::Against;
pub use compare::{Comparison, Difference, Findings, Tally};
pub use grouped::Group;
pub use print::Output;
pub use record::{Recorder, Recording, RecordingError};
pub use redact::{Looked, Redaction, Redactor};
pub use run::Summary;

use crate::config::Problem;
use crate::config::document::Format;
use crate::config::push::Pushed;
use crate::message::{Message, Timestamp};
use crate::pipeline::Plan;
use crate::reload::{self, Alone};

use entry::{Decoder, Entry};
use grouped::Shared;
use head::Head;
use lines::Lines;
use side::Side;
use turns::Cutter;

/// Messages that one call of a module sees, as live.
pub const BATCH: usize = 256;

/// What is replayed, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// A name, or a path to a `.toml` file.
    pub pipeline: String,
    pub site: Option<PathBuf>,
    pub modules: Option<PathBuf>,
    /// S3's document.
    pub devices: Option<PathBuf>,
    /// Where compiled modules are kept; `None`: nowhere.
    pub compiled: Option<PathBuf>,
    pub env: std::collections::BTreeMap<String, String>,
    /// Up to when wake-ups act after the last line.
    pub until: Option<Timestamp>,
    /// Messages that one call of a module sees at most. It changes no result.
    pub batch: usize,
    /// Threads that parse; `None`: one for each processor. It changes no result.
    pub parsers: Option<NonZeroUsize>,
    /// Stops at the first line that is wrong.
    pub strict: bool,
}

/// A line of the input that is wrong; the others count all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: u64,
    /// One lower-case clause with the value in backticks.
    pub what: String,
    pub remedy: &'static str,
}

/// What is said on the way.
pub trait Talk {
    /// A line is wrong.
    fn fault(&mut self, fault: Fault);
    /// Something is odd, but the replay goes on.
    fn warning(&mut self, problem: Problem);
    /// The pipeline stands, and so many bytes of the input are read.
    fn read(&mut self, bytes: u64);
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{} problem(s) in the configuration", .0.len())]
    Config(Vec<Problem>),
    #[error("the input cannot be read")]
    Input(#[source] std::io::Error),
    #[error("the result cannot be written")]
    Output(#[source] std::io::Error),
    #[error("a thread cannot be started")]
    Threads(#[source] std::io::Error),
    #[error("too much waits to be put in order, and the temporary directory does not take it")]
    Sort(#[source] std::io::Error),
}

/// Replays `input` and writes what comes out, in order, once the input has ended.
///
/// # Errors
/// If the pipeline cannot run, or input, output or the temporary directory fail.
pub fn replay(
    options: &Options,
    input: impl BufRead,
    output: &mut impl Write,
    talk: &mut dyn Talk,
) -> Result<Summary, ReplayError> {
    let mut lines = Lines::new(input);
    let mut fed = Fed::default();
    let head = Head::read(&mut lines, talk, &mut fed.faults)?;
    let document = document(options, &head)?;
    let alone = alone(&asked(options, &options.pipeline, document))?;
    alone.warnings.iter().cloned().for_each(|warning| talk.warning(warning));
    head.compare(&alone.plan).into_iter().for_each(|difference| talk.warning(difference));
    let mut sides = [side(options, &alone.plan, &head, Output::new())?];
    let read = feed(options, &mut lines, head.is_recording(), &mut sides, &mut fed, talk);
    let [side] = sides;
    // Modules run on until then, so it comes to its end first, whatever happened.
    let (out, mut summary) = side.finish(options.until).map_err(ReplayError::Sort)?;
    read?;
    talk.read(lines.bytes());
    fed.tell(&mut summary);
    out.write(output).map_err(|error| match error {
        sorted::WriteError::Scratch(error) => ReplayError::Sort(error),
        sorted::WriteError::Output(error) => ReplayError::Output(error),
    })?;
    Ok(summary)
}

/// Replays `input` with the pipeline and with another version of it, and tells `findings` what
/// differs, device by device, once the input has ended.
///
/// # Errors
/// As [`replay`], for either side.
pub fn compare(
    options: &Options,
    against: &Against,
    input: impl BufRead,
    findings: &mut dyn Findings,
    talk: &mut dyn Talk,
) -> Result<Comparison, ReplayError> {
    let mut lines = Lines::new(input);
    let mut fed = Fed::default();
    let head = Head::read(&mut lines, talk, &mut fed.faults)?;
    let document = document(options, &head)?;
    let alone = alone(&asked(options, &options.pipeline, document.clone()))?;
    let (other, mut warnings) = against.plan(options, document, &alone)?;
    // What is odd on both sides is said once.
    warnings.retain(|warning| !alone.warnings.contains(warning));
    alone.warnings.iter().chain(&warnings).cloned().for_each(|warning| talk.warning(warning));
    let names: [BTreeSet<Arc<str>>; 2] =
        [&alone.plan, &other].map(|plan| plan.stage_names().cloned().collect());
    let shared = Shared(Arc::new(names[0].intersection(&names[1]).cloned().collect()));
    let mut sides = [
        side(options, &alone.plan, &head, Output::grouped(shared.clone()))?,
        side(options, &other, &head, Output::grouped(shared))?,
    ];
    let read = feed(options, &mut lines, head.is_recording(), &mut sides, &mut fed, talk);
    let [before, after] = sides.map(|side| side.finish(options.until));
    let (before, mut old) = before.map_err(ReplayError::Sort)?;
    let (after, mut new) = after.map_err(ReplayError::Sort)?;
    read?;
    talk.read(lines.bytes());
    fed.tell(&mut old);
    fed.tell(&mut new);
    let before = before.into_order().map_err(ReplayError::Sort)?;
    let after = after.into_order().map_err(ReplayError::Sort)?;
    let found = compare::compare(before, after, findings)?;
    Ok(Comparison { before: old, after: new, ..found })
}

/// What the lines themselves came to.
#[derive(Default)]
struct Fed {
    faults: u64,
    ended: Option<String>,
}

impl Fed {
    fn tell(&self, summary: &mut Summary) {
        (summary.faults, summary.ended) = (self.faults, self.ended.clone());
    }
}

fn side(
    options: &Options,
    plan: &Arc<Plan>,
    head: &Head,
    output: Output,
) -> Result<Side, ReplayError> {
    let size = options.batch.clamp(1, BATCH);
    let cutter = Cutter::new(plan.clone(), head.is_recording(), size);
    Side::start(plan, head.rows().to_vec(), cutter, output, options.parsers)
}

/// Tells the sides every line.
fn feed(
    options: &Options,
    lines: &mut Lines<impl BufRead>,
    is_recording: bool,
    sides: &mut [Side],
    fed: &mut Fed,
    talk: &mut dyn Talk,
) -> Result<(), ReplayError> {
    let mut decoder = Decoder::new(is_recording);
    talk.read(lines.bytes());
    while !(options.strict && fed.faults > 0) {
        let Some((number, bytes)) = lines.next().map_err(ReplayError::Input)? else { break };
        match bytes.and_then(|bytes| decoder.entry(number, bytes)) {
            Ok(Entry::End(why)) => fed.ended = why,
            Ok(entry) => {
                let Some((first, others)) = sides.split_first_mut() else { break };
                let told = others.iter_mut().try_for_each(|side| side.take(entry.clone()));
                if told.and_then(|()| first.take(entry)).is_err() {
                    break;
                }
            }
            Err(fault) => {
                fed.faults += 1;
                talk.fault(fault);
            }
        }
        if number.is_multiple_of(1024) {
            talk.read(lines.bytes());
        }
    }
    Ok(())
}

/// Adds a message's line to a capture; its broker is left out where `several` does not say that
/// there is more than one.
pub fn write_captured(buffer: &mut Vec<u8>, message: &Message, several: bool) {
    written::write_captured(buffer, message, several);
}

/// Adds to a capture that a broker was not heard between two times.
pub fn write_deaf(buffer: &mut Vec<u8>, broker: Option<&str>, from: Timestamp, until: Timestamp) {
    written::write_deaf(buffer, broker, from, until);
}

/// Reads one line of a capture and forgets it: for what throws nonsense at it.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "testing")]
pub fn read_line(number: u64, bytes: &[u8]) -> Result<(), Fault> {
    match written::Line::read(number, bytes)? {
        written::Said::Message(mut line) => line.bytes(number).map(drop),
        _ => Ok(()),
    }
}

/// The devices that are not the site's: those that are given, or a recording's own.
fn document(options: &Options, head: &Head) -> Result<Option<Pushed>, ReplayError> {
    let document = match (&options.devices, head.devices()) {
        (Some(file), _) => reload::read_document(file),
        (None, Some(devices)) => Pushed::parse("recording", &devices.to_string(), Format::Json),
        (None, None) => return Ok(None),
    };
    document.map(Some).map_err(ReplayError::Config)
}

fn asked<'a>(
    options: &'a Options,
    pipeline: &'a str,
    document: Option<Pushed>,
) -> reload::Asked<'a> {
    reload::Asked {
        pipeline,
        site: options.site.as_deref(),
        modules: options.modules.as_deref(),
        compiled: options.compiled.as_deref(),
        env: &options.env,
        // The recording's devices are all there were.
        only_devices_of_document: options.devices.is_none(),
        document,
    }
}

fn alone(asked: &reload::Asked<'_>) -> Result<Alone, ReplayError> {
    reload::alone(asked).map_err(ReplayError::Config)
}
