//! The shape of a file as JSON Schema, and what its checks say in our words.
//!
//! The same structs are read by serde and described by schemars, so the schema that editors
//! get is the one that is checked. Everything that is wrong is found in one pass.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::document::{Anchor, push_key};
use super::problem::Problem;
use super::wording::{example, expected, first_sentence, listed, remedy_of, shown, with_article};
use super::{formats, units};

pub(super) use super::wording::{nearest, ticked};

/// More problems at once help nobody, and a push may hold 100,000 wrong devices.
pub(super) const MOST: usize = 100;

/// The shape of one kind of file.
pub(super) struct Shape {
    schema: Value,
    validator: jsonschema::Validator,
}

/// A problem with the JSON pointer that it is about.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) pointer: String,
    pub(super) problem: Problem,
    /// The section can be read once it is left out.
    pub(super) is_unknown_key: bool,
}

impl Shape {
    /// The shape that `T` reads from TOML, which has no `null`.
    pub(super) fn of<T: JsonSchema>() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        let settings = settings.with_transform(schemars::transform::RecursiveTransform(drop_null));
        Self::from(settings.into_generator().into_root_schema_for::<T>())
    }

    /// The shape that `T` reads from JSON, where `null` stands for an absent value.
    pub(super) fn with_null<T: JsonSchema>() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.inline_subschemas = true;
        Self::from(settings.into_generator().into_root_schema_for::<T>())
    }

    fn from(schema: Schema) -> Self {
        let schema = schema.to_value();
        let options = jsonschema::options().should_validate_formats(true);
        let options = formats::ALL.iter().fold(options, |options, &(name, check)| {
            options.with_format(name, move |text: &str| check(text).is_ok())
        });
        let validator = options.build(&schema).expect("a schema derived by schemars is valid");
        Self { schema, validator }
    }

    /// The schema, for editors.
    pub(super) fn schema(&self) -> &Value {
        &self.schema
    }

    /// Everything in `value` that does not fit.
    pub(super) fn findings(&self, value: &Value, anchor: &Anchor) -> Vec<Finding> {
        findings(&self.validator, &self.schema, value, anchor)
    }
}

/// What is wrong with `value` by a schema from elsewhere, a module's settings for one.
///
/// `anchor` is where `value` is written. A schema that is itself wrong gives one problem.
pub fn check_against(schema: &Value, value: &Value, anchor: &Anchor) -> Vec<Problem> {
    match jsonschema::validator_for(schema) {
        Ok(validator) => findings(&validator, schema, value, anchor)
            .into_iter()
            .map(|finding| finding.problem)
            .collect(),
        Err(error) => {
            let what = format!("the schema for this is not valid: {error}");
            vec![Problem::at(anchor.place(""), what, "correct the schema")]
        }
    }
}

fn findings(
    validator: &jsonschema::Validator,
    schema: &Value,
    value: &Value,
    anchor: &Anchor,
) -> Vec<Finding> {
    let report = Report { schema, anchor };
    let mut findings = Vec::new();
    let errors: Vec<_> = validator.iter_errors(value).take(MOST).collect();
    for error in &errors {
        // What is none of the words is told by them alone, whatever its type.
        let wants_a_word = |other: &ValidationError<'_>| {
            matches!(other.kind(), Kind::Enum { .. } | Kind::Constant { .. })
                && other.instance_path() == error.instance_path()
        };
        if !matches!(error.kind(), Kind::Type { .. }) || !errors.iter().any(wants_a_word) {
            report.describe(error, &mut findings);
        }
    }
    findings.truncate(MOST);
    findings
}

struct Report<'r> {
    schema: &'r Value,
    anchor: &'r Anchor,
}

impl Report<'_> {
    fn describe(&self, error: &ValidationError<'_>, findings: &mut Vec<Finding>) {
        let pointer = error.instance_path().to_string();
        let rule = self.rule(error);
        let shown = shown(&pointer, error.instance());
        let (what, remedy) = match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    findings.push(self.unknown_key(&pointer, key, rule));
                }
                return;
            }
            Kind::AnyOf { context }
            | Kind::OneOfNotValid { context }
            | Kind::OneOfMultipleValid { context } => {
                let options = words(error, context);
                let fitting = if options.len() > 1 { &[] } else { closest(error, context) };
                if !fitting.is_empty() {
                    for error in fitting {
                        self.describe(error, findings);
                    }
                    return;
                }
                if options.is_empty() {
                    let branches = rule["anyOf"].as_array().or(rule["oneOf"].as_array());
                    let names: Vec<_> = branches.into_iter().flatten().map(expected).collect();
                    let expected = listed(&names, "or");
                    (format!("expected {expected}, found {shown}"), remedy_of(rule))
                } else {
                    (format!("{shown} is not possible here"), one_of(error, &options))
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or("");
                let about = rule["properties"][key]["description"].as_str().map(first_sentence);
                let remedy = match about {
                    Some(about) => format!("add `{key}`: {about}"),
                    None => format!("add `{key}`"),
                };
                let problem = Problem::at(
                    self.anchor.key_place(&pointer),
                    format!("missing key `{key}`"),
                    remedy,
                );
                findings.push(Finding { pointer, problem, is_unknown_key: false });
                return;
            }
            // The rule of a table that takes no key at all.
            Kind::FalseSchema => {
                let Some(table) = error.instance().as_object() else {
                    return findings.push(self.unknown_key_at(&pointer));
                };
                for key in table.keys() {
                    findings.push(self.unknown_key(&pointer, key, rule));
                }
                return;
            }
            Kind::Type { .. } => {
                (format!("expected {}, found {shown}", expected(rule)), remedy_of(rule))
            }
            Kind::Enum { options } => {
                let options: Vec<&str> =
                    options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                (format!("{shown} is not possible here"), one_of(error, &options))
            }
            Kind::Constant { expected_value } => {
                (format!("{shown} is not possible here"), format!("write `{expected_value}`"))
            }
            Kind::Minimum { limit } => {
                (format!("{shown} is too small"), format!("write at least `{limit}`"))
            }
            Kind::Maximum { limit } => {
                (format!("{shown} is too large"), format!("write at most `{limit}`"))
            }
            Kind::ExclusiveMinimum { limit } => {
                (format!("{shown} is too small"), format!("write more than `{limit}`"))
            }
            Kind::ExclusiveMaximum { limit } => {
                (format!("{shown} is too large"), format!("write less than `{limit}`"))
            }
            Kind::MinLength { limit: 1 } => {
                ("text is empty".to_owned(), "write at least one character".to_owned())
            }
            Kind::MinLength { limit } => {
                (format!("{shown} is too short"), format!("write at least {limit} characters"))
            }
            Kind::MaxLength { limit } => {
                (format!("{shown} is too long"), format!("write at most {limit} characters"))
            }
            Kind::MinItems { limit } => (
                "list has too few entries".to_owned(),
                format!("write at least {limit}, as in {}", example(rule)),
            ),
            Kind::MaxItems { limit } => {
                ("list has too many entries".to_owned(), format!("write at most {limit}"))
            }
            Kind::UniqueItems => {
                ("list names something twice".to_owned(), "remove the second one".to_owned())
            }
            Kind::Format { format } => error
                .instance()
                .as_str()
                .and_then(|text| formats::refusal(format, text))
                .unwrap_or_else(|| (format!("{shown} is not a {format}"), remedy_of(rule))),
            Kind::Pattern { .. } => {
                let title = rule["title"].as_str().unwrap_or("allowed here");
                (format!("{shown} is not {}", with_article(title)), remedy_of(rule))
            }
            Kind::PropertyNames { error: inner } => {
                let name = inner.instance().as_str().unwrap_or("").to_owned();
                let remedy = remedy_of(rule.get("propertyNames").unwrap_or(rule));
                let mut place = pointer.clone();
                push_key(&mut place, &name);
                let what = format!("`{name}` is not a name");
                let problem = Problem::at(self.anchor.key_place(&place), what, remedy);
                findings.push(Finding { pointer: place, problem, is_unknown_key: false });
                return;
            }
            _ => (
                error.masked_with("the value").to_string().to_ascii_lowercase(),
                "see `tapline schema` for what is possible here".to_owned(),
            ),
        };
        let problem = Problem::at(self.anchor.place(&pointer), what, remedy);
        findings.push(Finding { pointer, problem, is_unknown_key: false });
    }

    fn unknown_key_at(&self, pointer: &str) -> Finding {
        let (place, remedy) = (self.anchor.key_place(pointer), "remove it: nothing stands here");
        let problem = Problem::at(place, "nothing is possible here", remedy);
        Finding { pointer: pointer.to_owned(), problem, is_unknown_key: true }
    }

    fn unknown_key(&self, pointer: &str, key: &str, rule: &Value) -> Finding {
        let known: Vec<&str> =
            rule["properties"].as_object().into_iter().flatten().map(|(k, _)| &**k).collect();
        if known.is_empty() && rule["patternProperties"].is_object() {
            // A table whose keys are names.
            let mut pointer = pointer.to_owned();
            push_key(&mut pointer, key);
            let what = format!("`{}` is not a name", key.escape_debug());
            let problem = Problem::at(self.anchor.key_place(&pointer), what, units::NAME_REMEDY);
            return Finding { pointer, problem, is_unknown_key: false };
        }
        let remedy = match nearest(key, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "remove it: nothing stands here".to_owned(),
            None => format!("remove it; possible here: {}", ticked(&known)),
        };
        let mut pointer = pointer.to_owned();
        push_key(&mut pointer, key);
        let problem =
            Problem::at(self.anchor.key_place(&pointer), format!("unknown key `{key}`"), remedy);
        Finding { pointer, problem, is_unknown_key: true }
    }

    /// The part of the schema that holds the keyword which failed.
    fn rule(&self, error: &ValidationError<'_>) -> &Value {
        let path = error.schema_path().to_string();
        let parent = path.rfind('/').map_or("", |cut| &path[..cut]);
        self.schema.pointer(parent).unwrap_or(&Value::Null)
    }
}

/// The words of which one is wanted, where each alternative is some of them.
fn words<'c>(
    error: &ValidationError<'_>,
    context: &'c [Vec<ValidationError<'static>>],
) -> Vec<&'c str> {
    let here = error.instance_path().to_string();
    let mut words = Vec::new();
    for branch in context {
        let before = words.len();
        for error in branch {
            match error.kind() {
                _ if error.instance_path().to_string() != here => return Vec::new(),
                Kind::Constant { expected_value } => words.extend(expected_value.as_str()),
                Kind::Enum { options } => {
                    words
                        .extend(options.as_array().into_iter().flatten().filter_map(Value::as_str));
                }
                _ => {}
            }
        }
        if words.len() == before {
            return Vec::new();
        }
    }
    words
}

/// What to write where one of these words is wanted.
fn one_of(error: &ValidationError<'_>, options: &[&str]) -> String {
    let possible = format!("write one of {}", ticked(options));
    match error.instance().as_str().and_then(|word| nearest(word, options)) {
        Some(near) => format!("did you mean `{near}`? {possible}"),
        None => possible,
    }
}

/// The alternative that the user meant: of those that fit in kind, the one with least wrong.
fn closest<'c>(
    error: &ValidationError<'_>,
    context: &'c [Vec<ValidationError<'static>>],
) -> &'c [ValidationError<'static>] {
    let here = error.instance_path().to_string();
    let other_kind = |e: &ValidationError<'_>| {
        matches!(e.kind(), Kind::Type { .. }) && e.instance_path().to_string() == here
    };
    context
        .iter()
        .filter(|errors| !errors.iter().any(other_kind))
        .min_by_key(|errors| errors.len())
        .map_or(&[], |errors| errors)
}

/// Optional values are absent in TOML, never `null`.
fn drop_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = &mut kinds[..] {
            let only = only.take();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(options)) = object.get_mut("enum") {
        options.retain(|option| !option.is_null());
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch["type"] != "null");
        if let [Value::Object(only)] = &mut branches[..] {
            let only = std::mem::take(only);
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}
