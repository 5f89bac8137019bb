//! Records by `load()`, over `/json/2` and `/jsonrpc`, and single events to a webhook.

use serde_json::{Value, json};
use tapline_sdk::prelude::*;

use super::{deliveries, delivery, sink};

const ALARM: &str = "maintenance.request";

fn alarms(protocol: &str) -> Value {
    json!({
        "protocol": protocol, "model": ALARM, "external_id": "iot.{key}_{data.x}",
        "fields": {
            "name": "{device}: {kind}", "equipment_id/id": "iot.{labels.hall}",
            "schedule_date": "{data.started_at}", "priority": "{data.priority}",
        },
    })
}

/// A body with its secrets' names in angle brackets.
fn body(request: &Request) -> String {
    let part = |part: &Part| match part {
        Part::Bytes(bytes) => String::from_utf8(bytes.clone()).expect("text"),
        Part::Secret { name, escaping } => {
            assert_eq!(*escaping, Escaping::JsonString);
            format!("<{name}>")
        }
    };
    request.body.iter().map(part).collect()
}

fn json_body(request: &Request) -> Value {
    serde_json::from_str(&body(request)).expect("JSON")
}

fn answer(value: &Value) -> Response {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Response { status: 200, headers, body: value.to_string().into_bytes() }
}

fn result(value: Value) -> Response {
    answer(&json!({"jsonrpc": "2.0", "id": 1, "result": value}))
}

fn prepared(sink: &impl Sink, session: Option<&[u8]>, deliveries: &[Delivery]) -> Request {
    match sink.encode(session, deliveries).plan {
        Plan::Prepare(request) => request,
        plan => panic!("no preparation: {plan:?}"),
    }
}

fn exchanges(
    sink: &impl Sink,
    session: Option<&[u8]>,
    deliveries: &[Delivery],
) -> Vec<(Vec<u32>, Request)> {
    match sink.encode(session, deliveries).plan {
        Plan::Exchanges(exchanges) => exchanges,
        plan => panic!("no exchanges: {plan:?}"),
    }
}

#[test]
fn writes_one_upsert_for_all_deliveries_with_the_same_fields() {
    let sink = sink(alarms("json2")).unwrap();
    let mut three = deliveries(&["a", "b", "c"]);
    three[1].device.as_mut().unwrap().labels.clear();
    let calls = exchanges(&sink, None, &three);
    let indices: Vec<_> = calls.iter().map(|(indices, _)| indices.clone()).collect();
    assert_eq!(indices, [vec![0, 2], vec![1]]);
    let request = &calls[0].1;
    assert_eq!((&*request.method, &*request.path), ("POST", "/json/2/maintenance.request/load"));
    let row = ["iot.lathe_1_5", "iot.7", "lathe: session_started", "2026-02-12 19:40:15"];
    assert_eq!(
        json_body(request),
        json!({
            "fields": ["id", "equipment_id/id", "name", "schedule_date"],
            "data": [row, row],
            "context": {"tz": "UTC"},
        })
    );
    // What the delivery has nothing for is left as it is.
    assert_eq!(json_body(&calls[1].1)["fields"], json!(["id", "name", "schedule_date"]));
}

#[test]
fn asks_for_the_version_once_and_speaks_what_the_server_does() {
    let sink = sink(alarms("load")).unwrap();
    let one = deliveries(&["a"]);
    let asked = prepared(&sink, None, &one);
    assert_eq!(asked.path, "/jsonrpc");
    assert_eq!(json_body(&asked)["params"]["method"], "version");
    for (version, path) in [
        (json!([19, 0, 0, "final", 0, ""]), "/json/2/maintenance.request/load"),
        (json!(["saas~19", 2, 0, "final", 0, ""]), "/json/2/maintenance.request/load"),
        (json!([18, 0, 0, "final", 0, ""]), "/jsonrpc"),
        (json!(["saas~18", 1, 0, "final", 0, ""]), "/jsonrpc"),
    ] {
        let told = result(json!({"server_version_info": version}));
        let known = sink.conclude(None, &[], &told);
        assert_eq!(known.outcome, Outcome::Prepared, "{version}");
        let next = match sink.encode(known.session.as_deref(), &one).plan {
            Plan::Prepare(login) => login,
            Plan::Exchanges(mut calls) => calls.remove(0).1,
        };
        assert_eq!(next.path, path, "{version}");
    }
    // Odoo 22 has no `/jsonrpc`.
    let gone = Response { status: 404, ..Response::default() };
    let known = sink.conclude(None, &[], &gone);
    assert_eq!(known.outcome, Outcome::Prepared);
    let calls = exchanges(&sink, known.session.as_deref(), &one);
    assert_eq!(calls[0].1.path, "/json/2/maintenance.request/load");
    for (told, expected) in [
        (Response { status: 503, ..Response::default() }, "retry"),
        (result(json!({"hello": 1})), "pause"),
        (
            Response { status: 200, body: b"<html><title>Shop".to_vec(), ..Default::default() },
            "pause",
        ),
    ] {
        let outcome = sink.conclude(None, &[], &told).outcome;
        let fits = match &outcome {
            Outcome::Retry(_) => expected == "retry",
            Outcome::Pause(_) => expected == "pause",
            _ => false,
        };
        assert!(fits, "{outcome:?} where {expected} was expected");
    }
}

#[test]
fn logs_in_once_and_never_sees_the_key() {
    let sink = sink(alarms("jsonrpc")).unwrap();
    let one = deliveries(&["a"]);
    let login = prepared(&sink, None, &one);
    assert_eq!(
        json_body(&login)["params"],
        json!({
            "service": "common", "method": "authenticate",
            "args": ["<database>", "<login>", "<key>", {}],
        })
    );
    let refused = sink.conclude(None, &[], &result(json!(false)));
    let Outcome::Pause(why) = refused.outcome else { panic!("{refused:?}") };
    assert!(why.contains("the login failed") && why.contains("`key`"), "{why}");

    let known = sink.conclude(None, &[], &result(json!(7)));
    assert_eq!(known.outcome, Outcome::Prepared);
    let calls = exchanges(&sink, known.session.as_deref(), &one);
    let arguments = json_body(&calls[0].1)["params"]["args"].clone();
    assert_eq!(arguments.as_array().unwrap()[..3], [json!("<database>"), json!(7), json!("<key>")]);
    assert_eq!(arguments[4], "load");
    assert_eq!(arguments[6], json!({"context": {"tz": "UTC"}}));
    let told = result(json!({"ids": [12], "messages": [], "nextrow": 0}));
    let concluded = sink.conclude(known.session.as_deref(), &one, &told);
    assert_eq!(concluded.outcome, Outcome::Verdicts(vec![Verdict::Delivered]));
    assert_eq!(concluded.session, known.session, "the user's id is kept");

    let denied = answer(&json!({"jsonrpc": "2.0", "id": 1, "error": {
        "code": 200, "message": "Odoo Server Error",
        "data": {"name": "odoo.exceptions.AccessDenied", "message": "Access Denied"},
    }}));
    let concluded = sink.conclude(known.session.as_deref(), &one, &denied);
    assert!(matches!(concluded.outcome, Outcome::Pause(_)), "{concluded:?}");
    prepared(&sink, concluded.session.as_deref(), &one);
}

#[test]
fn only_ids_for_all_rows_are_success() {
    let sink = sink(alarms("json2")).unwrap();
    let two = deliveries(&["a", "b"]);
    let said = |value: Value| sink.conclude(None, &two, &answer(&value)).outcome;
    let both = |verdict: Verdict| Outcome::Verdicts(vec![verdict.clone(), verdict]);
    assert_eq!(said(json!({"ids": [1, 2], "messages": []})), both(Verdict::Delivered));
    let warned = json!({"ids": [1, 2], "messages": [{"type": "warning", "message": "odd"}]});
    assert_eq!(said(warned), both(Verdict::Delivered));
    for unclear in [
        json!({"ids": false, "messages": []}),
        json!({"ids": [1], "messages": []}),
        json!({"ids": [1, false], "messages": []}),
        json!({}),
        json!([]),
        json!(true),
        json!(null),
    ] {
        assert_eq!(said(unclear.clone()), both(Verdict::Retry(0)), "{unclear}");
    }
    let empty = sink.conclude(None, &two, &Response { status: 200, ..Response::default() });
    assert_eq!(empty.outcome, both(Verdict::Retry(0)), "a body was promised");

    let wrong = "No matching record found for external id 'iot.7'";
    let blamed = json!({"ids": false, "messages": [
        {"type": "error", "message": wrong, "rows": {"from": 1, "to": 1}, "record": 1},
    ]});
    let rejection = Rejection::new("load", wrong);
    let verdicts = vec![Verdict::Retry(1), Verdict::Rejected(rejection.clone())];
    assert_eq!(said(blamed), Outcome::Verdicts(verdicts));
    let nobody = json!({"ids": false, "messages": [{"type": "error", "message": wrong}]});
    assert_eq!(said(nobody), Outcome::Split(rejection));
    let conflict = "ERROR: could not serialize access due to concurrent update";
    let passing = json!({"ids": false, "messages": [
        {"type": "error", "message": conflict, "rows": {"from": 0, "to": 0}},
    ]});
    assert_eq!(said(passing), Outcome::Retry(1000));
}

fn session(kind: &str, more: Value) -> Delivery {
    let mut data = json!({"session_id": "5d0c-1", "started_at": "2026-02-12T08:00:00.000Z"});
    data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut delivery = delivery("d");
    delivery.device.as_mut().expect("a device").labels =
        vec![("workcenter".into(), "mrp.saw".into())];
    let at = 1_770_890_420_000; // 2026-02-12T10:00:20Z
    delivery.content = Content::Item(Event::new(kind).at_ms(at).data(&data).into());
    delivery
}

#[test]
fn a_session_becomes_times_of_a_work_center() {
    let sink = sink(json!({"protocol": "json2", "preset": "productivity"})).unwrap();
    let rows = |delivery: Delivery| {
        let calls = exchanges(&sink, None, &[delivery]);
        assert_eq!(calls[0].1.path, "/json/2/mrp.workcenter.productivity/load");
        let call = json_body(&calls[0].1);
        (call["fields"].clone(), call["data"].clone())
    };
    let (fields, data) = rows(session("session_started", json!({})));
    let open = ["id", "workcenter_id/id", "loss_id/id", "date_start", "description"];
    assert_eq!(fields, json!(open));
    let row = ["tapline.5d0c-1_working", "mrp.saw", "mrp.block_reason7", "2026-02-12 08:00:00"];
    assert_eq!(data, json!([[row[0], row[1], row[2], row[3], "Lathe \"A\""]]));

    let ended = json!({
        "ended_at": "2026-02-12T10:00:00.000Z", "working_s": 5400.0, "standby_s": 1800.0,
        "energy_wh": 1234.5, "reason": "message_timeout",
    });
    let (fields, data) = rows(session("session_timeout", ended));
    assert_eq!(fields[4], "date_end");
    let part = |n: usize| -> Vec<&str> {
        [0, 2, 3, 4].iter().map(|field| data[n][*field].as_str().unwrap()).collect()
    };
    let (start, turn) = ("2026-02-12 08:00:00", "2026-02-12 09:30:00");
    let (end, told) = ("2026-02-12 10:00:00", "2026-02-12 10:00:20");
    assert_eq!(part(0), ["tapline.5d0c-1_working", "mrp.block_reason7", start, turn]);
    assert_eq!(part(1), ["tapline.5d0c-1_standby", "mrp.block_reason4", turn, end]);
    assert_eq!(part(2), ["tapline.5d0c-1_silent", "mrp.block_reason1", end, told]);
    assert_eq!(data[0][5], "Lathe \"A\", 1234.5 Wh, ended by message_timeout");
    let three = answer(&json!({"ids": [1, 2, 3], "messages": []}));
    let one = [session(
        "session_timeout",
        json!({
            "ended_at": "2026-02-12T10:00:00.000Z", "working_s": 5400.0, "standby_s": 1800.0,
        }),
    )];
    let concluded = sink.conclude(None, &one, &three);
    assert_eq!(concluded.outcome, Outcome::Verdicts(vec![Verdict::Delivered]));

    // All at work: no second record, and no gap by rounding.
    let ended = json!({
        "ended_at": "2026-02-12T10:00:00.000Z", "working_s": 7199.9999, "standby_s": 0.0,
        "reason": "power",
    });
    let (_, data) = rows(session("session_stopped", ended));
    assert_eq!(data.as_array().unwrap().len(), 1);
    assert_eq!(data[0][4], end);
}

#[test]
fn says_what_a_session_lacks_for_a_work_center() {
    let sink = sink(json!({"protocol": "json2", "preset": "productivity"})).unwrap();
    let mut unlabelled = session("session_started", json!({}));
    unlabelled.device.as_mut().unwrap().labels.clear();
    let mut alarm = delivery("x");
    alarm.content = Content::Item(Event::new("alarm").into());
    let broken = session("session_stopped", json!({"ended_at": "yesterday"}));
    for (delivery, code, words) in [
        (unlabelled, "no-workcenter", "labels.workcenter"),
        (alarm, "not-a-session", "event:session_*"),
        (broken, "not-a-session", "`yesterday`"),
    ] {
        let refused = sink.encode(None, &[delivery]).refused;
        assert_eq!(refused[0].1.code, code);
        assert!(refused[0].1.detail.contains(words), "{refused:?}");
    }
}

#[test]
fn a_webhook_gets_one_event_a_request_and_only_its_status_counts() {
    let hook = sink(json!({"protocol": "webhook", "path": "/web/hook/2f1d"})).unwrap();
    let calls = exchanges(&hook, None, &deliveries(&["a", "b"]));
    assert_eq!(calls.len(), 2);
    let event = json_body(&calls[1].1);
    assert_eq!((&event["bridge_id"], &event["event_uid"]), (&json!("hall-7"), &json!("b")));
    let one = deliveries(&["a"]);
    for (status, body, expected) in [
        (200, r#"{"status": "ok"}"#, "delivered"),
        (200, "", "delivered"),
        (404, r#"{"status": "error"}"#, "pause"),
        (500, r#"{"status": "error"}"#, "again"),
        (200, "<html><title>Login</title>", "pause"),
    ] {
        let response = Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
        let said = match hook.conclude(None, &one, &response).outcome {
            Outcome::Pause(_) => "pause",
            Outcome::Verdicts(verdicts) if verdicts == [Verdict::Delivered] => "delivered",
            Outcome::Verdicts(verdicts) if verdicts == [Verdict::Retry(0)] => "again",
            outcome => panic!("{status} {body}: {outcome:?}"),
        };
        assert_eq!(said, expected, "{status} {body}");
    }
}
