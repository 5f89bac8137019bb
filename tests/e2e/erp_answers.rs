//! An Odoo whose answers say "200" and mean something else, or take their time.

use std::time::Duration;

use serde_json::{Value, json};
use tapline::stand_in::{Behaviour, StandInOptions};
use tapline_tests::{
    Bench, COURSE, Listener, Machine, Mosquitto, Odoo, Publisher, Setup, Tapline, copy_of_shipped,
    write,
};

use super::erp_faults::{Steps, delivered, is_paused, site, waiting};
use super::odoo_records;

const MODEL: &str = "maintenance.request";

/// One record per event.
const RECORDS: &str = "protocol = \"jsonrpc\"\nmodel = \"maintenance.request\"\n\
                       external_id = \"tapline.{id}\"\nfields = { name = \"{machine}: {kind}\" }\n";

/// An error as `/jsonrpc` words it, with status 200. Its code differs between versions.
fn error(code: i64, name: &str, message: &str) -> Behaviour {
    let data = json!({"name": name, "message": message, "arguments": [message], "debug": ""});
    let error = json!({"code": code, "message": "Odoo Server Error", "data": data});
    Behaviour::Answer(json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string())
}

fn result(result: Value) -> Behaviour {
    Behaviour::Answer(json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string())
}

/// What `load()` says when it wrote nothing.
fn not_loaded(messages: Value) -> Behaviour {
    result(json!({"ids": false, "messages": messages, "nextrow": 0}))
}

fn row(message: &str) -> Value {
    json!([{"type": "error", "message": message, "record": 0, "rows": {"from": 0, "to": 0}}])
}

async fn resume(tapline: &Tapline) {
    let call = tapline.call("POST", "/api/v1/sinks/workshop/odoo/resume", None);
    assert_eq!(call.send().await.expect("an answer").status, 200);
}

/// Records by JSON-RPC, logged in, with one step taken.
async fn records() -> (Mosquitto, Odoo, Publisher, Steps, Tapline) {
    let options = odoo_records::options(17);
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options).await);
    let devices = Publisher::connect(broker.port()).await;
    let mut steps = Steps::new();
    let endpoint = odoo_records::endpoint(&odoo);
    let setup = odoo_records::site(&broker, &endpoint, RECORDS, &[&steps.machine]);
    let tapline = setup.start().await;
    tapline.subscribed(2).await;
    steps.take(&devices).await;
    hold(&tapline, &odoo, 1, "the login").await;
    assert_eq!((odoo.0.requests(), odoo.0.logins()), (2, 1));
    (broker, odoo, devices, steps, tapline)
}

/// Waits until nothing waits and Odoo holds so many records.
async fn hold(tapline: &Tapline, odoo: &Odoo, records: usize, what: &str) -> Value {
    let holds = |health: &Value| waiting(health) == 0 && odoo.0.loaded(MODEL).len() == records;
    tapline.until(&format!("{records} records are there after {what}"), holds).await
}

#[tokio::test]
async fn conflicts_that_odoo_reports_inside_a_200_are_tried_again() {
    let (_broker, odoo, devices, mut steps, tapline) = records().await;
    let conflicts = [
        (200, "psycopg2.errors.SerializationFailure"),
        (0, "psycopg2.errors.DeadlockDetected"),
        (200, "psycopg2.errors.LockNotAvailable"),
        (0, "psycopg2.OperationalError"),
    ];
    let conflicts = conflicts.map(|(code, name)| error(code, name, "at this moment"));
    let others = [
        not_loaded(row("could not serialize access due to concurrent update")),
        // Neither ids nor a reason: nobody said that it was written.
        not_loaded(json!([])),
        result(json!({"ids": [], "messages": [], "nextrow": 0})),
        result(Value::Null),
        Behaviour::Answer("{\"jsonrpc\": \"2.0\", \"id\": 1".to_owned()),
    ];
    for behaviour in conflicts.into_iter().chain(others) {
        let what = format!("{behaviour:?}");
        let requests = odoo.0.requests();
        odoo.0.behave(1, behaviour);
        steps.take(&devices).await;
        let health = hold(&tapline, &odoo, steps.taken, &what).await;
        assert_eq!(health["dead_letters"], 0, "{what}");
        assert_eq!(odoo.0.requests(), requests + 2, "one more try after {what}");
    }
    assert_eq!(odoo.0.logins(), 1, "the user's id is kept");
}

#[tokio::test]
async fn a_record_that_an_attempt_without_an_answer_wrote_is_one_record() {
    let (_broker, odoo, devices, mut steps, tapline) = records().await;
    let words = "duplicate key value violates unique constraint \
                 \"ir_model_data_module_name_uniq_index\"";
    // The first attempt is still being committed while the second is at work.
    let answers = [
        error(200, "psycopg2.errors.UniqueViolation", words),
        not_loaded(row(&format!("Unknown database error: '{words}'"))),
    ];
    for behaviour in answers {
        let what = format!("{behaviour:?}");
        let requests = odoo.0.requests();
        odoo.0.behave(1, Behaviour::CutAfterCommit);
        odoo.0.behave(1, behaviour);
        steps.take(&devices).await;
        let health = hold(&tapline, &odoo, steps.taken, &what).await;
        assert_eq!(health["dead_letters"], 0, "{what}");
        assert_eq!(odoo.0.requests(), requests + 3, "{what}");
    }
}

#[tokio::test]
async fn what_odoo_refuses_inside_a_200_is_set_aside_at_once_and_nothing_else() {
    let (_broker, odoo, devices, mut steps, tapline) = records().await;
    let names = ["MissingError", "UserError", "ValidationError"].map(|name| {
        let name = format!("odoo.exceptions.{name}");
        error(200, &name, "no")
    });
    let faults = ["ValueError", "TypeError", "AttributeError"].map(|name| {
        let name = format!("builtins.{name}");
        error(0, &name, "no")
    });
    let others = [
        not_loaded(row("No matching record found")),
        not_loaded(json!([{
            "type": "error", "message": "Missing required value for the field 'Request'",
        }])),
    ];
    let mut refused = 0;
    for behaviour in names.into_iter().chain(faults).chain(others) {
        let what = format!("{behaviour:?}");
        let requests = odoo.0.requests();
        odoo.0.behave(1, behaviour);
        steps.take(&devices).await;
        refused += 1;
        let set_aside = |health: &Value| health["dead_letters"] == refused && waiting(health) == 0;
        tapline.until(&format!("it is set aside after {what}"), set_aside).await;
        assert_eq!(odoo.0.requests(), requests + 1, "asked once: {what}");
        steps.take(&devices).await;
        hold(&tapline, &odoo, steps.taken - refused, &what).await;
    }
}

#[tokio::test]
async fn what_a_person_must_mend_is_seen_inside_a_200_and_pauses() {
    let (_broker, odoo, devices, mut steps, tapline) = records().await;
    let pauses = [
        error(200, "odoo.exceptions.AccessDenied", "Access Denied"),
        error(0, "odoo.exceptions.AccessError", "not allowed to create"),
        error(100, "odoo.http.SessionExpiredException", "Session expired"),
        error(404, "werkzeug.exceptions.NotFound", "404: Not Found"),
        result(Value::Bool(false)),
        Behaviour::Html { status: 200 },
    ];
    for behaviour in pauses {
        let what = format!("{behaviour:?}");
        let requests = odoo.0.requests();
        odoo.0.behave(1, behaviour);
        steps.take(&devices).await;
        let health = tapline.until(&format!("it is paused after {what}"), is_paused).await;
        assert_eq!((waiting(&health), &health["dead_letters"]), (1, &Value::from(0)), "{what}");
        assert_eq!(odoo.0.requests(), requests + 1, "nothing is sent after {what}");
        resume(&tapline).await;
        hold(&tapline, &odoo, steps.taken, &what).await;
    }
}

#[tokio::test]
async fn a_login_that_odoo_answers_with_false_pauses_until_the_key_is_right() {
    let options = odoo_records::options(17);
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(options).await);
    let mut steps = Steps::new();
    let endpoint =
        odoo_records::endpoint(&odoo).replace("{ env = \"THE_KEY\" }", "{ file = \"odoo.key\" }");
    let setup = odoo_records::site(&broker, &endpoint, RECORDS, &[&steps.machine]);
    let tapline = setup.site("odoo.key", "an-0ld-k3y").start().await;
    tapline.subscribed(2).await;
    let devices = Publisher::connect(broker.port()).await;
    steps.take(&devices).await;
    let health = tapline.until("it is paused", is_paused).await;
    assert!(health["problems"].to_string().contains("the login failed"), "{health}");
    assert_eq!((waiting(&health), odoo.0.requests(), odoo.0.logins()), (1, 1, 1));
    write(&tapline.dir().join("site"), "odoo.key", odoo_records::KEY);
    let health = hold(&tapline, &odoo, 1, "the right key").await;
    assert_eq!((&health["dead_letters"], odoo.0.logins()), (&Value::from(0), 2));
}

#[tokio::test]
async fn the_event_endpoint_is_judged_by_what_its_200_says() {
    let mut steps = Steps::new();
    let bench = Bench::of(&[&steps.machine]).await;
    let conflict = error(200, "psycopg2.errors.SerializationFailure", "at this moment");
    let empty = Behaviour::Answer(json!({"status": "ok", "results": []}).to_string());
    for behaviour in [conflict, empty] {
        let what = format!("{behaviour:?}");
        bench.odoo.0.behave(1, behaviour);
        steps.take(&bench.devices).await;
        let health = delivered(&bench.tapline, &bench.odoo, steps.taken, &what).await;
        assert_eq!(health["dead_letters"], 0, "{what}");
    }
    bench.odoo.is_content();

    // It stands there since an attempt whose answer got lost: delivered, and not asked again.
    let words = "duplicate key value violates unique constraint \"iot_event_event_uid_key\"";
    let violation = error(200, "psycopg2.errors.UniqueViolation", words);
    let requests = bench.odoo.0.requests();
    bench.odoo.0.behave(1, Behaviour::CutAfterCommit);
    bench.odoo.0.behave(1, violation);
    steps.take(&bench.devices).await;
    let health = delivered(&bench.tapline, &bench.odoo, steps.taken, "the violation").await;
    assert_eq!(health["dead_letters"], 0);
    assert_eq!(bench.odoo.0.requests(), requests + 2);
    bench.odoo.is_content();

    bench.odoo.0.behave(1, error(0, "odoo.exceptions.ValidationError", "no"));
    steps.take(&bench.devices).await;
    bench.tapline.until("it is set aside", |health| health["dead_letters"] == 1).await;
    bench.odoo.0.behave(1, Behaviour::Answer("false".to_owned()));
    steps.take(&bench.devices).await;
    bench.tapline.until("it is paused", is_paused).await;
    resume(&bench.tapline).await;
    delivered(&bench.tapline, &bench.odoo, steps.taken - 1, "the pause").await;
    bench.odoo.is_content();
}

/// The pipeline that ships, with a second sink.
fn with_a_mirror() -> String {
    copy_of_shipped("workshop")
        + "
[[sink]]
name    = \"mirror\"
publish = { broker = \"main\", topic = \"mirror/{device}/{kind}\", payload = \"{data.state}\" }
take    = [\"event:session_*\"]
"
}

#[tokio::test]
async fn an_odoo_that_has_not_answered_yet_holds_up_no_other_sink() {
    let press = Machine::new("press");
    let bench = Bench::with(|setup: Setup| {
        setup.site("tapline.toml", "format = 1\n").site("pipelines/workshop.toml", &with_a_mirror())
    })
    .await;
    bench.tapline.take(&[&press]).await;
    let listener = Listener::start(bench.broker.port(), &["mirror/#"]).await;
    bench.odoo.0.behave(1, Behaviour::Held);
    bench.devices.report(&press, &COURSE[..2]).await;
    bench.odoo.0.until(|odoo| odoo.requests() == 1).await;
    bench.devices.report(&press, &COURSE[2..]).await;
    assert_eq!(listener.until("mirror/press/session_stopped").await, b"idle");
    let both = |health: &Value| waiting(health) == 2;
    let health = bench.tapline.until("Odoo's part waits", both).await;
    assert!(!is_paused(&health), "{health}");
    assert_eq!((bench.odoo.0.requests(), bench.odoo.0.event_count()), (1, 0));
    bench.odoo.0.let_go();
    delivered(&bench.tapline, &bench.odoo, 2, "it was let go").await;
    assert_eq!(bench.odoo.0.requests(), 2);
    bench.odoo.is_content();
    listener.stop().await;
}

#[tokio::test]
async fn a_slow_odoo_costs_time_alone() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::with(StandInOptions::default()).await);
    let mut steps = Steps::new();
    let tapline = site(&broker, &odoo, "timeout = \"2m\"\n").start().await;
    tapline.take(&[&steps.machine]).await;
    let devices = Publisher::connect(broker.port()).await;
    let (none, long) = (Duration::ZERO, Duration::from_secs(4));
    // Nothing for long, and then an answer of which each byte takes its time.
    for (wait, drip) in [(long, none), (none, Duration::from_millis(40))] {
        odoo.0.behave(1, Behaviour::Slow { wait, drip });
        let requests = odoo.0.requests();
        steps.take(&devices).await;
        delivered(&tapline, &odoo, steps.taken, "a slow answer").await;
        assert_eq!(odoo.0.requests(), requests + 1, "{wait:?} {drip:?}: it was asked again");
    }
    odoo.is_content();
    assert!(tapline.logged("odoo_send_failed").is_empty());
}

#[tokio::test]
async fn an_answer_that_drips_beyond_the_time_out_is_given_up_and_its_event_is_one() {
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let mut steps = Steps::new();
    let tapline = site(&broker, &odoo, "timeout = \"2s\"\n").start().await;
    tapline.take(&[&steps.machine]).await;
    let devices = Publisher::connect(broker.port()).await;
    let behaviour = Behaviour::Slow { wait: Duration::ZERO, drip: Duration::from_secs(1) };
    odoo.0.behave(1, behaviour);
    steps.take(&devices).await;
    let health = delivered(&tapline, &odoo, 1, "an endless answer").await;
    assert_eq!(health["dead_letters"], 0);
    assert_eq!((odoo.0.requests(), odoo.0.duplicates()), (2, 1));
    odoo.is_in_order();
}
