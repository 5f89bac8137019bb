//! What has a last day is named in time, wherever somebody looks, and replaced without a restart.

use serde_json::Value;
use tapline_tests::{
    Authority, COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, day_in, eventually,
    write,
};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// A listener for devices in the clear, and one for Tapline with certificates on both sides.
const MUTUAL_TLS: &str = "per_listener_settings true
listener {port} 127.0.0.1
allow_anonymous true
listener {second_port} 127.0.0.1
allow_anonymous true
cafile {dir}/ca.pem
certfile {dir}/server.pem
keyfile {dir}/server.key
require_certificate true
use_identity_as_username true
";

/// What ends, with the kind and name that the metric and the log give it.
const ENDING: [(&str, &str); 4] =
    [("authority", "main"), ("client-certificate", "main"), ("key", "odoo"), ("token", "panel")];

fn day(days: u64) -> String {
    day_in(days).rfc3339()[..10].to_owned()
}

/// A site file whose key and token end on this day.
fn site(broker: &Mosquitto, odoo: &Odoo, day: &str) -> String {
    let port = broker.second_port();
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    format!(
        "format = 1\n[reload]\nrescan = \"1s\"\n\
         [broker.main]\npushed = true\nurl = \"mqtts://localhost:{port}\"\n\
         ca = \"certs/ca.pem\"\ncert = \"certs/own.pem\"\nkey = \"certs/own.key\"\n\
         [endpoint.odoo]\nurl = \"{}\"\nkey = {{ env = \"THE_KEY\", expires = \"{day}\" }}\n\
         [http]\nanonymous_from = [\"127.0.0.0/8\"]\n[http.tokens.panel]\nsha256 = \"{hash}\"\nroles = [\"read\"]\nexpires = \"{day}\"\n",
        odoo.0.url()
    )
}

/// Problems that speak of an end.
fn ends(health: &Value) -> Vec<&str> {
    let problems = health["problems"].as_array().map_or(&[][..], Vec::as_slice);
    problems.iter().filter_map(Value::as_str).filter(|problem| problem.contains("expire")).collect()
}

/// Kind and name in the log's lines of an event.
fn named(tapline: &Tapline, event: &str) -> Vec<(String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let lines = tapline.logged(event);
    let mut named: Vec<_> =
        lines.iter().map(|line| (text(line, "what"), text(line, "name"))).collect();
    named.sort();
    named
}

fn all_of_them() -> Vec<(String, String)> {
    ENDING.map(|(what, name)| (what.to_owned(), name.to_owned())).to_vec()
}

async fn until_logged(tapline: &Tapline, event: &str) {
    eventually(&format!("the log names each in `{event}`"), || async {
        let named = named(tapline, event);
        if named == all_of_them() { Ok(()) } else { Err(format!("{named:?}")) }
    })
    .await;
}

#[tokio::test]
async fn what_ends_in_ten_days_is_named_everywhere_until_it_is_replaced() {
    let old = Authority::of_days("hall 2", 10);
    let (certificate, key) = old.server();
    let files = [("ca.pem", old.pem()), ("server.pem", &*certificate), ("server.key", &*key)];
    let (mut broker, odoo) = (Mosquitto::with(MUTUAL_TLS, &files).await, Odoo::start().await);
    let (own, own_key) = old.client("bridge-of-hall-2");
    let tapline = Setup::new()
        .env("THE_KEY", "an-0doo-k3y")
        .site("tapline.toml", &site(&broker, &odoo, &day(10)))
        .site("certs/ca.pem", old.pem())
        .site("certs/own.pem", &own)
        .site("certs/own.key", &own_key)
        .start()
        .await;
    let press = Machine::new("press");
    tapline.take(&[&press]).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE[..2]).await;
    odoo.kinds(&press, &WHOLE[..1]).await;

    let health = tapline.until("all four are named", |health| ends(health).len() == 4).await;
    assert_eq!(health["status"], "degraded");
    for (whose, remedy) in [
        ("certs/ca.pem` of broker `main`", "replace the file"),
        ("certs/own.pem` of broker `main`", "replace the file"),
        ("key of endpoint `odoo`", "renew it at the other side"),
        ("token `panel` of the API", "run `tapline token panel`"),
    ] {
        let named = ends(&health).iter().any(|problem| {
            // Less than ten whole days are left of the tenth.
            let when = format!("expires in 9 days, on {}", day(10));
            problem.contains(whose) && problem.contains(&when) && problem.contains(remedy)
        });
        assert!(named, "{whose}: {health}");
    }
    let status = tapline.output(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert_eq!(status.matches("expires in 9 days").count(), 4, "{status}");
    let scrape = tapline.scrape().await;
    for (what, name) in ENDING {
        let labels = [("what", what), ("name", name)];
        let seconds = scrape.sum("tapline_expires_timestamp_seconds", &labels);
        assert_eq!(seconds, day_in(10).0 / 1000, "{what} {name}");
    }
    until_logged(&tapline, "expires_soon").await;
    for secret in ["an-0doo-k3y", "PRIVATE KEY"] {
        assert!(!tapline.log().contains(secret) && !health.to_string().contains(secret));
    }

    // A new authority beside the old one, new certificates of both sides, a new key and token.
    let new = Authority::of_days("hall 2, new", 300);
    let (certificate, key) = new.server();
    let both = format!("{}{}", old.pem(), new.pem());
    broker.stop().await;
    for (name, text) in [("ca.pem", &*both), ("server.pem", &certificate), ("server.key", &key)] {
        std::fs::write(broker.dir().join(name), text).expect("scratch is writable");
    }
    let (own, own_key) = new.client("bridge-of-hall-2");
    let folder = tapline.dir().join("site");
    write(&folder, "certs/ca.pem", &both);
    write(&folder, "certs/own.key", &own_key);
    write(&folder, "certs/own.pem", &own);
    write(&folder, "tapline.toml", site(&broker, &odoo, &day(300)));
    broker.start_again().await;
    tapline.until("nothing ends soon", |health| ends(health).is_empty()).await;
    until_logged(&tapline, "expiry_renewed").await;
    assert_eq!(named(&tapline, "expires_soon"), all_of_them(), "said once each");
    let status = tapline.output(&["status"]).await;
    assert!(!String::from_utf8_lossy(&status.stdout).contains("expires in"), "{status:?}");

    tapline.subscribed(2).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE[2..]).await;
    odoo.kinds(&press, &WHOLE).await;
    odoo.is_content();
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused_with_the_day_and_named() {
    let arguments = ["token", "panel", "--roles", "read", "--expires", "2026-01-02"];
    let made = Setup::new().prepare().output(&arguments).await;
    let token = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    let lines = String::from_utf8(made.stderr).expect("text");
    let lines = &lines[lines.find("[http.tokens").expect("lines for the site file")..];
    let tapline = Setup::new()
        .env("BRIDGE_API_TOKEN", "all-rights")
        .site("tapline.toml", &format!("format = 1\n{lines}"))
        .start()
        .await;
    let ask = async |token: &str| {
        let call = tapline.call("GET", "/api/v1/status", None);
        let call = call.header("authorization", &format!("Bearer {token}"));
        call.send().await.expect("an answer")
    };
    let refused = ask(&token).await;
    assert_eq!(refused.status, 401);
    assert!(refused.body.to_string().contains("this token expired on 2026-01-02"), "{refused:?}");
    assert_eq!(ask("all-rights").await.status, 200);
    let health = tapline.health().await;
    assert!(health.to_string().contains("token `panel` of the API expired on 2026-01-02"));
    let named = || named(&tapline, "expired") == [("token".to_owned(), "panel".to_owned())];
    eventually("the log names it", || async { if named() { Ok(()) } else { Err("not yet") } })
        .await;
}
