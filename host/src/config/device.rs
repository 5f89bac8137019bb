//! Devices: from `devices/*.toml` and from `POST /config`, one owner each.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use super::document::{Anchor, Format};
use super::problem::{Place, Problem};
use super::reader::Reader;
use super::schema::Shape;
use super::topic::Pattern;
use crate::message::DeviceId;

mod file;

pub(super) use file::DeviceFile;

pub(super) static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<file::DevicesFile>);

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
    /// The fields that end in `_config`: `session_config` is what a stage's
    /// `device_settings` names.
    /// Devices of one list share what is the same.
    pub fields: Arc<Map<String, Value>>,
    /// `settings.<stage>`: a merge patch on that stage's settings.
    pub settings: BTreeMap<String, Map<String, Value>>,
    pub owner: Owner,
    /// Where it is written.
    pub anchor: Anchor,
}

impl Device {
    /// The place of the value at a JSON pointer (`/session_config/standby_threshold_w`);
    /// `""` is the device itself.
    pub fn place(&self, pointer: &str) -> Place {
        self.anchor.place(pointer)
    }

    /// Whether anything of it differs that matters while it runs.
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
            && self.machine_name == other.machine_name
            && self.topic == other.topic
            && self.parser_type == other.parser_type
            && self.channel == other.channel
            && self.labels == other.labels
            && self.fields == other.fields
            && self.settings == other.settings
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    File,
    Push,
}

/// Reads a device file; `file` is what problems call it, relative to the site directory.
pub fn load(file: &str, text: &str) -> Result<Vec<Device>, Vec<Problem>> {
    let mut reader = Reader::open(file, text, Format::Toml, &SHAPE)?;
    let devices = read_list(&mut reader, "/device", Owner::File);
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(devices) } else { Err(problems) }
}

/// Reads the devices of a list, also of one in which others are wrong.
pub(super) fn read_list(reader: &mut Reader, list: &str, owner: Owner) -> Vec<Device> {
    let mut devices = Vec::new();
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let mut fields = Fields::default();
    for at in reader.entries(list) {
        let id_at = format!("{at}/device_id");
        if let Some(id) = reader.text(&id_at).map(str::to_owned) {
            match first.get(&id) {
                Some(other) => {
                    let path = &reader.place(other).path;
                    let what = format!("device `{id}` is `{path}` already");
                    reader.problem(&id_at, what, "keep one of the two");
                }
                None => {
                    first.insert(id, at.clone());
                }
            }
        }
        let Some(device) = reader.read::<DeviceFile>(&at) else { continue };
        devices.extend(build(reader, &at, device, owner, &mut fields));
    }
    devices
}

/// The fields of devices that were read before, by their text: mostly all have the same.
type Fields = HashMap<String, Arc<Map<String, Value>>>;

fn build(
    reader: &mut Reader,
    at: &str,
    device: DeviceFile,
    owner: Owner,
    known: &mut Fields,
) -> Option<Device> {
    let mut fits = true;
    let id = device.device_id;
    if id.trim() != id || id.chars().any(|c| c.is_control() || "+#".contains(c)) {
        let what = format!("`{}` is not a device id", id.escape_debug());
        let remedy = "leave out `+`, `#`, control characters and blanks at the ends";
        reader.problem(&format!("{at}/device_id"), what, remedy);
        fits = false;
    }
    let topic = match Pattern::parse(&device.mqtt_topic.0) {
        Ok(topic) => topic,
        Err(error) => {
            reader.problem(&format!("{at}/mqtt_topic"), error.to_string(), error.remedy());
            return None;
        }
    };
    let fields: Map<_, _> =
        device.fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let text = serde_json::to_string(&fields).unwrap_or_default();
    let fields = known.entry(text).or_insert_with(|| Arc::new(fields)).clone();
    fits.then(|| Device {
        id: DeviceId::from(id.as_str()),
        machine_name: device.machine_name,
        topic,
        parser_type: device.parser_type.into(),
        channel: device.channel.map(file::Channels::into_list).unwrap_or_default(),
        labels: device.labels.unwrap_or_default(),
        fields,
        settings: device.settings.unwrap_or_default(),
        owner,
        anchor: Anchor::new(&reader.document, at),
    })
}
