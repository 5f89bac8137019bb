//! Who may ask what: a bearer token, else loopback and the networks opened knowingly. Who can
//! open the socket in the data directory may do everything.
//!
//! A token has roles; a route needs one of them. Invariant: a wrong token changes nothing but
//! the log and the time that its sender has to wait.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::floods::Floods;
use super::routes::refusal;
use crate::config::site::{Http, Role, Secret};
use crate::message::Timestamp;
use crate::reload::Tapline;
use crate::telemetry::clock;

/// Who sent a request; as text, the author of what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Over the socket: the user of the operating system, where it says one.
    Socket {
        uid: Option<u32>,
    },
    Network(IpAddr),
    /// With a token that has a name.
    Token(Arc<str>, IpAddr),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { uid: Some(uid) } => write!(f, "socket (user {uid})"),
            Self::Socket { uid: None } => f.write_str("socket"),
            Self::Network(address) => write!(f, "{}", address.to_canonical()),
            Self::Token(name, address) => write!(f, "{name} ({})", address.to_canonical()),
        }
    }
}

/// Why a request is not let through.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// Nobody known.
    Unknown(&'static str),
    /// A token that was guessed, or mistyped.
    Guessed,
    /// Known, without the role.
    Forbidden(Arc<str>, Role),
    /// Known, and no longer good: the setting that says so, and since when.
    Expired(String, Timestamp),
}

/// Which role a request needs. What shows payloads is for operators, like what changes
/// deliveries.
fn needed(method: &Method, path: &str) -> Role {
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| !rest.contains(".."));
    let streams =
        below("/api/v1/pipelines/") && (path.ends_with("/tap") || path.ends_with("/record"));
    let payloads = below("/api/v1/dead-letters") || below("/api/v1/history");
    // Lines of the log quote what devices send.
    if streams || payloads || path == "/api/v1/logs" {
        return Role::Operate;
    }
    if method == Method::GET || method == Method::HEAD || path == "/api/v1/explain" {
        return Role::Read;
    }
    if path == "/config" || below("/api/v1/config/") || below("/api/v1/reload") {
        return Role::Config;
    }
    Role::Operate
}

fn admit(
    http: &Http,
    address: IpAddr,
    authorization: Option<&str>,
    needed: Role,
    now: Timestamp,
) -> Result<Caller, Refused> {
    let canonical = address.to_canonical();
    let caller = Caller::Network(address);
    if http.anonymous_from.iter().any(|network| network.contains(&canonical)) {
        return Ok(caller);
    }
    let given = authorization.and_then(|a| a.strip_prefix("Bearer ")).map(str::trim);
    if http.token.is_none() && http.tokens.is_empty() {
        return if canonical.is_loopback() {
            Ok(caller)
        } else {
            Err(Refused::Unknown(
                "no API token is set, so only this machine may ask: set BRIDGE_API_TOKEN (or \
                 http.token) and send it as `Authorization: Bearer …`, or open networks with \
                 http.anonymous_from",
            ))
        };
    }
    let Some(given) = given else {
        return Err(Refused::Unknown(
            "send the token of BRIDGE_API_TOKEN as `Authorization: Bearer …`",
        ));
    };
    // Digests are compared, so the time taken tells nothing of the token.
    let digest: [u8; 32] = Sha256::digest(given.as_bytes()).into();
    let all_rights = http.token.as_ref();
    if all_rights.is_some_and(|t| digest == <[u8; 32]>::from(Sha256::digest(t.reveal().as_bytes())))
    {
        let expires = all_rights.and_then(Secret::expires);
        return good(expires, now, || "http.token".to_owned()).map(|()| caller);
    }
    let Some(token) = http.tokens.iter().find(|token| token.sha256 == digest) else {
        return Err(Refused::Guessed);
    };
    good(token.expires, now, || format!("http.tokens.{}", token.name))?;
    if token.roles.contains(&needed) {
        Ok(Caller::Token(token.name.clone(), address))
    } else {
        Err(Refused::Forbidden(token.name.clone(), needed))
    }
}

fn good(
    expires: Option<Timestamp>,
    now: Timestamp,
    setting: impl FnOnce() -> String,
) -> Result<(), Refused> {
    match expires {
        Some(at) if at <= now => Err(Refused::Expired(setting(), at)),
        _ => Ok(()),
    }
}

/// What the rule needs: the tokens in force, and who has guessed before.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) tapline: Arc<Tapline>,
    pub(super) floods: Arc<Floods>,
}

/// Lets a request through, or answers with the remedy.
pub(super) async fn check(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let address = match request.extensions().get::<Caller>() {
        Some(Caller::Network(address)) => *address,
        Some(_) => return next.run(request).await,
        None => return refusal(StatusCode::UNAUTHORIZED, "who asks is not known").into_response(),
    };
    let config = gate.tapline.config();
    let http = &config.site.http;
    let now = Instant::now();
    if let Err(wait) = gate.floods.admit(address, http.rate_limit, now) {
        let why = format!(
            "too many requests from {}, or too many wrong tokens: ask again in {} s",
            address.to_canonical(),
            wait.as_secs().max(1)
        );
        let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, &why).into_response();
        answer.headers_mut().insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        return answer;
    }
    let authorization =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let needed = needed(request.method(), request.uri().path());
    let refused = match admit(http, address, authorization, needed, clock::now()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            return next.run(request).await;
        }
        Err(refused) => refused,
    };
    let (code, why) = match refused {
        Refused::Unknown(why) => (StatusCode::UNAUTHORIZED, why.to_owned()),
        Refused::Guessed => {
            gate.floods.guessed(address, now);
            let why = "the bearer token is neither the one in BRIDGE_API_TOKEN nor one of \
                       http.tokens";
            (StatusCode::UNAUTHORIZED, why.to_owned())
        }
        Refused::Expired(setting, at) => {
            let day = at.rfc3339();
            let day = day.get(..10).unwrap_or(&day);
            let why = format!(
                "this token expired on {day}: make a new one with `tapline token`, and put it in \
                 the place of {setting}"
            );
            (StatusCode::UNAUTHORIZED, why)
        }
        Refused::Forbidden(token, role) => (
            StatusCode::FORBIDDEN,
            format!("token `{token}` lacks the role `{role}`: add it to http.tokens.{token}.roles"),
        ),
    };
    tracing::warn!(
        event = "api_unauthorized",
        client = %address.to_canonical(),
        method = %request.method(),
        path = request.uri().path(),
        why,
        "request refused"
    );
    let mut answer = refusal(code, &why).into_response();
    if code == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;

    use super::*;
    use crate::config::site::AccessToken;

    fn http(token: Option<&str>, networks: &[&str]) -> Http {
        let named = |name: &str, roles: &[Role]| AccessToken {
            name: name.into(),
            sha256: Sha256::digest(format!("{name}-token")).into(),
            roles: roles.iter().copied().collect::<BTreeSet<_>>(),
            expires: Some(Timestamp(1_000)),
        };
        Http {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            token: token.map(Secret::new),
            anonymous_from: networks.iter().map(|n| n.parse().unwrap()).collect(),
            tokens: match token {
                Some(_) => vec![
                    named("grafana", &[Role::Read]),
                    named("odoo", &[Role::Read, Role::Config]),
                ],
                None => Vec::new(),
            },
            rate_limit: NonZeroU32::MAX,
        }
    }

    #[test]
    fn asks_for_the_token_or_for_loopback() {
        let cases = [
            (http(None, &[]), "127.0.0.1", None, true),
            (http(None, &[]), "::ffff:127.0.0.1", None, true),
            (http(None, &[]), "10.0.0.7", None, false),
            (http(None, &[]), "10.0.0.7", Some("Bearer guess"), false),
            (http(None, &["10.0.0.0/8"]), "10.0.0.7", None, true),
            (http(Some("secret"), &[]), "127.0.0.1", None, false),
            (http(Some("secret"), &[]), "10.0.0.7", Some("Bearer secret"), true),
            (http(Some("secret"), &[]), "10.0.0.7", Some("Bearer wrong"), false),
            (http(Some("secret"), &[]), "10.0.0.7", Some("secret"), false),
            (http(Some("secret"), &["10.0.0.0/8"]), "10.0.0.7", None, true),
        ];
        for (http, from, header, expected) in cases {
            let allowed = admit(&http, from.parse().unwrap(), header, Role::Operate, Timestamp(0));
            assert_eq!(allowed.is_ok(), expected, "{from} {header:?} {http:?}");
        }
    }

    #[test]
    fn a_token_does_what_its_roles_allow_and_signs_with_its_name() {
        let http = http(Some("secret"), &[]);
        let from: IpAddr = "10.0.0.7".parse().unwrap();
        let ask = |token: &str, role| {
            admit(&http, from, Some(&format!("Bearer {token}")), role, Timestamp(999))
        };
        for (token, role, expected) in [
            ("grafana-token", Role::Read, true),
            ("grafana-token", Role::Config, false),
            ("grafana-token", Role::Operate, false),
            ("odoo-token", Role::Read, true),
            ("odoo-token", Role::Config, true),
            ("odoo-token", Role::Operate, false),
            ("secret", Role::Operate, true),
        ] {
            assert_eq!(ask(token, role).is_ok(), expected, "{token} {role:?}");
        }
        let caller = ask("odoo-token", Role::Config).unwrap();
        assert_eq!(caller.to_string(), "odoo (10.0.0.7)");
        assert_eq!(ask("guess", Role::Read), Err(Refused::Guessed));
    }

    #[test]
    fn a_token_is_refused_from_its_day_on() {
        let mut http = http(Some("secret"), &[]);
        let from: IpAddr = "10.0.0.7".parse().unwrap();
        let day = Timestamp(1_000);
        let ask = |http: &Http, header, now| admit(http, from, Some(header), Role::Read, now);
        assert!(ask(&http, "Bearer odoo-token", Timestamp(999)).is_ok());
        let refused = ask(&http, "Bearer odoo-token", day);
        assert_eq!(refused, Err(Refused::Expired("http.tokens.odoo".into(), day)));
        assert!(ask(&http, "Bearer secret", day).is_ok(), "it has no date");
        http.token = Some(Secret::until("secret", Some(day)));
        let refused = ask(&http, "Bearer secret", day);
        assert_eq!(refused, Err(Refused::Expired("http.token".into(), day)));
    }

    #[test]
    fn each_route_needs_one_role() {
        use Role::{Config, Operate, Read};
        for (method, path, role) in [
            (Method::GET, "/config", Read),
            (Method::POST, "/config", Config),
            (Method::GET, "/metrics", Read),
            (Method::GET, "/api/v1/status", Read),
            (Method::GET, "/api/v1/devices/press", Read),
            (Method::POST, "/api/v1/explain", Read),
            (Method::GET, "/api/v1/config/revisions", Read),
            (Method::POST, "/api/v1/config/rollback", Config),
            (Method::GET, "/api/v1/reload", Read),
            (Method::POST, "/api/v1/reload", Config),
            (Method::GET, "/api/v1/pipelines/hall/tap", Operate),
            (Method::GET, "/api/v1/pipelines/hall/record", Operate),
            (Method::GET, "/api/v1/dead-letters", Operate),
            (Method::GET, "/api/v1/dead-letters/7", Operate),
            (Method::GET, "/api/v1/history", Operate),
            (Method::POST, "/api/v1/dead-letters/replay", Operate),
            (Method::POST, "/api/v1/sinks/hall/odoo/resume", Operate),
            (Method::DELETE, "/api/v1/anything", Operate),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }
}
