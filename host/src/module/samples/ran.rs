//! What became of a sample.

use std::fmt;

use tapline_kit::samples::{Difference, Outcome};

use super::super::log::truncate;

/// Differences of one sample that are told in one line.
const TOLD: usize = 2;
/// Bytes of one difference.
const LENGTH: usize = 300;

/// One sample that was run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// File and line where it stands.
    pub place: String,
    pub id: Option<String>,
    pub verdict: Verdict,
    /// What came out of each of its steps, in the form of its expectation; `None` where it
    /// did not come that far.
    pub found: Option<Vec<Outcome>>,
}

/// Whether a sample gives what it says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Passed,
    Differs(Vec<Difference>),
    /// It does not say what is to come out.
    Open,
    /// It cannot be run, or the module failed.
    Broken(String),
}

impl Verdict {
    /// Whether it gives what it says.
    pub fn is_passed(&self) -> bool {
        matches!(self, Self::Passed)
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match &self.verdict {
            Verdict::Passed => f.write_str("passed"),
            Verdict::Open => f.write_str("it does not say what is to come out"),
            Verdict::Broken(why) => f.write_str(why),
            Verdict::Differs(differences) => {
                for (index, difference) in differences.iter().take(TOLD).enumerate() {
                    let mut text = difference.to_string();
                    truncate(&mut text, LENGTH);
                    write!(f, "{}{text}", if index > 0 { "; " } else { "" })?;
                }
                match differences.len().checked_sub(TOLD) {
                    None | Some(0) => Ok(()),
                    Some(more) => write!(f, "; and {more} more"),
                }
            }
        }
    }
}
