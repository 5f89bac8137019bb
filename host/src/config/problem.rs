//! What is wrong with a configuration, where, and what to do about it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A stretch of a configuration text.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// As the user would name it: relative to the site directory, or `POST /config`.
    pub file: Arc<str>,
    /// The whole text, to show the line.
    pub text: Arc<str>,
    /// Bytes in `text`.
    pub span: Range<usize>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:?}", self.file, self.span)
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
