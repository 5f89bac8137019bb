//! One step of a task as a person sees it: a moving line on a terminal, two plain lines
//! otherwise.
//!
//! Invariant: what a command printed is shown whole when it fails and not at all when it
//! succeeds.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// The last lines of a failed command that are shown.
const KEPT_LINES: usize = 400;

/// A step under way.
pub(crate) struct Step {
    title: String,
    bar: Option<ProgressBar>,
    since: Instant,
}

impl Step {
    /// Shows that a step begins.
    pub(crate) fn begin(title: impl Into<String>) -> Self {
        Self::new(title.into(), None)
    }

    /// Shows that a step of about `total` parts begins.
    pub(crate) fn begin_counted(title: impl Into<String>, total: u64) -> Self {
        Self::new(title.into(), Some(total))
    }

    fn new(title: String, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match total {
                Some(total) => {
                    (ProgressBar::new(total), "{prefix:>22} [{bar:30}] {pos}/{len} {wide_msg}")
                }
                None => (ProgressBar::new_spinner(), "{prefix:>22} {spinner} {wide_msg}"),
            };
            let style = ProgressStyle::with_template(template)
                .expect("the template is constant and well formed")
                .progress_chars("=> ");
            bar.set_style(style);
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("{title} ...");
        }
        Self { title, bar, since: Instant::now() }
    }

    /// Shows what is being done just now; on a terminal only.
    pub(crate) fn show(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Shows the part that is under way, before what [`Step::show`] shows.
    pub(crate) fn show_before(&self, part: &str) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{} {part}", self.title));
        }
    }

    fn advance(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Runs a command to its end. What it prints goes to the moving line; whatever cargo
    /// compiles counts as one part.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{name}`"))?;
        let stdout = child.stdout.take().map(|out| thread::spawn(move || last_lines(out)));
        let mut said = VecDeque::new();
        if let Some(err) = child.stderr.take() {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                self.show(line.trim());
                if line.trim_start().starts_with("Compiling ") {
                    self.advance();
                }
                keep(&mut said, line);
            }
        }
        let printed = stdout.and_then(|reader| reader.join().ok()).unwrap_or_default();
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        for line in printed.iter().chain(&said) {
            eprintln!("{line}");
        }
        bail!("{}: `{name}` failed with {status}", self.title);
    }

    /// Shows that the step is done, and how long it took.
    pub(crate) fn done(self, result: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        let line = format!("{}: {result} ({seconds:.1} s)", self.title);
        match self.bar {
            Some(bar) => {
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            None => eprintln!("{line}"),
        }
    }
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
