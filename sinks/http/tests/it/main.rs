//! The HTTP sink as the host uses it: what it sends, and what it reads from answers.

use serde_json::{Value, json};
use tapline_http::{Http, Settings};
use tapline_sdk::prelude::*;

fn sink(settings: Value) -> Result<Http, String> {
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    Http::new(settings)
}

fn alarm() -> Delivery {
    let data = json!({"level": "critical", "value": -12.5, "say": "it said \"warm\"\n"});
    Delivery {
        id: "u-1".into(),
        bridge: "hall-7".into(),
        replayed: false,
        key: "f1".into(),
        seq: 4,
        at: 1_770_925_299_000,
        device: Some(Device {
            id: "freezer 1/a".into(),
            name: "Freezer".into(),
            labels: vec![("area".into(), "cold".into())],
        }),
        content: Content::Item(Event::new("alarm_raised").data(&data).into()),
        origin: None,
    }
}

/// The one request for an alarm, and its body.
fn request(settings: Value) -> (Request, String) {
    let encoding = sink(settings).expect("settings").encode(None, &[alarm()]);
    let Plan::Exchanges(mut exchanges) = encoding.plan else { panic!("no exchanges") };
    let (indices, request) = exchanges.remove(0);
    assert_eq!(indices, [0]);
    let body = match request.body.as_slice() {
        [Part::Bytes(bytes)] => String::from_utf8(bytes.clone()).expect("text"),
        [] => String::new(),
        _ => panic!("{request:?}"),
    };
    (request, body)
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn fills_path_headers_and_body_and_each_value_stays_in_its_place() {
    let (request, body) = request(json!({
        "method": "PUT",
        "path": "/alarm/{device}?level={data.level}",
        "headers": {"Title": "{machine}: {data.say}"},
        "body": "{machine}: {data.level} {data.value} °C",
    }));
    assert_eq!(request.method, "PUT");
    assert_eq!(request.path, "/alarm/freezer%201%2Fa?level=critical");
    assert_eq!(header(&request, "title"), Some("Freezer: it said \"warm\" "));
    assert_eq!(header(&request, "content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(header(&request, "idempotency-key"), Some("u-1"));
    assert_eq!(body, "Freezer: critical -12.5 °C");
}

#[test]
fn values_in_a_json_body_are_escaped_and_without_a_body_all_is_sent() {
    let (_, body) = request(json!({
        "path": "/a",
        "headers": {"content-type": "application/json"},
        "body": "{{\"text\": \"{data.say}\", \"value\": {data.value}}}",
    }));
    let value: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(value, json!({"text": "it said \"warm\"\n", "value": -12.5}));

    let (request, body) = request(json!({"path": "/a"}));
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    let value: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        (&value["event"], &value["device"]),
        (&json!("alarm_raised"), &json!("freezer 1/a"))
    );
    assert_eq!(value["data"]["value"], -12.5);

    let (request, body) = self::request(json!({"path": "/a", "method": "GET"}));
    assert_eq!((body.as_str(), header(&request, "content-type")), ("", None));
}

#[test]
fn settings_that_make_no_request_are_refused_with_their_names() {
    for (settings, word) in [
        (json!({}), "path"),
        (json!({"path": "cold"}), "begin it with `/`"),
        (json!({"path": "/{devise}"}), "devise"),
        (json!({"path": "/", "method": "GET", "body": "x"}), "carries no `body`"),
        (json!({"path": "/", "headers": {"a b": "x"}}), "headers.a b"),
        (json!({"path": "/", "headers": {"a": "{data"}}), "headers.a"),
        (json!({"path": "/", "methods": "PUT"}), "methods"),
    ] {
        let why = sink(settings.clone()).expect_err("it is wrong");
        assert!(why.contains(word), "{settings}: {why}");
    }
}

#[test]
fn a_delivery_that_lacks_a_field_is_refused_alone() {
    let mut bare = alarm();
    bare.device = None;
    let encoding =
        sink(json!({"path": "/{device}"})).expect("settings").encode(None, &[bare, alarm()]);
    assert_eq!(encoding.refused.len(), 1);
    assert_eq!((encoding.refused[0].0, &*encoding.refused[0].1.code), (0, "no-field"));
    let Plan::Exchanges(exchanges) = encoding.plan else { panic!("no exchanges") };
    assert_eq!(exchanges[0].0, [1]);
}

#[test]
fn the_status_decides() {
    let outcome = |path: &str, status: u16, headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let response = Response { status, headers, body: b"because".to_vec() };
        sink(json!({"path": path})).expect("settings").conclude(None, &[alarm()], &response).outcome
    };
    for status in [200, 202, 204] {
        assert_eq!(outcome("/a", status, &[]), Outcome::Verdicts(vec![Verdict::Delivered]));
    }
    assert_eq!(outcome("/a", 429, &[("Retry-After", "7")]), Outcome::Retry(7_000));
    assert_eq!(outcome("/a", 503, &[]), Outcome::Retry(0));
    assert_eq!(outcome("/a", 500, &[]), Outcome::Verdicts(vec![Verdict::Retry(0)]));
    for status in [301, 401, 403, 404] {
        let Outcome::Pause(why) = outcome("/a", status, &[]) else { panic!("{status}") };
        assert!(why.contains(&status.to_string()), "{why}");
    }
    for (path, status) in [("/a", 400), ("/a", 422), ("/{device}", 404)] {
        let Outcome::Split(why) = outcome(path, status, &[]) else { panic!("{status}") };
        assert!(why.code == format!("http-{status}") && why.detail.contains("because"), "{why:?}");
    }
}
