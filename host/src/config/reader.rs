//! Reads a document section by section, so that one bad section hides no problem of another.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{Anchor, Document, Format};
use super::problem::{Place, Problem};
use super::schema::{Finding, MOST, Shape};
use super::units::{DURATION_REMEDY, DurationText, SIZE_REMEDY, SizeText};

/// A parsed text, what is wrong with it so far, and its sections.
pub(super) struct Reader {
    pub(super) document: Arc<Document>,
    pub(super) value: Value,
    findings: Vec<Finding>,
    problems: Vec<Problem>,
}

impl Reader {
    /// Parses and checks the shape. Fails only where nothing can be read at all.
    pub(super) fn open(
        file: &str,
        text: &str,
        format: Format,
        shape: &Shape,
    ) -> Result<Self, Vec<Problem>> {
        let (document, value) = Document::parse(file, text, format)?;
        let findings = shape.findings(&value, &Anchor::new(&document, ""));
        Ok(Self { document, value, findings, problems: Vec::new() })
    }

    /// The section at `pointer`; `None` if it is absent or its shape is wrong.
    ///
    /// Unknown keys are left out: they are reported, and the rest can still be checked.
    /// Values may be ones that were refused already, so saying it again changes nothing.
    pub(super) fn read<T: DeserializeOwned>(&mut self, pointer: &str) -> Option<T> {
        let section = self.value.pointer(pointer)?;
        let within = |p: &str| {
            p.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found: Vec<_> = self.findings.iter().filter(|f| within(&f.pointer)).collect();
        if found.is_empty() {
            return match T::deserialize(section) {
                Ok(section) => Some(section),
                Err(error) => {
                    let remedy = "see `tapline schema` for what is possible here";
                    self.problem(pointer, format!("cannot be read: {error}"), remedy);
                    None
                }
            };
        }
        let mut section = section.clone();
        for finding in found.iter().filter(|finding| finding.is_unknown_key) {
            remove(&mut section, &finding.pointer[pointer.len()..]);
        }
        // A number out of range or a bad topic leaves the rest readable; why a type is wrong
        // has been said already.
        T::deserialize(section).ok()
    }

    /// The pointers of the entries of a list: `/source/0`, `/source/1`, …
    pub(super) fn entries(&self, list: &str) -> Vec<String> {
        let length = self.value.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
        (0..length).map(|i| format!("{list}/{i}")).collect()
    }

    /// The text at `pointer`, whatever else is wrong around it.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str()
    }

    /// Where the value at `pointer` stands.
    pub(super) fn place(&self, pointer: &str) -> Place {
        self.document.place(pointer)
    }

    /// Adds a problem with the value at `pointer`.
    pub(super) fn problem(
        &mut self,
        pointer: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Problem::at(self.document.place(pointer), what, remedy));
    }

    /// Adds a problem with the key at `pointer`.
    pub(super) fn key_problem(
        &mut self,
        pointer: &str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Problem::at(self.document.key_place(pointer), what, remedy));
    }

    /// Adds a problem that was made elsewhere.
    pub(super) fn add(&mut self, problem: Problem) {
        if self.problems.len() < MOST {
            self.problems.push(problem);
        }
    }

    /// A duration within `least..=most`; `None` if absent or wrong.
    pub(super) fn duration(
        &mut self,
        pointer: &str,
        text: Option<DurationText>,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = text?;
        let Some(duration) = text.parse() else {
            self.problem(pointer, format!("`{}` is not a duration", text.0), DURATION_REMEDY);
            return None;
        };
        let readable = humantime::format_duration;
        if duration < least {
            let remedy = format!("write at least \"{}\"", readable(least));
            self.problem(pointer, format!("`{}` is too short", text.0), remedy);
            return None;
        }
        if duration > most {
            let remedy = format!("write at most \"{}\"", readable(most));
            self.problem(pointer, format!("`{}` is too long", text.0), remedy);
            return None;
        }
        Some(duration)
    }

    /// A size in bytes within `least..=most`; `None` if absent or wrong.
    pub(super) fn size(
        &mut self,
        pointer: &str,
        text: Option<SizeText>,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let text = text?;
        let Some(size) = text.parse() else {
            self.problem(pointer, format!("`{}` is not a size", text.0), SIZE_REMEDY);
            return None;
        };
        if size < least {
            let remedy =
                format!("write at least \"{}\"", bytesize::ByteSize(least).display().iec());
            self.problem(pointer, format!("`{}` is too small", text.0), remedy);
            return None;
        }
        if size > most {
            let remedy = format!("write at most \"{}\"", bytesize::ByteSize(most).display().iec());
            self.problem(pointer, format!("`{}` is too large", text.0), remedy);
            return None;
        }
        Some(size)
    }

    /// Everything that is wrong, in the order of the text.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems: Vec<_> =
            self.findings.into_iter().map(|finding| finding.problem).chain(self.problems).collect();
        problems.sort_by_key(|p| p.place.as_ref().map_or(0, |place| place.span.start));
        let mut said = Vec::with_capacity(problems.len());
        for problem in problems {
            let place = |p: &Problem| p.place.as_ref().map(|place| place.span.clone());
            let same = |other: &&Problem| place(other) == place(&problem);
            // Sorted, so what is said of one place stands together.
            if !said.iter().rev().take_while(same).any(|other| *other == problem) {
                said.push(problem);
            }
        }
        said
    }
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(map)) = value.pointer_mut(parent) {
        map.remove(&key.replace("~1", "/").replace("~0", "~"));
    }
}
