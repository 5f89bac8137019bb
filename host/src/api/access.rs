//! Who may ask what: a bearer token, else loopback and the networks opened knowingly. Who can
//! open the socket in the data directory may do everything.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::routes::refusal;
use crate::config::site::{Http, Secret};

/// Who sent a request; as text, the author of what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Over the socket: the user of the operating system, where it says one.
    Socket {
        uid: Option<u32>,
    },
    Network(IpAddr),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { uid: Some(uid) } => write!(f, "socket (user {uid})"),
            Self::Socket { uid: None } => f.write_str("socket"),
            Self::Network(address) => write!(f, "{}", address.to_canonical()),
        }
    }
}

/// The rule, from the site file and the environment.
#[derive(Clone, Debug)]
pub(super) struct Access {
    token: Option<Secret>,
    networks: Arc<[IpNet]>,
}

impl Access {
    pub(super) fn new(http: &Http) -> Self {
        // The texts were checked with the site file; one that is none opens nothing.
        let networks = http.anonymous_from.iter().filter_map(|n| n.parse().ok()).collect();
        Self { token: http.token.clone(), networks }
    }

    fn allows(&self, from: Caller, authorization: Option<&str>) -> Result<(), &'static str> {
        let Caller::Network(from) = from else { return Ok(()) };
        let from = from.to_canonical();
        if self.networks.iter().any(|network| network.contains(&from)) {
            return Ok(());
        }
        match &self.token {
            None if from.is_loopback() => Ok(()),
            None => {
                Err("no API token is set, so only this machine may ask: set BRIDGE_API_TOKEN (or \
                 http.token) and send it as `Authorization: Bearer …`, or open networks \
                 with http.anonymous_from")
            }
            Some(token) => {
                let given = authorization.and_then(|a| a.strip_prefix("Bearer "));
                match given {
                    Some(given) if equal(given.trim(), token.reveal()) => Ok(()),
                    Some(_) => Err("the bearer token is not the one in BRIDGE_API_TOKEN"),
                    None => Err("send the token of BRIDGE_API_TOKEN as `Authorization: Bearer …`"),
                }
            }
        }
    }
}

/// Compares digests, so that the time taken tells nothing of the token.
fn equal(one: &str, other: &str) -> bool {
    Sha256::digest(one.as_bytes()) == Sha256::digest(other.as_bytes())
}

/// Lets a request through, or answers 401 with the remedy.
pub(super) async fn check(
    State(access): State<Access>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let authorization =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match access.allows(caller, authorization) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            tracing::warn!(
                event = "api_unauthorized",
                client = %caller,
                path = request.uri().path(),
                why,
                "request refused"
            );
            let mut answer = refusal(StatusCode::UNAUTHORIZED, why).into_response();
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_the_token_or_for_loopback() {
        let access = |token: Option<&str>, networks: &[&str]| Access {
            token: token.map(Secret::new),
            networks: networks.iter().map(|n| n.parse().unwrap()).collect(),
        };
        let cases = [
            (access(None, &[]), "127.0.0.1", None, true),
            (access(None, &[]), "::ffff:127.0.0.1", None, true),
            (access(None, &[]), "10.0.0.7", None, false),
            (access(None, &[]), "10.0.0.7", Some("Bearer guess"), false),
            (access(None, &["10.0.0.0/8"]), "10.0.0.7", None, true),
            (access(Some("secret"), &[]), "127.0.0.1", None, false),
            (access(Some("secret"), &[]), "10.0.0.7", Some("Bearer secret"), true),
            (access(Some("secret"), &[]), "10.0.0.7", Some("Bearer wrong"), false),
            (access(Some("secret"), &[]), "10.0.0.7", Some("secret"), false),
            (access(Some("secret"), &["10.0.0.0/8"]), "10.0.0.7", None, true),
        ];
        for (access, from, header, expected) in cases {
            let allowed = access.allows(Caller::Network(from.parse().unwrap()), header);
            assert_eq!(allowed.is_ok(), expected, "{from} {header:?} {access:?}");
            assert!(access.allows(Caller::Socket { uid: None }, None).is_ok());
        }
    }
}
