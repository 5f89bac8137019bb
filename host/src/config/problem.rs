//! What is wrong with a configuration, where, and what to do about it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A stretch of a configuration text.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// As the user would name it: relative to the site directory, or `POST /config`.
    pub file: Arc<str>,
    /// The whole text, to show the line, with secrets blanked; empty where the format keeps
    /// no positions (YAML).
    pub text: Arc<str>,
    /// Bytes in `text`.
    pub span: Range<usize>,
    /// The way there inside the document: `devices[0].session_config.standby_threshold_w`.
    pub path: Arc<str>,
}

impl Place {
    /// Line and column, both from 1; columns count characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.span.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

impl Place {
    /// File and line, or the way inside the document where there are no lines.
    pub fn spot(&self) -> String {
        match (self.text.is_empty(), self.path.is_empty()) {
            (false, _) => format!("{}:{}", self.file, self.line_and_column().0),
            (true, false) => format!("{}: {}", self.file, self.path),
            (true, true) => self.file.to_string(),
        }
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:?} {}", self.file, self.span, self.path)
    }
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `None` where there is no text to point at (an environment variable, a missing file).
    pub place: Option<Place>,
    /// The file or variable, where `place` is `None`.
    pub origin: Option<PathBuf>,
    /// One lower-case clause with the user's value in backticks.
    pub what: String,
    /// What to do, in one clause; never empty.
    pub remedy: String,
}

impl Problem {
    /// A problem with a place in a text.
    pub fn at(place: Place, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: Some(place), origin: None, what: what.into(), remedy: remedy.into() }
    }

    /// A problem of a whole file or an environment variable.
    pub fn of(
        origin: impl Into<PathBuf>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (what, remedy) = (what.into(), remedy.into());
        Self { place: None, origin: Some(origin.into()), what, remedy }
    }
}

impl Problem {
    /// The way to it inside its document: `devices[0].mqtt_topic`; empty where there is none.
    pub fn pointer(&self) -> &str {
        self.place.as_ref().map_or("", |place| &place.path)
    }
}

/// In one line, for logs and `/health`: `pipelines/a.toml:7:1: unknown key `tpoics`: did you …`.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.place, &self.origin) {
            (Some(place), _) if place.text.is_empty() && place.path.is_empty() => {
                write!(f, "{}: ", place.file)?;
            }
            (Some(place), _) if place.text.is_empty() => {
                write!(f, "{}: {}: ", place.file, place.path)?;
            }
            (Some(place), _) => {
                let (line, column) = place.line_and_column();
                write!(f, "{}:{line}:{column}: ", place.file)?;
            }
            (None, Some(origin)) => write!(f, "{}: ", origin.display())?,
            (None, None) => {}
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}
