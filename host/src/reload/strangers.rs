//! Topics that nobody knows: which parser understands them, and the device that is missing.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::Tapline;
use crate::message::{DeviceId, Item, Message, MessageId};
use crate::module::{Input, Instance, Limits, LogContext, Module, Role, SettingsId};
use crate::pipeline::{Plan, UnknownTopic};
use crate::quantity;

/// Readings that are named of what a parser found.
const NAMED: usize = 8;

/// A topic whose messages belong to no device.
#[derive(Debug, Serialize)]
pub struct UnknownView {
    pub topic: Arc<str>,
    pub broker: Arc<str>,
    pub pipeline: Arc<str>,
    /// `unmatched`: no parser was asked; `unknown-device`: nobody registered it.
    pub why: Arc<str>,
    pub count: u64,
    pub first_seen: String,
    pub last_seen: String,
    /// That understand the last payload, the one that finds most in it first.
    pub parsers: Vec<Understood>,
    /// The device that is missing, as a device file has it; null if no parser understands it.
    pub toml: Option<String>,
    /// The same as `POST /config` has it.
    pub device: Option<Value>,
}

/// What a parser finds in a payload.
#[derive(Debug, Serialize)]
pub struct Understood {
    pub module: Arc<str>,
    /// By which devices ask for it; null: no running pipeline has a parse stage for it.
    pub parser_type: Option<Arc<str>>,
    pub finds: Vec<String>,
}

impl Tapline {
    /// Unknown topics after this one, by name, and how many messages came on others that are
    /// not followed. It runs parsers, so it belongs on a thread that may wait.
    pub fn unknown_topics(&self, after: Option<&str>, limit: usize) -> (Vec<UnknownView>, u64) {
        let (topics, unfollowed) = self.sights.unknown();
        let plans: Vec<_> = self.plans().into_values().collect();
        let config = self.config();
        let is_taken = |topic: &UnknownTopic| {
            plans.iter().any(|plan| !plan.directory.find(&topic.broker, &topic.topic).is_empty())
        };
        let mut parsers = Parsers::of(self);
        let topics = topics
            .into_iter()
            .filter(|topic| after.is_none_or(|after| *topic.topic > *after) && !is_taken(topic))
            .take(limit);
        let is_free = |id: &str| !config.devices.by_id.contains_key(&DeviceId::from(id));
        let views = topics.map(|topic| {
            let understood = parsers.understand(&topic, &plans);
            let best = understood.first();
            let device = best.map(|best| suggestion(&topic, best, &is_free));
            UnknownView {
                toml: device.as_ref().map(block),
                device,
                parsers: understood,
                topic: topic.topic,
                broker: topic.broker,
                pipeline: topic.pipeline,
                why: topic.why,
                count: topic.count,
                first_seen: topic.first_seen.rfc3339(),
                last_seen: topic.last_seen.rfc3339(),
            }
        });
        (views.collect(), unfollowed)
    }
}

/// An instance of each parser at hand, for as long as one request takes.
struct Parsers {
    parsers: Vec<(Arc<str>, Arc<Module>, Option<Instance>)>,
}

impl Parsers {
    fn of(tapline: &Tapline) -> Self {
        let inputs = tapline.inputs();
        let modules = inputs.modules.iter();
        let parsers = modules
            .filter_map(|(name, module)| Some((name.clone(), module.as_ref().ok()?.clone(), None)))
            .filter(|(_, module, _)| module.role() == Role::Parser);
        Self { parsers: parsers.collect() }
    }

    fn understand(&mut self, topic: &UnknownTopic, plans: &[Arc<Plan>]) -> Vec<Understood> {
        let Some(payload) = topic.sample.clone() else { return Vec::new() };
        let message = Message {
            id: MessageId { source: topic.broker.clone(), epoch: 0, sequence: 0 },
            topic: topic.topic.clone(),
            payload,
            received_at: topic.last_seen,
            qos: 1,
            retained: false,
            properties: Arc::default(),
        };
        let mut all = Vec::new();
        for (name, module, instance) in &mut self.parsers {
            let finds = finds(name, module, instance, &message);
            if finds.is_empty() {
                continue;
            }
            let stages = plans.iter().flat_map(|plan| &plan.parsers);
            let parser_type = stages
                .filter(|stage| stage.stage.module.hash() == module.hash())
                .find_map(|stage| stage.parser_types.last().cloned());
            all.push(Understood { module: name.clone(), parser_type, finds });
        }
        all.sort_by_key(|understood| std::cmp::Reverse(understood.finds.len()));
        for understood in &mut all {
            understood.finds.truncate(NAMED);
        }
        all
    }
}

/// What a parser with its own settings reads in a message; nothing, if it refuses or fails.
fn finds(
    name: &Arc<str>,
    module: &Arc<Module>,
    instance: &mut Option<Instance>,
    message: &Message,
) -> Vec<String> {
    let settings = SettingsId(0);
    if instance.as_ref().is_none_or(Instance::is_dead) {
        let log = LogContext::new(&"unknown topics".into(), name);
        let fresh = module.instantiate(Limits::default(), log).ok();
        *instance = fresh.and_then(|mut fresh| {
            let taken = fresh.configure(settings, "{}");
            matches!(taken, Ok(Ok(()))).then_some(fresh)
        });
    }
    let Some(instance) = instance else { return Vec::new() };
    let parsed = instance.parse(&[Input { settings, message, device: None }]);
    let Some(Ok(items)) = parsed.ok().and_then(|mut results| results.pop()) else {
        return Vec::new();
    };
    let readings = items.into_iter().filter_map(|item| match item {
        Item::Reading(reading) => Some(reading),
        _ => None,
    });
    let values = readings.flat_map(|reading| {
        let named = reading.measurements.iter().map(|measurement| {
            let name = quantity::entry(measurement.quantity)
                .map_or_else(|| measurement.quantity.0.to_string(), |entry| entry.name.clone());
            format!("{} {name} {}", reading.channel, measurement.value)
        });
        named.collect::<Vec<_>>()
    });
    values.collect()
}

fn suggestion(topic: &UnknownTopic, best: &Understood, is_free: &dyn Fn(&str) -> bool) -> Value {
    let mut id = match &topic.device {
        Some(device) => device.to_string(),
        None => guess(&topic.topic),
    };
    if !is_free(&id) {
        id = topic.topic.replace('/', "-");
    }
    json!({
        "device_id": id,
        "machine_name": id,
        "mqtt_topic": &*topic.topic,
        "parser_type": best.parser_type.as_ref().unwrap_or(&best.module),
    })
}

fn block(device: &Value) -> String {
    let mut text = "[[device]]\n".to_owned();
    for key in ["device_id", "machine_name", "mqtt_topic", "parser_type"] {
        // Strings of JSON are strings of TOML.
        text.push_str(&format!("{key} = {}\n", device[key]));
    }
    text
}

/// Levels that say what a device says, not which it is.
const WORDS: [&str; 18] = [
    "status",
    "tele",
    "stat",
    "cmnd",
    "sensor",
    "state",
    "events",
    "event",
    "rpc",
    "online",
    "lwt",
    "shellies",
    "tasmota",
    "zigbee2mqtt",
    "power",
    "energy",
    "relay",
    "result",
];

/// The level of a topic that names the device: the last one with a digit, else the last.
fn guess(topic: &str) -> String {
    let names: Vec<&str> = topic
        .split('/')
        .filter(|level| {
            let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(level));
            // `switch:0` is a part of a device.
            !level.is_empty() && !is_word && !level.contains(':') && !is_number(level)
        })
        .collect();
    let numbered = names.iter().rev().find(|name| name.contains(|c: char| c.is_ascii_digit()));
    let name = numbered.or(names.last()).copied().unwrap_or(topic);
    name.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect()
}

fn is_number(level: &str) -> bool {
    level.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Timestamp;

    #[test]
    fn the_name_of_a_device_is_guessed_from_its_topic() {
        for (topic, expected) in [
            ("hall/press-01/events/rpc", "press-01"),
            ("shellies/plug-s-01/status/pm1:0", "plug-s-01"),
            ("tele/lathe/SENSOR", "lathe"),
            ("factory/hall1/saw", "hall1"),
            ("shellies/plug/relay/0/power", "plug"),
            ("status", "status"),
        ] {
            assert_eq!(guess(topic), expected, "{topic}");
        }
    }

    #[test]
    fn what_is_suggested_can_be_pasted() {
        let topic = UnknownTopic::new("hall/a \"b\"/events/rpc", Timestamp(1));
        let best = Understood { module: "shelly".into(), parser_type: None, finds: Vec::new() };
        let device = suggestion(&topic, &best, &|_| true);
        let read: toml::Table = block(&device).parse().unwrap();
        assert_eq!(read["device"][0]["mqtt_topic"].as_str(), Some("hall/a \"b\"/events/rpc"));
        assert_eq!(read["device"][0]["parser_type"].as_str(), Some("shelly"));
    }
}
