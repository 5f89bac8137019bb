//! What an answer says about the events of a request.
//!
//! Invariant: an event counts as delivered only where the answer says so, by name or by a
//! success that carries no results at all; whatever is unclear is tried again.

use std::collections::BTreeMap;

use serde_json::Value;
use tapline_sdk::prelude::*;

use crate::body::{Body, excerpt};
use crate::fault::{Blame, Fault};

/// What a success says of the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One result per event by its id, or none at all where all is well.
    Results,
    /// Nothing beside the status: a webhook.
    Nothing,
}

/// The outcome of one exchange; `path` is where the events went, for the reasons.
pub(crate) fn outcome(
    path: &str,
    deliveries: &[Delivery],
    response: &Response,
    expected: Expected,
) -> Outcome {
    judge(path, deliveries, response, &|body, wait| match (body, expected) {
        (Body::Empty, _) => Outcome::Verdicts(vec![Verdict::Delivered; deliveries.len()]),
        (Body::Json(answer), Expected::Results) => results(deliveries, &answer, wait),
        (Body::Json(_) | Body::Text(_), Expected::Nothing) => {
            Outcome::Verdicts(vec![Verdict::Delivered; deliveries.len()])
        }
        (Body::Text(text), Expected::Results) => Outcome::Pause(format!(
            "`{path}` answered `{text}`, which is neither JSON nor empty: that is not the event \
             endpoint of Odoo"
        )),
        (Body::Broken | Body::Page(_), _) => Outcome::Retry(wait),
    })
}

/// The outcome of one exchange, where `read` says what the body of a success means: one
/// without a fault, unwrapped from JSON-RPC.
pub(crate) fn judge(
    path: &str,
    deliveries: &[Delivery],
    response: &Response,
    read: &dyn Fn(Body, u32) -> Outcome,
) -> Outcome {
    let wait = retry_after(response);
    let body = Body::read(response);
    let again = || Outcome::Verdicts(vec![Verdict::Retry(wait); deliveries.len()]);
    match response.status {
        200..=299 => success(path, deliveries, body, wait, read),
        status @ 300..=399 => Outcome::Pause(redirect(path, status, response)),
        408 | 409 | 425 | 429 | 502 | 503 | 504 => Outcome::Retry(wait),
        status => {
            let fault = match &body {
                Body::Json(answer) => Fault::of(answer, true),
                _ => None,
            };
            let blamed = fault.as_ref().map(|fault| (fault, fault.blame()));
            match (status, blamed) {
                (_, Some((fault, blame))) if blame != Blame::Unknown => {
                    blamed_on(blame, fault, path, deliveries, wait)
                }
                (400 | 413 | 415 | 422 | 414 | 431, _) => Outcome::Split(Rejection::new(
                    format!("http-{status}"),
                    format!("Odoo answered {status}: {}", words(&body)),
                )),
                (500..=599, _) => again(),
                _ => Outcome::Pause(refusal(path, status, &body)),
            }
        }
    }
}

fn success(
    path: &str,
    deliveries: &[Delivery],
    body: Body,
    wait: u32,
    read: &dyn Fn(Body, u32) -> Outcome,
) -> Outcome {
    let answer = match body {
        Body::Broken => {
            return Outcome::Verdicts(vec![Verdict::Retry(wait); deliveries.len()]);
        }
        Body::Page(title) => {
            return Outcome::Pause(format!(
                "`{path}` answered with a web page (`{title}`) instead of JSON: the database name \
                 or the URL of the endpoint is wrong, or a login page stands before Odoo"
            ));
        }
        Body::Empty | Body::Text(_) => return read(body, wait),
        Body::Json(answer) => answer,
    };
    if let Some(fault) = Fault::of(&answer, false) {
        return blamed_on(fault.blame(), &fault, path, deliveries, wait);
    }
    // `/jsonrpc` and routes of `type="json"` wrap what is said.
    let answer = match answer {
        Value::Object(mut fields)
            if !fields.contains_key("results") && fields.contains_key("result") =>
        {
            fields.remove("result").unwrap_or_default()
        }
        answer => answer,
    };
    if let Some(fault) = Fault::of(&answer, false) {
        return blamed_on(fault.blame(), &fault, path, deliveries, wait);
    }
    if answer == Value::Bool(false) {
        return Outcome::Pause(format!(
            "`{path}` answered `false`: Odoo does not accept the credentials of the endpoint"
        ));
    }
    read(Body::Json(answer), wait)
}

fn results(deliveries: &[Delivery], answer: &Value, wait: u32) -> Outcome {
    let all = |verdict: Verdict| Outcome::Verdicts(vec![verdict; deliveries.len()]);
    match answer {
        Value::Object(fields) => match fields.get("results") {
            None => all(Verdict::Delivered),
            Some(Value::Array(results)) => Outcome::Verdicts(verdicts(deliveries, results, wait)),
            Some(_) => all(Verdict::Retry(wait)),
        },
        _ => all(Verdict::Delivered),
    }
}

/// One verdict per delivery, found by its id in whatever order the results are.
fn verdicts(deliveries: &[Delivery], results: &[Value], wait: u32) -> Vec<Verdict> {
    let mut found: BTreeMap<&str, Verdict> = BTreeMap::new();
    for result in results {
        let Some(uid) = result["event_uid"].as_str() else { continue };
        let verdict = verdict(result, wait);
        found
            .entry(uid)
            // Two results that contradict each other say nothing.
            .and_modify(|known| {
                if *known != verdict {
                    *known = Verdict::Retry(wait);
                }
            })
            .or_insert(verdict);
    }
    deliveries
        .iter()
        .map(|delivery| found.get(delivery.id.as_str()).cloned().unwrap_or(Verdict::Retry(wait)))
        .collect()
}

fn verdict(result: &Value, wait: u32) -> Verdict {
    match result["status"].as_str().unwrap_or_default() {
        "created" => Verdict::Delivered,
        "duplicate" => Verdict::Duplicate,
        "rejected" => {
            let code = match &result["code"] {
                Value::String(code) if !code.trim().is_empty() => excerpt(code),
                Value::Number(code) => code.to_string(),
                _ => "rejected".into(),
            };
            let message = result["message"].as_str().map(excerpt).unwrap_or_default();
            let detail =
                if message.is_empty() { "Odoo gave no reason".to_owned() } else { message };
            Verdict::Rejected(Rejection::new(code, detail))
        }
        // An endpoint that keeps the order says so of what follows; nothing blames the event.
        "retry" => Verdict::Retry(a_moment(wait)),
        // A word that is not known must not lose an event either.
        _ => Verdict::Retry(wait),
    }
}

fn blamed_on(
    blame: Blame,
    fault: &Fault,
    path: &str,
    deliveries: &[Delivery],
    wait: u32,
) -> Outcome {
    let rejection = || {
        let code = if fault.name.is_empty() { "error" } else { &fault.name };
        Rejection::new(code, fault.words())
    };
    match (blame, deliveries) {
        (Blame::Moment, _) => Outcome::Retry(a_moment(wait)),
        (Blame::Event, _) => Outcome::Split(rejection()),
        (Blame::AlreadyThere, [_]) => Outcome::Verdicts(vec![Verdict::Duplicate]),
        // One of them is there; alone it will be known.
        (Blame::AlreadyThere, _) => Outcome::Split(rejection()),
        (Blame::Setup, _) => Outcome::Pause(setup(path, fault)),
        (Blame::Unknown, _) => Outcome::Verdicts(vec![Verdict::Retry(wait); deliveries.len()]),
    }
}

fn setup(path: &str, fault: &Fault) -> String {
    let remedy = match fault.name.as_str() {
        "AccessError" | "Forbidden" => {
            "the user behind the API key may not do this; give it the rights of the Tapline addon"
        }
        "NotFound" | "MethodNotAllowed" => {
            "install the Tapline addon in this database, or check `path` and the database name"
        }
        _ => "check the API key of the endpoint; keys of ordinary users expire",
    };
    format!("Odoo refuses `{path}` ({}: {}): {remedy}", fault.name, fault.words())
}

fn refusal(path: &str, status: u16, body: &Body) -> String {
    let remedy = match status {
        401 | 407 => {
            "the API key is missing, wrong or expired; set it in the endpoint's credentials"
        }
        403 => "the user behind the API key may not send events; give it the rights to",
        404 | 405 | 410 => {
            "Odoo does not know this address; install the Tapline addon in this database, or \
             check `path` and the database name"
        }
        _ => "the endpoint does not take events this way; check its URL",
    };
    format!("`{path}` answered {status} ({}): {remedy}", words(body))
}

fn redirect(path: &str, status: u16, response: &Response) -> String {
    // Without its query, which may carry a token.
    let target = response
        .header("location")
        .and_then(|target| target.split(['?', '#']).next())
        .map_or_else(|| "nowhere".to_owned(), |target| format!("`{}`", excerpt(target)));
    format!(
        "`{path}` answered {status} and points to {target}: events are not sent on; set the \
         endpoint's URL to where Odoo itself answers (https, database, no login page)"
    )
}

/// What a body says, for a person.
fn words(body: &Body) -> String {
    match body {
        Body::Empty => "no reason given".to_owned(),
        Body::Broken => "an answer that breaks off".to_owned(),
        Body::Page(title) => format!("a web page, `{title}`"),
        Body::Text(text) => text.clone(),
        Body::Json(answer) => match Fault::of(answer, true) {
            Some(fault) => fault.words().to_owned(),
            None => match answer.get("message").and_then(Value::as_str) {
                Some(message) => excerpt(message),
                None => excerpt(&answer.to_string()),
            },
        },
    }
}

/// The wait that was asked for, or a second. Inside a 200 the host takes a retry without a
/// wait for one of the ten tries of an event; with one, for what it is: not now.
pub(crate) fn a_moment(wait: u32) -> u32 {
    if wait == 0 { 1000 } else { wait }
}

/// Milliseconds of a `Retry-After` in seconds, at most an hour; 0 leaves it to the host,
/// which knows the time that a date would need.
fn retry_after(response: &Response) -> u32 {
    response
        .header("retry-after")
        .and_then(|seconds| seconds.trim().parse::<u32>().ok())
        .map_or(0, |seconds| seconds.min(3600) * 1000)
}
