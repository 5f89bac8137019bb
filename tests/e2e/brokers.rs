//! Brokers: versions, TLS, restarts, a switch by push, and none at all.

use serde_json::{Value, json};
use tapline_tests::{
    Authority, Bench, COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, document,
    free_port,
};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

fn site(broker: &str, odoo: &Odoo) -> String {
    format!(
        "format = 1\n[broker.main]\npushed = true\n{broker}\n[endpoint.odoo]\nurl = \"{}\"\n",
        odoo.0.url()
    )
}

/// A document that also names the broker on this port.
fn on(port: u16, machines: &[&Machine]) -> Value {
    let mut document = document(machines);
    document["mqtt"] = json!({"broker": "127.0.0.1", "port": port});
    document
}

#[tokio::test]
async fn speaks_mqtt_3_1_1_where_the_site_says_so() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let main = format!("url = \"mqtt://127.0.0.1:{}\"\nversion = \"3.1.1\"", broker.port());
    let tapline = Setup::new().site("tapline.toml", &site(&main, &odoo)).start().await;
    let (press, devices) = (Machine::new("press"), Publisher::connect(broker.port()).await);
    tapline.take(&[&press]).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
    odoo.is_content();
    // `p2` is Mosquitto's word for 3.1.1, `p5` for 5; `c0` asks for the session to be kept.
    let connected =
        |line: &&str| line.contains("New client connected") && line.contains("as tapline-");
    let log = broker.log();
    let ours: Vec<_> = log.lines().filter(connected).collect();
    assert!(!ours.is_empty() && ours.iter().all(|line| line.contains("(p2,")), "{ours:?}");
}

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

/// The broker, and a Tapline that trusts `trusted` and shows a certificate of `own`.
async fn mutual_tls(
    authority: &Authority,
    trusted: &Authority,
    own: &Authority,
) -> (Mosquitto, Odoo, Tapline) {
    let (certificate, key) = authority.server();
    let files = [("ca.pem", authority.pem()), ("server.pem", &*certificate), ("server.key", &*key)];
    let broker = Mosquitto::with(MUTUAL_TLS, &files).await;
    let odoo = Odoo::start().await;
    let main = format!(
        "url = \"mqtts://localhost:{}\"\nca = \"certs/ca.pem\"\ncert = \"certs/own.pem\"\n\
         key = \"certs/own.key\"",
        broker.second_port()
    );
    let (certificate, key) = own.client("bridge-of-hall-2");
    let tapline = Setup::new()
        .site("tapline.toml", &site(&main, &odoo))
        .site("certs/ca.pem", trusted.pem())
        .site("certs/own.pem", &certificate)
        .site("certs/own.key", &key)
        .start()
        .await;
    (broker, odoo, tapline)
}

#[tokio::test]
async fn trusts_its_own_authority_and_shows_its_client_certificate() {
    let authority = Authority::new("hall 2");
    let (broker, odoo, tapline) = mutual_tls(&authority, &authority, &authority).await;
    let (press, devices) = (Machine::new("press"), Publisher::connect(broker.port()).await);
    tapline.take(&[&press]).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
    assert!(broker.log().contains("u'bridge-of-hall-2'"), "{}", broker.log());
}

#[tokio::test]
async fn connects_to_no_broker_whose_certificate_a_stranger_signed() {
    let (authority, stranger) = (Authority::new("hall 2"), Authority::new("stranger"));
    let (broker, _odoo, tapline) = mutual_tls(&authority, &stranger, &authority).await;
    tapline
        .until("the certificate is named", |health| {
            let error = health["brokers"]["main"]["last_error"].as_str().unwrap_or_default();
            health["status"] == "degraded" && error.to_lowercase().contains("certificate")
        })
        .await;
    assert!(!broker.log().contains("as tapline-"), "{}", broker.log());
}

#[tokio::test]
async fn says_that_the_broker_refuses_its_client_certificate() {
    let (authority, stranger) = (Authority::new("hall 2"), Authority::new("stranger"));
    let (_broker, _odoo, tapline) = mutual_tls(&authority, &authority, &stranger).await;
    tapline
        .until("the trouble is named", |health| {
            let main = &health["brokers"]["main"];
            main["connected"] == false && main["last_error"].is_string()
        })
        .await;
}

#[tokio::test]
async fn a_broker_restart_in_mid_session_leaves_one_session() {
    let press = Machine::new("press");
    let mut bench = Bench::of(&[&press]).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.kinds(&press, &WHOLE[..1]).await;
    bench.broker.stop().await;
    bench
        .tapline
        .until("the outage is named", |health| {
            health["status"] == "degraded" && health["brokers"]["main"]["connected"] == false
        })
        .await;
    bench.broker.start_again().await;
    bench.devices.report(&press, &COURSE[2..]).await;
    let events = bench.odoo.kinds(&press, &WHOLE).await;
    assert_eq!(events[1].payload["working_s"], 30.0);
    bench.settle(&[&press]).await;
    bench.odoo.is_content();
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn a_push_switches_the_broker_without_losing_a_message_or_the_session() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::of(&[&press, &saw]).await;
    let second = Mosquitto::start().await;
    let there = Publisher::connect(second.port()).await;
    bench.devices.report(&press, &COURSE[..2]).await;
    // Much goes on at the old broker right before the switch.
    let mut expected = Vec::new();
    for round in 0..20 {
        let begin = f64::from(round) * 100.0;
        let course: Vec<_> = COURSE.iter().map(|(at, power)| (begin + at, *power)).collect();
        bench.devices.report(&saw, &course).await;
        expected.extend(WHOLE);
    }
    let answer = bench.tapline.push(&on(second.port(), &[&press, &saw])).await;
    assert_eq!(answer["mqtt_reconnected"], true);
    bench.tapline.subscribed(4).await;
    there.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.kinds(&saw, &expected).await;
    bench.odoo.is_content();
    // The old broker keeps nothing for us any more.
    bench.devices.report(&press, &[(100.0, 100.0), (110.0, 100.0)]).await;
    there.report(&saw, &COURSE.map(|(at, power)| (at + 3000.0, power))).await;
    expected.extend(WHOLE);
    bench.odoo.kinds(&saw, &expected).await;
    assert_eq!(bench.odoo.of(&press).len(), 2);
}

#[tokio::test]
async fn a_push_with_a_wrong_broker_answers_409_and_changes_nothing() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    let before = bench.tapline.get("/config").await.body;
    bench.devices.report(&press, &COURSE[..2]).await;
    let guarded = Mosquitto::with("listener {port} 127.0.0.1\nallow_anonymous false\n", &[]).await;
    for port in [free_port(), guarded.port()] {
        let answer = bench.tapline.try_push(&on(port, &[&press, &Machine::new("saw")])).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert_eq!(answer.body["status"], "error");
        let said = answer.body["message"].as_str().unwrap_or_default();
        assert!(said.contains(&port.to_string()), "{said}");
        assert_eq!(bench.tapline.get("/config").await.body, before);
        assert_eq!(bench.tapline.health().await["devices"], 1);
    }
    bench.devices.report(&press, &COURSE[2..]).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}

#[tokio::test]
async fn serves_its_api_while_the_broker_is_away_and_connects_when_it_comes() {
    let mut broker = Mosquitto::start().await;
    broker.stop().await;
    let odoo = Odoo::start().await;
    let press = Machine::new("press");
    let tapline = Setup::s3(&broker, &odoo.0).start().await;
    let answer = tapline.push(&document(&[&press])).await;
    assert_eq!(answer["mqtt_reconnected"], false);
    tapline
        .until("the broker is named", |health| {
            health["status"] == "degraded" && health["problems"].to_string().contains("main")
        })
        .await;
    broker.start_again().await;
    tapline.subscribed(2).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
    tapline.until("all is well again", |health| health["status"] == "ok").await;
}

#[tokio::test]
async fn a_push_replaces_a_broker_that_cannot_be_reached() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let press = Machine::new("press");
    let tapline = Setup::new().port(free_port()).odoo(&odoo.0).start().await;
    tapline.push(&on(broker.port(), &[&press])).await;
    tapline.subscribed(2).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
}
