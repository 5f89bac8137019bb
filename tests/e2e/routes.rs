//! Every route of the API with every role, without a token and with a wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use reqwest::{Client, Method, StatusCode};
use tapline_tests::{Setup, project};

const TOKEN: &str = "t0ken-with-all-rights";

/// Method, path as the router names it, and the one role that it needs; `None`: nobody is asked.
const ROUTES: [(&str, &str, Option<&str>); 29] = [
    ("GET", "/health", None),
    ("GET", "/metrics", Some("read")),
    ("GET", "/config", Some("read")),
    ("POST", "/config", Some("config")),
    ("GET", "/api/v1/config", Some("read")),
    ("GET", "/api/v1/config/revisions", Some("read")),
    ("GET", "/api/v1/config/revisions/{revision}", Some("read")),
    ("GET", "/api/v1/config/diff", Some("read")),
    ("POST", "/api/v1/config/rollback", Some("config")),
    ("GET", "/api/v1/reload", Some("read")),
    ("POST", "/api/v1/reload", Some("config")),
    ("GET", "/api/v1/status", Some("read")),
    ("GET", "/api/v1/history", Some("operate")),
    ("GET", "/api/v1/logs", Some("operate")),
    ("GET", "/api/v1/audit", Some("read")),
    ("GET", "/api/v1/devices", Some("read")),
    ("GET", "/api/v1/devices/unknown", Some("read")),
    ("GET", "/api/v1/devices/{id}", Some("read")),
    ("GET", "/api/v1/sessions", Some("read")),
    ("POST", "/api/v1/explain", Some("read")),
    ("GET", "/api/v1/dead-letters", Some("operate")),
    ("GET", "/api/v1/dead-letters/{id}", Some("operate")),
    ("POST", "/api/v1/dead-letters/replay", Some("operate")),
    ("POST", "/api/v1/dead-letters/discard", Some("operate")),
    ("GET", "/api/v1/pipelines/{name}/tap", Some("operate")),
    ("GET", "/api/v1/pipelines/{name}/record", Some("operate")),
    ("GET", "/api/v1/shadow", Some("read")),
    ("POST", "/api/v1/shadow/{pipeline}/{stage}/drop", Some("operate")),
    ("POST", "/api/v1/sinks/{pipeline}/{sink}/resume", Some("operate")),
];
/// Longer than a line of the table above likes.
const LONG: [(&str, &str, Option<&str>); 2] = [
    ("POST", "/api/v1/pipelines/{pipeline}/resume", Some("operate")),
    ("POST", "/api/v1/shadow/{pipeline}/{stage}/promote", Some("operate")),
];

const ROLES: [&str; 3] = ["read", "config", "operate"];

/// A client of an address of its own: whoever guesses tokens has to wait, by address.
fn client(from: u8) -> Client {
    let builder =
        Client::builder().no_proxy().local_address(Some(Ipv4Addr::new(127, 0, 1, from).into()));
    builder.build().expect("a client")
}

/// The path with something in its places that is nowhere.
fn filled(path: &str) -> String {
    let segments =
        path.split('/').map(|segment| if segment.starts_with('{') { "7" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_lets_through_its_role_and_nobody_else() {
    let maker = Setup::new().prepare();
    let mut tokens = BTreeMap::new();
    let mut site = "format = 1\n".to_owned();
    for role in ROLES {
        let output = maker.output(&["token", role, "--roles", role]).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (token, lines) = (text(output.stdout).trim().to_owned(), text(output.stderr));
        site.push_str(&lines[lines.find("[http.tokens").expect("lines for the site file")..]);
        tokens.insert(role, token);
    }
    let setup = Setup::new().env("BRIDGE_API_TOKEN", TOKEN).site("tapline.toml", &site);
    let tapline = setup.start().await;
    for (number, (method, path, role)) in ROUTES.into_iter().chain(LONG).enumerate() {
        let client = client(u8::try_from(number + 1).expect("few routes"));
        let ask = async |method: &str, token: Option<&str>| {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let url = format!("{}{}", tapline.url(), filled(path));
            let mut request = client.request(method.clone(), url);
            if method == Method::POST {
                request = request.header("content-type", "application/json").body("{}");
            }
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            request.send().await.expect("an answer").status()
        };
        let Some(role) = role else {
            assert_eq!(ask(method, None).await, StatusCode::OK, "{method} {path} for all");
            assert_eq!(ask(method, Some("guess")).await, StatusCode::OK, "{method} {path} for all");
            continue;
        };
        for wrong in ["guess", ""] {
            let status = ask(method, Some(wrong)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} with `{wrong}`");
        }
        // A method that the route does not have is no way in either.
        for method in [method, "DELETE", "PUT", "HEAD", "OPTIONS"] {
            let status = ask(method, None).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} without a token");
        }
        for name in ROLES {
            let status = ask(method, Some(&tokens[name])).await;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path} as {name}");
            let let_through = status != StatusCode::FORBIDDEN;
            assert_eq!(let_through, name == role, "{method} {path} as {name}: {status}");
        }
        let status = ask(method, Some(TOKEN)).await;
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        assert!(!refused.contains(&status), "{method} {path} with all rights: {status}");
        let status = ask("DELETE", Some(TOKEN)).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "DELETE {path}");
    }
    assert_eq!(tapline.health().await["last_config_update"], serde_json::Value::Null);
    assert!(!tapline.log().contains(TOKEN));
    assert!(tokens.values().all(|token| !tapline.log().contains(token)));
}

#[test]
fn the_table_of_routes_names_every_route_there_is() {
    let mut there = BTreeSet::new();
    routes_below(&project().join("host/src/api"), &mut there);
    let table = ROUTES.into_iter().chain(LONG);
    let named: BTreeSet<_> =
        table.map(|(method, path, _)| (method.to_owned(), path.to_owned())).collect();
    let missing: Vec<_> = there.difference(&named).collect();
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not in the table: {missing:?}; gone: {gone:?}");
}

/// Reads `.route("…", get(…).post(…))` in every source below.
fn routes_below(folder: &Path, there: &mut BTreeSet<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("the sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            routes_below(&path, there);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            for route in text.split(".route(").skip(1) {
                let mut quoted = route.split('"');
                let named = quoted.nth(1).expect("a route has a path").to_owned();
                let rest = &route[route.find(',').expect("a route has a handler")..];
                let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
                let mut some = false;
                for method in ["get", "post", "put", "patch", "delete"] {
                    if rest.contains(&format!(" {method}("))
                        || rest.contains(&format!(".{method}("))
                    {
                        there.insert((method.to_uppercase(), named.clone()));
                        some = true;
                    }
                }
                assert!(some, "{}: what does `{named}` answer to?", path.display());
            }
        }
    }
}
