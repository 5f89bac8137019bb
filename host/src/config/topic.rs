//! Topic filters with captures.
//!
//! `{x}` captures one level, `{x...}` one or more, `{device}` binds the device; `+` and `#`
//! as in MQTT 5, section 4.7. A leading `$share/<group>/` is kept for the subscription and
//! ignored in matching. Invariant: [`Pattern::filter`] asks the broker for at least every
//! topic that [`Pattern::captures`] accepts.

use std::fmt;
use std::sync::Arc;

/// More than anybody names; it bounds what a match keeps on the stack.
const MAX_CAPTURES: usize = 8;

/// A checked topic filter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    share: Option<Arc<str>>,
    levels: Arc<[Level]>,
    captures: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Level {
    Word(Box<str>),
    /// `+` or `{name}`.
    One(Option<Arc<str>>),
    /// `{name...}`: one or more levels.
    Some(Arc<str>),
    /// `#`: none or more levels, always last.
    Rest,
}

/// Why a text is no topic filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("topic is empty")]
    Empty,
    #[error("topic is longer than the {MAX_LENGTH} bytes that MQTT allows")]
    TooLong,
    #[error("topic `{0}` contains a control character")]
    ControlCharacter(String),
    #[error("`#` is not the last level of `{0}`")]
    RestNotLast(String),
    #[error("`{level}` in `{topic}` mixes a wildcard with other characters")]
    MixedWildcard { topic: String, level: String },
    #[error("`{level}` in `{topic}` is not a capture")]
    BadCapture { topic: String, level: String },
    #[error("`{{{name}}}` stands twice in `{topic}`")]
    RepeatedCapture { topic: String, name: String },
    #[error("`{0}` has more than one part of open length")]
    TwoOpenParts(String),
    #[error("`{0}` has more than {MAX_CAPTURES} captures")]
    TooManyCaptures(String),
    #[error("`{0}` is not a shared subscription")]
    BadShare(String),
}

const MAX_LENGTH: usize = 65_535;

impl TopicError {
    /// What to do about it, in one clause.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Empty => "write a topic, or `#` for every topic",
            Self::TooLong => "use a wildcard instead",
            Self::ControlCharacter(_) => "remove the character",
            Self::RestNotLast(_) => {
                "move `#` to the end, or use `+` for one level and `{name...}` for several"
            }
            Self::MixedWildcard { .. } => {
                "a wildcard fills a whole level: write `+` or `#` alone between slashes"
            }
            Self::BadCapture { .. } => {
                "a capture fills a whole level and has a name of letters, digits and `_`: \
                 `{device}`, or `{rest...}` for several levels"
            }
            Self::RepeatedCapture { .. } => "give the second one another name",
            Self::TwoOpenParts(_) => "keep one of `#` and `{name...}`",
            Self::TooManyCaptures(_) => "replace captures that nothing uses by `+`",
            Self::BadShare(_) => "write `$share/<group>/<filter>`",
        }
    }
}

impl Pattern {
    /// Reads a topic filter as written in a file.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(TopicError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(TopicError::ControlCharacter(text.escape_debug().to_string()));
        }
        let (share, filter) = split_share(text)?;
        let mut levels = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut open_parts = 0;
        let mut words = filter.split('/').peekable();
        while let Some(word) = words.next() {
            let level = parse_level(text, word)?;
            match &level {
                Level::Rest if words.peek().is_some() => {
                    return Err(TopicError::RestNotLast(text.to_owned()));
                }
                Level::Rest => open_parts += 1,
                Level::Some(_) => open_parts += 1,
                Level::One(_) | Level::Word(_) => {}
            }
            if let Level::One(Some(name)) | Level::Some(name) = &level {
                if names.contains(name) {
                    let (topic, name) = (text.to_owned(), name.to_string());
                    return Err(TopicError::RepeatedCapture { topic, name });
                }
                names.push(name.clone());
            }
            levels.push(level);
        }
        if open_parts > 1 {
            return Err(TopicError::TwoOpenParts(text.to_owned()));
        }
        if names.len() > MAX_CAPTURES {
            return Err(TopicError::TooManyCaptures(text.to_owned()));
        }
        Ok(Self {
            text: text.into(),
            share: share.map(Arc::from),
            levels: levels.into(),
            captures: names.len() as u8,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What to subscribe to: captures become wildcards, a shared group is kept.
    ///
    /// `{x...}` in the middle becomes `#` there, since MQTT knows no wildcard of open length
    /// elsewhere; what comes too much does not match.
    pub fn filter(&self) -> String {
        let mut filter = String::with_capacity(self.text.len());
        if let Some(group) = &self.share {
            filter.push_str("$share/");
            filter.push_str(group);
            filter.push('/');
        }
        for (i, level) in self.levels.iter().enumerate() {
            if i > 0 {
                filter.push('/');
            }
            match level {
                Level::Word(word) => filter.push_str(word),
                Level::One(_) => filter.push('+'),
                Level::Some(_) | Level::Rest => {
                    filter.push('#');
                    break;
                }
            }
        }
        filter
    }

    /// The names of its captures, from left to right.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.levels.iter().filter_map(|level| match level {
            Level::One(Some(name)) | Level::Some(name) => Some(name),
            _ => None,
        })
    }

    /// Whether only one topic matches, so that it needs no subscription with wildcards.
    pub fn is_literal(&self) -> bool {
        self.levels.iter().all(|level| matches!(level, Level::Word(_)))
    }

    /// Whether `topic` is one of these.
    pub fn matches(&self, topic: &str) -> bool {
        self.captures(topic).is_some()
    }

    /// What the captures hold for `topic`; `None` if it does not match. Allocates nothing.
    pub fn captures<'a>(&'a self, topic: &'a str) -> Option<Captures<'a>> {
        // MQTT 5, 4.7.2: wildcards at the front do not match the broker's own topics.
        if topic.starts_with('$') && !matches!(self.levels[0], Level::Word(_)) {
            return None;
        }
        let mut captures = Captures { pattern: self, values: [""; MAX_CAPTURES] };
        let mut captured = 0;
        let mut rest = Some(topic);
        for (i, level) in self.levels.iter().enumerate() {
            if matches!(level, Level::Rest) {
                return Some(captures);
            }
            let here = rest?;
            let (value, after) = match level {
                Level::Some(_) => take_levels(here, self.levels.len() - i - 1)?,
                _ => match here.split_once('/') {
                    Some((value, after)) => (value, Some(after)),
                    None => (here, None),
                },
            };
            match level {
                Level::Word(word) if **word != *value => return None,
                Level::One(Some(_)) | Level::Some(_) => {
                    captures.values[captured] = value;
                    captured += 1;
                }
                _ => {}
            }
            rest = after;
        }
        rest.is_none().then_some(captures)
    }

    /// The topic with each capture replaced by what `value` gives for its name.
    pub fn expand<'v>(
        &self,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<String, ExpandError> {
        let mut topic = String::with_capacity(self.text.len());
        for (i, level) in self.levels.iter().enumerate() {
            if i > 0 {
                topic.push('/');
            }
            let (name, several) = match level {
                Level::Word(word) => {
                    topic.push_str(word);
                    continue;
                }
                Level::One(Some(name)) => (name, false),
                Level::Some(name) => (name, true),
                Level::One(None) | Level::Rest => {
                    return Err(ExpandError::Wildcard(self.text.to_string()));
                }
            };
            let value = value(name).ok_or_else(|| ExpandError::Missing(name.to_string()))?;
            let fits = !value.is_empty()
                && !value.contains(|c: char| matches!(c, '+' | '#') || c.is_control())
                && (several || !value.contains('/'));
            if !fits {
                let (name, value) = (name.to_string(), value.escape_debug().to_string());
                return Err(ExpandError::Unfit { name, value });
            }
            topic.push_str(value);
        }
        Ok(topic)
    }

    /// Whether some topic matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (&*self.levels, &*other.levels);
        let own_topic = |levels: &[Level]| match &levels[0] {
            Level::Word(word) => word.starts_with('$'),
            _ => false,
        };
        if own_topic(a) != own_topic(b) {
            return false;
        }
        overlap(a, b)
    }
}

fn overlap(a: &[Level], b: &[Level]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([Level::Rest], _) if b.is_empty() => true,
        (_, [Level::Rest]) if a.is_empty() => true,
        ([], _) | (_, []) => false,
        ([Level::Rest], _) | (_, [Level::Rest]) => true,
        // One open part per pattern bounds this recursion by the product of the lengths.
        ([Level::Some(_), after @ ..], [_, others @ ..]) => {
            overlap(after, others)
                || overlap(a, others)
                || matches!(b[0], Level::Some(_)) && overlap(after, b)
        }
        ([_, others @ ..], [Level::Some(_), after @ ..]) => {
            overlap(others, after) || overlap(others, b)
        }
        ([Level::Word(x), a @ ..], [Level::Word(y), b @ ..]) => x == y && overlap(a, b),
        ([_, a @ ..], [_, b @ ..]) => overlap(a, b),
    }
}

/// Splits off all levels but the last `keep`; at least one.
fn take_levels(topic: &str, keep: usize) -> Option<(&str, Option<&str>)> {
    if keep == 0 {
        return Some((topic, None));
    }
    let (cut, _) = topic.rmatch_indices('/').nth(keep - 1)?;
    Some((&topic[..cut], Some(&topic[cut + 1..])))
}

fn split_share(text: &str) -> Result<(Option<&str>, &str), TopicError> {
    let Some(shared) = text.strip_prefix("$share/") else { return Ok((None, text)) };
    match shared.split_once('/') {
        Some((group, filter))
            if !group.is_empty() && !group.contains(['+', '#', '{']) && !filter.is_empty() =>
        {
            Ok((Some(group), filter))
        }
        _ => Err(TopicError::BadShare(text.to_owned())),
    }
}

fn parse_level(topic: &str, level: &str) -> Result<Level, TopicError> {
    match level {
        "+" => return Ok(Level::One(None)),
        "#" => return Ok(Level::Rest),
        _ => {}
    }
    if level.contains(['+', '#']) {
        let (topic, level) = (topic.to_owned(), level.to_owned());
        return Err(TopicError::MixedWildcard { topic, level });
    }
    if !level.contains(['{', '}']) {
        return Ok(Level::Word(level.into()));
    }
    let bad = || TopicError::BadCapture { topic: topic.to_owned(), level: level.to_owned() };
    let name = level.strip_prefix('{').and_then(|l| l.strip_suffix('}')).ok_or_else(bad)?;
    let (name, several) = match name.strip_suffix("...") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match (is_name, several) {
        (false, _) => Err(bad()),
        (true, true) => Ok(Level::Some(name.into())),
        (true, false) => Ok(Level::One(Some(name.into()))),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

/// What a pattern's captures hold for one topic.
#[derive(Clone, Copy, Debug)]
pub struct Captures<'a> {
    pattern: &'a Pattern,
    values: [&'a str; MAX_CAPTURES],
}

impl<'a> Captures<'a> {
    /// The value of `{name}`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Name and value of each capture, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let count = usize::from(self.pattern.captures);
        let values = self.values;
        self.pattern.names().take(count).enumerate().map(move |(i, name)| (&**name, values[i]))
    }
}

/// Why a pattern does not become a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("nothing is known for `{{{0}}}`")]
    Missing(String),
    #[error("`{value}` for `{{{name}}}` does not fit into a topic")]
    Unfit { name: String, value: String },
    #[error("`{0}` has wildcards, so it names no single topic")]
    Wildcard(String),
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
