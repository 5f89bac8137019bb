//! Samples of a module: what goes in, and what comes out.
//!
//! An author writes them as JSON Lines into `samples/` of a project ([`read_folder`]); they
//! travel inside the module's file ([`attach`], [`read`]), and who runs the module runs them
//! first. What they look like is told in `docs/guides/samples.md`; [`parse`] holds them to it.
//! Nothing here runs anything. Invariant: what [`read_folder`] takes, [`parse`] takes from the
//! module again, and equal files give equal bytes.

mod compare;
mod files;
mod line;
mod sample;
mod section;

pub use compare::{Difference, differences};
pub use files::{File, Folder, read_folder};
pub use line::MessageLine;
pub use sample::{Delivery, Message, Outcome, Refusal, Response, Sample, Script, Step, StepInput};
pub use section::{attach, read};

use std::io;

/// Bytes of all samples of a module.
pub const MOST_BYTES: usize = 1 << 20;
/// Samples of a module.
pub const MOST_SAMPLES: usize = 1_000;

/// Why samples are not taken.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("{file}: cannot be read")]
    Unreadable { file: String, source: io::Error },
    #[error("{place}: {what}")]
    Line { place: String, what: String, remedy: &'static str },
    #[error("{file}: the samples have more than {MOST_BYTES} bytes")]
    TooLarge { file: String },
    #[error("{place}: there are more than {MOST_SAMPLES} samples")]
    TooMany { place: String },
    #[error("the module's file cannot be taken apart: {what}")]
    Module { what: String },
    #[error("the samples in the module's file are no text")]
    NoText,
}

impl SampleError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "make it a file that you may read",
            Self::Line { remedy, .. } => remedy,
            Self::TooLarge { .. } | Self::TooMany { .. } => {
                "keep the samples that differ from each other"
            }
            Self::Module { .. } => "build the file anew",
            Self::NoText => "build the file anew with `tapline build`",
        }
    }
}

/// Reads samples as they travel: JSON Lines whose `line` says where each stood.
///
/// # Errors
/// What is wrong with the first line that is.
pub fn parse(text: &str) -> Result<Vec<Sample>, SampleError> {
    if text.len() > MOST_BYTES {
        return Err(SampleError::TooLarge { file: "samples".to_owned() });
    }
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("samples:{}", index + 1);
        if samples.len() == MOST_SAMPLES {
            return Err(SampleError::TooMany { place });
        }
        samples.push(line::read(line, place, line::From::Module)?);
    }
    Ok(samples)
}
