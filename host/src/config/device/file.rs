//! The shape of a device, in files and in `POST /config`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::units::FilterText;

/// Devices that a file owns; a push may not touch them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read device by device; the whole gives the schema")]
pub(in crate::config) struct DevicesFile {
    /// The devices.
    #[serde(default)]
    pub(super) device: Vec<DeviceFile>,
}

/// A device: what it is called, where it speaks, who reads it.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = allow_configs)]
pub(in crate::config) struct DeviceFile {
    /// Its id, also in Odoo.
    #[schemars(length(min = 1, max = 128))]
    pub(super) device_id: String,
    /// What people call it.
    pub(super) machine_name: String,
    /// The topic on which it speaks; wildcards are allowed.
    pub(super) mqtt_topic: FilterText,
    /// A parse stage's `parser_types` names it: `shelly_pm`, `tasmota`.
    #[schemars(length(min = 1))]
    pub(super) parser_type: String,
    /// The channel that is this device, or several that add up; for topics with several machines.
    pub(super) channel: Option<Channels>,
    /// Free text that comes back in each event.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// By stage: settings that this device overrides.
    pub(super) settings: Option<BTreeMap<String, Map<String, Value>>>,
    /// Fields that a stage's `device_settings` may name.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// One channel or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Channels {
    One(String),
    Several(Vec<String>),
}

impl Channels {
    pub(super) fn into_list(self) -> Vec<String> {
        match self {
            Self::One(channel) => vec![channel],
            Self::Several(channels) => channels,
        }
    }
}

/// `session_config` and its like are tables; any other unknown key is a mistake.
fn allow_configs(schema: &mut Schema) {
    schema.insert("additionalProperties".to_owned(), false.into());
    schema.insert(
        "patternProperties".to_owned(),
        json!({ "^[a-z][a-z0-9_]*_config$": { "type": ["object", "null"] } }),
    );
    let session = json!({
        "type": ["object", "null"],
        "description": "Thresholds and times of the session detector, in its own names.",
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("session_config".to_owned(), session);
    }
}
