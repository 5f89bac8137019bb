//! `tapline build`: from a module's project to its component.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tapline_kit::{Built, Error, Progress, Project};

use super::FINDING;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The project's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(super) fn build(args: &Args) -> anyhow::Result<ExitCode> {
    let mut steps = Steps::default();
    let built =
        Project::read(&args.dir).and_then(|project| tapline_kit::build(&project, &mut steps));
    steps.clear();
    match built {
        Ok(Built { file, bytes, warnings }) => {
            if !warnings.is_empty() {
                eprintln!("{}", warnings.trim_end());
            }
            println!("{}", file.display());
            eprintln!("built: {} KiB", bytes / 1024);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            tell(&error);
            Ok(ExitCode::from(FINDING))
        }
    }
}

/// Tells a person what is wrong with a project: what its compiler said, as it is; the error
/// with its causes; what to do.
pub(super) fn tell(error: &Error) {
    if let Some(said) = error.said() {
        eprintln!("{}", said.trim_end());
    }
    eprintln!("error: {}", crate::telemetry::words(error));
    if let Some(remedy) = error.remedy() {
        eprintln!("help: {remedy}");
    }
}

/// The steps of a build as a person sees them: a moving line on a terminal, two plain lines
/// a step otherwise.
#[derive(Default)]
pub(super) struct Steps(Option<(String, Instant, Option<ProgressBar>)>);

impl Steps {
    /// Takes away what moves; the step that stood there did not come to its end.
    pub(super) fn clear(&mut self) {
        if let Some((_, _, Some(bar))) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Steps {
    fn begin(&mut self, title: &str) {
        self.clear();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix} {spinner} {elapsed} {wide_msg}")
                .expect("the template is constant and well formed");
            let bar = ProgressBar::new_spinner().with_style(style).with_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("{title} ...");
        }
        self.0 = Some((title.to_owned(), Instant::now(), bar));
    }

    fn show(&mut self, line: &str) {
        if let Some((_, _, Some(bar))) = &self.0 {
            bar.set_message(line.to_owned());
        }
    }

    fn done(&mut self, result: &str) {
        let Some((title, since, bar)) = self.0.take() else { return };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        eprintln!("{title}: {result} ({:.1} s)", since.elapsed().as_secs_f64());
    }
}
