//! What a pipeline makes of recorded messages: the same stages, in virtual time.
//!
//! `written` is the format of captures and recordings, `entry` decodes its lines, `turns` cuts
//! them, `run` drives the pipeline's own worker over them on the threads of a `side`, `print`
//! and `sorted` write what it emits, `record` writes down what a running pipeline gets, `cases`
//! are the tests of a pipeline. Neighbours: `reload` resolves the pipeline as a start would,
//! `pipeline` does the work. Invariant: the same input gives the same bytes, on any machine,
//! on any number of threads and however it is cut into batches.

pub mod cases;
mod entry;
mod head;
mod lines;
mod print;
mod record;
mod run;
mod side;
mod sorted;
mod turns;
mod written;

#[cfg(test)]
mod tests;

use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub use print::Output;
pub use record::{Recorder, Recording, RecordingError};
pub use run::Summary;

use crate::config::Problem;
use crate::config::document::Format;
use crate::config::push::Pushed;
use crate::message::Timestamp;
use crate::reload::{self, Alone};

use entry::{Decoder, Entry};
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
    let mut faults = 0;
    let head = Head::read(&mut lines, talk, &mut faults)?;
    let alone = plan(options, &head)?;
    alone.warnings.iter().cloned().for_each(|warning| talk.warning(warning));
    head.compare(&alone.plan).into_iter().for_each(|difference| talk.warning(difference));
    let mut decoder = Decoder::new(head.is_recording());
    let cutter =
        Cutter::new(alone.plan.clone(), head.is_recording(), options.batch.clamp(1, BATCH));
    let mut side =
        Side::start(&alone.plan, head.into_rows(), cutter, Output::new(), options.parsers)?;
    let mut ended = None;
    talk.read(lines.bytes());
    while !(options.strict && faults > 0) {
        let Some((number, bytes)) = lines.next().map_err(ReplayError::Input)? else { break };
        match bytes.and_then(|bytes| decoder.entry(number, bytes)) {
            Ok(Entry::End(why)) => ended = why,
            Ok(entry) => {
                if side.take(entry).is_err() {
                    break;
                }
            }
            Err(fault) => {
                faults += 1;
                talk.fault(fault);
            }
        }
        if number.is_multiple_of(1024) {
            talk.read(lines.bytes());
        }
    }
    let (out, mut summary) = side.finish(options.until).map_err(ReplayError::Sort)?;
    talk.read(lines.bytes());
    (summary.faults, summary.ended) = (faults, ended);
    out.write(output).map_err(|error| match error {
        sorted::WriteError::Scratch(error) => ReplayError::Sort(error),
        sorted::WriteError::Output(error) => ReplayError::Output(error),
    })?;
    Ok(summary)
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

fn plan(options: &Options, head: &Head) -> Result<Alone, ReplayError> {
    let document = match (&options.devices, head.devices()) {
        (Some(file), _) => Some(reload::read_document(file).map_err(ReplayError::Config)?),
        (None, Some(devices)) => {
            let parsed = Pushed::parse("recording", &devices.to_string(), Format::Json);
            Some(parsed.map_err(ReplayError::Config)?)
        }
        (None, None) => None,
    };
    let asked = reload::Asked {
        pipeline: &options.pipeline,
        site: options.site.as_deref(),
        modules: options.modules.as_deref(),
        compiled: options.compiled.as_deref(),
        env: &options.env,
        // The recording's devices are all there were.
        only_devices_of_document: options.devices.is_none(),
        document,
    };
    reload::alone(asked).map_err(ReplayError::Config)
}
