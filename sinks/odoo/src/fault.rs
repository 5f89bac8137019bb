//! Errors that the answer names, and whom they blame.
//!
//! Odoo reports errors of its own inside a 200 (`/jsonrpc`, `type="json"` routes) and
//! permanent ones with a 500 (`/json/2`), so the name decides where there is one.

use serde_json::Value;

use crate::body::excerpt;

/// Odoo's index of external ids, which it names where one is given a second time.
pub(crate) const EXTERNAL_ID: &str = "ir_model_data_module_name_uniq";

/// An error as the other side words it.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    /// Without its Python module; empty where the other side gives none.
    pub(crate) name: String,
    pub(crate) message: String,
}

/// Whom a fault blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// What was sent; it will not do better next time.
    Event,
    /// The set-up: a person must act.
    Setup,
    /// The moment: try again.
    Moment,
    /// Nobody: it is there already.
    AlreadyThere,
    Unknown,
}

impl Fault {
    /// The error inside an answer, if it is one: `error` of JSON-RPC, `name` of `/json/2`
    /// (where `failed`, the status, says so), or a bare `status` that says so.
    pub(crate) fn of(answer: &Value, failed: bool) -> Option<Self> {
        let Value::Object(fields) = answer else { return None };
        if let Some(error) = fields.get("error").filter(|error| is_something(error)) {
            let data = &error["data"];
            let code = error["code"].as_i64();
            let name = text(&data["name"]).or_else(|| text(&error["name"])).or(match code {
                // Odoo's own numbers for an expired session and a missing route.
                Some(100) => Some("SessionExpiredException"),
                Some(404) => Some("NotFound"),
                _ => None,
            });
            let message = text(&data["message"])
                .or_else(|| text(&error["message"]))
                .or_else(|| text(error))
                .or_else(|| fields.get("message").and_then(text))
                .unwrap_or_default();
            return Some(Self::new(name.unwrap_or_default(), message));
        }
        let message = fields.get("message").and_then(text).unwrap_or_default();
        if failed {
            let name = fields.get("name").and_then(text)?;
            return Some(Self::new(name, message));
        }
        let refused = ["success", "ok"].iter().any(|key| fields.get(*key) == Some(&false.into()));
        let status = fields.get("status").and_then(text).unwrap_or_default().to_lowercase();
        (refused || matches!(status.as_str(), "error" | "fail" | "failed" | "failure"))
            .then(|| Self::new("", message))
    }

    fn new(name: &str, message: &str) -> Self {
        let name = name.rsplit('.').next().unwrap_or_default();
        Self { name: excerpt(name), message: excerpt(message) }
    }

    pub(crate) fn blame(&self) -> Blame {
        match self.name.as_str() {
            "SerializationFailure"
            | "DeadlockDetected"
            | "LockNotAvailable"
            | "OperationalError" => Blame::Moment,
            "AccessDenied"
            | "AccessError"
            | "SessionExpiredException"
            | "Unauthorized"
            | "Forbidden"
            | "NotFound"
            | "MethodNotAllowed" => Blame::Setup,
            // The external id, of which an attempt without an answer is still being committed:
            // the next `load()` finds it.
            "UniqueViolation" if self.message.contains(EXTERNAL_ID) => Blame::Moment,
            // Another unique column can be violated too; only our own id says "delivered".
            "UniqueViolation" if self.message.contains("event_uid") => Blame::AlreadyThere,
            "MissingError"
            | "UserError"
            | "ValidationError"
            | "ValueError"
            | "TypeError"
            | "AttributeError"
            | "UniqueViolation"
            | "BadRequest"
            | "UnprocessableEntity" => Blame::Event,
            _ => Blame::Unknown,
        }
    }

    /// For a person: the message, or the name where there is none.
    pub(crate) fn words(&self) -> &str {
        match (self.message.as_str(), self.name.as_str()) {
            ("", "") => "no reason given",
            ("", name) => name,
            (message, _) => message,
        }
    }
}

fn is_something(error: &Value) -> bool {
    !matches!(error, Value::Null | Value::Bool(false)) && error != ""
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty())
}
