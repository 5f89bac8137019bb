//! The shape of `tapline.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Role;
use crate::config::formats;
use crate::config::units::{DurationText, Name, SizeText};

/// tapline.toml: what belongs to this box.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code, reason = "read section by section; the whole gives the schema")]
pub(super) struct SiteFile {
    /// Version of this file language; 1.
    #[schemars(range(min = 1, max = 1))]
    pub(super) format: Option<u32>,
    /// Name of this box: `bridge_id` in events, part of generated client ids.
    pub(super) site: Option<Name>,
    /// Shipped pipelines that run here; default: all.
    pub(super) shipped: Option<Vec<Name>>,
    /// MQTT brokers by name.
    pub(super) broker: BTreeMap<Name, BrokerFile>,
    /// Outside systems that sinks speak to, by name.
    pub(super) endpoint: BTreeMap<Name, EndpointFile>,
    /// Tapline's own HTTP API.
    pub(super) http: HttpFile,
    /// The database.
    pub(super) store: StoreFile,
    /// What is logged, and where.
    pub(super) log: LogFile,
    /// Which times a device may state.
    pub(super) time: TimeFile,
    /// How changed files take effect.
    pub(super) reload: ReloadFile,
    /// How modules are taken up.
    pub(super) modules: ModulesFile,
}

/// An MQTT broker.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BrokerFile {
    /// `mqtt://`, `mqtts://`, `ws://` or `wss://`, with host and port.
    #[schemars(extend("format" = formats::BROKER_URL))]
    pub(super) url: Option<String>,
    /// User name.
    pub(super) username: Option<String>,
    /// Password: `{ env = "NAME" }`, `{ file = "PATH" }` or text.
    pub(super) password: Option<SecretFile>,
    /// Authorities to trust (PEM); default: the system's.
    pub(super) ca: Option<String>,
    /// Certificate chain that the broker asks of us (PEM).
    pub(super) cert: Option<String>,
    /// Its key (PEM).
    pub(super) key: Option<String>,
    /// MQTT version; default 5.
    pub(super) version: Option<VersionText>,
    /// Client id; default: made of site and broker name.
    #[schemars(length(min = 1, max = 256))]
    pub(super) client_id: Option<String>,
    /// How often to say that we are alive; default "60s".
    pub(super) keepalive: Option<DurationText>,
    /// How long to wait for a connection; default "10s".
    pub(super) connect_timeout: Option<DurationText>,
    /// Begin a new session with each connection; default false.
    pub(super) clean_start: Option<bool>,
    /// How long the broker keeps our session while we are away; default "7d".
    pub(super) session_expiry: Option<DurationText>,
    /// Largest packet; default "1 MiB".
    pub(super) max_packet: Option<SizeText>,
    /// What may be received and not yet acknowledged.
    pub(super) ceiling: CeilingFile,
    /// Topic of Tapline's own birth and will; default `tapline/SITE/status`.
    pub(super) status_topic: Option<String>,
    /// Ask the broker for its count of dropped messages, below `$SYS`; default true.
    pub(super) sys_topics: Option<bool>,
    /// The one broker that `mqtt` of POST /config replaces.
    pub(super) pushed: bool,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum VersionText {
    #[serde(rename = "5")]
    V5,
    #[serde(rename = "3.1.1")]
    V311,
}

/// What may be received and not yet acknowledged.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CeilingFile {
    /// Messages; default 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) messages: Option<u32>,
    /// Bytes; default "64 MiB".
    pub(super) bytes: Option<SizeText>,
}

/// A secret: text, or where it stands.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum SecretFile {
    Plain(String),
    Reference(SecretReference),
}

/// Where a secret stands.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretReference {
    /// An environment variable.
    pub(super) env: Option<String>,
    /// A file, relative to the site directory.
    pub(super) file: Option<String>,
    /// The day on which the other side stops taking it.
    pub(super) expires: Option<String>,
}

/// An outside system.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EndpointFile {
    /// `https://host` or `http://host`.
    #[schemars(extend("format" = formats::HTTP_URL))]
    pub(super) url: Option<String>,
    /// Odoo database.
    pub(super) database: Option<String>,
    /// User name.
    pub(super) login: Option<String>,
    /// API key: `{ env = "NAME" }`, `{ file = "PATH" }` or text.
    pub(super) key: Option<SecretFile>,
    /// Headers to send with each request; values as `key`.
    pub(super) headers: BTreeMap<String, SecretFile>,
    /// Authorities to trust (PEM); default: the system's.
    pub(super) ca: Option<String>,
    /// How long to wait for a connection; default "5s".
    pub(super) connect_timeout: Option<DurationText>,
    /// How long to wait for the answer; default "130s", longer than Odoo itself retries.
    pub(super) timeout: Option<DurationText>,
    /// The other side keeps to the order within one request; default false.
    pub(super) in_order: Option<bool>,
    /// The key may stand in bodies, as JSON-RPC needs it; default false.
    pub(super) key_in_body: Option<bool>,
    /// Reserved: fetch the configuration where Odoo cannot reach this box.
    pub(super) config: Option<PollFile>,
}

/// Reserved: how to fetch the configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "its shape is checked so that files keep; nothing polls yet")]
pub(super) struct PollFile {
    /// How often.
    pub(super) poll: DurationText,
    /// The path to ask.
    pub(super) path: Option<String>,
}

/// Tapline's own HTTP API.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpFile {
    /// Address and port; default "0.0.0.0:8080".
    pub(super) listen: Option<String>,
    /// Certificate and key; default: plain HTTP.
    pub(super) tls: Option<HttpTlsFile>,
    /// Bearer token that callers from elsewhere need: `{ env = "NAME" }`, `{ file = "PATH" }`.
    pub(super) token: Option<SecretFile>,
    /// Networks from which no token is asked, such as "10.0.0.0/8".
    pub(super) anonymous_from: Vec<String>,
    /// Further tokens by name, each with the roles that it has.
    pub(super) tokens: BTreeMap<String, AccessTokenFile>,
    /// Requests a second that one address may make; default 200.
    pub(super) rate_limit: Option<NonZeroU32>,
}

/// A token of the HTTP API; `tapline token` makes one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessTokenFile {
    /// SHA-256 of the token, in hex; the token itself is kept by its user alone.
    pub(super) sha256: String,
    /// What its user may do.
    pub(super) roles: BTreeSet<Role>,
    /// The day from which it is refused, such as "2027-02-01"; default: never.
    pub(super) expires: Option<String>,
}

/// Certificate and key of the HTTP API.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTlsFile {
    /// Certificate chain (PEM).
    pub(super) cert: String,
    /// Key (PEM).
    pub(super) key: String,
}

/// The database.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreFile {
    /// Largest size of what lies in the database; default: none.
    pub(super) max_size: Option<SizeText>,
    /// Free space below which history goes, then acknowledgements wait; default "256 MiB", a
    /// tenth of the file system at most.
    pub(super) min_free: Option<SizeText>,
    /// What is kept of messages that come and go; default: nothing.
    pub(super) history: Option<HistoryFile>,
}

/// What is kept of messages that come and go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryFile {
    /// How long.
    pub(super) keep: DurationText,
    /// How much; default "1 GiB".
    pub(super) max_size: Option<SizeText>,
}

/// What is logged, and where.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogFile {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as "info,tapline=debug".
    #[schemars(extend("format" = formats::LOG_LEVEL))]
    pub(super) level: Option<String>,
    /// `text` or `json`; default `text`.
    pub(super) format: Option<LogFormatText>,
    /// A file; default: stderr.
    pub(super) file: Option<String>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LogFormatText {
    Text,
    Json,
}

/// Which times a device may state, relative to the receipt.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimeFile {
    /// How far back; default "7d".
    pub(super) past: Option<DurationText>,
    /// How far ahead; default "60s".
    pub(super) future: Option<DurationText>,
}

/// How changed files take effect.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReloadFile {
    /// `auto` at once, `confirm` after `tapline reload`; default `auto`.
    pub(super) mode: Option<ReloadText>,
    /// Have the system tell of changed files; default true. Without, `rescan` finds them.
    pub(super) events: Option<bool>,
    /// How often to look whether files have changed all the same; default "3s".
    pub(super) rescan: Option<DurationText>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ReloadText {
    Auto,
    Confirm,
}

/// How modules are taken up.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModulesFile {
    /// Refuse a module whose own samples fail; default true.
    pub(super) samples: Option<bool>,
}
