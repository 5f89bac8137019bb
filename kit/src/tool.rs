//! Programs of other languages that make components: found or installed, and run in a limited
//! time.
//!
//! Invariant: a tool lies in a folder of its version in the person's cache, whole or not at all.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Progress, places};

/// For downloads; a slow line needs a while for a hundred megabytes.
pub(crate) const INSTALLING: Duration = Duration::from_secs(1200);

/// For making a component.
pub(crate) const BUILDING: Duration = Duration::from_secs(300);

/// Written when a tool's folder is complete.
const COMPLETE: &str = ".complete";

/// The most that is kept of what a program prints.
const KEPT: usize = 64 << 10;

/// What a program printed and how it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) printed: String,
    pub(crate) said: String,
}

impl Ended {
    pub(crate) fn failed(self, command: &Command) -> Error {
        let Self { status, printed, said } = self;
        let said = format!("{}\n{}", printed.trim_end(), said.trim_end());
        Error::Failed { program: name(command), status, said: said.trim().to_owned() }
    }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Runs a program to its end, or ends it when its time is up; its lines are shown.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    progress: &mut dyn Progress,
) -> Result<Ended, Error> {
    let program = name(command);
    let cannot = |source| Error::Run { program: program.clone(), source };
    let streams = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().map_err(cannot)?;
    let (send, lines) = mpsc::sync_channel(64);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let readers = [
        out.map(|out| forward(out, false, send.clone())),
        err.map(|err| forward(err, true, send.clone())),
    ];
    drop(send);
    let (mut printed, mut said) = (String::new(), String::new());
    let begun = Instant::now();
    loop {
        match lines.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok((is_error, line)) => {
                progress.show(line.trim());
                let kept: &mut String = if is_error { &mut said } else { &mut printed };
                if kept.len() + line.len() < KEPT {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                // It may have ended by itself just now; it is waited for in either case.
                let _gone = child.kill();
                child.wait().map_err(cannot)?;
                return Err(Error::missing(
                    format!("`{program}` did not end within {} minutes", limit.as_secs() / 60),
                    "see that the machine is not busy and reaches the network, and try again",
                ));
            }
        }
    }
    for reader in readers.into_iter().flatten() {
        // It can only fail by a panic, which was reported when it happened.
        let _ = reader.join();
    }
    let status = child.wait().map_err(cannot)?;
    Ok(Ended { status, printed, said })
}

fn forward(
    from: impl Read + Send + 'static,
    is_error: bool,
    to: mpsc::SyncSender<(bool, String)>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if to.send((is_error, text)).is_err() {
                return;
            }
        }
    })
}

/// The version that a program states, or what to install.
pub(crate) fn version(
    program: &str,
    missing: impl FnOnce() -> Error,
    progress: &mut dyn Progress,
) -> Result<String, Error> {
    match run(Command::new(program).arg("--version"), Duration::from_secs(60), progress) {
        Ok(ended) if ended.status.success() => Ok(format!("{}{}", ended.printed, ended.said)),
        Ok(_) => Err(missing()),
        Err(Error::Run { source, .. }) if source.kind() == ErrorKind::NotFound => Err(missing()),
        Err(other) => Err(other),
    }
}

/// The numbers at the beginning of a version: `Python 3.11.7` and `v20.1.0` alike.
pub(crate) fn numbers(version: &str) -> (u32, u32) {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let mut parts =
        digits.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The folder of a tool; `install` fills it where it is not there yet. Two builds at a time
/// wait for one another.
pub(crate) fn folder(
    tool: &str,
    progress: &mut dyn Progress,
    install: impl FnOnce(&Path, &mut dyn Progress) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let cache = places::cache()?;
    fs::create_dir_all(&cache).map_err(Error::file(&cache, "made"))?;
    let folder = cache.join(tool);
    let complete = folder.join(COMPLETE);
    if complete.is_file() {
        return Ok(folder);
    }
    let lock = cache.join(format!("{tool}.lock"));
    let file = File::create(&lock).map_err(Error::file(&lock, "written"))?;
    file.lock().map_err(Error::file(&lock, "locked"))?;
    if complete.is_file() {
        return Ok(folder);
    }
    // What an earlier try left is of no use.
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::file(&folder, "removed")(error));
        }
        _ => {}
    }
    fs::create_dir_all(&folder).map_err(Error::file(&folder, "made"))?;
    progress.begin(&format!("install {tool}"));
    let begun = Instant::now();
    install(&folder, progress)?;
    fs::write(&complete, "").map_err(Error::file(&complete, "written"))?;
    progress.done(&format!("in {} s, into {}", begun.elapsed().as_secs(), folder.display()));
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn ends_a_program_whose_time_is_up() {
        let limit = Duration::from_millis(50);
        let error = run(Command::new("sleep").arg("600"), limit, &mut Silent).err().unwrap();
        assert!(error.to_string().contains("`sleep` did not end within"), "{error}");
    }

    #[test]
    fn keeps_what_a_program_prints_and_says_apart() {
        let script = "echo one; echo two >&2; exit 3";
        let mut command = Command::new("sh");
        let ended = run(command.args(["-c", script]), BUILDING, &mut Silent).unwrap();
        assert_eq!((ended.printed.as_str(), ended.said.as_str()), ("one\n", "two\n"));
        assert_eq!(ended.status.code(), Some(3));
    }

    #[test]
    fn reads_versions_as_programs_state_them() {
        assert_eq!(numbers("Python 3.11.7\n"), (3, 11));
        assert_eq!(numbers("v20.20.2"), (20, 20));
        assert_eq!(numbers("no version"), (0, 0));
    }
}
