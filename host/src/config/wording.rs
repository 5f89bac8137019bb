//! How problems are put into words.

use std::borrow::Cow;

use serde_json::Value;

use super::secret;

/// What a rule wants, with its article: `a duration`, `a list`.
pub(super) fn expected(rule: &Value) -> String {
    if let Some(title) = rule["title"].as_str().filter(|t| t.starts_with(char::is_lowercase)) {
        return with_article(title);
    }
    let name = |kind: &Value| match kind.as_str() {
        Some("string") => "text".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("array") => "a list".to_owned(),
        Some("object") => "a table".to_owned(),
        _ => "another value".to_owned(),
    };
    match &rule["type"] {
        Value::Array(kinds) => {
            let names: Vec<_> =
                kinds.iter().filter(|kind| kind.as_str() != Some("null")).map(name).collect();
            listed(&names, "or")
        }
        kind => name(kind),
    }
}

pub(super) fn remedy_of(rule: &Value) -> String {
    if let Some(remedy) = rule["x-remedy"].as_str() {
        return remedy.to_owned();
    }
    match rule["type"].as_str().or_else(|| rule["type"][0].as_str()) {
        Some("string") => "write text in quotes".to_owned(),
        Some("integer") => "write a whole number without quotes".to_owned(),
        Some("number") => "write a number without quotes".to_owned(),
        Some("boolean") => "write `true` or `false` without quotes".to_owned(),
        Some("array") => format!("write a list in brackets, as in {}", example(rule)),
        Some("object") => "write a table: `{ key = value }`".to_owned(),
        _ => rule["description"]
            .as_str()
            .map_or("see `tapline schema` for what is possible here".to_owned(), |text| {
                first_sentence(text)
            }),
    }
}

pub(super) fn example(rule: &Value) -> String {
    match rule["examples"].get(0) {
        Some(example) => format!("`{example}`"),
        None if rule["items"]["type"] == "string" => "`[\"…\"]`".to_owned(),
        None => "`[…]`".to_owned(),
    }
}

/// A value as a user recognises it: short, in backticks, never a secret.
pub(super) fn shown(pointer: &str, value: &Value) -> String {
    if secret::is_secret(pointer) {
        return "`***`".to_owned();
    }
    let text: Cow<'_, str> = match value {
        Value::String(text) => text.escape_debug().to_string().into(),
        Value::Array(_) => return "a list".to_owned(),
        Value::Object(_) => return "a table".to_owned(),
        other => other.to_string().into(),
    };
    const LONGEST: usize = 60;
    if text.chars().count() > LONGEST {
        let start: String = text.chars().take(LONGEST).collect();
        return format!("`{start}…`");
    }
    format!("`{text}`")
}

/// The known word that `word` most likely stands for.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&word, &known.to_lowercase()), *known))
        .filter(|(distance, known)| *distance <= 1 + known.chars().count().min(12) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// `a`, `b`, `c` in backticks.
pub(super) fn ticked(words: &[impl AsRef<str>]) -> String {
    let ticked: Vec<_> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    ticked.join(", ")
}

pub(super) fn listed(words: &[String], last: &str) -> String {
    match words {
        [] => "another value".to_owned(),
        [only] => only.clone(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    if noun == "allowed here" { noun.to_owned() } else { format!("{article} {noun}") }
}

pub(super) fn first_sentence(text: &str) -> String {
    let text = text.split("\n\n").next().unwrap_or(text).replace('\n', " ");
    let text = text.split(". ").next().unwrap_or(&text).trim_end_matches('.').to_owned();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // An abbreviation stays as it is.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text,
    }
}
