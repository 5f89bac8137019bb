//! One side of a comparison: a configuration with its plans, reduced to what people call it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::config::device::Device;
use crate::config::pipeline::{Check, Pipeline};
use crate::config::push::{HIDDEN, Password, Pushed};
use crate::config::site::{Broker, Endpoint, MqttVersion, Secret, Site, Transport};
use crate::config::{Config, Devices};
use crate::module::{Hash, Module};
use crate::pipeline::{Plan, ValidateCheck};
use crate::store::StageId;

/// Names, values, versions and hashes of everything that runs, or would.
#[derive(Clone, Debug, Default)]
pub(in crate::reload) struct Outline {
    pub(super) pipelines: BTreeMap<String, Part>,
    pub(super) devices: Arc<Devices>,
    pub(super) brokers: BTreeMap<String, Part>,
    pub(super) endpoints: BTreeMap<String, Part>,
    pub(super) modules: BTreeMap<String, Part>,
    pub(super) site: Facts,
    /// Stages that keep state.
    pub(super) owners: BTreeSet<StageId>,
    /// What `state_from` says: from, to.
    pub(super) heirs: Vec<(StageId, StageId)>,
    pub(super) sinks: BTreeSet<StageId>,
    /// What `state_from` of pipelines says: from, to.
    pub(super) renamed: Vec<(Arc<str>, Arc<str>)>,
}

/// Something with a name of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) file: Option<String>,
    pub(super) facts: Facts,
    pub(super) parts: BTreeMap<String, Part>,
}

/// Values by name; secrets are compared and never shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) open: Map<String, Value>,
    pub(super) secret: BTreeMap<String, Secret>,
}

impl Facts {
    fn of(value: Value) -> Self {
        let mut open = match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        // Not said is the same as absent.
        open.retain(|_, value| !value.is_null());
        Self { open, secret: BTreeMap::new() }
    }

    fn with_secret(mut self, name: &str, secret: Option<&Secret>) -> Self {
        self.secret.extend(secret.map(|secret| (name.to_owned(), secret.clone())));
        self
    }

    /// All values by path, a secret as `***`.
    fn flat(&self) -> BTreeMap<String, Value> {
        let nothing = Self::default();
        let said = nothing.differences(self).into_iter();
        said.filter_map(|said| Some((said.field, said.to?))).collect()
    }
}

/// A module in use.
pub(super) struct Used<'m> {
    pub(super) name: &'m str,
    pub(super) version: &'m str,
    pub(super) hash: String,
}

impl<'m> Used<'m> {
    fn of(module: &'m Module) -> Self {
        Self { name: module.name(), version: module.version(), hash: short(module.hash()) }
    }
}

/// Enough of a hash to tell two builds apart.
fn short(hash: Hash) -> String {
    hash.to_string()[..12].to_owned()
}

impl Outline {
    /// Of a configuration and those of its pipelines that can run.
    pub(in crate::reload) fn of<'p>(
        config: &Config,
        plans: impl IntoIterator<Item = &'p Arc<Plan>>,
    ) -> Self {
        let mut outline = Self { devices: config.devices.clone(), ..Self::of_site(&config.site) };
        for plan in plans {
            outline.add_modules(plan);
            outline.add_pipeline(&plan.file, &modules_of(plan));
            outline.add_shadows(plan);
        }
        outline
    }

    /// Of what a site says besides its pipelines and devices.
    pub(in crate::reload) fn of_site(site: &Site) -> Self {
        let named = |kind, name: &str, facts| {
            let part = Part { kind, name: name.to_owned(), facts, ..Part::default() };
            (name.to_owned(), part)
        };
        let brokers = site.brokers.iter().map(|(name, b)| named("broker", name, broker(b)));
        let endpoints = site.endpoints.iter().map(|(name, e)| named("endpoint", name, endpoint(e)));
        Self {
            brokers: brokers.collect(),
            endpoints: endpoints.collect(),
            site: site_facts(site),
            ..Self::default()
        }
    }

    /// Of a pushed document alone.
    pub(in crate::reload) fn of_pushed(pushed: &Pushed) -> Self {
        let devices = pushed.devices().iter().map(|d| (d.id.clone(), d.clone())).collect();
        let mqtt = pushed.mqtt().map(|mqtt| {
            let facts = Facts::of(json!({
                "broker": mqtt.broker,
                "port": mqtt.port,
                "username": mqtt.username,
                "password": match mqtt.password {
                    Password::Unsaid => None,
                    Password::Empty => Some("none"),
                    Password::Is(_) => Some(HIDDEN),
                },
                "client_id": mqtt.client_id,
                "keepalive": mqtt.keepalive,
                "use_tls": mqtt.use_tls,
            }));
            let part = Part { kind: "broker", name: "mqtt".to_owned(), facts, ..Part::default() };
            ("mqtt".to_owned(), part)
        });
        Self {
            devices: Arc::new(Devices { by_id: devices }),
            brokers: mqtt.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Brokers, endpoints and the rest of the site by path: `broker.main.host`.
    pub(in crate::reload) fn values(&self) -> BTreeMap<String, Value> {
        let mut all = self.site.flat();
        for (kind, parts) in [("broker", &self.brokers), ("endpoint", &self.endpoints)] {
            for (name, part) in parts {
                let values = part.facts.flat().into_iter();
                all.extend(values.map(|(path, value)| (format!("{kind}.{name}.{path}"), value)));
            }
        }
        all
    }

    fn add_modules(&mut self, plan: &Plan) {
        for (_, used) in modules_of(plan) {
            let facts = Facts::of(json!({"version": used.version, "hash": used.hash}));
            let name = used.name.to_owned();
            let part = Part { kind: "module", name: name.clone(), facts, ..Part::default() };
            self.modules.insert(name, part);
        }
    }

    /// Another content of a shadow's file is another shadow, under the same name.
    fn add_shadows(&mut self, plan: &Plan) {
        let Some(pipeline) = self.pipelines.get_mut(&*plan.file.name) else { return };
        for (stage, shadow) in plan.shadows() {
            let key = format!("{} {}", stage.module.role().table(), stage.name);
            if let Some(part) = pipeline.parts.get_mut(&key) {
                let used = Used::of(&shadow.stage.module);
                let said = format!("{}.wasm: {} ({})", shadow.module, used.version, used.hash);
                part.facts.open.insert("shadow".to_owned(), said.into());
            }
        }
    }

    pub(super) fn add_pipeline(&mut self, file: &Pipeline, modules: &[(String, Used<'_>)]) {
        let mut written = match &*file.written {
            Value::Object(map) => map.clone(),
            _ => Map::new(),
        };
        let mut parts = BTreeMap::new();
        for kind in ["source", "validate", "parse", "detect", "sink"] {
            let Some(Value::Array(stages)) = written.remove(kind) else { continue };
            for stage in stages {
                let Some(name) = stage.get("name").and_then(Value::as_str).map(str::to_owned)
                else {
                    continue;
                };
                let key = format!("{kind} {name}");
                let mut facts = Facts::of(stage);
                facts.open.remove("name");
                if let Some((_, used)) = modules.iter().find(|(stage, _)| *stage == key) {
                    let module = format!("{} {} ({})", used.name, used.version, used.hash);
                    facts.open.insert("module".to_owned(), module.into());
                }
                parts.insert(key, Part { kind, name, facts, ..Part::default() });
            }
        }
        // Another text in a schema's file is another check, under the same words.
        for validate in &file.validate {
            if let (Check::Schema { schema, .. }, Some(part)) =
                (&validate.check, parts.get_mut(&format!("validate {}", validate.name)))
            {
                let content = short(Hash::of(schema.to_string().as_bytes()));
                part.facts.open.insert("schema content".to_owned(), content.into());
            }
        }
        written.remove("name");
        let name = file.name.to_string();
        let part = Part {
            kind: "pipeline",
            name: name.clone(),
            file: Some(file.file.to_string()),
            facts: Facts::of(Value::Object(written)),
            parts,
        };
        self.pipelines.insert(name, part);
        self.add_owners(file);
    }

    fn add_owners(&mut self, file: &Pipeline) {
        let id = |stage: &Arc<str>| StageId { pipeline: file.name.clone(), stage: stage.clone() };
        let parse = file.parse.iter().map(|parse| (&parse.stage.name, None));
        let detect = file.detect.iter().map(|d| (&d.stage.name, d.state_from.as_ref()));
        for (name, before) in parse.chain(detect) {
            if before.is_some() || file.state_from.is_some() {
                let pipeline = file.state_from.as_ref().unwrap_or(&file.name).clone();
                let stage = before.unwrap_or(name).clone();
                self.heirs.push((StageId { pipeline, stage }, id(name)));
            }
            self.owners.insert(id(name));
        }
        let before = file.state_from.iter().map(|from| (from.clone(), file.name.clone()));
        self.renamed.extend(before);
        self.sinks.extend(file.sinks.iter().map(|sink| id(&sink.stage.name)));
        self.sinks.extend(file.publishers.iter().map(|publisher| id(&publisher.name)));
    }
}

/// The stages that run modules, as `detect session`, each with its module.
fn modules_of(plan: &Plan) -> Vec<(String, Used<'_>)> {
    let validators = plan.validators.iter().filter_map(|validate| match &validate.check {
        ValidateCheck::Module(stage) => Some(("validate", stage)),
        ValidateCheck::Schema(_) => None,
    });
    validators
        .chain(plan.parsers.iter().map(|parse| ("parse", &parse.stage)))
        .chain(plan.detectors.iter().map(|detect| ("detect", &detect.stage)))
        .chain(plan.sinks.iter().map(|sink| ("sink", &sink.stage)))
        .map(|(kind, stage)| (format!("{kind} {}", stage.name), Used::of(&stage.module)))
        .collect()
}

/// A device in the words of its file.
pub(super) fn device(device: &Device) -> Facts {
    let mut facts = json!({
        "machine_name": device.machine_name,
        "mqtt_topic": device.topic.to_string(),
        "parser_type": device.parser_type,
        "labels": device.labels,
        "settings": device.settings,
    });
    if !device.channel.is_empty() {
        facts["channel"] = json!(device.channel);
    }
    let mut facts = Facts::of(facts);
    facts.open.extend((*device.fields).clone());
    facts
}

fn broker(broker: &Broker) -> Facts {
    let tls = broker.tls.as_ref();
    let client = tls.and_then(|tls| tls.client.as_ref());
    Facts::of(json!({
        "web_socket": match broker.transport {
            Transport::Tcp | Transport::Tls => None,
            Transport::WebSocket | Transport::WebSocketTls => Some(true),
        },
        "tls": matches!(broker.transport, Transport::Tls | Transport::WebSocketTls),
        "host": broker.host,
        "port": broker.port,
        "path": match broker.transport {
            Transport::Tcp | Transport::Tls => None,
            Transport::WebSocket | Transport::WebSocketTls => Some(&broker.path),
        },
        "version": match broker.version {
            MqttVersion::V5 => "5",
            MqttVersion::V311 => "3.1.1",
        },
        "client_id": broker.client_id,
        "username": broker.username,
        "keepalive": duration(broker.keep_alive),
        "connect_timeout": duration(broker.connect_timeout),
        "clean_start": broker.clean_start,
        "session_expiry": duration(broker.session_expiry),
        "ca": tls.and_then(|tls| tls.ca.as_ref()),
        "cert": client.map(|(cert, _)| cert),
        "max_packet": broker.max_packet,
        "ceiling": {"messages": broker.ceiling.messages, "bytes": broker.ceiling.bytes},
        "status_topic": broker.status_topic,
        "sys_topics": broker.sys_topics,
        "pushed": broker.pushed.then_some(true),
    }))
    .with_secret("password", broker.password.as_ref())
}

fn endpoint(endpoint: &Endpoint) -> Facts {
    let mut facts = Facts::of(json!({
        "url": endpoint.url,
        "database": endpoint.database,
        "login": endpoint.login,
        "ca": endpoint.ca,
        "connect_timeout": duration(endpoint.connect_timeout),
        "timeout": duration(endpoint.timeout),
        "in_order": endpoint.in_order,
    }))
    .with_secret("key", endpoint.key.as_ref());
    for (name, value) in &endpoint.headers {
        facts = facts.with_secret(&format!("headers.{name}"), Some(value));
    }
    facts
}

fn site_facts(site: &Site) -> Facts {
    Facts::of(json!({
        "site": site.name,
        "http": {
            "address": site.http.listen.ip(),
            "port": site.http.listen.port(),
            "tls": site.http.tls.as_ref().map(|(cert, _)| cert),
            "anonymous_from": site.http.anonymous_from.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "tokens": site.http.tokens.iter().map(|t| format!("{} {:?} {:02x?}", t.name, t.roles, &t.sha256[..4])).collect::<Vec<_>>(),
            "rate_limit": site.http.rate_limit,
        },
        "store": {
            "max_size": site.store.max_size,
            "min_free": site.store.min_free,
            "history": site.store.history.as_ref().map(|history| {
                json!({"keep": duration(history.keep), "max_size": history.max_size})
            }),
        },
        "log": {
            "level": site.log.level,
            "format": format!("{:?}", site.log.format).to_lowercase(),
            "file": site.log.file,
        },
        "time": {"past": duration(site.time.past), "future": duration(site.time.future)},
        "reload": {"mode": format!("{:?}", site.reload).to_lowercase()},
    }))
    .with_secret("http.token", site.http.token.as_ref())
}

fn duration(duration: std::time::Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}
