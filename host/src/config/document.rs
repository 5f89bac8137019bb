//! A configuration text with the places of its values.
//!
//! TOML, JSON and YAML all become the same tree of JSON values, checked in one way. Places
//! are worked out only when something is wrong, since a push may hold 100,000 devices.
//! Invariant: no text that a [`Place`] shows holds a plain secret.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::problem::{Place, Problem};
use super::{json_spans, secret};

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Toml,
    Json,
    Yaml,
}

impl Format {
    /// By the file's extension; JSON where it says nothing.
    pub fn of(file: &std::path::Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }
}

/// A text that has been read once.
pub struct Document {
    file: Arc<str>,
    text: Arc<str>,
    format: Format,
    places: OnceLock<Places>,
}

/// The text with secrets blanked, and where each value stands by JSON pointer.
struct Places {
    text: Arc<str>,
    spans: BTreeMap<String, Span>,
}

/// Where a value and its key stand.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) key: Option<Range<usize>>,
    pub(super) value: Range<usize>,
}

impl Document {
    /// Reads `text`; `file` is what problems call it.
    pub fn parse(
        file: &str,
        text: &str,
        format: Format,
    ) -> Result<(Arc<Self>, Value), Vec<Problem>> {
        let document =
            Self { file: file.into(), text: text.into(), format, places: OnceLock::new() };
        let value = match format {
            Format::Toml => document.parse_toml(),
            Format::Json => serde_json::from_str(text).map_err(|error| {
                let at = offset(text, error.line(), error.column());
                let what = format!("not valid JSON: {}", without_position(&error.to_string()));
                vec![document.syntax_problem(at..at, what, "correct the JSON here")]
            }),
            Format::Yaml => serde_yaml_ng::from_str(text).map_err(|error| {
                let at = error.location().map_or(0, |place| place.index());
                let what = format!("not valid YAML: {}", without_position(&error.to_string()));
                vec![document.syntax_problem(at..at, what, "correct the YAML here")]
            }),
        }?;
        Ok((Arc::new(document), value))
    }

    /// A document without text, for values that were made and not read.
    pub fn empty(file: &str) -> Arc<Self> {
        Arc::new(Self {
            file: file.into(),
            text: "".into(),
            format: Format::Yaml,
            places: OnceLock::new(),
        })
    }

    /// What problems call it.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Where the value at `pointer` stands; where nothing stands there, what is around it.
    pub fn place(&self, pointer: &str) -> Place {
        self.find(pointer, |span| span.value.clone())
    }

    /// Where the key at `pointer` stands.
    pub fn key_place(&self, pointer: &str) -> Place {
        self.find(pointer, |span| span.key.clone().unwrap_or_else(|| span.value.clone()))
    }

    /// Every single value by its readable path, with its line.
    pub(super) fn lines(&self) -> Vec<(String, usize)> {
        let places = self.places.get_or_init(|| self.locate());
        let single = places.spans.keys().filter(|pointer| !has_parts(&places.spans, pointer));
        single
            .map(|pointer| {
                let place = self.place(pointer);
                (place.path.replace('[', ".").replace(']', ""), place.line_and_column().0)
            })
            .collect()
    }

    fn find(&self, pointer: &str, part: impl Fn(&Span) -> Range<usize>) -> Place {
        let places = self.places.get_or_init(|| self.locate());
        let mut known = pointer;
        let span = loop {
            match places.spans.get(known) {
                Some(span) if known.len() == pointer.len() => break part(span),
                Some(span) => break span.key.clone().unwrap_or_else(|| span.value.clone()),
                None => match known.rfind('/') {
                    Some(cut) => known = &known[..cut],
                    None => break 0..0,
                },
            }
        };
        let path = readable_path(pointer).into();
        Place { file: self.file.clone(), text: places.text.clone(), span, path }
    }

    fn locate(&self) -> Places {
        let mut spans = BTreeMap::new();
        match self.format {
            Format::Toml => {
                let (table, _) = toml::de::DeTable::parse_recoverable(&self.text);
                table_spans(table.get_ref(), &mut String::new(), &mut spans);
            }
            Format::Json => json_spans::scan(&self.text, &mut spans),
            // The YAML library keeps no positions; problems name the path instead.
            Format::Yaml => return Places { text: "".into(), spans },
        }
        let mut text = self.text.to_string();
        for (pointer, span) in &spans {
            let covered = text.get(span.value.clone()).unwrap_or("");
            let start = span.value.start;
            let is_quoted = covered.starts_with(['"', '\'']);
            let blank = match secret::credentials(covered) {
                _ if secret::is_secret(pointer) && is_quoted => {
                    start + 1..span.value.end.saturating_sub(1)
                }
                // A table is none: of `tokens.a = …`, its place is the word `tokens`.
                _ if secret::is_secret(pointer) && !has_parts(&spans, pointer) => {
                    span.value.clone()
                }
                Some(inside) if is_quoted => start + inside.start..start + inside.end,
                _ => continue,
            };
            if !blank.is_empty() {
                text.replace_range(blank.clone(), &"*".repeat(blank.len()));
            }
        }
        Places { text: text.into(), spans }
    }

    fn parse_toml(&self) -> Result<Value, Vec<Problem>> {
        let (table, errors) = toml::de::DeTable::parse_recoverable(&self.text);
        let mut problems: Vec<Problem> = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let message = error.message();
            let remedy = match message {
                m if m.contains("duplicate key") => "keep one of the two",
                m if m.contains("string") || m.contains("quote") => "put text in quotes: \"…\"",
                _ => "write `key = value`, with text in quotes",
            };
            let what = format!("not valid TOML: {message}");
            let problem = self.syntax_problem(span, what, remedy);
            // What follows on a line is mostly a consequence of the first error there.
            let line = |p: &Problem| p.place.as_ref().map(|place| place.line_and_column().0);
            if problems.last().is_none_or(|last| line(last) != line(&problem)) {
                problems.push(problem);
            }
        }
        let value = toml_table(table.get_ref(), &mut |span, what, remedy| {
            problems.push(self.syntax_problem(span, what, remedy));
        });
        problems.sort_by_key(|p| p.place.as_ref().map_or(0, |place| place.span.start));
        if problems.is_empty() { Ok(value) } else { Err(problems) }
    }

    fn syntax_problem(
        &self,
        span: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        let (file, text) = (self.file.clone(), secret::blank_lines(&self.text).into());
        let end = span.end.min(self.text.len());
        let span = span.start.min(end)..end;
        Problem::at(Place { file, text, span, path: "".into() }, what, remedy)
    }
}

/// Whether something stands below a pointer.
fn has_parts(spans: &BTreeMap<String, Span>, pointer: &str) -> bool {
    let below = format!("{pointer}/");
    spans.range(below.clone()..).next().is_some_and(|(p, _)| p.starts_with(&below))
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A value of a document: what stands below it can be found again.
#[derive(Clone, Debug)]
pub struct Anchor {
    document: Arc<Document>,
    pointer: Arc<str>,
}

/// By the way there inside the document; who compares files compares their texts as well.
impl PartialEq for Anchor {
    fn eq(&self, other: &Self) -> bool {
        self.pointer == other.pointer
    }
}

impl Anchor {
    /// The value at `pointer`.
    pub fn new(document: &Arc<Document>, pointer: &str) -> Self {
        Self { document: document.clone(), pointer: pointer.into() }
    }

    /// For values that no text holds.
    pub fn nowhere(file: &str) -> Self {
        Self::new(&Document::empty(file), "")
    }

    /// The value at `below`.
    #[must_use]
    pub fn below(&self, below: &str) -> Self {
        Self::new(&self.document, &format!("{}{below}", self.pointer))
    }

    /// The place of the value at `below` (a JSON pointer, `""` for the value itself).
    pub fn place(&self, below: &str) -> Place {
        self.document.place(&format!("{}{below}", self.pointer))
    }

    /// The place of the key at `below`.
    pub fn key_place(&self, below: &str) -> Place {
        self.document.key_place(&format!("{}{below}", self.pointer))
    }
}

/// `/devices/0/labels/a` as `devices[0].labels.a`.
fn readable_path(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            path.push('[');
            path.push_str(part);
            path.push(']');
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&part.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}

/// Appends `/key` to a JSON pointer (RFC 6901).
pub(super) fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for c in key.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

type Refuse<'r> = dyn FnMut(Range<usize>, String, &'static str) + 'r;

fn toml_table(table: &toml::de::DeTable<'_>, refuse: &mut Refuse<'_>) -> Value {
    let mut map = Map::new();
    for (key, value) in table.iter() {
        map.insert(key.get_ref().to_string(), toml_value(value, refuse));
    }
    Value::Object(map)
}

fn toml_value(value: &toml::Spanned<toml::de::DeValue<'_>>, refuse: &mut Refuse<'_>) -> Value {
    use toml::de::DeValue;
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
                Ok(number) => number.into(),
                Err(_) => {
                    let what = format!("`{number}` is too large");
                    refuse(value.span(), what, "write a number that fits into 64 bits");
                    Value::Null
                }
            }
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().replace('_', "").parse::<f64>().ok();
            match parsed.and_then(serde_json::Number::from_f64) {
                Some(number) => Value::Number(number),
                None => {
                    let what = format!("`{number}` is not a finite number");
                    refuse(value.span(), what, "write a number, or leave the key out");
                    Value::Null
                }
            }
        }
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Array(array) => {
            Value::Array(array.iter().map(|value| toml_value(value, refuse)).collect())
        }
        DeValue::Table(table) => toml_table(table, refuse),
    }
}

fn table_spans(
    table: &toml::de::DeTable<'_>,
    pointer: &mut String,
    spans: &mut BTreeMap<String, Span>,
) {
    for (key, value) in table.iter() {
        let length = pointer.len();
        push_key(pointer, key.get_ref());
        value_spans(value, Some(key.span()), pointer, spans);
        pointer.truncate(length);
    }
}

fn value_spans(
    value: &toml::Spanned<toml::de::DeValue<'_>>,
    key: Option<Range<usize>>,
    pointer: &mut String,
    spans: &mut BTreeMap<String, Span>,
) {
    use toml::de::DeValue;
    spans.insert(pointer.clone(), Span { key, value: value.span() });
    match value.get_ref() {
        DeValue::Array(array) => {
            for (i, value) in array.iter().enumerate() {
                let length = pointer.len();
                push_key(pointer, &i.to_string());
                value_spans(value, None, pointer, spans);
                pointer.truncate(length);
            }
        }
        DeValue::Table(table) => table_spans(table, pointer, spans),
        _ => {}
    }
}

/// Byte offset of a line and column as serde_json counts them, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Cuts the ` at line 3 column 4` that the place says already.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |cut| &message[..cut])
}
