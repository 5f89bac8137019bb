//! Sends a module's request with the host's credentials, and nothing but that.
//!
//! Invariants: requests go below the endpoint's base URL only; no redirect is followed and
//! no proxy taken from the environment; what comes back has a bounded size and none of the
//! endpoint's secrets in it.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::site::{Endpoint, Secret};
use crate::message::Rejection;
use crate::module::sink::{Escaping, Part, Request, Response};

/// Bytes of an answer that are read at most.
const LONGEST_ANSWER: usize = 1 << 20;

/// Headers that belong to the host or to the connection.
const RESERVED: [&str; 10] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-odoo-database",
];

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What became of a request that got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SendError {
    /// Nothing was sent: refused, no route, no name, TLS.
    Unreachable(String),
    /// It may have taken effect: time-out, connection cut, an answer that is too long.
    Unknown(String),
    /// The module asks for what no request may do.
    Forbidden(Rejection),
}

/// Sends requests; in tests without a network.
pub(super) trait Transport: Send + Sync {
    fn send(&self, request: Request) -> Sending<'_>;
}

pub(super) type Sending<'a> =
    Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send + 'a>>;

/// An endpoint and a client for it.
pub(super) struct Http {
    client: reqwest::Client,
    endpoint: Arc<Endpoint>,
    base: String,
}

/// A client that follows no redirect and takes no proxy from the environment. With `ca` it
/// trusts only the authorities in that file, else those of the system.
///
/// # Errors
/// In words for a person: an authority that cannot be read.
pub fn client(
    ca: Option<&Path>,
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<reqwest::Client, String> {
    let mut builder = builder(timeout).connect_timeout(connect_timeout);
    if let Some(ca) = ca {
        let pem = std::fs::read(ca)
            .map_err(|error| format!("`{}` cannot be read: {error}", ca.display()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| format!("`{}` holds no certificate: {error}", ca.display()))?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|error| format!("no HTTP client: {}", chain(&error)))
}

/// A client that speaks over a socket of this machine, whatever the address.
///
/// # Errors
/// In words for a person.
pub fn socket_client(socket: &Path, timeout: Duration) -> Result<reqwest::Client, String> {
    let builder = builder(timeout).unix_socket(socket);
    builder.build().map_err(|error| format!("no HTTP client: {}", chain(&error)))
}

fn builder(timeout: Duration) -> reqwest::ClientBuilder {
    // Only the first call in a process does something.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("tapline/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .pool_idle_timeout(Duration::from_secs(30))
}

impl Http {
    /// Prepares to send to `endpoint`.
    ///
    /// # Errors
    /// In words for a person: no URL, an authority that cannot be read.
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Result<Self, String> {
        let Some(base) = endpoint.url.clone() else { return Err("no endpoint".into()) };
        let client = client(endpoint.ca.as_deref(), endpoint.connect_timeout, endpoint.timeout)?;
        Ok(Self { client, endpoint, base: base.trim_end_matches('/').to_owned() })
    }

    fn build(&self, request: Request) -> Result<reqwest::RequestBuilder, Rejection> {
        if !METHODS.contains(&&*request.method) {
            return Err(forbidden(format!("method `{}` is not allowed", request.method)));
        }
        if !is_below(&request.path) {
            return Err(forbidden(format!(
                "path `{}` does not stay below the endpoint's URL",
                excerpt(request.path.as_bytes())
            )));
        }
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|_| forbidden("the method is none".into()))?;
        let mut headers = headers_of(&request.headers)?;
        self.add_credentials(&mut headers)?;
        let body = self.fill(request.body)?;
        let url = format!("{}{}", self.base, request.path);
        Ok(self.client.request(method, url).headers(headers).body(body))
    }

    fn add_credentials(&self, headers: &mut HeaderMap) -> Result<(), Rejection> {
        let mut add = |name: &str, value: &str| {
            let wrong =
                || forbidden(format!("the endpoint's `{name}` cannot be written into a header"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(())
        };
        if let Some(key) = &self.endpoint.key {
            add("authorization", &format!("Bearer {}", key.reveal()))?;
        }
        if let Some(database) = &self.endpoint.database {
            add("x-odoo-database", database)?;
        }
        self.endpoint.headers.iter().try_for_each(|(name, value)| add(name, value.reveal()))
    }

    fn fill(&self, parts: Vec<Part>) -> Result<Vec<u8>, Rejection> {
        let mut body = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => body.extend_from_slice(&bytes),
                Part::Secret { name, escaping } => {
                    let value = self.value(&name)?;
                    body.extend_from_slice(escape(value, escaping).as_bytes());
                }
            }
        }
        Ok(body)
    }

    /// What the endpoint gives for bodies under this name.
    fn value(&self, name: &str) -> Result<&str, Rejection> {
        let endpoint = &self.endpoint;
        let unknown = |remedy: &str| {
            forbidden(format!("endpoint `{}` has no `{name}` for bodies: {remedy}", endpoint.name))
        };
        let value = match name {
            "database" => endpoint.database.as_deref(),
            "login" => endpoint.login.as_deref(),
            "key" if !endpoint.key_in_body => {
                return Err(unknown("set `key_in_body = true` if its protocol needs that"));
            }
            "key" => endpoint.key.as_ref().map(Secret::reveal),
            _ => return Err(unknown("there are `database`, `login` and `key`")),
        };
        value.ok_or_else(|| unknown("set it in the endpoint"))
    }

    async fn exchange(&self, request: Request) -> Result<Response, SendError> {
        let request = self.build(request).map_err(SendError::Forbidden)?;
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                let text = format!("status {status} with an answer longer than 1 MiB");
                return Err(SendError::Unknown(text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(self.censor(Response { status, headers, body }))
    }

    /// An endpoint that echoes a secret must not hand it to a module, a log or a dead letter.
    fn censor(&self, mut response: Response) -> Response {
        let secrets =
            self.endpoint.key.iter().chain(self.endpoint.headers.iter().map(|(_, value)| value));
        for secret in secrets.map(Secret::reveal).filter(|secret| secret.len() >= 4) {
            if contains(&response.body, secret.as_bytes()) {
                // Only text echoes a secret; other bodies stay as they are.
                let text = String::from_utf8_lossy(&response.body).replace(secret, "***");
                response.body = text.into_bytes();
            }
            for (_, value) in &mut response.headers {
                if value.contains(secret) {
                    *value = value.replace(secret, "***");
                }
            }
        }
        response
    }
}

impl Transport for Http {
    fn send(&self, request: Request) -> Sending<'_> {
        Box::pin(self.exchange(request))
    }
}

/// The beginning of an answer or a text, on one line, for a person.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 400;
    let cut = &bytes[..bytes.len().min(LONGEST)];
    let text = String::from_utf8_lossy(cut);
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if bytes.len() > LONGEST {
        words.push('…');
    }
    words
}

fn failed(error: reqwest::Error) -> SendError {
    // The URL is in the configuration and may carry credentials.
    let error = error.without_url();
    let text = chain(&error);
    if error.is_connect() || error.is_builder() {
        SendError::Unreachable(text)
    } else if error.is_timeout() {
        SendError::Unknown(format!("no complete answer in time: {text}"))
    } else {
        SendError::Unknown(text)
    }
}

/// The error with its causes; reqwest's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn forbidden(what: String) -> Rejection {
    Rejection::new("forbidden-request", what)
}

/// The headers that a module asks for: none that the host sets, and none that is no header.
fn headers_of(asked: &[(String, String)]) -> Result<HeaderMap, Rejection> {
    let mut headers = HeaderMap::new();
    for (name, value) in asked {
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(forbidden(format!("header `{name}` belongs to the host")));
        }
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        else {
            return Err(forbidden(format!("header `{}` is none", excerpt(name.as_bytes()))));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// Path and query below a base: no host, no way up, nothing that a client would rewrite.
fn is_below(path: &str) -> bool {
    let route = path.split(['?', '#']).next().unwrap_or_default();
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(['#', '\\'])
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && route.split('/').all(|segment| {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            plain != "." && plain != ".."
        })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn escape(secret: &str, escaping: Escaping) -> String {
    match escaping {
        Escaping::Raw => secret.to_owned(),
        Escaping::JsonString => {
            let quoted = serde_json::Value::from(secret).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }
        Escaping::UrlComponent => secret
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_the_base() {
        for path in ["/", "/ows/iot/event", "/a?b=../c", "/a..b/.c"] {
            assert!(is_below(path), "{path}");
        }
        for path in
            ["", "a", "//evil", "/a/../b", "/..", "/a/%2e%2E/b", "/a b", "/a#b", "/a\\b", "/\r\n"]
        {
            assert!(!is_below(path), "{path}");
        }
    }

    #[test]
    fn a_module_sets_no_header_that_is_the_hosts_or_none_at_all() {
        let asked = |name: &str, value: &str| headers_of(&[(name.to_owned(), value.to_owned())]);
        assert!(asked("content-type", "application/json").is_ok());
        for reserved in RESERVED.into_iter().chain(["Authorization", "HOST"]) {
            let why = asked(reserved, "x").unwrap_err();
            assert!(why.detail.contains("belongs to the host"), "{why:?}");
        }
        let wrong =
            [("", "x"), ("a b", "x"), ("a:b", "x"), ("a\r\nb", "x"), ("a", "x\r\nhost: evil")];
        for (name, value) in wrong {
            assert_eq!(asked(name, value).unwrap_err().code, "forbidden-request", "{name:?}");
        }
    }

    #[test]
    fn a_secret_is_escaped_for_where_it_stands() {
        let secret = "a\"b&ü";
        assert_eq!(escape(secret, Escaping::Raw), secret);
        assert_eq!(escape(secret, Escaping::JsonString), "a\\\"b&ü");
        assert_eq!(escape(secret, Escaping::UrlComponent), "a%22b%26%C3%BC");
    }
}
