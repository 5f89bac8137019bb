//! `tapline replay`: what a pipeline makes of recorded messages, and what another version of it
//! makes of them.

mod difference;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::difference::{Json, Text};
use super::FINDING;
use crate::config::push::parse_time;
use crate::config::{Look, Problem, Severity, render};
use crate::message::Timestamp;
use crate::replay::{
    Against, BATCH, Fault, Options, ReplayError, Summary, Talk, compare, replay as run,
};

/// Wrong lines that are named one by one.
const NAMED: u64 = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline: its name, or a path to a .toml file
    pipeline: String,
    /// Messages, one JSON object a line: a capture, or what `tapline record` wrote; `-`: stdin
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    around: Around,
    /// Devices: a document of POST /config (JSON, YAML or TOML); default: the site's, or the
    /// recording's own
    #[arg(long, visible_alias = "config", value_name = "FILE")]
    devices: Option<PathBuf>,
    /// Let wake-ups act up to then, RFC 3339 or ms; default: within an hour after the last
    /// message of a capture, as recorded otherwise
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Show what differs with another version: a module (`.wasm`), a pipeline (its name, or a
    /// `.toml` file) or a document of devices
    #[arg(long, value_name = "OTHER")]
    against: Option<String>,
    /// The stage whose module is replaced, where it is not plain
    #[arg(long, value_name = "NAME", requires = "against")]
    stage: Option<String>,
    /// Show differences as JSON lines, all of them
    #[arg(long, requires = "against")]
    json: bool,
    /// Stop at the first line that is wrong
    #[arg(long)]
    strict: bool,
    /// Messages that one call of a module sees at most; it changes no result
    #[arg(long, hide = true, value_name = "COUNT", default_value_t = BATCH,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=BATCH as u64))]
    batch: usize,
    /// Threads that parse; it changes no result
    #[arg(long, hide = true, value_name = "COUNT")]
    parsers: Option<NonZeroUsize>,
}

/// What stands around a pipeline that is not run.
#[derive(Debug, clap::Args)]
pub(super) struct Around {
    /// The site directory; without it, what ships
    #[arg(long, value_name = "DIR", env = "TAPLINE_SITE")]
    site: Option<PathBuf>,
    #[command(flatten)]
    pub(super) code: Code,
}

/// Where modules are.
#[derive(Debug, clap::Args)]
pub(super) struct Code {
    /// A directory with modules (`*.wasm`) beside the site's own and those that ship
    #[arg(long, value_name = "DIR", env = "TAPLINE_MODULES")]
    pub(super) modules: Option<PathBuf>,
    /// A data directory, to take compiled modules from and keep them in
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
}

impl Code {
    pub(super) fn compiled(&self) -> Option<PathBuf> {
        self.data.as_ref().map(|data| data.join("compiled"))
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    let ms = text.parse().ok().map(Timestamp);
    ms.or_else(|| parse_time(text))
        .ok_or_else(|| "write it as 2026-02-12T19:40:18Z, or in milliseconds".to_owned())
}

pub(super) fn replay(args: Args) -> anyhow::Result<ExitCode> {
    let options = Options {
        pipeline: args.pipeline,
        site: args.around.site,
        compiled: args.around.code.compiled(),
        modules: args.around.code.modules,
        devices: args.devices,
        env: super::run::environment(),
        until: args.until,
        batch: args.batch,
        parsers: args.parsers,
        strict: args.strict,
    };
    let is_stdin = args.input.as_os_str() == "-";
    let name = if is_stdin { "stdin".to_owned() } else { args.input.display().to_string() };
    let (input, size): (Box<dyn Read>, Option<u64>) = if is_stdin {
        (Box::new(io::stdin().lock()), None)
    } else {
        let opened = File::open(&args.input).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((size, file)) => (Box::new(file), Some(size)),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                let problem =
                    Problem::of(&args.input, what, "name a readable file, or - for stdin");
                eprint!("{}", render(&[problem], Severity::Error, look()));
                return Ok(ExitCode::from(FINDING));
            }
        }
    };
    let mut talk = Terminal { name, bar: bar(size), faults: 0, begun: None };
    let input = BufReader::with_capacity(256 << 10, input);
    let output = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let result = match &args.against {
        None => alone(&options, input, output, &mut talk),
        Some(other) => match Against::of(other, args.stage.as_deref()) {
            Ok(against) => compared(&options, &against, args.json, input, output, &mut talk),
            Err(problems) => Err(ReplayError::Config(problems)),
        },
    };
    talk.bar.finish_and_clear();
    match result {
        Ok(code) => Ok(code),
        // `tapline replay … | head` has seen enough; where differences are shown, there was one.
        Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(if args.against.is_some() { FINDING.into() } else { ExitCode::SUCCESS })
        }
        Err(ReplayError::Config(problems)) => {
            eprint!("{}", render(&problems, Severity::Error, look()));
            Ok(ExitCode::from(FINDING))
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints what comes out.
fn alone(
    options: &Options,
    input: impl BufRead,
    mut output: impl Write,
    talk: &mut Terminal,
) -> Result<ExitCode, ReplayError> {
    let summary = run(options, input, &mut output, talk)?;
    talk.bar.finish_and_clear();
    talk.sum_up(&summary);
    Ok(if summary.faults > 0 { FINDING.into() } else { ExitCode::SUCCESS })
}

/// Prints what differs.
fn compared(
    options: &Options,
    against: &Against,
    json: bool,
    input: impl BufRead,
    output: impl Write,
    talk: &mut Terminal,
) -> Result<ExitCode, ReplayError> {
    let (mut text, mut lines);
    let comparison = if json {
        lines = Json::new(output);
        let comparison = compare(options, against, input, &mut lines, talk)?;
        lines.sum_up(&comparison).map_err(ReplayError::Output)?;
        comparison
    } else {
        text = Text::new(output);
        let comparison = compare(options, against, input, &mut text, talk)?;
        text.sum_up(&comparison).map_err(ReplayError::Output)?;
        comparison
    };
    talk.bar.finish_and_clear();
    talk.sum_up_input(&comparison.before);
    let is_fine = comparison.before.faults == 0 && !comparison.differs();
    Ok(if is_fine { ExitCode::SUCCESS } else { FINDING.into() })
}

fn look() -> Look {
    if io::stderr().is_terminal() { Look::Colour } else { Look::Plain }
}

/// How far it is, where somebody looks at it and its end is known.
fn bar(size: Option<u64>) -> ProgressBar {
    let style = "{bar:40} {percent:>3} %  {bytes_per_sec}  {eta} left";
    match (size, ProgressStyle::with_template(style)) {
        (Some(size), Ok(style)) if io::stderr().is_terminal() => {
            ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stderr())
                .with_style(style)
        }
        _ => ProgressBar::hidden(),
    }
}

/// Says on stderr what a person wants to know.
struct Terminal {
    name: String,
    bar: ProgressBar,
    faults: u64,
    /// When the first message was worked off; to compile modules takes longer than many.
    begun: Option<Instant>,
}

impl Terminal {
    fn sum_up(&self, summary: &Summary) {
        for (by, count) in &summary.filtered {
            eprintln!("note: filtered ({by}): {count}");
        }
        if summary.late > 0 {
            eprintln!("note: too late for a detector: {}", summary.late);
        }
        self.sum_up_input(summary);
    }

    /// What there is to say of the input, whatever became of it.
    fn sum_up_input(&self, summary: &Summary) {
        if self.faults > NAMED {
            eprintln!("… and {} more wrong lines", self.faults - NAMED);
        }
        if let Some(why) = &summary.ended {
            eprintln!("note: the recording ended early: {why}");
        }
        let took = self.begun.map(|begun| begun.elapsed()).unwrap_or_default();
        let rate = summary.messages as f64 / took.as_secs_f64().max(0.001);
        eprintln!(
            "{} messages, {} items, {:.1} s ({rate:.0} messages/s)",
            summary.messages,
            summary.items,
            took.as_secs_f64()
        );
    }
}

impl Talk for Terminal {
    fn fault(&mut self, fault: Fault) {
        self.faults += 1;
        if self.faults <= NAMED {
            let Fault { line, what, remedy } = fault;
            let name = &self.name;
            self.bar.suspend(|| eprintln!("error: {name}:{line}: {what}\nhelp: {remedy}"));
        }
    }

    fn warning(&mut self, problem: Problem) {
        let text = render(&[problem], Severity::Warning, look());
        self.bar.suspend(|| eprint!("{text}"));
    }

    fn read(&mut self, bytes: u64) {
        self.begun.get_or_insert_with(Instant::now);
        self.bar.set_position(bytes);
    }
}
