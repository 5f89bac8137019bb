//! Brokers: the file's, and the one that environment and push describe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::build::{Build, DAY, MIB};
use super::file::{BrokerFile, VersionText};
use super::{Broker, Ceiling, MqttVersion, Tls, Transport};
use crate::config::environment::{Environment, check_host, short};
use crate::config::push::{Mqtt, Password};
use crate::config::secret::Secret;

/// What a broker's URL says.
struct Url {
    host: String,
    port: Option<u16>,
    web_socket: bool,
    tls: bool,
    path: Option<String>,
}

impl Build<'_> {
    pub(super) fn brokers(&mut self, site: &str) -> BTreeMap<String, Arc<Broker>> {
        let mut names = self.names("/broker");
        if names.is_empty() {
            names.push("main".to_owned());
        }
        let mut pushed: Option<String> = None;
        for name in &names {
            let at = format!("/broker/{name}/pushed");
            let marked = self.reader.value.pointer(&at) == Some(&true.into());
            match &pushed {
                _ if !marked => {}
                None => pushed = Some(name.clone()),
                Some(first) => {
                    let what = format!("`{first}` is marked `pushed` already");
                    self.reader.key_problem(&at, what, "mark one broker at most");
                }
            }
        }
        // Without a [broker] there is the one of S3's environment, which a push replaces.
        let is_file = self.reader.value.pointer("/broker").is_some();
        if !is_file {
            pushed = Some("main".to_owned());
        }
        let layered = pushed.clone().unwrap_or_else(|| "main".to_owned());
        let mut brokers = BTreeMap::new();
        for name in names {
            let environment = match name == layered {
                true => self.environment.clone(),
                false => Environment::default(),
            };
            let mqtt = self.around.mqtt.filter(|_| pushed.as_ref() == Some(&name));
            let Some(mut broker) = self.broker(site, &name, &environment, mqtt) else { continue };
            broker.pushed = pushed.as_ref() == Some(&name);
            brokers.insert(name, Arc::new(broker));
        }
        brokers
    }

    fn broker(
        &mut self,
        site: &str,
        name: &str,
        environment: &Environment,
        pushed: Option<&Mqtt>,
    ) -> Option<Broker> {
        let at = format!("/broker/{name}");
        let is_file = self.reader.value.pointer(&at).is_some();
        let file: BrokerFile = match self.reader.read(&at) {
            Some(file) => file,
            None if is_file => return None,
            None => BrokerFile::default(),
        };
        let url = file.url.and_then(|url| parse_url(&url).ok());
        let is_addressed = self.reader.value.pointer(&format!("{at}/url")).is_some();
        if is_file && !is_addressed && environment.mqtt_host.is_none() && pushed.is_none() {
            let remedy = "add `url`, such as \"mqtt://localhost:1883\"";
            self.reader.key_problem(&at, format!("broker `{name}` has no address"), remedy);
        }
        let password = self.secret(&format!("{at}/password"), file.password);
        let default_mqtt = Mqtt::default();
        let mqtt = pushed.unwrap_or(&default_mqtt);
        let given = environment.clone();
        let document = self.reader.document.clone();
        let place = |field: &str| {
            let pointer = format!("{at}/{field}");
            let document = document.clone();
            move || document.place(&pointer)
        };
        let path = |field: &str| format!("broker.{name}.{field}");

        let layers = &mut self.layers;
        let file_host = url.as_ref().map(|url| url.host.clone());
        let host = layers.pick(
            &path("host"),
            mqtt.broker.clone(),
            file_host,
            given.mqtt_host,
            place("url"),
        );
        let file_tls = url.as_ref().map(|url| url.tls);
        let tls = layers.pick(&path("tls"), mqtt.use_tls, file_tls, given.mqtt_tls, place("url"));
        let tls = tls.unwrap_or(false);
        let web_socket = url.as_ref().is_some_and(|url| url.web_socket);
        let transport = match (web_socket, tls) {
            (false, false) => Transport::Tcp,
            (false, true) => Transport::Tls,
            (true, false) => Transport::WebSocket,
            (true, true) => Transport::WebSocketTls,
        };
        // A file's URL without a port means its scheme's port, and that hides the
        // environment's, which belongs to another address.
        let file_port = url.as_ref().map(|url| url.port.unwrap_or(transport.default_port()));
        let port = layers.pick(&path("port"), mqtt.port, file_port, given.mqtt_port, place("url"));
        let username = layers.pick(
            &path("username"),
            mqtt.username.clone(),
            file.username,
            given.mqtt_username,
            place("username"),
        );
        let pushed_password = match &mqtt.password {
            Password::Unsaid => None,
            Password::Empty => Some(Secret::new("")),
            Password::Is(secret) => Some(secret.clone()),
        };
        let password = layers.pick(
            &path("password"),
            pushed_password,
            password,
            given.mqtt_password,
            place("password"),
        );
        let client_id = layers.pick(
            &path("client_id"),
            mqtt.client_id.clone(),
            file.client_id,
            given.mqtt_client_id,
            place("client_id"),
        );
        let most = Duration::from_secs(u64::from(u16::MAX));
        let keepalive = format!("{at}/keepalive");
        let keepalive = self.reader.duration(&keepalive, file.keepalive, Duration::ZERO, most);
        let pushed_keepalive = mqtt.keepalive.map(|secs| Duration::from_secs(u64::from(secs)));
        let keepalive = self.layers.pick(
            &path("keepalive"),
            pushed_keepalive,
            keepalive,
            None,
            place("keepalive"),
        );

        let ceiling = format!("{at}/ceiling/bytes");
        let ceiling = Ceiling {
            messages: file.ceiling.messages.unwrap_or(10_000) as usize,
            bytes: self
                .reader
                .size(&ceiling, file.ceiling.bytes, MIB, 64 * 1024 * MIB)
                .unwrap_or(64 * MIB) as usize,
        };
        let max_packet = format!("{at}/max_packet");
        let max_packet = self.reader.size(&max_packet, file.max_packet, 1024, 256 * MIB);
        let connect = format!("{at}/connect_timeout");
        let least = Duration::from_millis(100);
        let connect =
            self.reader.duration(&connect, file.connect_timeout, least, Duration::from_secs(300));
        let expiry = format!("{at}/session_expiry");
        let most = Duration::from_secs(u64::from(u32::MAX));
        let expiry = self.reader.duration(&expiry, file.session_expiry, Duration::ZERO, most);
        let status_topic = match file.status_topic {
            Some(topic) => self.topic(&format!("{at}/status_topic"), topic)?,
            None => format!("tapline/{}/status", as_level(site)),
        };
        let client = match (file.cert, file.key) {
            (Some(cert), Some(key)) => Some((self.path(&cert), self.path(&key))),
            (None, None) => None,
            (given, _) => {
                let (has, lacks) = if given.is_some() { ("cert", "key") } else { ("key", "cert") };
                let what = format!("`{has}` stands here without `{lacks}`");
                self.reader.key_problem(&format!("{at}/{has}"), what, format!("add `{lacks}`"));
                None
            }
        };
        Some(Broker {
            name: name.to_owned(),
            transport,
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            port: port.unwrap_or(transport.default_port()),
            path: url.and_then(|url| url.path).unwrap_or_else(|| "/mqtt".to_owned()),
            version: match file.version {
                Some(VersionText::V5) | None => MqttVersion::V5,
                Some(VersionText::V311) => MqttVersion::V311,
            },
            client_id: client_id.unwrap_or_else(|| format!("tapline-{}-{name}", as_level(site))),
            username: username.filter(|name| !name.is_empty()),
            password: password.filter(|password| !password.reveal().is_empty()),
            keep_alive: keepalive.unwrap_or(Duration::from_secs(60)),
            connect_timeout: connect.unwrap_or(Duration::from_secs(10)),
            clean_start: file.clean_start.unwrap_or(false),
            session_expiry: expiry.unwrap_or(7 * DAY),
            tls: tls.then(|| Tls { ca: file.ca.map(|ca| self.path(&ca)), client }),
            max_packet: max_packet.unwrap_or(MIB) as u32,
            ceiling,
            status_topic,
            sys_topics: file.sys_topics.unwrap_or(true),
            pushed: false,
        })
    }
}

/// What is wrong with the address of a broker, and the remedy.
pub(in crate::config) fn check_broker_url(text: &str) -> Result<(), (String, &'static str)> {
    parse_url(text).map(|_| ())
}

fn parse_url(text: &str) -> Result<Url, (String, &'static str)> {
    let remedy = "write \"mqtt://host:1883\", \"mqtts://host:8883\", \"ws://…\" or \"wss://…\"";
    let url = url::Url::parse(text)
        .map_err(|error| (format!("`{}` is not a URL: {error}", short(text)), remedy))?;
    if !url.username().is_empty() || url.password().is_some() {
        let remedy = "move them to `username` and `password`";
        return Err(("the URL holds credentials".to_owned(), remedy));
    }
    let (web_socket, tls) = match url.scheme() {
        "mqtt" | "tcp" => (false, false),
        "mqtts" | "ssl" | "tls" => (false, true),
        "ws" => (true, false),
        "wss" => (true, true),
        scheme => return Err((format!("`{scheme}` is no way to reach a broker"), remedy)),
    };
    let host = url.host_str().unwrap_or("");
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = Some(url.path().to_owned()).filter(|path| !matches!(path.as_str(), "" | "/"));
    if check_host(&host).is_err() || !web_socket && path.is_some() {
        return Err((format!("`{}` is not the address of a broker", short(text)), remedy));
    }
    Ok(Url { host, port: url.port(), web_socket, tls, path })
}

impl Transport {
    /// The port that is meant where none is written.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::WebSocket => 80,
            Self::WebSocketTls => 443,
        }
    }
}

/// A name that may hold anything, as one level of a topic.
fn as_level(name: &str) -> String {
    let level = |c: char| if c.is_control() || "/+#$".contains(c) { '-' } else { c };
    name.chars().map(level).collect()
}
