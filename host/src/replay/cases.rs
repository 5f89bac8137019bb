//! Tests of pipelines: what goes in, what is to come out.
//!
//! A test is a folder `pipelines/tests/NAME` or `pipelines/tests/NAME.CASE`, where NAME is the
//! pipeline's: `input.jsonl`, `expected.jsonl` and, where devices are needed, `devices.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use similar::{ChangeTag, TextDiff};

use super::{BATCH, Fault, Options, ReplayError, Talk, replay};
use crate::config::{Look, Problem, Severity, render};

/// Lines of a difference that are shown.
const SHOWN: usize = 60;

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// As its folder is called.
    pub name: String,
    pub pipeline: String,
    pub folder: PathBuf,
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gives what is expected: so many items.
    Passed(u64),
    /// `expected.jsonl` was written.
    Written(u64),
    /// It gives something else.
    Differs(Difference),
    /// It did not come that far, and why.
    Broken(String),
}

/// What a test gives beside what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Lines that are missing, and lines that should not be there.
    pub missing: usize,
    pub surplus: usize,
    /// In the manner of `diff -u`.
    pub text: String,
}

/// What stands around the tests of one site.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub site: PathBuf,
    pub modules: Option<PathBuf>,
    pub compiled: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
}

/// The tests of a site, by name.
///
/// # Errors
/// If their folder cannot be read; one that is not there has none.
pub fn find(site: &Path) -> io::Result<Vec<Case>> {
    let folder = site.join("pipelines").join("tests");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut cases = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        if !folder.is_dir() || name.starts_with('.') {
            continue;
        }
        let name = name.to_owned();
        let pipeline = name.split('.').next().unwrap_or(&name).to_owned();
        cases.push(Case { name, pipeline, folder });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

impl Case {
    /// Runs it; `accept` writes down what comes out as what is expected.
    pub fn run(&self, around: &Surroundings, accept: bool) -> Verdict {
        match self.outcome(around) {
            Ok((bytes, items)) if accept => self.accept(&bytes, items),
            Ok((bytes, items)) => self.compare(&bytes, items),
            Err(why) => Verdict::Broken(why),
        }
    }

    fn outcome(&self, around: &Surroundings) -> Result<(Vec<u8>, u64), String> {
        let path = self.folder.join("input.jsonl");
        let input = std::fs::File::open(&path)
            .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
        let devices = self.folder.join("devices.json");
        let options = Options {
            pipeline: self.pipeline.clone(),
            site: Some(around.site.clone()),
            modules: around.modules.clone(),
            devices: devices.exists().then_some(devices),
            compiled: around.compiled.clone(),
            env: around.env.clone(),
            until: None,
            batch: BATCH,
            parsers: None,
            strict: true,
        };
        let mut said = Said::default();
        let mut bytes = Vec::new();
        let result = replay(&options, io::BufReader::new(input), &mut bytes, &mut said);
        if let Some(fault) = said.fault {
            return Err(format!(
                "{}:{}: {}\nhelp: {}",
                path.display(),
                fault.line,
                fault.what,
                fault.remedy
            ));
        }
        match result {
            // A device that is left out would make the test pass for nothing.
            Ok(_) if !said.warnings.is_empty() => {
                Err(render(&said.warnings, Severity::Error, Look::Plain))
            }
            Ok(summary) => Ok((bytes, summary.items)),
            Err(ReplayError::Config(problems)) => {
                Err(render(&problems, Severity::Error, Look::Plain))
            }
            Err(error) => Err(crate::telemetry::words(&error)),
        }
    }

    fn expected(&self) -> PathBuf {
        self.folder.join("expected.jsonl")
    }

    fn accept(&self, bytes: &[u8], items: u64) -> Verdict {
        let path = self.expected();
        match std::fs::write(&path, bytes) {
            Ok(()) => Verdict::Written(items),
            Err(error) => {
                Verdict::Broken(format!("{}: cannot be written: {error}", path.display()))
            }
        }
    }

    fn compare(&self, bytes: &[u8], items: u64) -> Verdict {
        let path = self.expected();
        let expected = match std::fs::read_to_string(&path) {
            Ok(expected) => expected,
            Err(error) => {
                return Verdict::Broken(format!(
                    "{}: cannot be read: {error}\nhelp: `tapline test --accept` writes it; read \
                     it before you keep it",
                    path.display()
                ));
            }
        };
        // JSON Lines are UTF-8.
        let found = String::from_utf8_lossy(bytes);
        if expected == found {
            return Verdict::Passed(items);
        }
        Verdict::Differs(difference(&expected, &found))
    }
}

fn difference(expected: &str, found: &str) -> Difference {
    let diff = TextDiff::from_lines(expected, found);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    let (missing, surplus) = (count(ChangeTag::Delete), count(ChangeTag::Insert));
    let unified = diff.unified_diff().context_radius(1).header("expected", "found").to_string();
    let mut lines: Vec<_> = unified.lines().collect();
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    let mut text = lines.join("\n");
    text.push('\n');
    if more > 0 {
        text.push_str(&format!("… and {more} more lines\n"));
    }
    Difference { missing, surplus, text }
}

/// What was said during a test.
#[derive(Default)]
struct Said {
    fault: Option<Fault>,
    warnings: Vec<Problem>,
}

impl Talk for Said {
    fn fault(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn warning(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }

    fn read(&mut self, _bytes: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_is_missing_and_what_is_too_much() {
        let expected = "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n";
        let found = "{\"a\":1}\n{\"a\":4}\n{\"a\":3}\n";
        let difference = difference(expected, found);
        assert_eq!((difference.missing, difference.surplus), (1, 1));
        assert!(difference.text.contains("-{\"a\":2}\n+{\"a\":4}\n"), "{}", difference.text);
    }

    #[test]
    fn a_large_difference_is_cut_short() {
        let lines = |from: usize| (from..from + 500).map(|n| format!("{n}\n")).collect::<String>();
        let difference = difference(&lines(0), &lines(1000));
        assert_eq!((difference.missing, difference.surplus), (500, 500));
        assert!(difference.text.lines().count() <= SHOWN + 1);
        assert!(difference.text.contains("more lines"), "{}", difference.text);
    }
}
