//! Replaying and discarding, a turn at a time, with a count for many.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{Filter, Page, matching};
use crate::cli::remote::{Remote, RemoteError, Target, finish, say};
use crate::cli::{FINDING, REFUSED};
use crate::reload::{Left, TURN, Turned};

/// Numbers, or all that match.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Numbers in the list
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// All of them, or all that the filters choose
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print what stays, and the counts, as one JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Replay { force: bool },
    Discard,
}

impl Deed {
    fn path(self) -> &'static str {
        match self {
            Self::Replay { .. } => "/api/v1/dead-letters/replay",
            Self::Discard => "/api/v1/dead-letters/discard",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Discard => "discard",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replayed",
            Self::Discard => "discarded",
        }
    }
}

/// A command line that does not fit together.
const USAGE: u8 = 2;
/// Letters that stay and are named, for people; the rest is counted.
const NAMED: usize = 20;

pub(super) fn act(target: &Target, which: &Which, deed: Deed) -> anyhow::Result<ExitCode> {
    if !which.all && !which.filter.given().is_empty() {
        eprintln!("error: filters choose from all, and numbers are named already");
        eprintln!("help: write --all with the filters, or numbers without them");
        return Ok(ExitCode::from(USAGE));
    }
    finish(act_on(target, which, deed))
}

fn act_on(target: &Target, which: &Which, deed: Deed) -> Result<ExitCode, RemoteError> {
    let remote = target.connect()?;
    let count = if which.all {
        remote.get::<Page>(&which.filter.page(1, None))?.count
    } else {
        which.ids.len() as u64
    };
    if count == 0 {
        eprintln!("no dead letters");
        return Ok(ExitCode::SUCCESS);
    }
    let asks = match deed {
        Deed::Discard => true,
        Deed::Replay { .. } => which.all && std::io::stdin().is_terminal(),
    };
    if asks && !which.yes && !confirmed(deed, count).map_err(RemoteError::Output)? {
        return Ok(ExitCode::from(REFUSED));
    }
    let mut report = Report { json: which.json, named: 0, done: 0, late: 0, failed: 0, refused: 0 };
    let bar = ProgressBar::new(count);
    let result = turns(&remote, which, deed, |turned| {
        bar.suspend(|| report.take(&turned));
        bar.set_position(report.done + report.failed + report.refused);
    });
    bar.finish_and_clear();
    if result.is_ok() || report.done > 0 {
        report.end(deed);
    }
    result?;
    Ok(match report {
        Report { refused: 1.., .. } => ExitCode::from(REFUSED),
        Report { failed: 1.., .. } => ExitCode::from(FINDING),
        _ => ExitCode::SUCCESS,
    })
}

fn turns(
    remote: &Remote,
    which: &Which,
    deed: Deed,
    mut each: impl FnMut(Turned),
) -> Result<(), RemoteError> {
    let force = matches!(deed, Deed::Replay { force: true });
    if !which.all {
        for ids in which.ids.chunks(TURN) {
            each(remote.post(deed.path(), &json!({"ids": ids, "force": force}))?);
        }
        return Ok(());
    }
    let mut body = json!({"filter": matching(&which.filter), "force": force});
    loop {
        let turned: Turned = remote.post(deed.path(), &body)?;
        let next = turned.next;
        each(turned);
        let Some(next) = next else { return Ok(()) };
        body["next"] = json!(next);
    }
}

/// Asks a person; where there is none, `--yes` has to say it.
fn confirmed(deed: Deed, count: u64) -> std::io::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        eprintln!("error: nothing was done: say --yes to {} {count} dead letter(s)", deed.verb());
        return Ok(false);
    }
    eprint!("{} {count} dead letter(s)? [y/N] ", deed.verb());
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

struct Report {
    json: bool,
    named: usize,
    done: u64,
    late: u64,
    failed: u64,
    refused: u64,
}

impl Report {
    fn take(&mut self, turned: &Turned) {
        self.done += turned.done;
        self.late += turned.late;
        self.failed += turned.failed.len() as u64;
        self.refused += turned.refused.len() as u64;
        for (left, why) in turned
            .failed
            .iter()
            .map(|left| (left, "failed again"))
            .chain(turned.refused.iter().map(|left| (left, "refused")))
        {
            self.name(left, why);
        }
    }

    fn name(&mut self, left: &Left, why: &str) {
        self.named += 1;
        let Left { id, code, detail } = left;
        if self.json {
            let line = json!({"id": id, "code": code, "detail": detail, "result": why});
            let _reader_may_go = say(&line.to_string());
        } else if self.named <= NAMED {
            eprintln!("{id} {why}: {code}: {detail}");
        }
    }

    fn end(&self, deed: Deed) {
        let Self { done, late, failed, refused, .. } = self;
        if self.json {
            let counts: Value = json!({
                deed.done(): done, "late": late, "failed": failed, "refused": refused
            });
            let _reader_may_go = say(&counts.to_string());
            return;
        }
        if self.named > NAMED {
            eprintln!("and {} more; `tapline dead-letters list` shows why", self.named - NAMED);
        }
        let mut text = format!("{} {done}", deed.done());
        let mut add = |count: u64, what: &str| {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        };
        add(*late, "of them too late for detectors");
        add(*failed, "failed again and stay");
        add(*refused, "refused and stay");
        let _reader_may_go = say(&text);
    }
}
