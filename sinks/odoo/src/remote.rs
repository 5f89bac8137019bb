//! Calls of `load()`, over `/json/2` or `/jsonrpc`.
//!
//! `load()` is one transaction and, with an external id, a true upsert: what was written by an
//! attempt whose answer got lost is written again, not twice. The key never comes here; the
//! host fills it in. Invariant: all of a call's rows are written, or none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapline_sdk::prelude::*;

use crate::body::{Body, excerpt};
use crate::conclude::{a_moment, judge};
use crate::fault::EXTERNAL_ID;
use crate::rows::{Mapping, Row};
use crate::settings::{Protocol, Settings};

const JSONRPC: &str = "/jsonrpc";
/// The first version that has `/json/2`.
const JSON_2_SINCE: u64 = 19;

#[derive(Debug)]
pub(crate) struct Remote {
    protocol: Protocol,
    model: String,
    mapping: Mapping,
}

/// What is remembered between calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    /// What the server speaks, once it was asked.
    json_2: Option<bool>,
    /// The user's id, once logged in.
    uid: Option<i64>,
}

/// What is to be asked next.
enum Step {
    Version,
    Login,
    Load { uid: Option<i64> },
}

impl Known {
    fn read(session: Option<&[u8]>) -> Self {
        // What another version wrote is asked for again.
        session.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Remote {
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        let (model, mapping) = Mapping::new(&settings)?;
        Ok(Self { protocol: settings.protocol, model, mapping })
    }

    fn step(&self, known: &Known) -> Step {
        let json_2 = match self.protocol {
            Protocol::Json2 => Some(true),
            Protocol::Jsonrpc => Some(false),
            _ => known.json_2,
        };
        match (json_2, known.uid) {
            (None, _) => Step::Version,
            (Some(true), _) => Step::Load { uid: None },
            (Some(false), None) => Step::Login,
            (Some(false), uid) => Step::Load { uid },
        }
    }

    pub(crate) fn encode(&self, session: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
        match self.step(&Known::read(session)) {
            Step::Version => Encoding::prepare(rpc("common", "version", vec![])),
            Step::Login => Encoding::prepare(rpc(
                "common",
                "authenticate",
                vec![secret("database"), secret("login"), secret("key"), Argument::Json(json!({}))],
            )),
            Step::Load { uid } => self.load(uid, deliveries),
        }
    }

    /// One call for all deliveries whose records have the same fields.
    fn load(&self, uid: Option<i64>, deliveries: &[Delivery]) -> Encoding {
        let mut encoding = Encoding::default();
        let mut calls: BTreeMap<Vec<String>, (Vec<u32>, Vec<Row>)> = BTreeMap::new();
        for (index, delivery) in (0..).zip(deliveries) {
            match self.mapping.rows(delivery) {
                Ok(rows) => {
                    let (indices, all) = calls.entry(names(&rows)).or_default();
                    indices.push(index);
                    all.extend(rows);
                }
                Err(why) => encoding.refuse(index, why),
            }
        }
        for (names, (indices, rows)) in calls {
            encoding.exchange(indices, self.call(uid, &names, &rows));
        }
        encoding
    }

    fn call(&self, uid: Option<i64>, names: &[String], rows: &[Row]) -> Request {
        let data: Vec<Vec<&str>> = rows
            .iter()
            .map(|row| {
                let value = |name: &String| row.iter().find(|(known, _)| known == name);
                names.iter().map(|name| value(name).map_or("", |(_, value)| value)).collect()
            })
            .collect();
        // Without it Odoo would take times for those of the user's zone.
        let context = json!({"tz": "UTC"});
        let Some(uid) = uid else {
            let body = json!({"fields": names, "data": data, "context": context});
            return Request::post(self.path(true)).json(&body);
        };
        let arguments = vec![
            secret("database"),
            Argument::Json(json!(uid)),
            secret("key"),
            Argument::Json(json!(self.model)),
            Argument::Json(json!("load")),
            Argument::Json(json!([names, data])),
            Argument::Json(json!({"context": context})),
        ];
        rpc("object", "execute_kw", arguments)
    }

    fn path(&self, json_2: bool) -> String {
        if json_2 { format!("/json/2/{}/load", self.model) } else { JSONRPC.to_owned() }
    }

    pub(crate) fn conclude(
        &self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Conclusion {
        let mut known = Known::read(session);
        let outcome = match self.step(&known) {
            Step::Version => version(&mut known, response),
            Step::Login => login(&mut known, response),
            Step::Load { uid } => {
                let path = self.path(uid.is_none());
                let outcome = judge(&path, deliveries, response, &|body, wait| match body {
                    Body::Json(answer) => self.loaded(deliveries, &answer, wait),
                    _ => Outcome::Verdicts(vec![Verdict::Retry(wait); deliveries.len()]),
                });
                if matches!(outcome, Outcome::Pause(_)) {
                    // Whoever mends it may have another user, or another server.
                    known = Known::default();
                }
                outcome
            }
        };
        Conclusion::from(outcome).remember(known.bytes())
    }

    /// What `load()` answers: the records' ids, or what is wrong with which row.
    fn loaded(&self, deliveries: &[Delivery], answer: &Value, wait: u32) -> Outcome {
        let counts: Vec<usize> = deliveries
            .iter()
            .map(|delivery| self.mapping.rows(delivery).map_or(0, |rows| rows.len()))
            .collect();
        if let Some(ids) = answer["ids"].as_array()
            && ids.len() == counts.iter().sum::<usize>()
            && ids.iter().all(|id| id.is_i64())
        {
            return Outcome::Verdicts(vec![Verdict::Delivered; deliveries.len()]);
        }
        let errors: Vec<&Value> = answer["messages"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|message| message["type"] != "warning")
            .collect();
        let words =
            |message: &Value| excerpt(message["message"].as_str().unwrap_or("Odoo gave no reason"));
        if errors.is_empty() {
            // Neither ids nor a reason: whatever it was, nobody said that it was written.
            return Outcome::Verdicts(vec![Verdict::Retry(wait); deliveries.len()]);
        }
        if errors.iter().any(|error| is_of_the_moment(&words(error))) {
            return Outcome::Retry(a_moment(wait));
        }
        let mut verdicts = vec![Verdict::Retry(1); deliveries.len()];
        let mut blamed = false;
        for error in &errors {
            let from = error["rows"]["from"].as_u64().or_else(|| error["record"].as_u64());
            let place = from.and_then(|row| delivery_of(row, &counts));
            if let Some(index) = place {
                verdicts[index] = Verdict::Rejected(Rejection::new("load", words(error)));
                blamed = true;
            }
        }
        if !blamed {
            return Outcome::Split(Rejection::new("load", words(errors[0])));
        }
        Outcome::Verdicts(verdicts)
    }
}

/// Which delivery the row belongs to, of those with so many rows each.
fn delivery_of(row: u64, counts: &[usize]) -> Option<usize> {
    let mut left = usize::try_from(row).ok()?;
    counts.iter().position(|count| {
        let here = left < *count;
        left = left.saturating_sub(*count);
        here
    })
}

/// All names that the rows have, the external id first.
fn names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// PostgreSQL's words for conflicts that pass; `load()` hands them on as if a row were wrong.
fn is_of_the_moment(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    [
        "could not serialize access",
        "deadlock detected",
        "lock timeout",
        "could not obtain lock",
        EXTERNAL_ID,
    ]
    .iter()
    .any(|conflict| words.contains(conflict))
}

fn version(known: &mut Known, response: &Response) -> Outcome {
    if matches!(response.status, 404 | 405 | 410) {
        // Odoo 22 has no `/jsonrpc` any more.
        known.json_2 = Some(true);
        return Outcome::Prepared;
    }
    let found = std::cell::Cell::new(None);
    let outcome = judge(JSONRPC, &[], response, &|body, wait| {
        let Body::Json(answer) = body else { return Outcome::Retry(wait) };
        match major(&answer) {
            Some(major) => {
                found.set(Some(major));
                Outcome::Prepared
            }
            None => Outcome::Pause(format!(
                "`{JSONRPC}` did not tell Odoo's version but `{}`: set `protocol` to `json2` or \
                 `jsonrpc`",
                excerpt(&answer.to_string())
            )),
        }
    });
    if let Some(major) = found.get() {
        known.json_2 = Some(major >= JSON_2_SINCE);
    }
    unanswered(outcome)
}

/// The major version in `common.version()`; `saas~18` counts as 18.
fn major(answer: &Value) -> Option<u64> {
    match answer["server_version_info"].get(0)? {
        Value::Number(major) => major.as_u64(),
        Value::String(text) => text.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok(),
        _ => None,
    }
}

fn login(known: &mut Known, response: &Response) -> Outcome {
    let found = std::cell::Cell::new(None);
    let outcome = judge(JSONRPC, &[], response, &|body, wait| match body {
        Body::Json(Value::Number(uid)) => {
            found.set(uid.as_i64());
            Outcome::Prepared
        }
        _ => Outcome::Retry(wait),
    });
    known.uid = found.get();
    unanswered(match outcome {
        Outcome::Pause(why) => Outcome::Pause(format!(
            "the login failed: {why}; check `database`, `login` and `key` of the endpoint"
        )),
        outcome => outcome,
    })
}

/// A preparation carries no deliveries, so a verdict on each says nothing.
fn unanswered(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Verdicts(_) => Outcome::Retry(0),
        Outcome::Split(why) => Outcome::Pause(format!("{}: {}", why.code, why.detail)),
        outcome => outcome,
    }
}

enum Argument {
    Json(Value),
    Secret(&'static str),
}

fn secret(name: &'static str) -> Argument {
    Argument::Secret(name)
}

/// A call by JSON-RPC 2.0.
fn rpc(service: &str, method: &str, arguments: Vec<Argument>) -> Request {
    let mut body = vec![Part::Bytes(
        format!(
            r#"{{"jsonrpc":"2.0","method":"call","id":1,"params":{{"service":"{service}","method":"{method}","args":["#
        )
        .into_bytes(),
    )];
    for (index, argument) in arguments.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        match argument {
            Argument::Json(value) => body.push(Part::Bytes(format!("{comma}{value}").into_bytes())),
            Argument::Secret(name) => {
                body.push(Part::Bytes(format!("{comma}\"").into_bytes()));
                body.push(Part::Secret { name: name.to_owned(), escaping: Escaping::JsonString });
                body.push(Part::Bytes(b"\"".to_vec()));
            }
        }
    }
    body.push(Part::Bytes(b"]}}".to_vec()));
    Request { body, ..Request::post(JSONRPC) }.header("content-type", "application/json")
}
