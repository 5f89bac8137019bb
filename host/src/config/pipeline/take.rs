//! What a stage takes: `message`, `reading[:QUANTITY]`, `event[:GLOB]`, `publication`.

use std::sync::Arc;

use super::Take;
use crate::config::formats::Wrong;
use crate::config::schema::{nearest, ticked};
use crate::quantity;

/// Whether a stage can take this.
pub(in crate::config) fn check(text: &str) -> Result<(), Wrong> {
    parse(text).map(|_| ())
}

pub(super) fn parse(text: &str) -> Result<Take, Wrong> {
    let (kind, which) = match text.split_once(':') {
        Some((kind, which)) => (kind, Some(which)),
        None => (text, None),
    };
    match (kind, which) {
        ("message", None) => Ok(Take::Message),
        ("publication", None) => Ok(Take::Publication),
        ("reading", None) => Ok(Take::Reading(None)),
        ("event", None) => Ok(Take::Event(None)),
        ("reading", Some(quantity)) => known_quantity(quantity),
        ("event", Some(glob)) => {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
            if glob.is_empty() || !glob.chars().all(fits) {
                let remedy = "write the kind of an event, with `*` for any run of characters";
                return Err((format!("`{glob}` matches no event"), remedy.to_owned()));
            }
            Ok(Take::Event(Some(glob.into())))
        }
        ("message" | "publication", Some(_)) => {
            Err((format!("`{kind}` takes nothing after it"), format!("write `{kind}`")))
        }
        _ => {
            let forms = "write `message`, `reading`, `reading:QUANTITY`, `event:KIND` or \
                         `publication`";
            let kinds = ["message", "reading", "event", "publication"];
            let remedy = match nearest(kind, &kinds) {
                Some(near) => format!("did you mean `{near}`? {forms}"),
                None => forms.to_owned(),
            };
            Err((format!("`{text}` is nothing that a stage can take"), remedy))
        }
    }
}

fn known_quantity(name: &str) -> Result<Take, Wrong> {
    if quantity::by_name(name).is_some() {
        return Ok(Take::Reading(Some(name.into())));
    }
    let known: Vec<&str> = quantity::all().iter().map(|entry| entry.name.as_str()).collect();
    let remedy = match nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", ticked(&known)),
    };
    Err((format!("no quantity is called `{name}`"), remedy))
}

impl Take {
    /// Whether an event of this kind is taken.
    pub fn takes_event(&self, kind: &str) -> bool {
        match self {
            Self::Event(None) => true,
            Self::Event(Some(glob)) => matches_glob(glob, kind),
            _ => false,
        }
    }
}

/// `*` is any run of characters, also none.
fn matches_glob(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl std::fmt::Display for Take {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, which): (_, Option<&Arc<str>>) = match self {
            Self::Message => ("message", None),
            Self::Publication => ("publication", None),
            Self::Reading(which) => ("reading", which.as_ref()),
            Self::Event(which) => ("event", which.as_ref()),
        };
        match which {
            Some(which) => write!(f, "{kind}:{which}"),
            None => f.write_str(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_glob_matches_any_run_of_characters() {
        for (glob, kind, expected) in [
            ("session_*", "session_started", true),
            ("session_*", "alarm_raised", false),
            ("*", "x", true),
            ("*_raised", "alarm_raised", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("x", "x", true),
            ("x", "xy", false),
        ] {
            assert_eq!(matches_glob(glob, kind), expected, "{glob} {kind}");
        }
    }

    #[test]
    fn every_take_reads_as_it_is_written() {
        for text in ["message", "reading", "reading:power_w", "event", "event:a_*", "publication"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", "readings", "reading:", "reading:powr_w", "event:", "event:a b", "message:x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
