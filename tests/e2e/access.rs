//! Who may ask what, and what never leaves: tokens, secrets, HTTPS.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};

use serde_json::{Value, json};
use tapline_tests::{
    Authority, Bench, COURSE, Machine, Mosquitto, Odoo, PATIENCE, Publisher, Setup, document,
    eventually,
};

const TOKEN: &str = "t0ken-0f-the-0doo";
/// Of the user `bridge` in [`PASSWORDS`].
const PASSWORD: &str = "s3cr3t-Pa55";
const PASSWORDS: &str = "bridge:$7$101$6gDE2VGMwhXUbjyq$epDEBe+q7V6cVVstShwcks4ePC4paM+vfR8AhbLPiR6U\
                         SXnzG4a2O9WS80Y5EbAymtP4S2/0tI42gBe6apszzw==\n";

#[tokio::test]
async fn a_token_is_asked_for_everything_but_health() {
    let bench = Bench::with(|setup| setup.env("BRIDGE_API_TOKEN", TOKEN)).await;
    let good = document(&[&Machine::new("press")]);
    let bearer = |token: &str| format!("Bearer {token}");
    for (method, body) in [("GET", None), ("POST", Some(&good))] {
        for header in [None, Some(bearer("guess")), Some(TOKEN.to_owned()), Some("Bearer".into())] {
            let mut call = bench.tapline.call(method, "/config", body);
            if let Some(header) = &header {
                call = call.header("authorization", header);
            }
            let answer = call.send().await.expect("an answer");
            assert_eq!(answer.status, 401, "{method} with {header:?}: {}", answer.body);
            assert_eq!(answer.body["status"], "error");
            assert!(answer.body["message"].to_string().contains("BRIDGE_API_TOKEN"));
        }
    }
    let unknown = bench.tapline.get("/nothing").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(bench.tapline.health().await["devices"], 0);
    for (method, body) in [("POST", Some(&good)), ("GET", None)] {
        let call = bench.tapline.call(method, "/config", body);
        let answer = call.header("authorization", &bearer(TOKEN)).send().await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    let refused = bench.tapline.logged("api_unauthorized");
    assert_eq!(refused.len(), 8, "{refused:#?}");
    assert!(refused.iter().all(|line| line["why"].to_string().contains("BRIDGE_API_TOKEN")));
    assert!(!bench.tapline.log().contains(TOKEN));
}

#[tokio::test]
async fn every_route_asks_for_its_role() {
    let bench = Bench::with(|setup| setup.env("BRIDGE_API_TOKEN", TOKEN)).await;
    let made = |name: &'static str| {
        let tapline = &bench.tapline;
        async move {
            let output = tapline.output(&["token", name, "--roles", name]).await;
            let token = String::from_utf8(output.stdout).expect("text").trim().to_owned();
            (token, String::from_utf8(output.stderr).expect("text"))
        }
    };
    let mut tokens = BTreeMap::from([("all", TOKEN.to_owned())]);
    let mut site = "format = 1\n".to_owned();
    for name in ["read", "config", "operate"] {
        let (token, lines) = made(name).await;
        let at = lines.find("[http.tokens").expect("lines for the site file");
        site.push_str(&lines[at..]);
        assert!(!lines.contains(&token), "only the hash goes into the file");
        tokens.insert(name, token);
    }
    let tapline = Setup::new()
        .port(bench.broker.port())
        .env("BRIDGE_API_TOKEN", TOKEN)
        .site("tapline.toml", &site)
        .start()
        .await;
    let empty = json!({});
    for (method, path, role) in [
        ("GET", "/config", "read"),
        ("GET", "/metrics", "read"),
        ("POST", "/config", "config"),
        ("POST", "/api/v1/sinks/a/b/resume", "operate"),
    ] {
        for (name, token) in &tokens {
            let body = (method == "POST").then_some(&empty);
            let call = tapline.call(method, path, body);
            let call = call.header("authorization", &format!("Bearer {token}"));
            let answer = call.send().await.expect("an answer");
            let allowed = *name == "all" || *name == role;
            assert_eq!(answer.status != 403, allowed, "{method} {path} as {name}: {}", answer.body);
            assert_ne!(answer.status, 401, "{method} {path} as {name}: {}", answer.body);
        }
    }
    assert!(tokens.values().all(|token| !tapline.log().contains(token)));
}

#[tokio::test]
async fn whoever_guesses_tokens_has_to_wait() {
    let bench = Bench::with(|setup| setup.env("BRIDGE_API_TOKEN", TOKEN)).await;
    let mut answers = Vec::new();
    for _ in 0..8 {
        let call = bench.tapline.call("GET", "/config", None);
        let answer = call.header("authorization", "Bearer guess").send().await.expect("an answer");
        answers.push(answer.status);
    }
    assert_eq!(answers, [401, 401, 401, 401, 401, 429, 429, 429]);
    // The right one has to wait too: who guesses must not learn that it was right.
    let call = bench.tapline.call("GET", "/config", None);
    let right = call.header("authorization", &format!("Bearer {TOKEN}")).send().await;
    assert_eq!(right.expect("an answer").status, 429);
    assert_eq!(bench.tapline.get("/health").await.status, 200);
    // The operator on the machine is not kept out.
    let output = bench.tapline.output(&["sinks"]).await;
    assert!(output.status.success(), "{output:?}");
}

/// An address of this machine that is not loopback; nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn without_a_token_only_this_machine_may_ask_and_networks_are_opened_knowingly() {
    // A machine without any network has only loopback to ask from.
    let own = own_address();
    let limit = PATIENCE;
    let http = tapline::delivery::http_client(None, limit, limit).expect("a client");
    let closed = Setup::new().env("HOST", "0.0.0.0").start().await;
    let opened = own.map(|own| format!("format = 1\n[http]\nanonymous_from = [\"{own}/32\"]\n"));
    let opened = opened.unwrap_or_else(|| "format = 1\n".into());
    let opened = Setup::new().env("HOST", "0.0.0.0").site("tapline.toml", &opened).start().await;
    for (tapline, expected) in [(&closed, 401), (&opened, 200)] {
        assert_eq!(tapline.get("/config").await.status, 200);
        let Some(own) = own else { continue };
        let url = |path: &str| format!("http://{own}:{}{path}", tapline.port());
        let answer = http.get(url("/config")).send().await.expect("an answer");
        assert_eq!(answer.status(), expected);
        if expected == 401 {
            let body: Value = answer.json().await.expect("JSON");
            let said = body["message"].to_string();
            assert!(said.contains("BRIDGE_API_TOKEN") && said.contains("anonymous_from"), "{said}");
        }
        assert_eq!(http.get(url("/health")).send().await.expect("an answer").status(), 200);
    }
}

#[tokio::test]
async fn the_api_speaks_https_where_the_site_says_so() {
    let authority = Authority::new("hall 2");
    let (certificate, key) = authority.server();
    let site = "format = 1\n[http.tls]\ncert = \"certs/api.pem\"\nkey = \"certs/api.key\"\n";
    let mut tapline = Setup::new()
        .site("tapline.toml", site)
        .site("certs/api.pem", &certificate)
        .site("certs/api.key", &key)
        .site("certs/ca.pem", authority.pem())
        .prepare();
    tapline.spawn();
    let url = format!("https://localhost:{}", tapline.port());
    let asked = ["health", "--url", &url, "--ca", "site/certs/ca.pem"];
    eventually("the API answers over TLS", || async {
        let output = tapline.output(&asked).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && said.contains("last_config_update") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    // Nobody who does not know the authority is spoken to.
    let output = tapline.output(&["health", "--url", &url]).await;
    assert_eq!(output.status.code(), Some(3));
    assert!(tapline.terminate().await.success());
}

#[tokio::test]
async fn a_renewed_certificate_of_the_api_is_shown_without_a_restart() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let (certificate, key) = before.server();
    let site = "format = 1\n[http.tls]\ncert = \"certs/api.pem\"\nkey = \"certs/api.key\"\n";
    let mut tapline = Setup::new()
        .site("tapline.toml", site)
        .site("certs/api.pem", &certificate)
        .site("certs/api.key", &key)
        .site("certs/before.pem", before.pem())
        .site("certs/after.pem", after.pem())
        .prepare();
    tapline.spawn();
    let url = format!("https://localhost:{}", tapline.port());
    let shows = |authority: &'static str, said: &'static str| {
        let (tapline, url) = (&tapline, &url);
        eventually("the API shows the certificate", move || async move {
            let output = tapline.output(&["health", "--url", url, "--ca", authority]).await;
            let health = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && health.contains(said) { Ok(()) } else { Err(health) }
        })
    };
    let write = |name: &str, text: &str| {
        std::fs::write(tapline.dir().join("site").join(name), text).expect("a file");
    };
    shows("site/certs/before.pem", "last_config_update").await;

    // Only half of it is there: the one before stays.
    let (certificate, key) = after.server();
    write("certs/api.pem", &certificate);
    shows("site/certs/before.pem", "http.tls do not fit together").await;
    write("certs/api.key", &key);
    shows("site/certs/after.pem", "last_config_update").await;
    let output = tapline.output(&["health", "--url", &url, "--ca", "site/certs/before.pem"]).await;
    assert_eq!(output.status.code(), Some(3));
    let output = tapline.output(&["health", "--url", &url, "--ca", "site/certs/after.pem"]).await;
    assert!(!String::from_utf8_lossy(&output.stdout).contains("http.tls"), "{output:?}");
    assert_eq!(tapline.logged("api_certificate_unusable").len(), 1);

    // Other files.
    let (certificate, key) = before.server();
    write("certs/other.pem", &certificate);
    write("certs/other.key", &key);
    write("tapline.toml", &site.replace("api.", "other."));
    shows("site/certs/before.pem", "last_config_update").await;
    assert!(tapline.terminate().await.success());
}

#[tokio::test]
async fn another_address_of_the_api_is_said_to_take_a_restart() {
    let site = |rest: &str| format!("format = 1\n{rest}");
    let mut tapline = Setup::new().site("tapline.toml", &site("")).start().await;
    let file = tapline.dir().join("site/tapline.toml");
    std::fs::write(&file, site("[http]\nlisten = \"127.0.0.2:9\"\n")).expect("a file");
    let says = |health: &Value| health["warnings"].to_string().contains("until a restart");
    tapline.until("the restart is asked for", says).await;
    assert_eq!(tapline.logged("restart_needed").len(), 1);
    std::fs::write(&file, site("")).expect("a file");
    tapline.until("it is as it was", |health| !says(health)).await;
    assert!(tapline.terminate().await.success());
}

/// Everything under the data directory, as bytes, but for the secrets' own file.
fn kept(tapline: &tapline_tests::Tapline) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![tapline.data()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the data directory is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                all.push((path, bytes));
            }
        }
    }
    all
}

#[tokio::test]
async fn a_pushed_password_is_used_kept_and_never_shown() {
    let config =
        "allow_anonymous false\npassword_file {dir}/passwords\nlistener {port} 127.0.0.1\n";
    let broker = Mosquitto::with(config, &[("passwords", PASSWORDS)]).await;
    let odoo = Odoo::start().await;
    let port = broker.port().to_string();
    let devices = Publisher::with(&[
        ("MQTT_BROKER", "127.0.0.1"),
        ("MQTT_PORT", &port),
        ("MQTT_USERNAME", "bridge"),
        ("MQTT_PASSWORD", PASSWORD),
    ])
    .await;
    let mut tapline = Setup::new().port(broker.port()).odoo(&odoo.0).start().await;
    tapline
        .until("the refusal is named", |health| {
            let error = health["brokers"]["main"]["last_error"].as_str();
            error.is_some_and(|error| error.contains("refused"))
        })
        .await;
    let press = Machine::new("press");
    let with = |password: &str| {
        let mut pushed = document(&[&press]);
        pushed["mqtt"] = json!({
            "broker": "127.0.0.1", "port": broker.port(), "username": "bridge",
            "password": password,
        });
        pushed
    };
    tapline.push(&with(PASSWORD)).await;
    tapline.subscribed(2).await;
    let shown = tapline.get("/config").await.body;
    assert_eq!(shown, with("***"));
    // What was shown can be posted again: the password stays.
    tapline.push(&shown).await;
    tapline.terminate().await;
    tapline.start_again().await;
    tapline.subscribed(2).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &["session_started", "session_stopped"]).await;

    let mut wrong = with(PASSWORD);
    wrong["devices"][0]["mqtt_topic"] = json!(5);
    assert_eq!(tapline.try_push(&wrong).await.status, 422);
    assert_eq!(tapline.get("/config").await.body, with("***"));

    let shown = format!("{}{}{}", tapline.health().await, tapline.log(), tapline.stderr());
    assert!(!shown.contains(PASSWORD), "the password is shown");
    let holding: Vec<_> = kept(&tapline)
        .into_iter()
        .filter(|(_, bytes)| bytes.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes()))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&holding[0]).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{holding:?}");
}

#[tokio::test]
async fn a_body_that_never_ends_or_is_no_text_is_refused_with_words() {
    let bench = Bench::start().await;
    let limit = PATIENCE;
    let http = tapline::delivery::http_client(None, limit, limit).expect("a client");
    for (body, expected) in [(vec![0xff, 0xfe, 0x00], 422), (vec![b' '; (64 << 20) + 1], 413)] {
        let answer = http.post(format!("{}/config", bench.tapline.url())).body(body).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), expected);
        let said: Value = answer.json().await.expect("JSON");
        assert_eq!(said["status"], "error");
    }
    assert_eq!(bench.tapline.health().await["last_config_update"], Value::Null);
}
