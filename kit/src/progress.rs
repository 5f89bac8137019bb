//! Programs that take a while, and who is told how they go on.
//!
//! Invariant: what a program printed is handed over when it fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use crate::Error;

/// The last lines of a failed program that are kept.
const KEPT_LINES: usize = 400;

/// Who is told how work goes on. What fails is told by the error alone.
pub trait Progress {
    /// A step begins, which may take a while.
    fn begin(&mut self, title: &str);
    /// What the step does just now.
    fn show(&mut self, line: &str);
    /// The step has done its work.
    fn done(&mut self, result: &str);
}

/// Nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _title: &str) {}
    fn show(&mut self, _line: &str) {}
    fn done(&mut self, _result: &str) {}
}

/// Runs a program to its end; what it says on stderr is shown line by line.
///
/// # Errors
/// That it cannot be run; that it failed, with what it printed.
pub fn run(command: &mut Command, progress: &mut dyn Progress) -> Result<(), Error> {
    let (printed, ended) = run_reading(command, progress, last_lines)?;
    if ended.status.success() { Ok(()) } else { Err(ended.failed(printed)) }
}

/// A program that has ended.
pub(crate) struct Ended {
    program: String,
    pub(crate) status: ExitStatus,
    said: VecDeque<String>,
}

impl Ended {
    /// The error of a program that failed: what it printed, then what it said on stderr.
    pub(crate) fn failed(self, printed: impl IntoIterator<Item = String>) -> Error {
        let Self { program, status, said } = self;
        let said = said.into_iter().filter(|line| !is_status(line));
        let lines: Vec<_> = printed.into_iter().chain(said).collect();
        Error::Failed { program, status, said: lines.join("\n") }
    }
}

/// As [`run`], with stdout given to `read` on a thread of its own.
pub(crate) fn run_reading<T: Default + Send + 'static>(
    command: &mut Command,
    progress: &mut dyn Progress,
    read: impl FnOnce(ChildStdout) -> T + Send + 'static,
) -> Result<(T, Ended), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = |source| Error::Run { program: program.clone(), source };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let stdout = child.stdout.take().map(|out| thread::spawn(move || read(out)));
    let mut said = VecDeque::new();
    if let Some(err) = child.stderr.take() {
        for line in BufReader::new(err).lines().map_while(Result::ok) {
            progress.show(line.trim());
            keep(&mut said, line);
        }
    }
    let printed = stdout.and_then(|reader| reader.join().ok()).unwrap_or_default();
    let status = child.wait().map_err(cannot)?;
    Ok((printed, Ended { program, status, said }))
}

/// Whether it is one of cargo's lines about what it does, `   Compiling serde v1.0.2`: those
/// are no part of what went wrong.
fn is_status(line: &str) -> bool {
    let Some((verb, rest)) = line.split_at_checked(12) else { return false };
    let verb = verb.trim_start();
    rest.starts_with(' ')
        && verb.starts_with(|first: char| first.is_ascii_uppercase())
        && verb.bytes().all(|letter| letter.is_ascii_alphabetic())
}

fn last_lines(from: impl Read) -> VecDeque<String> {
    let mut lines = VecDeque::new();
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        keep(&mut lines, line);
    }
    lines
}

fn keep(lines: &mut VecDeque<String>, line: String) {
    if lines.len() == KEPT_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_went_wrong_without_what_went_on() {
        let mut shell = Command::new("sh");
        let script = "echo out; echo '   Compiling serde v1.0.2' >&2; \
                      printf 'error: no\\n\\nCaused by:\\n  nothing there\\n' >&2; exit 3";
        let error = run(shell.args(["-c", script]), &mut Silent).unwrap_err();
        assert_eq!(error.said(), Some("out\nerror: no\n\nCaused by:\n  nothing there"));
        assert_eq!(error.to_string(), "`sh` failed with exit status: 3");
    }
}
