//! The stand-in's models: `load()` over `/jsonrpc` and `/json/2`, in the shapes of real servers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Room;

/// The fields of a record, as they were loaded.
pub type Fields = BTreeMap<String, String>;

/// What was written by `load()`.
#[derive(Default)]
pub(crate) struct Shelf {
    models: BTreeMap<String, BTreeMap<String, Fields>>,
    pub(crate) logins: u64,
}

/// Why a call fails: the exception's name, and its words.
pub(crate) type Failure = (&'static str, String);

const ACCESS_DENIED: &str = "odoo.exceptions.AccessDenied";
const UID: u64 = 7;

impl Shelf {
    pub(crate) fn of(&self, model: &str) -> BTreeMap<String, Fields> {
        self.models.get(model).cloned().unwrap_or_default()
    }
}

/// Answers a call of `/jsonrpc`; failures come with status 200, as Odoo's do.
pub(crate) fn json_rpc(room: &Room, body: &[u8]) -> Value {
    let call: Value = serde_json::from_slice(body).unwrap_or_default();
    let params = &call["params"];
    let arguments = params["args"].as_array().map_or(&[][..], Vec::as_slice);
    let answer = match (params["service"].as_str(), params["method"].as_str(), arguments) {
        (Some("common"), Some("version"), []) => {
            let major = room.options.version;
            Ok(json!({
                "server_version": format!("{major}.0"),
                "server_version_info": [major, 0, 0, "final", 0, ""],
                "protocol_version": 1,
            }))
        }
        (Some("common"), Some("authenticate"), [database, login, key, _]) => {
            room.lock().shelf.logins += 1;
            let known = is(database, room.options.database.as_deref())
                && is(login, room.options.login.as_deref())
                && is(key, room.options.key.as_deref());
            Ok(if known { json!(UID) } else { json!(false) })
        }
        (
            Some("object"),
            Some("execute_kw"),
            [database, uid, key, model, method, positional, named],
        ) => {
            if *uid != json!(UID)
                || !is(key, room.options.key.as_deref())
                || !is(database, room.options.database.as_deref())
            {
                Err((ACCESS_DENIED, "Access Denied".to_owned()))
            } else {
                let (model, method) = (model.as_str(), method.as_str());
                call_method(
                    room,
                    model.unwrap_or_default(),
                    method.unwrap_or_default(),
                    (&positional[0], &positional[1]),
                    &named["context"],
                )
            }
        }
        _ => Err(("builtins.TypeError", "no such service, method or arguments".to_owned())),
    };
    let id = &call["id"];
    match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((name, message)) => {
            let code = if room.options.version >= 19 { 0 } else { 200 };
            let data =
                json!({"name": name, "message": message, "arguments": [message], "debug": ""});
            let error = json!({"code": code, "message": "Odoo Server Error", "data": data});
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}

/// Answers a call of `/json/2`, with the bare value.
pub(crate) fn json_2(
    room: &Room,
    model: &str,
    method: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let call: Value = serde_json::from_slice(body)
        .map_err(|error| ("werkzeug.exceptions.BadRequest", error.to_string()))?;
    call_method(room, model, method, (&call["fields"], &call["data"]), &call["context"])
}

fn is(given: &Value, known: Option<&str>) -> bool {
    known.is_none_or(|known| given == known)
}

fn call_method(
    room: &Room,
    model: &str,
    method: &str,
    (names, data): (&Value, &Value),
    context: &Value,
) -> Result<Value, Failure> {
    if method != "load" {
        return Err(("builtins.AttributeError", format!("no method `{method}` of `{model}`")));
    }
    if context["tz"] != "UTC" {
        return Err(("builtins.ValueError", "times would be taken for another zone's".to_owned()));
    }
    let wrong = |error: serde_json::Error| ("builtins.TypeError", error.to_string());
    let names: Vec<String> = serde_json::from_value(names.clone()).map_err(wrong)?;
    let data: Vec<Vec<String>> = serde_json::from_value(data.clone()).map_err(wrong)?;
    let mut state = room.lock();
    let state = &mut *state;
    let mut messages = Vec::new();
    let mut rows = Vec::new();
    for (number, values) in data.into_iter().enumerate() {
        let mut fields: Fields = names.iter().cloned().zip(values).collect();
        let id = fields.remove("id").unwrap_or_default();
        if let Some(refusal) = state.script.refusal(&id, &id) {
            messages.push(json!({
                "type": "error", "message": refusal.message, "record": number,
                "rows": {"from": number, "to": number}, "field": "loss_id",
            }));
        }
        rows.push((id, fields));
    }
    if !messages.is_empty() {
        return Ok(json!({"ids": false, "messages": messages, "nextrow": 0}));
    }
    let records = state.shelf.models.entry(model.to_owned()).or_default();
    let mut ids = Vec::new();
    for (id, fields) in rows {
        records.entry(id.clone()).or_default().extend(fields);
        ids.push(records.keys().position(|known| *known == id).unwrap_or_default() + 1);
    }
    Ok(json!({"ids": ids, "messages": [], "nextrow": 0}))
}
