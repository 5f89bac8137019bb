//! Values that are never shown: what they are, where they come from.

use std::path::Path;
use std::sync::Arc;

use crate::message::Timestamp;

/// A value that no log line, error or API answer shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: Arc<str>,
    expires: Option<Timestamp>,
}

impl Secret {
    /// Wraps a value that must not be shown.
    pub fn new(value: &str) -> Self {
        Self { value: value.into(), expires: None }
    }

    /// The same, good until `expires`.
    pub fn until(value: &str, expires: Option<Timestamp>) -> Self {
        Self { value: value.into(), expires }
    }

    /// The value itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// When the other side stops taking it, as far as the file says so.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

const SECRET_KEYS: [&str; 4] = ["password", "token", "key", "secret"];

/// What says where a secret stands, and is none itself.
const ABOUT_SECRETS: [&str; 3] = ["env", "file", "expires"];

/// Whether the value at a JSON pointer is a secret by its name, or part of one: nobody knows what
/// a person has written in a shape that no secret has.
pub fn is_secret(pointer: &str) -> bool {
    let (owner, last) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    let is_about = names_secret(owner) && ABOUT_SECRETS.contains(&last);
    let mut above = pointer.match_indices('/').map(|(cut, _)| &pointer[..cut]);
    names_secret(pointer) || !is_about && above.any(names_secret)
}

fn names_secret(pointer: &str) -> bool {
    let mut parts = pointer.rsplit('/');
    let last = parts.next().unwrap_or("");
    let parent = parts.next().unwrap_or("");
    // A detector's `key` says what its state belongs to.
    let names_state = last == "key" && pointer.starts_with("/detect/");
    // `tls = { cert, key }` and a broker's client key are paths of files, but hiding a path
    // costs nothing, and showing a secret does.
    SECRET_KEYS.contains(&last) && !names_state || is_misspelt(last) || parent == "headers"
}

/// An unknown key is shown with its line, so one that was meant to be a secret counts as one.
fn is_misspelt(key: &str) -> bool {
    // Two that are near by chance.
    if ["take", "tokens"].contains(&key) {
        return false;
    }
    let near = |word: &&str| word.len() > 3 && strsim::damerau_levenshtein(key, word) <= 2;
    SECRET_KEYS.iter().any(near) || key.contains("pass")
}

/// Where `user:password@` stands in a URL.
pub(super) fn credentials(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let authority = text[start..].split('/').next()?;
    let end = start + authority.rfind('@')?;
    Some(start..end)
}

/// Blanks what may be a secret in a text that could not be parsed, line by line, keeping
/// the length so that places still fit.
pub(super) fn blank_lines(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let found = SECRET_KEYS
            .iter()
            .chain(&["authorization"])
            .filter_map(|key| lower.find(key).map(|at| at + key.len()))
            .min();
        match found {
            Some(cut) => {
                blanked.push_str(&line[..cut]);
                for c in line[cut..].chars() {
                    match c {
                        '\n' | '\r' | ' ' | '=' | ':' | '"' | '\'' => blanked.push(c),
                        c => (0..c.len_utf8()).for_each(|_| blanked.push('*')),
                    }
                }
            }
            None => blanked.push_str(line),
        }
    }
    blanked
}

/// Bytes of a secret's file; keys and tokens have a few thousand at most.
const LARGEST: u64 = 1 << 20;

/// A secret's file, without the line end that editors add.
pub(super) fn read_file(path: &Path) -> std::io::Result<String> {
    let bytes = super::regular::read(path, LARGEST)?;
    let text = String::from_utf8(bytes).map_err(|_| std::io::ErrorKind::InvalidData)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
