//! What the sink reads from answers: the table of what is delivered, tried again, refused,
//! and what a person must see to.

use serde_json::{Value, json};
use tapline_sdk::prelude::*;

use crate::{deliveries, sink};

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = "<!DOCTYPE html><html><head><title>Odoo\n | Login</title></head></html>";

fn conclude(
    ids: &[&str],
    status: u16,
    kind: &str,
    extra: &[(&str, &str)],
    body: &str,
) -> Conclusion {
    let headers = std::iter::once(("Content-Type", kind)).filter(|(_, kind)| !kind.is_empty());
    let headers = headers.chain(extra.iter().copied());
    let response = Response {
        status,
        headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
        body: body.as_bytes().to_vec(),
    };
    sink(json!({})).expect("settings").conclude(None, &deliveries(ids), &response)
}

/// An outcome in short: one letter per verdict (delivered, duplicate `=`, retry, rejected
/// `x` with its code), or the outcome's name with its code.
fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Verdicts(verdicts) => verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Delivered => "d".into(),
                Verdict::Duplicate => "=".into(),
                Verdict::Retry(0) => "r".into(),
                Verdict::Retry(ms) => format!("r{ms}"),
                Verdict::Rejected(why) => format!("x({})", why.code),
            })
            .collect::<Vec<_>>()
            .join(" "),
        Outcome::Prepared => "prepared".into(),
        Outcome::Split(why) => format!("split {}", why.code),
        Outcome::Retry(ms) => format!("retry {ms}"),
        Outcome::Pause(_) => "pause".into(),
    }
}

#[track_caller]
fn check(status: u16, kind: &str, body: &str, expected: &str) {
    let conclusion = conclude(&["a", "b"], status, kind, &[], body);
    assert_eq!(short(&conclusion.outcome), expected, "{status} {kind} {body}");
    assert!(conclusion.session.is_none() && conclusion.outputs.is_empty());
}

#[test]
fn reads_one_verdict_per_event_by_its_id() {
    let results = |results: Value| json!({"status": "ok", "results": results}).to_string();
    let a = |status| json!({"event_uid": "a", "status": status});
    let b = |status| json!({"event_uid": "b", "status": status});
    for (body, expected) in [
        (json!([a("created"), b("created")]), "d d"),
        (json!([b("created"), a("duplicate")]), "= d"),
        (
            json!([a("created"), {"event_uid": "b", "status": "rejected", "code": "no_machine",
                "message": "unknown machine"}]),
            "d x(no_machine)",
        ),
        (
            json!([a("rejected"), {"event_uid": "b", "status": "rejected", "code": 7}]),
            "x(rejected) x(7)",
        ),
        // What the answer does not name, or names in a word that is not known, is not there.
        (json!([a("created")]), "d r"),
        (json!([]), "r r"),
        (json!([a("created"), {"event_uid": "c", "status": "created"}]), "d r"),
        (json!([a("retry"), b("queued")]), "r1000 r"),
        (json!([a("created"), {"event_uid": 2, "status": "created"}, 5, null, {}]), "d r"),
        (json!([a("created"), a("created"), b("created"), b("rejected")]), "d r"),
        (json!({"a": "created"}), "r r"),
        (json!(null), "r r"),
    ] {
        check(200, JSON, &results(body.clone()), expected);
        // As a route of `type="json"` wraps it, and labelled as HTML as Odoo does.
        let wrapped =
            json!({"jsonrpc": "2.0", "id": null, "result": {"status": "ok", "results": body}});
        check(200, JSON, &wrapped.to_string(), expected);
        check(201, HTML, &results(body), expected);
    }
    let Outcome::Verdicts(verdicts) = conclude(&["a"], 200, JSON, &[], &results(json!([
        {"event_uid": "a", "status": "rejected", "code": "no_machine", "message": "unknown\n machine"}
    ]))).outcome else { panic!("no verdicts") };
    assert_eq!(verdicts, [Verdict::Rejected(Rejection::new("no_machine", "unknown machine"))]);
}

#[test]
fn a_bare_success_delivers_all_and_nothing_else_does() {
    for (status, kind, body, expected) in [
        (200, "", "", "d d"),
        (204, "", "", "d d"),
        (204, JSON, "", "d d"),
        (200, HTML, " \n", "d d"), // Odoo's label for an answer without content
        (200, JSON, r#"{"status": "ok"}"#, "d d"),
        (202, JSON, r#"{"jsonrpc": "2.0", "id": null, "result": null}"#, "d d"),
        (200, JSON, "null", "d d"),
        (200, HTML, "true", "d d"),
        (200, JSON, r#"{"error": null, "status": "ok"}"#, "d d"),
        // Promised, and not there.
        (200, JSON, "", "r r"),
        (200, JSON, r#"{"status": "ok", "results": [{"event_uid": "a", "sta"#, "r r"),
        (200, "", r#"{"status": "#, "r r"),
        // Says that it went wrong, but not for good.
        (200, JSON, r#"{"status": "error", "message": "later"}"#, "r r"),
        (200, JSON, r#"{"success": false}"#, "r r"),
        (200, JSON, r#"{"error": "what"}"#, "r r"),
        (200, JSON, r#"{"jsonrpc": "2.0", "result": {"error": {"message": "what"}}}"#, "r r"),
        // Is not the endpoint at all.
        (200, HTML, PAGE, "pause"),
        (200, JSON, PAGE, "pause"),
        (200, "text/plain", "OK", "pause"),
        (200, HTML, "It works!", "pause"),
        (200, JSON, "false", "pause"),
        (200, JSON, r#"{"jsonrpc": "2.0", "id": 1, "result": false}"#, "pause"),
    ] {
        check(status, kind, body, expected);
    }
}

#[test]
fn the_status_decides_where_no_error_is_named() {
    for (statuses, expected) in [
        (&[400, 413, 414, 415, 422, 431][..], "split http-#"),
        (&[401, 402, 403, 404, 405, 406, 407, 410, 411, 426, 451], "pause"),
        (&[408, 409, 425, 429, 502, 503, 504], "retry 0"),
        (&[500, 501, 505, 507, 599], "r r"),
        (&[300, 301, 302, 303, 304, 307, 308], "pause"),
        (&[100, 600, 0], "pause"),
    ] {
        for status in statuses {
            for (kind, body) in
                [("", ""), (HTML, PAGE), (JSON, r#"{"message": "no"}"#), (JSON, "{")]
            {
                let expected = expected.replace('#', &status.to_string());
                check(*status, kind, body, &expected);
            }
        }
    }
}

#[test]
fn a_named_error_blames_the_event_the_moment_or_the_set_up() {
    for (name, expected) in [
        ("odoo.exceptions.MissingError", "split MissingError"),
        ("odoo.exceptions.UserError", "split UserError"),
        ("odoo.exceptions.ValidationError", "split ValidationError"),
        ("builtins.ValueError", "split ValueError"),
        ("builtins.TypeError", "split TypeError"),
        ("AttributeError", "split AttributeError"),
        ("psycopg2.errors.SerializationFailure", "retry 1000"),
        ("psycopg2.errors.DeadlockDetected", "retry 1000"),
        ("psycopg2.errors.LockNotAvailable", "retry 1000"),
        ("psycopg2.OperationalError", "retry 1000"),
        ("odoo.exceptions.AccessDenied", "pause"),
        ("odoo.exceptions.AccessError", "pause"),
        ("odoo.http.SessionExpiredException", "pause"),
        ("werkzeug.exceptions.NotFound", "pause"),
        ("psycopg2.errors.UniqueViolation", "split UniqueViolation"),
        ("builtins.KeyError", "r r"),
        ("", "r r"),
    ] {
        // Odoo 17 and 18 say 200 where 19 says 0: the number means nothing.
        for code in [0, 200] {
            let error = json!({"code": code, "message": "Odoo Server Error",
                "data": {"name": name, "message": "because", "debug": "Traceback …"}});
            let body = json!({"jsonrpc": "2.0", "id": null, "error": error}).to_string();
            check(200, JSON, &body, expected);
        }
        // `/json/2` names it with a status, which covers permanent errors with 500 too.
        let body = json!({"name": name, "message": "because", "arguments": [], "debug": "…"});
        check(500, JSON, &body.to_string(), expected);
        if expected.starts_with("split") {
            check(404, JSON, &body.to_string(), expected);
        }
    }
    let error = json!({"error": {"code": 100, "message": "Odoo Session Expired"}}).to_string();
    check(200, JSON, &error, "pause");
    let Outcome::Split(why) = conclude(
        &["a"],
        500,
        JSON,
        &[],
        &json!({
        "name": "odoo.exceptions.ValidationError", "message": "no\n such machine"})
        .to_string(),
    )
    .outcome
    else {
        panic!("no split")
    };
    assert_eq!(why, Rejection::new("ValidationError", "no such machine"));
}

#[test]
fn a_violation_of_our_own_id_says_that_it_is_there() {
    let body = json!({"error": {"data": {"name": "psycopg2.errors.UniqueViolation",
        "message": "duplicate key value violates unique constraint \"iot_event_event_uid_uniq\""}}});
    let alone = conclude(&["a"], 200, JSON, &[], &body.to_string());
    assert_eq!(short(&alone.outcome), "=");
    // In a batch it is not known which; the halves will tell.
    check(200, JSON, &body.to_string(), "split UniqueViolation");
}

#[test]
fn waits_as_long_as_the_other_side_asks_but_an_hour_at_most() {
    for (header, expected) in [
        ("7", "retry 7000"),
        (" 120 ", "retry 120000"),
        ("86400", "retry 3600000"),
        ("0", "retry 0"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "retry 0"),
        ("-5", "retry 0"),
        ("99999999999999999999", "retry 0"),
    ] {
        let conclusion = conclude(&["a"], 503, HTML, &[("retry-after", header)], PAGE);
        assert_eq!(short(&conclusion.outcome), expected, "{header}");
    }
    let unknown = conclude(&["a", "b"], 500, "", &[("Retry-After", "2")], "");
    assert_eq!(short(&unknown.outcome), "r2000 r2000");
}

#[test]
fn a_pause_says_what_a_person_must_do() {
    let location = [("Location", "https://odoo.example/web/login?token=secret#x")];
    for (status, kind, extra, body, parts) in [
        (
            401,
            JSON,
            &[][..],
            r#"{"name":"x","message":"Invalid apikey"}"#,
            &["401", "Invalid apikey", "API key"][..],
        ),
        (403, "", &[], "", &["403", "rights"]),
        (
            404,
            HTML,
            &[],
            PAGE,
            &["404", "Odoo | Login", "install the Tapline addon", "database name"],
        ),
        (
            200,
            HTML,
            &[],
            PAGE,
            &["`/ows/iot/event`", "web page", "`Odoo | Login`", "database name"],
        ),
        (302, "", &location, "", &["302", "`https://odoo.example/web/login`", "endpoint's URL"]),
        (303, "", &[], "", &["303", "nowhere"]),
        (
            200,
            JSON,
            &[],
            r#"{"error":{"data":{"name":"odoo.exceptions.AccessError","message":"not you"}}}"#,
            &["AccessError", "not you", "rights"],
        ),
    ] {
        let Outcome::Pause(reason) = conclude(&["a"], status, kind, extra, body).outcome else {
            panic!("{status} {body} does not pause")
        };
        for part in parts {
            assert!(reason.contains(part), "`{part}` is not in `{reason}`");
        }
        assert!(!reason.contains("secret"), "{reason}");
    }
}

#[test]
fn no_answer_whatever_makes_it_panic_or_grow() {
    let endless = "x".repeat(100_000);
    let deep = "[".repeat(100_000);
    for body in
        ["\u{feff}{}", "<title", "<title>", "<TITLE>ü</TITLE>", "\u{0}", &endless, &deep, "1e999"]
    {
        for status in [0, 200, 404, 500, u16::MAX] {
            let outcome = conclude(&["a"], status, HTML, &[("location", &endless)], body).outcome;
            if let Outcome::Pause(reason) = outcome {
                assert!(reason.len() < 2000, "{}", reason.len());
            }
        }
    }
    let error = json!({"error": {"data": {"name": endless, "message": endless}}}).to_string();
    assert_eq!(short(&conclude(&["a"], 200, JSON, &[], &error).outcome), "r");
    assert_eq!(conclude(&[], 200, JSON, &[], "{}").outcome, Outcome::Verdicts(vec![]));
}
