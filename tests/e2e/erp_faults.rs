//! An Odoo that fails in every way that it can, one event at a time: what is tried again, what
//! is set aside, what pauses, and that nothing is lost or doubled by any of it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tapline::stand_in::{Behaviour, Refusal, StandInOptions};
use tapline_tests::{
    Bench, COURSE, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, copy_of_shipped, document,
    write,
};

pub(super) fn waiting(health: &Value) -> u64 {
    health["sinks"]["workshop/odoo"]["waiting"].as_u64().unwrap_or(u64::MAX)
}

pub(super) fn is_paused(health: &Value) -> bool {
    health["problems"].to_string().contains("paused")
}

fn answer(status: u16, name: &str) -> Behaviour {
    Behaviour::Status { status, name: name.into(), retry_after: None }
}

/// One machine whose every step is one event.
pub(super) struct Steps {
    pub(super) machine: Machine,
    pub(super) taken: usize,
}

impl Steps {
    pub(super) fn new() -> Self {
        Self { machine: Machine::new("press"), taken: 0 }
    }

    /// Causes one more event: a session that begins, or the end of it.
    pub(super) async fn take(&mut self, devices: &Publisher) {
        let at = (self.taken / 2) as f64 * 70.0;
        let part = if self.taken.is_multiple_of(2) { &COURSE[..2] } else { &COURSE[2..] };
        let part: Vec<_> = part.iter().map(|(second, power)| (at + second, *power)).collect();
        devices.report(&self.machine, &part).await;
        self.taken += 1;
    }
}

/// Waits until nothing waits and Odoo holds so many events.
pub(super) async fn delivered(tapline: &Tapline, odoo: &Odoo, events: usize, what: &str) -> Value {
    let holds = |health: &Value| waiting(health) == 0 && odoo.0.event_count() == events;
    tapline.until(&format!("{events} events are there after {what}"), holds).await
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_comes_exactly_once() {
    let mut steps = Steps::new();
    let bench = Bench::of(&[&steps.machine]).await;
    let busy = [408, 409, 425, 429, 502, 503, 504].map(|status| answer(status, "x"));
    let conflicts =
        ["SerializationFailure", "DeadlockDetected", "LockNotAvailable", "OperationalError"]
            .map(|name| answer(500, &format!("psycopg2.errors.{name}")));
    let others = [
        Behaviour::Html { status: 502 },
        Behaviour::CutBefore,
        Behaviour::CutAfterCommit,
        Behaviour::Huge(8 << 20),
    ];
    for behaviour in busy.into_iter().chain(conflicts).chain(others) {
        let what = format!("{behaviour:?}");
        let requests = bench.odoo.0.requests();
        bench.odoo.0.behave(1, behaviour);
        steps.take(&bench.devices).await;
        let health = delivered(&bench.tapline, &bench.odoo, steps.taken, &what).await;
        assert_eq!(health["dead_letters"], 0, "{what}");
        assert_eq!(bench.odoo.0.requests(), requests + 2, "one more try after {what}");
    }
    bench.odoo.is_in_order();
    // The two whose effect stood when the answer did not come were recognised by their ids.
    assert_eq!(bench.odoo.0.duplicates(), 2);
}

#[tokio::test]
async fn what_odoo_refuses_for_good_is_set_aside_at_once_and_nothing_else() {
    let mut steps = Steps::new();
    let bench = Bench::of(&[&steps.machine]).await;
    let statuses = [400, 413, 415, 422].map(|status| answer(status, "x"));
    let names = ["MissingError", "UserError", "ValidationError"]
        .map(|name| answer(500, &format!("odoo.exceptions.{name}")));
    let errors = ["ValueError", "TypeError", "AttributeError"]
        .map(|name| answer(500, &format!("builtins.{name}")));
    let mut refused = 0;
    for behaviour in statuses.into_iter().chain(names).chain(errors) {
        let what = format!("{behaviour:?}");
        bench.odoo.0.behave(1, behaviour);
        steps.take(&bench.devices).await;
        refused += 1;
        let set_aside = |health: &Value| health["dead_letters"] == refused && waiting(health) == 0;
        bench.tapline.until(&format!("it is set aside after {what}"), set_aside).await;
        steps.take(&bench.devices).await;
        delivered(&bench.tapline, &bench.odoo, steps.taken - refused, &what).await;
    }
    bench.odoo.is_content();
}

#[tokio::test]
async fn what_a_person_must_mend_pauses_the_sink_without_a_dead_letter() {
    let mut steps = Steps::new();
    let bench = Bench::of(&[&steps.machine]).await;
    let elsewhere = Odoo::start().await;
    let statuses = [401, 403, 404, 405, 410].map(|status| answer(status, "x"));
    let names =
        ["AccessDenied", "AccessError"].map(|n| answer(500, &format!("odoo.exceptions.{n}")));
    let others = [
        Behaviour::Html { status: 200 },
        Behaviour::Html { status: 404 },
        Behaviour::Redirect(format!("{}/ows/iot/event", elsewhere.0.url())),
        Behaviour::Redirect("/web/login".into()),
    ];
    for behaviour in statuses.into_iter().chain(names).chain(others) {
        let what = format!("{behaviour:?}");
        let requests = bench.odoo.0.requests();
        bench.odoo.0.behave(1, behaviour);
        steps.take(&bench.devices).await;
        let health = bench.tapline.until(&format!("it is paused after {what}"), is_paused).await;
        assert_eq!((waiting(&health), &health["dead_letters"]), (1, &Value::from(0)), "{what}");
        assert_eq!(bench.odoo.0.requests(), requests + 1, "nothing is sent after {what}");
        let resumed =
            bench.tapline.call("POST", "/api/v1/sinks/workshop/odoo/resume", None).send().await;
        assert_eq!(resumed.expect("an answer").status, 200);
        delivered(&bench.tapline, &bench.odoo, steps.taken, &what).await;
    }
    bench.odoo.is_content();
    assert_eq!(elsewhere.0.requests(), 0, "a redirect was followed");
}

#[tokio::test]
async fn the_wait_that_odoo_asks_for_is_kept() {
    let mut steps = Steps::new();
    let bench = Bench::of(&[&steps.machine]).await;
    for status in [429, 503] {
        let name = "werkzeug.exceptions.ServiceUnavailable".to_owned();
        bench.odoo.0.behave(1, Behaviour::Status { status, name, retry_after: Some(2) });
        let requests = bench.odoo.0.requests();
        let begun = Instant::now();
        steps.take(&bench.devices).await;
        delivered(&bench.tapline, &bench.odoo, steps.taken, "a wait").await;
        // A slow machine only makes it longer.
        assert!(begun.elapsed() >= Duration::from_secs(2), "{status}: asked again too soon");
        assert_eq!(bench.odoo.0.requests(), requests + 2);
    }
    bench.odoo.is_content();
}

/// A site with this endpoint.
pub(super) fn site(broker: &Mosquitto, odoo: &Odoo, rest: &str) -> Setup {
    let reload = "[reload]\nrescan = \"1s\"\n";
    let url = odoo.0.url();
    let text = format!("format = 1\n{reload}[endpoint.odoo]\nurl = \"{url}\"\n{rest}");
    Setup::new()
        .port(broker.port())
        .site("tapline.toml", &text)
        .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
}

#[tokio::test]
async fn a_proxy_that_the_environment_names_is_not_asked() {
    let (broker, odoo, proxy) =
        (Mosquitto::start().await, Odoo::start().await, Odoo::start().await);
    let mut steps = Steps::new();
    let url = proxy.0.url();
    let names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let setup = names.iter().fold(site(&broker, &odoo, ""), |setup, name| setup.env(name, &url));
    let tapline = setup.start().await;
    tapline.take(&[&steps.machine]).await;
    steps.take(&Publisher::connect(broker.port()).await).await;
    delivered(&tapline, &odoo, 1, "a step").await;
    assert_eq!(proxy.0.requests(), 0);
}

#[tokio::test]
async fn an_odoo_that_hangs_is_given_up_and_asked_again() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let mut steps = Steps::new();
    let tapline = site(&broker, &odoo, "timeout = \"2s\"\n").start().await;
    tapline.take(&[&steps.machine]).await;
    let devices = Publisher::connect(broker.port()).await;
    for behaviour in [Behaviour::Hang, Behaviour::HangAfterHeaders] {
        let what = format!("{behaviour:?}");
        odoo.0.behave(1, behaviour);
        steps.take(&devices).await;
        let health = delivered(&tapline, &odoo, steps.taken, &what).await;
        assert_eq!(health["dead_letters"], 0, "{what}");
    }
    odoo.is_in_order();
}

#[tokio::test]
async fn a_wrong_key_raises_every_alarm_and_mending_its_file_is_enough() {
    let options = StandInOptions { key: Some("the-k3y".into()), ..StandInOptions::default() };
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options).await);
    let mut steps = Steps::new();
    let setup = site(&broker, &odoo, "key = { file = \"odoo.key\" }\n");
    let tapline = setup.site("odoo.key", "an-0ld-k3y").start().await;
    tapline.take(&[&steps.machine]).await;
    let devices = Publisher::connect(broker.port()).await;
    for _ in 0..4 {
        steps.take(&devices).await;
    }
    let paused = |health: &Value| is_paused(health) && waiting(health) == 4;
    let health = tapline.until("the pause is named, and all four wait", paused).await;
    assert_eq!(health["status"], "degraded");
    assert!(health["problems"].to_string().contains("API key"), "{health}");
    assert_eq!(tapline.logged("sink_paused").len(), 1);
    let metrics = tapline.get("/metrics").await.body;
    let metrics = metrics.as_str().expect("text");
    let flag = metrics.lines().find(|line| line.starts_with("tapline_sink_paused{"));
    assert!(flag.is_some_and(|line| line.ends_with(" 1.0")), "{flag:?}");

    write(&tapline.dir().join("site"), "odoo.key", "the-k3y\n");
    let health = delivered(&tapline, &odoo, 4, "the right key").await;
    assert_eq!(health["dead_letters"], 0);
    tapline.until("the alarm ends", |health| !is_paused(health)).await;
    odoo.is_content();
}

#[tokio::test]
async fn one_poisoned_event_of_a_hundred_costs_itself_alone() {
    let machines: Vec<_> = (0..100).map(|n| Machine::new(&format!("m{n}"))).collect();
    let all: Vec<_> = machines.iter().collect();
    let bench = Bench::start().await;
    bench.tapline.push(&document(&all)).await;
    bench.tapline.subscribed(200).await;
    bench.odoo.0.go_away().await;
    for machine in &machines {
        bench.devices.report(machine, &COURSE[..2]).await;
    }
    bench.tapline.until("a hundred wait", |health| waiting(health) == 100).await;
    // One that breaks the whole request, as a fault in Odoo's own code does.
    let code = "odoo.exceptions.ValidationError".to_owned();
    bench.odoo.0.refuse(Refusal { code, ..Refusal::of_device("m61").breaking() });
    bench.odoo.0.come_back().await.expect("its port is free");
    let health = delivered(&bench.tapline, &bench.odoo, 99, "the poisoned one").await;
    assert_eq!(health["dead_letters"], 1);
    assert!(bench.odoo.of(&machines[61]).is_empty());
    bench.odoo.is_content();
}
