//! The lowest layer: environment variables by the names of S3 and of S4.
//!
//! The variables come as a map, so that nothing here depends on the process.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::problem::Problem;
use super::secret::Secret;
use super::site::LogFormat;

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;

/// What the environment says, each value with the variable that said it.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub(super) mqtt_host: Option<Given<String>>,
    pub(super) mqtt_port: Option<Given<u16>>,
    pub(super) mqtt_tls: Option<Given<bool>>,
    pub(super) mqtt_username: Option<Given<String>>,
    pub(super) mqtt_password: Option<Given<Secret>>,
    pub(super) mqtt_client_id: Option<Given<String>>,
    pub(super) odoo_url: Option<Given<String>>,
    pub(super) odoo_database: Option<Given<String>>,
    pub(super) odoo_login: Option<Given<String>>,
    pub(super) odoo_key: Option<Given<Secret>>,
    pub(super) http_address: Option<Given<IpAddr>>,
    pub(super) http_port: Option<Given<u16>>,
    pub(super) http_token: Option<Given<Secret>>,
    pub(super) log_level: Option<Given<String>>,
    pub(super) log_format: Option<Given<LogFormat>>,
    pub(super) log_file: Option<Given<String>>,
    /// `[topics]` of pipelines: `MQTT_CONFIG_REQUEST_TOPIC` is `config_request`.
    pub(super) topics: BTreeMap<String, String>,
}

/// A value and the variable that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) variable: &'static str,
}

/// Reads all variables; an empty one counts as unset, since compose files pass those.
pub(super) fn read(env: &Env) -> (Environment, Vec<Problem>) {
    let mut read = Read { env, problems: Vec::new() };
    let secret =
        |given: Given<String>| Given { value: Secret::new(&given.value), variable: given.variable };
    let s4 = read.text(&["MQTT_BROKER"]).is_none() && read.text(&["MQTT_BROKER_HOST"]).is_some();
    let mut environment = Environment {
        mqtt_host: read.parsed(&["MQTT_BROKER", "MQTT_BROKER_HOST"], host_name),
        mqtt_port: read.parsed(&["MQTT_PORT", "MQTT_BROKER_PORT"], port),
        mqtt_tls: read.parsed(&["MQTT_USE_TLS"], yes_or_no),
        mqtt_username: read.text(&["MQTT_USERNAME", "MQTT_BROKER_USERNAME"]),
        mqtt_password: read.text(&["MQTT_PASSWORD", "MQTT_BROKER_PASSWORD"]).map(secret),
        mqtt_client_id: read.text(&["MQTT_CLIENT_ID"]),
        odoo_url: read.parsed(&["ODOO_BASE_URL"], http_url),
        odoo_database: read.text(&["ODOO_DATABASE"]),
        odoo_login: read.text(&["ODOO_USERNAME"]),
        odoo_key: read.text(&["ODOO_API_KEY"]).map(secret),
        http_address: read.parsed(&["HOST"], address),
        http_port: read.parsed(&["BRIDGE_PORT", "PORT"], port),
        http_token: read.text(&["BRIDGE_API_TOKEN"]).map(secret),
        log_level: read.parsed(&["LOG_LEVEL"], log_level),
        log_format: read.parsed(&["LOG_FORMAT"], log_format),
        log_file: read.text(&["LOG_FILE"]),
        topics: topics(env),
    };
    if s4 {
        // S4's defaults: port 8883 with TLS; a plain port means no TLS.
        let variable = "MQTT_BROKER_HOST";
        if environment.mqtt_tls.is_none() {
            let value = environment.mqtt_port.as_ref().is_none_or(|port| port.value == 8883);
            environment.mqtt_tls = Some(Given { value, variable });
        }
    }
    (environment, read.problems)
}

struct Read<'e> {
    env: &'e Env,
    problems: Vec<Problem>,
}

/// Why a value is refused, and what would do.
type Refused = (String, &'static str);

impl Read<'_> {
    /// The first of these variables that is set.
    fn text(&self, names: &[&'static str]) -> Option<Given<String>> {
        names.iter().find_map(|name| {
            let value = self.env.get(*name).filter(|value| !value.is_empty())?;
            Some(Given { value: value.clone(), variable: name })
        })
    }

    fn parsed<T>(
        &mut self,
        names: &[&'static str],
        parse: fn(&str) -> Result<T, Refused>,
    ) -> Option<Given<T>> {
        let given = self.text(names)?;
        match parse(given.value.trim()) {
            Ok(value) => Some(Given { value, variable: given.variable }),
            Err((what, remedy)) => {
                let origin = format!("environment variable {}", given.variable);
                self.problems.push(Problem::of(origin, what, remedy));
                None
            }
        }
    }
}

fn port(text: &str) -> Result<u16, Refused> {
    match text.parse() {
        Ok(0) | Err(_) => {
            Err((format!("`{}` is not a port", short(text)), "write a number from 1 to 65535"))
        }
        Ok(port) => Ok(port),
    }
}

fn yes_or_no(text: &str) -> Result<bool, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => {
            Err((format!("`{}` is neither true nor false", short(text)), "write `true` or `false`"))
        }
    }
}

fn host_name(text: &str) -> Result<String, Refused> {
    check_host(text).map(|()| text.to_owned())
}

/// Whether `text` can be a host: a name or an address, without scheme, port or path.
pub(super) fn check_host(text: &str) -> Result<(), Refused> {
    let is_address = text.parse::<IpAddr>().is_ok();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if is_address || !text.is_empty() && text.chars().all(fits) {
        return Ok(());
    }
    let remedy = "write a host name or an address alone; port and TLS have settings of their own";
    Err((format!("`{}` is not a host name", short(text)), remedy))
}

fn address(text: &str) -> Result<IpAddr, Refused> {
    if text == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.parse().map_err(|_| {
        (format!("`{}` is not an IP address", short(text)), "write an address such as 0.0.0.0")
    })
}

fn http_url(text: &str) -> Result<String, Refused> {
    check_http_url(text)
}

/// A base URL without its trailing slash.
pub(super) fn check_http_url(text: &str) -> Result<String, Refused> {
    let remedy = "write `https://host` or `http://host:port`";
    let url = url::Url::parse(text)
        .map_err(|error| (format!("`{}` is not a URL: {error}", short(text)), remedy))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err((format!("`{}` is not an HTTP URL", short(text)), remedy));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let remedy = "move user and password to `login` and `key`";
        return Err(("the URL holds credentials".to_owned(), remedy));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err((format!("`{}` has a query", short(text)), remedy));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn log_level(text: &str) -> Result<String, Refused> {
    check_log_level(text)
}

/// A level by any of its usual names, or a filter.
pub(super) fn check_log_level(text: &str) -> Result<String, Refused> {
    let level = match text.to_ascii_lowercase().as_str() {
        "error" | "critical" | "fatal" => "error",
        "warn" | "warning" => "warn",
        "info" | "notice" => "info",
        "debug" => "debug",
        "trace" => "trace",
        "off" => "off",
        _ if text.contains(['=', ',']) => text,
        _ => {
            let remedy = "write `error`, `warn`, `info`, `debug` or `trace`";
            return Err((format!("`{}` is not a log level", short(text)), remedy));
        }
    };
    Ok(level.to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, Refused> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(LogFormat::Json),
        "text" | "console" | "plain" => Ok(LogFormat::Text),
        _ => Err((format!("`{}` is not a log format", short(text)), "write `json` or `text`")),
    }
}

fn topics(env: &Env) -> BTreeMap<String, String> {
    let named = env.iter().filter_map(|(variable, topic)| {
        let name = variable.strip_prefix("MQTT_")?;
        let name = name.strip_suffix("_TOPIC_TEMPLATE").or_else(|| name.strip_suffix("_TOPIC"))?;
        (!topic.is_empty()).then(|| (name.to_ascii_lowercase(), topic.clone()))
    });
    named.collect()
}

/// Enough of a value to recognise it, on one line.
pub(super) fn short(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    short.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_names_of_s3_and_s4_mean_the_same() {
        let (s3, none) = read(&env(&[
            ("MQTT_BROKER", "b"),
            ("MQTT_PORT", "1884"),
            ("MQTT_USE_TLS", "False"),
            ("MQTT_USERNAME", "u"),
            ("BRIDGE_PORT", "9000"),
            ("LOG_LEVEL", "WARNING"),
            ("ODOO_BASE_URL", "http://odoo:8069/"),
        ]));
        assert!(none.is_empty(), "{none:?}");
        assert_eq!(s3.odoo_url.unwrap().value, "http://odoo:8069");
        assert_eq!(s3.log_level.unwrap().value, "warn");
        let (s4, none) = read(&env(&[
            ("MQTT_BROKER_HOST", "b"),
            ("MQTT_BROKER_PORT", "1884"),
            ("MQTT_BROKER_USERNAME", "u"),
            ("HOST", "127.0.0.1"),
            ("PORT", "9000"),
            ("MQTT_OTA_NOTIFY_TOPIC_TEMPLATE", "ota/{device}/notify"),
            ("MQTT_CONFIG_REQUEST_TOPIC", "iiot/config/request"),
        ]));
        assert!(none.is_empty(), "{none:?}");
        assert_eq!(s3.mqtt_host.unwrap().value, s4.mqtt_host.unwrap().value);
        assert_eq!(s3.mqtt_port.unwrap().value, s4.mqtt_port.unwrap().value);
        assert_eq!(s3.mqtt_tls.unwrap().value, s4.mqtt_tls.unwrap().value);
        assert_eq!(s3.http_port.unwrap().value, s4.http_port.unwrap().value);
        assert_eq!(s4.topics.keys().collect::<Vec<_>>(), ["config_request", "ota_notify"]);
    }

    #[test]
    fn s4_without_port_means_tls() {
        let (s4, _) = read(&env(&[("MQTT_BROKER_HOST", "b")]));
        assert!(s4.mqtt_tls.unwrap().value);
    }

    #[test]
    fn bad_values_name_their_variable_and_empty_ones_count_as_unset() {
        let (_, problems) = read(&env(&[
            ("MQTT_PORT", "abc"),
            ("MQTT_USE_TLS", "maybe"),
            ("MQTT_BROKER", "mqtt://b:1883"),
            ("BRIDGE_PORT", "0"),
            ("HOST", "my-host"),
            ("LOG_LEVEL", "loud"),
            ("LOG_FORMAT", "xml"),
            ("ODOO_BASE_URL", "odoo:8069"),
        ]));
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 8, "{said:#?}");
        assert!(said.iter().any(|s| s
            == "environment variable MQTT_PORT: `abc` is not a port; write a number from 1 to 65535"));
        let (environment, problems) = read(&env(&[("MQTT_PORT", ""), ("MQTT_PASSWORD", "")]));
        assert!(problems.is_empty() && environment.mqtt_password.is_none());
    }
}
