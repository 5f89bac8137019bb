//! Settings of stages: what a device overrides, identified by content and checked before use.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::plan::ModuleStage;
use crate::config::document::Anchor;
use crate::config::{Problem, check_against};
use crate::module::{Instance, Limits, LogContext, Module, SettingsId};
use crate::telemetry;

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

/// Settings of each distinct content, checked once: by the schema, and by the module for
/// what a schema cannot say.
pub(super) struct CheckedSets<'a> {
    stage: &'a ModuleStage,
    asked: Asked<'a>,
    sets: HashMap<[u8; 16], Arc<SettingsSet>>,
}

impl<'a> CheckedSets<'a> {
    pub(super) fn new(stage: &'a ModuleStage) -> Self {
        let asked = Asked::new(&stage.module, stage.limits, &stage.name);
        // The stage's own were checked with the stage.
        let sets = HashMap::from([(stage.settings.hash, stage.settings.clone())]);
        Self { stage, asked, sets }
    }

    /// The set of these values, or what is wrong with them; `anchor` is where they are written.
    pub(super) fn check(
        &mut self,
        value: Map<String, Value>,
        anchor: &Anchor,
    ) -> Result<Arc<SettingsSet>, Vec<Problem>> {
        let set = SettingsSet::new(&value);
        if let Some(known) = self.sets.get(&set.hash) {
            return Ok(known.clone());
        }
        let schema = self.stage.module.settings_schema();
        let problems = check_against(schema, &Value::Object(value), anchor);
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Some(why) = self.asked.refusal(&set) {
            return Err(vec![Problem::at(anchor.place(""), why, "correct the settings")]);
        }
        let set = Arc::new(set);
        self.sets.insert(set.hash, set.clone());
        Ok(set)
    }
}

/// A module that is asked whether it takes settings, in an instance that does nothing else.
pub(super) struct Asked<'a> {
    module: &'a Arc<Module>,
    limits: Limits,
    stage: &'a Arc<str>,
    instance: Option<Instance>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(module: &'a Arc<Module>, limits: Limits, stage: &'a Arc<str>) -> Self {
        Self { module, limits, stage, instance: None }
    }

    /// Why the module does not take them, if it does not.
    pub(super) fn refusal(&mut self, settings: &SettingsSet) -> Option<String> {
        const ONE: SettingsId = SettingsId(0);
        let instance = match &mut self.instance {
            Some(instance) if !instance.is_dead() => instance,
            empty => {
                let log = LogContext::new(&"check".into(), self.stage);
                match self.module.instantiate(self.limits, log) {
                    Ok(instance) => empty.insert(instance),
                    Err(error) => return Some(telemetry::words(&error)),
                }
            }
        };
        let answer = instance.configure(ONE, &settings.json);
        let answer = answer.and_then(|taken| instance.forget(ONE).map(|()| taken));
        match answer {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(error) => Some(telemetry::words(&error)),
        }
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
