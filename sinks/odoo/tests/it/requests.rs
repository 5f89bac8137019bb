//! What is sent, and which settings are not taken.

use serde_json::{Value, json};
use tapline_sdk::prelude::*;

use crate::{deliveries, delivery, sink};

/// The requests for these deliveries: which of them each carries, and its body as JSON.
fn requests(settings: Value, deliveries: &[Delivery]) -> (Vec<(Vec<u32>, Value)>, Encoding) {
    let encoding = sink(settings).expect("settings").encode(None, deliveries);
    let Plan::Exchanges(exchanges) = &encoding.plan else { panic!("{encoding:?}") };
    let requests = exchanges
        .iter()
        .map(|(indices, request)| {
            (indices.clone(), serde_json::from_slice(&body(request)).expect("JSON"))
        })
        .collect();
    (requests, encoding)
}

fn body(request: &Request) -> Vec<u8> {
    let [Part::Bytes(bytes)] = request.body.as_slice() else { panic!("{request:?}") };
    bytes.clone()
}

#[test]
fn sends_events_with_everything_that_odoo_needs_to_know() {
    let (requests, encoding) = requests(json!({}), &deliveries(&["u-1"]));
    let expected = json!({
        "schema": 1,
        "bridge_id": "hall-7",
        "events": [{
            "event_uid": "u-1",
            "event_type": "session_started",
            "device_id": "lathe",
            "machine_name": "Lathe \"A\"",
            "labels": {"hall": "7", "cell": "b"},
            "session_uid": "s-1",
            "seq": 42,
            "timestamp": "2026-02-12T19:40:18.123Z",
            "payload": {"session_id": "s-1", "started_at": "2026-02-12T19:40:15.123Z", "x": 1.5},
            "mqtt": {
                "source": "main",
                "topic": "lathe/status/pm1:0",
                "qos": 1,
                "retained": false,
                "received_at": "2026-02-12T19:40:18.500Z",
            },
        }],
    });
    assert_eq!(requests, [(vec![0], expected)]);
    let Plan::Exchanges(exchanges) = encoding.plan else { panic!("no exchanges") };
    let request = &exchanges[0].1;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/ows/iot/event"));
    assert!(request.headers.contains(&("content-type".into(), "application/json".into())));
}

#[test]
fn says_less_where_less_is_known_and_more_where_it_is_a_replay() {
    let mut bare = delivery("u-1");
    bare.device = None;
    bare.origin = None;
    bare.replayed = true;
    bare.content = Content::Item(Event::new("session_heartbeat").into());
    let event = requests(json!({}), &[bare]).0.remove(0).1["events"].take();
    assert_eq!(
        event,
        json!([{
            "event_uid": "u-1",
            "event_type": "session_heartbeat",
            "device_id": null,
            "machine_name": null,
            "labels": {},
            "session_uid": null,
            "seq": 42,
            // No time of its own: that of the step.
            "timestamp": "2026-02-12T19:41:39.000Z",
            "replayed": true,
            "payload": {},
            "mqtt": null,
        }])
    );
}

#[test]
fn carries_the_data_byte_for_byte() {
    let data = r#"{"b":1e-7,"a":123456789.123456789,"deep":{"ü":"\u0007"}}"#;
    let mut odd = delivery("u-1");
    let event = Event { data: data.into(), ..Event::new("session_stopped") };
    odd.content = Content::Item(event.into());
    let encoding = sink(json!({})).expect("settings").encode(None, &[odd]);
    let Plan::Exchanges(exchanges) = encoding.plan else { panic!("no exchanges") };
    let text = String::from_utf8(body(&exchanges[0].1)).expect("UTF-8");
    assert!(text.contains(&format!("\"payload\":{data}}}")), "{text}");
}

#[test]
fn packs_all_events_into_one_request_or_each_into_its_own() {
    let three = deliveries(&["a", "b", "c"]);
    let indices = |settings| -> Vec<Vec<u32>> {
        requests(settings, &three).0.into_iter().map(|(indices, _)| indices).collect()
    };
    assert_eq!(indices(json!({"body": "batch"})), [vec![0, 1, 2]]);
    assert_eq!(indices(json!({"body": "single"})), [vec![0], vec![1], vec![2]]);
    assert!(requests(json!({}), &[]).0.is_empty());
}

#[test]
fn refuses_what_is_no_event_and_sends_the_rest() {
    let mut four = deliveries(&["a", "b", "c", "d"]);
    four[0].content = Content::Item(Reading::channel("").power_w(1.0).into());
    four[1].content = Content::Message(Message::default());
    four[3].content = Content::Item(Event { data: "[1]".into(), ..Event::new("x") }.into());
    let (requests, encoding) = requests(json!({}), &four);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].0, [2]);
    let refused: Vec<_> =
        encoding.refused.iter().map(|(index, why)| (*index, why.code.as_str())).collect();
    assert_eq!(refused, [(0, "not-an-event"), (1, "not-an-event"), (3, "not-json")]);
    assert!(encoding.refused[0].1.detail.contains("this is a reading"), "{encoding:?}");
}

#[test]
fn says_which_setting_it_does_not_take_and_why() {
    for (settings, expected) in [
        (json!({}), None),
        (json!({"path": "/my/route?db=x"}), None),
        (json!({"protocol": "soap"}), Some("unknown variant `soap`")),
        (json!({"protocol": "webhook"}), Some("needs `path`")),
        (json!({"protocol": "load"}), Some("`model` is missing")),
        (json!({"protocol": "load", "model": "x.y"}), Some("`fields` is missing")),
        (json!({"protocol": "load", "model": "X Y", "fields": {"a": "b"}}), Some("small letters")),
        (json!({"model": "x.y"}), Some("`model` says nothing to `protocol = \"events\"`")),
        (json!({"protocol": "json2", "path": "/x"}), Some("`path` says nothing")),
        (
            json!({"protocol": "load", "model": "x.y", "fields": {"name": "{devise}"}}),
            Some("`fields.name`: `{devise}` is no placeholder"),
        ),
        (
            json!({"protocol": "load", "model": "x.y", "fields": {"id": "{id}"}}),
            Some("set `external_id`"),
        ),
        (
            json!({"protocol": "load", "preset": "productivity", "model": "x.y"}),
            Some("`preset` sets `model`"),
        ),
        (json!({"protocol": "load", "preset": "productivity"}), None),
        (json!({"path": "ows/iot/event"}), Some("must start with one `/`")),
        (json!({"path": "//evil.example/x"}), Some("must start with one `/`")),
        (json!({"path": "/a b"}), Some("hold no space")),
        (json!({"body": "zip"}), Some("unknown variant `zip`")),
        (json!({"url": "http://odoo"}), Some("unknown field `url`")),
    ] {
        let outcome = sink(settings.clone()).err();
        match (&outcome, expected) {
            (None, None) => {}
            (Some(message), Some(part)) => assert!(message.contains(part), "{message}"),
            _ => panic!("{settings}: {outcome:?} where {expected:?} was expected"),
        }
    }
}
