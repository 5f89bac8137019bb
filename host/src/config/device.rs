//! Devices: from `devices/*.toml` and from `POST /config`, one owner each.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::problem::Place;
use super::topic::Pattern;
use crate::message::DeviceId;

/// All registered devices, by id.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    pub by_id: BTreeMap<DeviceId, Arc<Device>>,
}

/// One registered device.
#[derive(Clone, Debug)]
pub struct Device {
    pub id: DeviceId,
    pub machine_name: String,
    /// A filter: `mqtt_topic` may carry wildcards.
    pub topic: Pattern,
    pub parser_type: Arc<str>,
    /// A reading goes to this device only if its channel is among these; empty: all.
    pub channel: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Every other field, by name: `session_config` is what a stage's `device_settings` names.
    pub fields: Map<String, Value>,
    /// `settings.<stage>`: a merge patch on that stage's settings.
    pub settings: BTreeMap<String, Map<String, Value>>,
    pub owner: Owner,
    pub place: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    File,
    Push,
}
