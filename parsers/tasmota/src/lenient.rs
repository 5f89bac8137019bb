//! JSON as Tasmota writes it: a value may be of another type than last time, or no JSON.
//!
//! Nothing here fails on a value's type; what does not fit is absent. Values are skipped
//! without a tree, and nesting is bounded by serde_json's own limit.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// The key of a field, borrowed from the payload unless it has escapes.
pub(crate) struct Key<'de>(Cow<'de, str>);

impl Key<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// One value; arrays and objects are skipped.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value<'de> {
    Absent,
    Flag(bool),
    Number(f64),
    Text(Cow<'de, str>),
}

impl Value<'_> {
    /// As a number, also where a driver puts it in quotes.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            // Rust reads "nan" and "inf" as numbers too.
            Self::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            Self::Absent | Self::Flag(_) => None,
        }
    }

    /// As the state of something that is on or off.
    pub(crate) fn on(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Number(1.0) => Some(true),
            Self::Number(0.0) => Some(false),
            Self::Text(text) => {
                let is =
                    |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
                is(["ON", "true", "1"])
                    .then_some(true)
                    .or_else(|| is(["OFF", "false", "0"]).then_some(false))
            }
            Self::Absent | Self::Number(_) => None,
        }
    }

    /// As text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The visits of a type to which an array or object is as good as nothing.
macro_rules! visit_scalars {
    ($lifetime:lifetime, |$self:ident, $value:ident| $make:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }
        fn visit_unit<E>($self) -> Result<Self::Value, E> {
            let $value = Value::Absent;
            Ok($make)
        }
        fn visit_bool<E>($self, flag: bool) -> Result<Self::Value, E> {
            let $value = Value::Flag(flag);
            Ok($make)
        }
        fn visit_i64<E>($self, number: i64) -> Result<Self::Value, E> {
            let $value = Value::Number(number as f64);
            Ok($make)
        }
        fn visit_u64<E>($self, number: u64) -> Result<Self::Value, E> {
            let $value = Value::Number(number as f64);
            Ok($make)
        }
        fn visit_f64<E>($self, number: f64) -> Result<Self::Value, E> {
            let $value = Value::Number(number);
            Ok($make)
        }
        fn visit_borrowed_str<E>($self, text: &$lifetime str) -> Result<Self::Value, E> {
            let $value = Value::Text(Cow::Borrowed(text));
            Ok($make)
        }
        fn visit_str<E>($self, text: &str) -> Result<Self::Value, E> {
            let $value = Value::Text(Cow::Owned(text.to_owned()));
            Ok($make)
        }
    };
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value<'de>;
            visit_scalars!('de, |self, value| value);
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Absent)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Absent)
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// A number, or one for each phase: `1`, `[1, 2]`, `{"Phase1": 1, "Phase2": 2}`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Series {
    One(Option<f64>),
    Each(Vec<Option<f64>>),
}

/// Phases beyond this many are dropped; Tasmota has 3, on ESP32 at most 8.
const MOST_PHASES: usize = 32;

impl<'de> Deserialize<'de> for Series {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeriesVisitor;
        impl<'de> Visitor<'de> for SeriesVisitor {
            type Value = Series;
            visit_scalars!('de, |self, value| Series::One(value.number()));
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Series, A::Error> {
                let mut each = Vec::new();
                while let Some(value) = seq.next_element::<Value<'de>>()? {
                    if each.len() < MOST_PHASES {
                        each.push(value.number());
                    }
                }
                Ok(Series::Each(each))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Series, A::Error> {
                let mut each = Vec::new();
                while let Some((_, value)) = map.next_entry::<IgnoredAny, Value<'de>>()? {
                    if each.len() < MOST_PHASES {
                        each.push(value.number());
                    }
                }
                Ok(Series::Each(each))
            }
        }
        deserializer.deserialize_any(SeriesVisitor)
    }
}

/// Takes an object field by field.
pub(crate) trait Fields<'de> {
    /// Takes one field; must consume its value.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// Takes what stands there instead of an object.
    fn scalar(&mut self, value: &Value<'de>) {
        let _ = value;
    }
}

/// Reads an object into `0`; tells whether it was one. Anything else is skipped.
pub(crate) struct Object<'f, F>(pub(crate) &'f mut F);

impl<'de, F: Fields<'de>> DeserializeSeed<'de> for Object<'_, F> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fields<'de>> Visitor<'de> for Object<'_, F> {
    type Value = bool;
    visit_scalars!('de, |self, value| {
        self.0.scalar(&value);
        false
    });
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            self.0.field(key.as_str(), &mut map)?;
        }
        Ok(true)
    }
}

/// Passes over a field's value.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// `payload` with each bare `nan` or `inf` made an empty string, which is no number either;
/// `None` where there is none.
///
/// Tasmota prints a float that a sensor failed to give as C does. Every byte keeps its
/// place, so that an error names the place in what was received; strings are not touched.
pub(crate) fn without_bare_nan(payload: &[u8]) -> Option<Vec<u8>> {
    let mut repaired: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(&byte) = payload.get(at) {
        at = match byte {
            b'"' => end_of_string(payload, at),
            b'-' | b'a'..=b'z' | b'A'..=b'Z' => {
                let word = at + usize::from(byte == b'-');
                let length = payload[word..].iter().take_while(|b| b.is_ascii_alphabetic()).count();
                let is = |name: &[u8]| payload[word..word + length].eq_ignore_ascii_case(name);
                if is(b"nan") || is(b"inf") || is(b"infinity") {
                    let blank = repaired.get_or_insert_with(|| payload.to_vec());
                    blank[at..word + length].fill(b' ');
                    blank[at..at + 2].fill(b'"');
                }
                (word + length).max(at + 1)
            }
            _ => at + 1,
        };
    }
    repaired
}

/// Where the string that starts `at` a quote is over.
fn end_of_string(payload: &[u8], at: usize) -> usize {
    let mut escaped = false;
    let length = payload[at + 1..].iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    length.map_or(payload.len(), |length| at + 1 + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_what_c_prints_for_no_number_and_nothing_else() {
        let check = |payload: &str, expected: Option<&str>| {
            let repaired = without_bare_nan(payload.as_bytes());
            assert_eq!(repaired.as_deref().map(|b| std::str::from_utf8(b).unwrap()), expected);
        };
        check(r#"{"a":nan}"#, Some(r#"{"a":"" }"#));
        check(r#"{"a":-nan,"b":NaN}"#, Some(r#"{"a":""  ,"b":"" }"#));
        check(r#"[inf,-inf,Infinity]"#, Some(r#"["" ,""  ,""      ]"#));
        check(r#"{"nan":"nan, \"nan\" ","b":1e5,"c":null,"d":-1}"#, None);
        check(r#"{"a":"\\",nan"#, Some(r#"{"a":"\\","" "#));
        check(r#"{"a":nano,"b":banana}"#, None);
        check(r#"{"a":"nan"#, None);
        check("-", None);
        check("", None);
    }

    #[test]
    fn reads_a_number_or_a_state_in_the_forms_that_devices_use() {
        let value = |json| serde_json::from_str::<Value<'_>>(json).unwrap();
        assert_eq!(value("21.5").number(), Some(21.5));
        assert_eq!(value(r#"" 21.5""#).number(), Some(21.5));
        assert_eq!(value(r#""nan""#).number(), None);
        assert_eq!(value("null").number(), None);
        assert_eq!(value("true").number(), None);
        assert_eq!(value(r#"{"a":[1]}"#).number(), None);
        assert_eq!(value(r#""on""#).on(), Some(true));
        assert_eq!(value("0").on(), Some(false));
        assert_eq!(value("2").on(), None);
        assert_eq!(value(r#""TOGGLE""#).on(), None);
    }

    #[test]
    fn reads_a_series_from_a_number_an_array_or_an_object() {
        let series = |json| serde_json::from_str::<Series>(json).unwrap();
        assert_eq!(series("1"), Series::One(Some(1.0)));
        assert_eq!(series("null"), Series::One(None));
        assert_eq!(series("[1,null,3]"), Series::Each(vec![Some(1.0), None, Some(3.0)]));
        assert_eq!(
            series(r#"{"Phase1":1,"Phase2":"2"}"#),
            Series::Each(vec![Some(1.0), Some(2.0)])
        );
        let many = format!("[{}1]", "1,".repeat(1000));
        assert_eq!(series(&many), Series::Each(vec![Some(1.0); MOST_PHASES]));
    }
}
