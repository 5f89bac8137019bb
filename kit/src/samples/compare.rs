//! What is expected beside what came out.

use std::fmt;

use serde_json::Value;

/// One place at which they differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// In words: ``item 2 (channel `switch:0`), `power_w` ``.
    pub at: String,
    /// `None`: nothing is expected there.
    pub expected: Option<Value>,
    /// `None`: nothing came out there.
    pub found: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, expected, found) = (&self.at, &self.expected, &self.found);
        match (expected, found) {
            (Some(expected), Some(found)) => write!(f, "{at}: expected {expected}, found {found}"),
            (Some(expected), None) => write!(f, "{at} is missing: expected {expected}"),
            (None, Some(found)) => write!(f, "{at} is too much: found {found}"),
            (None, None) => write!(f, "{at} differs"),
        }
    }
}

/// Where the two differ. Numbers are compared by value, the order of keys does not count, and
/// `null` is as good as absent.
#[must_use]
pub fn differences(expected: &Value, found: &Value) -> Vec<Difference> {
    let mut all = Vec::new();
    compare("", Some(expected), Some(found), &mut all);
    all
}

fn compare(at: &str, expected: Option<&Value>, found: Option<&Value>, all: &mut Vec<Difference>) {
    let there = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    match (expected, found) {
        _ if !there(expected) && !there(found) => {}
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            let mut keys: Vec<_> = expected.keys().chain(found.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let inner = join(at, &format!("`{key}`"));
                compare(&inner, expected.get(key), found.get(key), all);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            lists(at, expected, found, all);
        }
        (Some(expected), Some(found)) if same(expected, found) => {}
        _ => all.push(Difference {
            at: if at.is_empty() { "the outcome".to_owned() } else { at.to_owned() },
            expected: expected.filter(|value| !value.is_null()).cloned(),
            found: found.filter(|value| !value.is_null()).cloned(),
        }),
    }
}

/// What is equal at both ends is left out, so that one item too many is one difference.
fn lists(at: &str, expected: &[Value], found: &[Value], all: &mut Vec<Difference>) {
    let shorter = expected.len().min(found.len());
    let pairs = expected.iter().zip(found);
    let begin = pairs.take_while(|(one, other)| same(one, other)).count();
    let pairs = expected.iter().rev().zip(found.iter().rev());
    let end = pairs.take(shorter - begin).take_while(|(one, other)| same(one, other)).count();
    let expected = &expected[begin..expected.len() - end];
    let found = &found[begin..found.len() - end];
    for index in 0..expected.len().max(found.len()) {
        let (one, other) = (expected.get(index), found.get(index));
        let name = name(begin + index, one.or(other));
        compare(&join(at, &name), one, other, all);
    }
}

fn name(index: usize, item: Option<&Value>) -> String {
    let text = |key: &str| item?.get(key)?.as_str().filter(|text| !text.is_empty());
    let number = index + 1;
    for key in ["kind", "topic", "channel"] {
        if let Some(text) = text(key) {
            return format!("item {number} ({key} `{text}`)");
        }
    }
    format!("item {number}")
}

fn join(at: &str, inner: &str) -> String {
    if at.is_empty() { inner.to_owned() } else { format!("{at}, {inner}") }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let whole = |number: &serde_json::Number| {
                number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
            };
            match (whole(a), whole(b)) {
                (Some(a), Some(b)) => a == b,
                _ => a.as_f64() == b.as_f64(),
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let absent = Value::Null;
            let keys = a.keys().chain(b.keys());
            keys.into_iter()
                .all(|key| same(a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn says(expected: &Value, found: &Value, wanted: &[&str]) {
        let said: Vec<_> = differences(expected, found).iter().map(ToString::to_string).collect();
        assert_eq!(said, wanted);
    }

    #[test]
    fn numbers_count_by_value_and_null_as_absent() {
        says(&json!([{"a": 21, "b": null}]), &json!([{"a": 21.0}]), &[]);
        says(
            &json!(9_007_199_254_740_993_u64),
            &json!(9_007_199_254_740_992_u64),
            &["the outcome: expected 9007199254740993, found 9007199254740992"],
        );
    }

    #[test]
    fn names_the_item_and_the_key_that_differ() {
        let expected = json!([{"channel": "switch:0", "power_w": 1.5, "voltage_v": 230}]);
        let found = json!([{"channel": "switch:0", "power_w": 2, "current_a": 3}]);
        says(
            &expected,
            &found,
            &[
                "item 1 (channel `switch:0`), `current_a` is too much: found 3",
                "item 1 (channel `switch:0`), `power_w`: expected 1.5, found 2",
                "item 1 (channel `switch:0`), `voltage_v` is missing: expected 230",
            ],
        );
    }

    #[test]
    fn one_item_too_many_is_one_difference() {
        let (a, b, c) = (json!({"kind": "a"}), json!({"kind": "b"}), json!({"kind": "c"}));
        let said = r#"item 2 (kind `b`) is too much: found {"kind":"b"}"#;
        says(&json!([a, c]), &json!([a, b, c]), &[said]);
        says(
            &json!([a, a]),
            &json!([a]),
            &[r#"item 2 (kind `a`) is missing: expected {"kind":"a"}"#],
        );
    }
}
