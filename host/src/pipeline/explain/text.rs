//! An explanation for people: one step a line, its place at the end.

use std::fmt;

use super::{Explanation, Step, Verdict};

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "NO",
            Self::Maybe => "maybe",
            Self::Note => "",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<6}{}", self.verdict.word(), self.what)?;
        if let Some(place) = &self.place {
            write!(f, "   [{place}]")?;
        }
        if let Some(item) = &self.item {
            write!(f, "\n          {item}")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.topic)?;
        for path in &self.pipelines {
            writeln!(f, "\npipeline {}   [{}]", path.pipeline, path.file)?;
            path.steps.iter().try_for_each(|step| step.fmt(f))?;
        }
        if !self.problems.is_empty() {
            writeln!(f, "\nwhat does not run")?;
            self.problems.iter().try_for_each(|problem| writeln!(f, "        {problem}"))?;
        }
        if !self.near.is_empty() {
            writeln!(f, "\nmeant perhaps")?;
            self.near.iter().try_for_each(|step| step.fmt(f))?;
        }
        if !self.live.is_empty() {
            writeln!(f, "\nright now")?;
            self.live.iter().try_for_each(|step| step.fmt(f))?;
        }
        if self.reaches.is_empty() {
            writeln!(f, "\nIt reaches no sink.")
        } else if self.is_fine() {
            writeln!(f, "\nIt reaches {}.", self.reaches.join(", "))
        } else {
            writeln!(f, "\nIt would reach {}, but not right now.", self.reaches.join(", "))
        }
    }
}
