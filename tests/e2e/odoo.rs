//! Odoo: away and back, failing in its ways, refusing single events, not configured at all.

use serde_json::Value;
use tapline::stand_in::{Behaviour, Refusal, StandInOptions};
use tapline_tests::{Bench, COURSE, Machine, Mosquitto, Odoo, Publisher, Setup};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

fn waiting(health: &Value) -> u64 {
    let sinks = health["sinks"].as_object().into_iter().flat_map(|sinks| sinks.values());
    sinks.map(|sink| sink["waiting"].as_u64().unwrap_or_default()).sum()
}

#[tokio::test]
async fn events_wait_for_odoo_and_come_once_and_in_order() {
    let machines = ["press", "saw", "drill"].map(Machine::new);
    let all: Vec<_> = machines.iter().collect();
    let bench = Bench::of(&all).await;
    bench.devices.report(&machines[0], &COURSE[..2]).await;
    bench.odoo.kinds(&machines[0], &WHOLE[..1]).await;
    bench.odoo.0.go_away().await;
    bench.devices.report(&machines[0], &COURSE[2..]).await;
    for machine in &all[1..] {
        bench.devices.report(machine, &COURSE).await;
    }
    let health = bench.tapline.until("five events wait", |health| waiting(health) == 5).await;
    assert_eq!(health["dead_letters"], 0);
    bench.tapline.until("the trouble is named", |health| health["status"] == "degraded").await;
    bench.odoo.0.come_back().await.expect("its port is free");
    for machine in &all {
        bench.odoo.kinds(machine, &WHOLE).await;
    }
    bench.tapline.until("nothing waits", |health| waiting(health) == 0).await;
    bench.odoo.is_content();
    assert_eq!(bench.odoo.0.event_count(), 6);
}

#[tokio::test]
async fn answers_that_promise_nothing_lose_nothing() {
    let press = Machine::new("press");
    let bench = Bench::of(&[&press]).await;
    for behaviour in [
        Behaviour::Status {
            status: 503,
            name: "werkzeug.exceptions.ServiceUnavailable".into(),
            retry_after: Some(1),
        },
        Behaviour::CutBefore,
        Behaviour::CutAfterCommit,
        Behaviour::status(429),
    ] {
        bench.odoo.0.behave(1, behaviour);
    }
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    let health = bench.tapline.until("nothing waits", |health| waiting(health) == 0).await;
    assert_eq!(health["dead_letters"], 0);
    // After the answer that was cut off the same event comes again, under its id.
    bench.odoo.is_in_order();
    assert_eq!(bench.odoo.0.event_count(), 2);
}

#[tokio::test]
async fn an_event_that_odoo_refuses_is_set_aside_and_the_rest_goes_on() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::of(&[&press, &saw]).await;
    bench.odoo.0.refuse(Refusal::of_device("saw"));
    bench.devices.report(&saw, &COURSE).await;
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.tapline.until("both are set aside", |health| health["dead_letters"] == 2).await;
    assert!(bench.odoo.of(&saw).is_empty());
}

#[tokio::test]
async fn a_web_page_is_no_success_and_pauses_the_sink() {
    let press = Machine::new("press");
    let mut bench = Bench::of(&[&press]).await;
    bench.odoo.0.behave(1000, Behaviour::Html { status: 200 });
    bench.devices.report(&press, &COURSE).await;
    bench
        .tapline
        .until("the pause is named", |health| {
            health["problems"].to_string().contains("paused") && waiting(health) == 2
        })
        .await;
    assert_eq!(bench.odoo.0.event_count(), 0);
    bench.odoo.0.behave_well();
    bench.tapline.terminate().await;
    bench.start_again(1).await;
    bench.odoo.kinds(&press, &WHOLE).await;
    bench.odoo.is_content();
}

#[tokio::test]
async fn shows_odoo_the_key_and_the_database_and_names_a_wrong_key() {
    let options = StandInOptions {
        key: Some("k3y-of-the-bot".into()),
        database: Some("acme".into()),
        ..StandInOptions::default()
    };
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options).await);
    let press = Machine::new("press");
    let setup = Setup::s3(&broker, &odoo.0).env("ODOO_DATABASE", "acme");
    let mut tapline = setup.env("ODOO_API_KEY", "not-the-k3y").start().await;
    tapline.take(&[&press]).await;
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    tapline.until("the pause is named", |h| h["problems"].to_string().contains("paused")).await;
    assert_eq!(odoo.0.event_count(), 0);
    tapline.terminate().await;
    tapline.set("ODOO_API_KEY", "k3y-of-the-bot");
    tapline.start_again().await;
    odoo.kinds(&press, &WHOLE).await;
    odoo.is_content();
    for secret in ["not-the-k3y", "k3y-of-the-bot"] {
        assert!(!tapline.log().contains(secret) && !tapline.stderr().contains(secret));
    }
}

#[tokio::test]
async fn without_an_odoo_events_are_kept_until_there_is_one() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let press = Machine::new("press");
    let mut tapline = Setup::new().port(broker.port()).start().await;
    tapline.take(&[&press]).await;
    Publisher::connect(broker.port()).await.report(&press, &COURSE).await;
    let health = tapline.until("both wait", |health| waiting(health) == 2).await;
    assert!(health["problems"].to_string().contains("no endpoint"), "{health}");
    tapline.terminate().await;
    tapline.set("ODOO_BASE_URL", &odoo.0.url());
    tapline.start_again().await;
    odoo.kinds(&press, &WHOLE).await;
    odoo.is_content();
}
