//! What a module's settings schema may ask of the host, which checks settings by it.
//!
//! Regular expressions are taken only where they run in linear time. References may make a
//! schema run for ever, or for longer than the world will stand: so no schema may come back
//! to itself at one value, and what is looked at for one value is counted.
//!
//! Invariant: checking a value by a schema that passed takes time that grows with the value.

use std::collections::HashMap;

use jsonschema::PatternOptions;
use serde_json::Value;

/// Bytes of a schema. The largest that ships has 4 KiB.
const LENGTH: usize = 256 << 10;

/// Rules that may be looked at for one value.
const RULES: u64 = 10_000;

/// Keywords whose schemas apply to the value itself.
const HERE: [&str; 9] =
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "$ref"];

/// Schemas within each other at one value, references followed.
const DEPTH: usize = 200;

/// Patterns come from the module: only such as run in linear time, and none that is large.
pub(super) fn patterns() -> PatternOptions<jsonschema::Regex> {
    PatternOptions::regex().size_limit(1 << 20)
}

/// Reads a settings schema that a module gives.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.len() > LENGTH {
        return Err(format!(
            "the settings' schema has {} bytes, more than the {LENGTH} allowed",
            text.len()
        ));
    }
    let schema: Value = serde_json::from_str(text)
        .map_err(|error| format!("the settings' schema is no JSON: {error}"))?;
    let mut weights = Weights { root: &schema, known: HashMap::new(), under_way: Vec::new() };
    weights.everywhere(&schema, &mut String::new())?;
    Ok(schema)
}

struct Weights<'s> {
    root: &'s Value,
    /// By pointer.
    known: HashMap<String, u64>,
    /// Pointers on the way here.
    under_way: Vec<String>,
}

impl<'s> Weights<'s> {
    /// Weighs each part of the schema, wherever it stands. serde_json has bounded the depth.
    fn everywhere(&mut self, part: &'s Value, pointer: &mut String) -> Result<(), String> {
        let mut each = |key: &str, value: &'s Value| {
            let length = pointer.len();
            pointer.push('/');
            pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            let result = self.everywhere(value, pointer);
            pointer.truncate(length);
            result
        };
        match part {
            Value::Object(map) => map.iter().try_for_each(|(key, value)| each(key, value))?,
            Value::Array(list) => list
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| each(&index.to_string(), value))?,
            _ => return Ok(()),
        }
        if part.is_object() { self.weigh(part, pointer).map(drop) } else { Ok(()) }
    }

    /// How many rules are looked at for one value.
    fn weigh(&mut self, part: &'s Value, pointer: &str) -> Result<u64, String> {
        let Value::Object(map) = part else { return Ok(1) };
        if let Some(&weight) = self.known.get(pointer) {
            return Ok(weight);
        }
        if self.under_way.iter().any(|earlier| earlier == pointer) {
            let name = if pointer.is_empty() { "/" } else { pointer };
            return Err(format!("the settings' schema refers to itself without end at `{name}`"));
        }
        if let Some(keyword) =
            ["$dynamicRef", "$recursiveRef"].into_iter().find(|k| map.contains_key(*k))
        {
            return Err(format!("the settings' schema uses `{keyword}`, which is not taken"));
        }
        if self.under_way.len() >= DEPTH {
            return Err(format!(
                "the settings' schema holds more than {DEPTH} schemas within each other at `{pointer}`"
            ));
        }
        self.under_way.push(pointer.to_owned());
        let mut weight = 1 + map.len() as u64;
        for keyword in HERE {
            let Some(value) = map.get(keyword) else { continue };
            let below = format!("{pointer}/{keyword}");
            let added = match (keyword, value) {
                ("$ref", Value::String(target)) => self.referred(target)?,
                (_, Value::Array(list)) => {
                    let mut sum = 0_u64;
                    for (index, value) in list.iter().enumerate() {
                        sum = sum.saturating_add(self.weigh(value, &format!("{below}/{index}"))?);
                    }
                    sum
                }
                ("dependentSchemas", Value::Object(map)) => {
                    let mut sum = 0_u64;
                    for (key, value) in map {
                        let key = key.replace('~', "~0").replace('/', "~1");
                        sum = sum.saturating_add(self.weigh(value, &format!("{below}/{key}"))?);
                    }
                    sum
                }
                (_, value) => self.weigh(value, &below)?,
            };
            weight = weight.saturating_add(added);
        }
        self.under_way.pop();
        if weight > RULES {
            return Err(format!(
                "the settings' schema has more than {RULES} rules for one value at `{pointer}`"
            ));
        }
        self.known.insert(pointer.to_owned(), weight);
        Ok(weight)
    }

    fn referred(&mut self, target: &str) -> Result<u64, String> {
        let outside = || {
            format!(
                "the settings' schema refers to `{}`; only references within it (`#/…`) are taken",
                target.escape_debug()
            )
        };
        let pointer = target.strip_prefix('#').ok_or_else(outside)?;
        if !(pointer.is_empty() || pointer.starts_with('/')) {
            return Err(outside());
        }
        // What is not there is refused when the schema is built.
        let Some(part) = self.root.pointer(pointer) else { return Ok(1) };
        self.weigh(part, pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(schema: &str, expected: &str) {
        let why = parse(schema).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }

    #[test]
    fn no_schema_comes_back_to_itself_at_one_value() {
        refused(r##"{"$ref": "#"}"##, "refers to itself without end at `/`");
        refused(
            r##"{"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}}"##,
            "without end at `/$defs/a",
        );
        refused(r##"{"$dynamicRef": "#a"}"##, "`$dynamicRef`, which is not taken");
        refused(r#"{"$ref": "https://example.org/s.json"}"#, "only references within it");
    }

    #[test]
    fn a_tree_may_refer_to_itself_at_the_values_within() {
        let tree = r##"{"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}"##;
        assert!(parse(tree).is_ok());
    }

    #[test]
    fn no_schema_doubles_its_rules_again_and_again() {
        let level = |n: u32| {
            let next = format!(r##"{{"$ref": "#/$defs/a{}"}}"##, n + 1);
            format!(r#""a{n}": {{"allOf": [{next}, {next}]}}"#)
        };
        let levels: Vec<_> = (0..60).map(level).collect();
        let bomb = format!(r#"{{"$defs": {{{}, "a60": {{}}}}}}"#, levels.join(","));
        refused(&bomb, "more than 10000 rules for one value");
    }

    #[test]
    fn no_schema_leads_on_for_ever() {
        let level = |n: u32| format!(r##""a{n}": {{"$ref": "#/$defs/a{}"}}"##, n + 1);
        let levels: Vec<_> = (0..5_000).map(level).collect();
        refused(&format!(r#"{{"$defs": {{{}}}}}"#, levels.join(",")), "more than 200 schemas");
    }

    #[test]
    fn no_schema_is_larger_than_anyone_needs() {
        refused(&format!("{}{{}}", " ".repeat(LENGTH)), "more than the 262144 allowed");
        refused(&"[".repeat(100_000), "no JSON");
    }
}
