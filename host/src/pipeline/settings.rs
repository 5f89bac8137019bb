//! Settings of stages: what a device overrides, identified by content.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// One set of settings. Two sets of equal content have the same hash, whoever made them.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsSet {
    pub hash: [u8; 16],
    /// RFC 8785 form.
    pub json: Arc<str>,
}

impl SettingsSet {
    /// The set of these values.
    pub fn new(value: &Map<String, Value>) -> Self {
        let json = serde_json_canonicalizer::to_string(value)
            .unwrap_or_else(|_| Value::Object(value.clone()).to_string());
        let digest = Sha256::digest(json.as_bytes());
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        Self { hash, json: json.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_content_is_the_same_set() {
        let one = json!({"b": 1.0, "a": {"y": 1, "x": 2}});
        let two = json!({"a": {"x": 2, "y": 1}, "b": 1});
        assert_eq!(
            SettingsSet::new(one.as_object().unwrap()),
            SettingsSet::new(two.as_object().unwrap())
        );
    }
}
