//! What Tapline says of a broker that can lose messages, or has.

use serde_json::Value;
use tapline_tests::{COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline};

/// The broker's warnings in one text.
fn warnings(health: &Value) -> String {
    health["warnings"].to_string()
}

async fn until_warned(tapline: &Tapline, of: &str) -> Value {
    tapline.until(&format!("it warns of `{of}`"), |health| warnings(health).contains(of)).await
}

async fn at_risk(tapline: &Tapline, risk: &str) -> u64 {
    tapline.scrape().await.sum("tapline_broker_risk", &[("broker", "main"), ("risk", risk)])
}

const OPEN: &str = "listener {port} 127.0.0.1\nallow_anonymous true\n";

/// As in docs/guarantees.md, but for the place, which is the test's.
fn recommended() -> String {
    let guarantees = include_str!("../../docs/guarantees.md");
    let (_, profile) = guarantees.split_once("\npersistence true\n").expect("it has a profile");
    let (profile, _) = profile.split_once("```").expect("the profile ends");
    let mut lines: Vec<_> =
        profile.lines().filter(|line| !line.starts_with("persistence_location")).collect();
    lines.extend(OPEN.lines());
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn a_mosquitto_by_the_recommended_profile_puts_nothing_at_risk() {
    let press = Machine::new("press");
    let broker = Mosquitto::with(&recommended(), &[]).await;
    let odoo = Odoo::start().await;
    let mut tapline = Setup::s3(&broker, &odoo.0).start().await;
    tapline.take(&[&press]).await;
    tapline.terminate().await;
    // More than the default queue of 1000 would hold.
    let devices = Publisher::connect(broker.port()).await;
    for _ in 0..1100 {
        devices.send(&press.topic(), press.report(0.0, 1.0)).await;
    }
    devices.report(&press, &COURSE).await;
    tapline.start_again().await;
    odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let health = tapline.until("all is well", |health| health["subscriptions"] == 2).await;
    assert_eq!(health["warnings"], Value::Null, "{health}");
    assert_eq!(tapline.scrape().await.sum("tapline_broker_risk", &[]), 0);
}

#[tokio::test]
async fn a_mosquitto_with_narrow_limits_is_told_with_the_setting_that_helps() {
    let limits = "max_packet_size 4096\nretain_available false\nmax_queued_messages 0\n";
    let (broker, odoo) =
        (Mosquitto::with(&format!("{OPEN}{limits}"), &[]).await, Odoo::start().await);
    let press = Machine::new("press");
    let tapline = Setup::s3(&broker, &odoo.0).start().await;
    tapline.take(&[&press]).await;
    let health = until_warned(&tapline, "takes packets of at most 4096 bytes").await;
    assert!(warnings(&health).contains("(Mosquitto: `retain_available true`)"), "{health}");
    assert_eq!(health["brokers"]["main"]["risks"].as_array().map(Vec::len), Some(2), "{health}");
    assert_eq!(health["status"], "ok", "a limit of the broker's is no fault here: {health}");
    assert_eq!(at_risk(&tapline, "small-packets").await, 1);
    assert_eq!(at_risk(&tapline, "forgotten").await, 0);
    let status = tapline.output(&["status", "--data", &tapline.data().display().to_string()]).await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("warning: broker `main` keeps no retained messages"), "{status}");
    let told = tapline.logged("mqtt_messages_at_risk");
    assert_eq!(told.len(), 2, "each is told once: {told:?}");
    // Nothing of it stands in the way.
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &["session_started", "session_stopped"]).await;
}

#[tokio::test]
async fn messages_that_mosquitto_drops_while_tapline_is_down_are_told() {
    let press = Machine::new("press");
    let narrow = format!("{OPEN}max_queued_messages 10\nsys_interval 1\n");
    let (broker, odoo) = (Mosquitto::with(&narrow, &[]).await, Odoo::start().await);
    let mut tapline = Setup::s3(&broker, &odoo.0).start().await;
    tapline.take(&[&press]).await;
    // Its count is there before anything is dropped, and Tapline keeps it.
    tapline
        .until("the count is kept", |_| {
            let session = kept_session(&tapline);
            session["drops"]["count"] == 0
        })
        .await;
    tapline.terminate().await;
    let devices = Publisher::connect(broker.port()).await;
    for n in 0..50 {
        devices.send(&press.topic(), press.report(f64::from(n), 100.0)).await;
    }
    tapline.start_again().await;
    let health = until_warned(&tapline, "dropped 40 messages between").await;
    assert!(warnings(&health).contains("(Mosquitto: `max_queued_messages`"), "{health}");
    assert_eq!(at_risk(&tapline, "dropped").await, 1);
    assert_eq!(tapline.scrape().await.sum("tapline_broker_dropped_total", &[]), 40);
    let told = tapline.logged("mqtt_broker_dropped");
    assert_eq!((told.len(), told[0]["level"].as_str()), (1, Some("error")), "{told:?}");
    // What it kept came, and the count itself is nobody's message.
    let flow = tapline.flow("workshop").await;
    assert_eq!(flow.filtered + flow.dead_lettered, 0, "{flow:?}");
}

/// What Tapline has written down about its session.
fn kept_session(tapline: &Tapline) -> Value {
    let store = rusqlite::Connection::open(tapline.data().join("tapline.db"));
    let kept = store.and_then(|store| {
        let query = "SELECT value FROM meta WHERE name = 'session:main'";
        store.query_row(query, [], |row| row.get::<_, Vec<u8>>(0))
    });
    kept.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_mosquitto_that_forgets_is_told_with_the_time_that_is_lost() {
    let press = Machine::new("press");
    let (mut broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let tapline = Setup::s3(&broker, &odoo.0).start().await;
    tapline.take(&[&press]).await;
    // It had not yet written its sessions down.
    broker.kill().await;
    broker.start_again().await;
    let health = until_warned(&tapline, "had forgotten the session at ").await;
    let words = warnings(&health);
    assert!(words.contains("without Tapline: what came in that time is lost"), "{words}");
    assert!(words.contains("`persistence true`"), "{words}");
    assert_eq!(at_risk(&tapline, "forgotten").await, 1);
    assert_eq!(tapline.logged("mqtt_session_forgotten").len(), 1);
    // It is subscribed anew, and all is as before.
    tapline.subscribed(2).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &["session_started", "session_stopped"]).await;
}
