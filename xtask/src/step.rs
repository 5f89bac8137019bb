//! One step of a task as a person sees it: a moving line on a terminal, two plain lines
//! otherwise.
//!
//! Invariant: what a command printed is shown whole when it fails and not at all when it
//! succeeds.

use std::io::IsTerminal;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tapline_kit::Progress;

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

    /// Runs a command to its end. What it says goes to the moving line; whatever cargo
    /// compiles counts as one part.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        tapline_kit::run(command, &mut Watched(self)).map_err(|error| {
            if let Some(bar) = &self.bar {
                bar.finish_and_clear();
            }
            if let Some(said) = error.said() {
                eprintln!("{said}");
            }
            anyhow::Error::new(error).context(self.title.clone())
        })
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

/// A step that follows what a command says.
struct Watched<'a>(&'a Step);

impl Progress for Watched<'_> {
    fn begin(&mut self, _title: &str) {}

    fn show(&mut self, line: &str) {
        self.0.show(line);
        if line.starts_with("Compiling ") {
            self.0.advance();
        }
    }

    fn done(&mut self, _result: &str) {}
}

/// Steps that are begun by what is called, one after the other.
#[derive(Default)]
pub(crate) struct Steps(Option<Step>);

impl Progress for Steps {
    fn begin(&mut self, title: &str) {
        self.0 = Some(Step::begin(title));
    }

    fn show(&mut self, line: &str) {
        if let Some(step) = &self.0 {
            step.show(line);
        }
    }

    fn done(&mut self, result: &str) {
        if let Some(step) = self.0.take() {
            step.done(result);
        }
    }
}
