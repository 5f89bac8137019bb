//! What a pipeline may set.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is sent. Templates are texts with placeholders such as `{device}` and `{data.level}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The method of the request.
    pub method: Method,
    /// Path and query below the endpoint's URL, a template that begins with `/`; what is
    /// filled in is percent-encoded.
    pub path: String,
    /// Headers, each a template.
    pub headers: BTreeMap<String, String>,
    /// The body, a template; the delivery as JSON if nothing is said. Where `content-type`
    /// speaks of JSON, what is filled in is escaped for a JSON string.
    pub body: Option<String>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Post,
    Put,
    Patch,
    Get,
    Delete,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Get => "GET",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}
