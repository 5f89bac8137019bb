//! From `tapline.toml` and the layers around it to a checked [`Site`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipnet::IpNet;

use super::file::{
    AccessTokenFile, EndpointFile, HttpFile, LogFile, LogFormatText, ModulesFile, ReloadFile,
    ReloadText, SiteFile, StoreFile, TimeFile,
};
use super::{
    AccessToken, Endpoint, History, Http, Log, LogFormat, Modules, Reload, Site, Store, TimeWindow,
    Watch,
};
use crate::config::document::Format;
use crate::config::environment::{self, Env, Environment, check_http_url, check_log_level};
use crate::config::layers::{Layers, Origins};
use crate::config::problem::Problem;
use crate::config::push::Mqtt;
use crate::config::reader::Reader;
use crate::config::schema::Shape;
use crate::config::topic::Pattern;
use crate::config::units::{DurationText, Name, SizeText};
use crate::message::Timestamp;

pub(in crate::config) static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<SiteFile>);

pub(super) const MIB: u64 = 1024 * 1024;
/// Size of the history where the file says none.
const GIB: u64 = 1024 * MIB;
/// Requests a second from one address: dashboards and scripts, not a flood.
const RATE: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// The shortest that a history is kept.
const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// What stands around `tapline.toml`.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Relative paths start here.
    pub dir: Option<&'a Path>,
    pub env: &'a Env,
    /// `mqtt` of the pushed document in force.
    pub mqtt: Option<&'a Mqtt>,
    /// The name of a site that says none, made once and kept.
    pub generated_name: &'a str,
    /// To warn of secrets that expire.
    pub now: Timestamp,
}

/// A checked site and what came out beside it.
#[derive(Debug)]
pub struct Loaded {
    pub site: Site,
    pub origins: Origins,
    pub warnings: Vec<Problem>,
    /// Shipped pipelines that run here; `None`: all.
    pub shipped: Option<Vec<String>>,
    /// `[topics]` that the environment gives to pipelines.
    pub topics: BTreeMap<String, String>,
}

/// Reads `tapline.toml`; `None` for a Tapline that has only its environment.
pub fn load(text: Option<&str>, around: Around<'_>) -> Result<Loaded, Vec<Problem>> {
    let reader = Reader::open("tapline.toml", text.unwrap_or(""), Format::Toml, &SHAPE)?;
    let (environment, problems) = environment::read(around.env);
    let mut build = Build {
        reader,
        around,
        environment,
        layers: Layers::default(),
        warnings: Vec::new(),
        holds_secret: false,
    };
    let site = build.site();
    let shipped = build.reader.read::<Vec<Name>>("/shipped");
    build.warn_of_readers();
    let Build { reader, mut layers, mut warnings, environment, .. } = build;
    layers.origins.add_written(reader.document.lines());
    let mut all = problems;
    all.extend(reader.into_problems());
    if !all.is_empty() {
        return Err(all);
    }
    warnings.extend(layers.hidden);
    Ok(Loaded {
        site,
        origins: layers.origins,
        warnings,
        shipped: shipped.map(|names| names.into_iter().map(|name| name.0).collect()),
        topics: environment.topics,
    })
}

pub(super) struct Build<'a> {
    pub(super) reader: Reader,
    pub(super) around: Around<'a>,
    pub(super) environment: Environment,
    pub(super) layers: Layers,
    pub(super) warnings: Vec<Problem>,
    /// A secret stands in the file as plain text.
    pub(super) holds_secret: bool,
}

impl Build<'_> {
    fn site(&mut self) -> Site {
        let file = self.reader.read::<Name>("/site").map(|name| name.0);
        let client_id = self.environment.mqtt_client_id.clone();
        let name = self.pick("site", "/site", file, client_id);
        let name = name.unwrap_or_else(|| self.around.generated_name.to_owned());
        Site {
            brokers: self.brokers(&name),
            endpoints: self.endpoints(),
            http: self.http(),
            store: self.store(),
            log: self.log(),
            time: self.time(),
            reload: self.reload(),
            watch: self.watch(),
            modules: self.modules(),
            name,
        }
    }

    /// A value of file or environment; nothing pushed reaches it.
    pub(super) fn pick<T: PartialEq>(
        &mut self,
        path: &str,
        pointer: &str,
        file: Option<T>,
        environment: Option<environment::Given<T>>,
    ) -> Option<T> {
        let document = self.reader.document.clone();
        self.layers.pick(path, None, file, environment, || document.place(pointer))
    }

    /// The names under `[broker]` or `[endpoint]`, also of tables that are wrong.
    pub(super) fn names(&self, table: &str) -> Vec<String> {
        let table = self.reader.value.pointer(table).and_then(|table| table.as_object());
        table.into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    fn endpoints(&mut self) -> BTreeMap<String, Arc<Endpoint>> {
        let mut names = self.names("/endpoint");
        // Without any endpoint there is the one that S3's environment describes.
        if !names.iter().any(|name| name == "odoo")
            && (names.is_empty() || self.environment.odoo_url.is_some())
        {
            names.push("odoo".to_owned());
        }
        let mut endpoints = BTreeMap::new();
        for name in names {
            let endpoint = self.endpoint(&name);
            endpoints.insert(name, Arc::new(endpoint));
        }
        endpoints
    }

    fn endpoint(&mut self, name: &str) -> Endpoint {
        let at = format!("/endpoint/{name}");
        let path = |field: &str| format!("endpoint.{name}.{field}");
        let file: EndpointFile = self.reader.read(&at).unwrap_or_default();
        let environment = match name {
            "odoo" => self.environment.clone(),
            _ => Environment::default(),
        };
        let url = file.url.and_then(|url| check_http_url(&url).ok());
        let key = self.secret(&format!("{at}/key"), file.key);
        if file.config.is_some() {
            let what = "fetching the configuration is not in this version";
            let remedy = "push it with POST /config; the key may stay";
            let place = self.reader.document.key_place(&format!("{at}/config"));
            self.warnings.push(Problem::at(place, what, remedy));
        }
        let seconds = |secs| (Duration::from_millis(100), Duration::from_secs(secs));
        let (least, most) = seconds(300);
        let connect = format!("{at}/connect_timeout");
        let connect = self.reader.duration(&connect, file.connect_timeout, least, most);
        let (least, most) = seconds(3600);
        let timeout = format!("{at}/timeout");
        let timeout = self.reader.duration(&timeout, file.timeout, least, most);
        Endpoint {
            url: self.pick(&path("url"), &format!("{at}/url"), url, environment.odoo_url),
            database: self.pick(
                &path("database"),
                &format!("{at}/database"),
                file.database,
                environment.odoo_database,
            ),
            login: self.pick(
                &path("login"),
                &format!("{at}/login"),
                file.login,
                environment.odoo_login,
            ),
            key: self.pick(&path("key"), &format!("{at}/key"), key, environment.odoo_key),
            headers: self.headers(&at, file.headers),
            ca: file.ca.map(|ca| self.path(&ca)),
            connect_timeout: connect.unwrap_or(Duration::from_secs(5)),
            timeout: timeout.unwrap_or(Duration::from_secs(130)),
            in_order: file.in_order.unwrap_or(false),
            key_in_body: file.key_in_body.unwrap_or(false),
            name: name.to_owned(),
        }
    }

    fn http(&mut self) -> Http {
        let file: HttpFile = self.reader.read("/http").unwrap_or_default();
        let listen = file.listen.and_then(|text| {
            let address = text.replace("localhost", "127.0.0.1").parse::<SocketAddr>();
            if address.is_err() {
                let what = format!("`{}` is not an address with a port", environment::short(&text));
                let remedy = "write \"0.0.0.0:8080\" for all networks or \"127.0.0.1:8080\"";
                self.reader.problem("/http/listen", what, remedy);
            }
            address.ok()
        });
        let address = self.environment.http_address.clone();
        let port = self.environment.http_port.clone();
        let (ip, number) = (listen.map(|l| l.ip()), listen.map(|l| l.port()));
        let ip = self.pick("http.address", "/http/listen", ip, address);
        let number = self.pick("http.port", "/http/listen", number, port);
        let token = self.secret("/http/token", file.token);
        let given = self.environment.http_token.clone();
        Http {
            listen: SocketAddr::new(ip.unwrap_or([0, 0, 0, 0].into()), number.unwrap_or(8080)),
            tls: file.tls.map(|tls| (self.path(&tls.cert), self.path(&tls.key))),
            token: self.pick("http.token", "/http/token", token, given),
            anonymous_from: self.networks(file.anonymous_from),
            tokens: self.tokens(file.tokens),
            rate_limit: file.rate_limit.unwrap_or(RATE),
        }
    }

    fn tokens(&mut self, files: BTreeMap<String, AccessTokenFile>) -> Vec<AccessToken> {
        let mut tokens = Vec::new();
        for (name, file) in files {
            let at = format!("/http/tokens/{name}");
            let Some(sha256) = sha256(file.sha256.trim()) else {
                let what = format!("`{}` is no SHA-256 in hex", environment::short(&file.sha256));
                let remedy = "write the 64 digits that `tapline token` printed";
                self.reader.problem(&format!("{at}/sha256"), what, remedy);
                continue;
            };
            if file.roles.is_empty() {
                let remedy = "give it some of \"read\", \"config\", \"operate\"";
                self.reader.problem(&format!("{at}/roles"), "a token without roles", remedy);
            }
            let expires = self.expiry(&at, file.expires.as_deref(), "token");
            tokens.push(AccessToken { name: name.into(), sha256, roles: file.roles, expires });
        }
        tokens
    }

    fn networks(&mut self, texts: Vec<String>) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (i, text) in texts.into_iter().enumerate() {
            // An address alone is a network of one.
            match text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let what = format!("`{}` is not a network", environment::short(&text));
                    let remedy = "write an address and the bits that count: \"10.0.0.0/8\"";
                    self.reader.problem(&format!("/http/anonymous_from/{i}"), what, remedy);
                }
            }
        }
        networks
    }

    fn store(&mut self) -> Store {
        let file: StoreFile = self.reader.read("/store").unwrap_or_default();
        let history = file.history.map(|history| {
            let most = 3660 * DAY;
            let keep = self.reader.duration("/store/history/keep", Some(history.keep), HOUR, most);
            History {
                keep: keep.unwrap_or(DAY),
                max_size: self.size("/store/history/max_size", history.max_size).unwrap_or(GIB),
            }
        });
        Store {
            max_size: self.size("/store/max_size", file.max_size),
            min_free: self.size("/store/min_free", file.min_free),
            history,
        }
    }

    fn size(&mut self, at: &str, text: Option<SizeText>) -> Option<u64> {
        self.reader.size(at, text, MIB, u64::MAX)
    }

    fn log(&mut self) -> Log {
        let file: LogFile = self.reader.read("/log").unwrap_or_default();
        let level = file.level.and_then(|level| check_log_level(&level).ok());
        let format = file.format.map(|format| match format {
            LogFormatText::Text => LogFormat::Text,
            LogFormatText::Json => LogFormat::Json,
        });
        let given = self.environment.clone();
        let file = self.pick("log.file", "/log/file", file.file, given.log_file);
        Log {
            level: self
                .pick("log.level", "/log/level", level, given.log_level)
                .unwrap_or_else(|| "info".to_owned()),
            format: self
                .pick("log.format", "/log/format", format, given.log_format)
                .unwrap_or(LogFormat::Text),
            file: file.map(|file| self.path(&file)),
        }
    }

    fn time(&mut self) -> TimeWindow {
        let file: TimeFile = self.reader.read("/time").unwrap_or_default();
        let mut window = |at: &str, text: Option<DurationText>, otherwise: Duration| {
            self.reader.duration(at, text, Duration::ZERO, 3660 * DAY).unwrap_or(otherwise)
        };
        TimeWindow {
            past: window("/time/past", file.past, 7 * DAY),
            future: window("/time/future", file.future, Duration::from_secs(60)),
        }
    }

    fn reload(&mut self) -> Reload {
        let file: ReloadFile = self.reader.read("/reload").unwrap_or_default();
        match file.mode {
            Some(ReloadText::Auto) | None => Reload::Auto,
            Some(ReloadText::Confirm) => Reload::Confirm,
        }
    }

    fn watch(&mut self) -> Watch {
        let file: ReloadFile = self.reader.read("/reload").unwrap_or_default();
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(3600));
        let rescan = self.reader.duration("/reload/rescan", file.rescan, least, most);
        let otherwise = Watch::default();
        Watch {
            events: file.events.unwrap_or(otherwise.events),
            rescan: rescan.unwrap_or(otherwise.rescan),
        }
    }

    fn modules(&mut self) -> Modules {
        let file: ModulesFile = self.reader.read("/modules").unwrap_or_default();
        let otherwise = Modules::default();
        Modules { samples: file.samples.unwrap_or(otherwise.samples) }
    }

    /// A path relative to the site directory.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        match self.around.dir {
            Some(dir) => dir.join(text),
            None => text.into(),
        }
    }

    /// A topic to publish to.
    pub(super) fn topic(&mut self, at: &str, text: String) -> Option<String> {
        match Pattern::parse(&text) {
            Ok(pattern) if pattern.is_literal() && !text.starts_with('$') => Some(text),
            Ok(_) => {
                let what = format!("`{}` is not a topic to publish to", environment::short(&text));
                self.reader.problem(at, what, "write one topic, without wildcards and captures");
                None
            }
            Err(error) => {
                self.reader.problem(at, error.to_string(), error.remedy());
                None
            }
        }
    }
}

/// 64 hexadecimal digits.
fn sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |digit: char| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = text.chars().map(digit).collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}
