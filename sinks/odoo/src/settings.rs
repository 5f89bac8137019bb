//! What a pipeline may set.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How Odoo is spoken to, and what becomes of an event there.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How Odoo is spoken to.
    pub protocol: Protocol,
    /// Where events go, below the endpoint's URL: `/ows/iot/event` if nothing is said. A
    /// webhook's is `/web/hook/…`, as its automation rule shows it.
    pub path: Option<String>,
    /// How many events a request to the event endpoint carries.
    pub body: Packing,
    /// The model whose records are written, `maintenance.request` say.
    pub model: Option<String>,
    /// External id of the record, a template; what has one already is updated.
    pub external_id: Option<String>,
    /// The record's fields, as an import names them (`name`, `equipment_id/id`), each a
    /// template. One that the delivery has nothing for is left as it is.
    pub fields: BTreeMap<String, String>,
    /// Model, external id and fields for a common purpose.
    pub preset: Option<Preset>,
    /// External id of the work center, a template; for `preset = "productivity"`.
    pub workcenter: Option<String>,
    /// External ids of the loss types; for `preset = "productivity"`.
    pub losses: Losses,
}

/// How Odoo is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Events to the endpoint of the Tapline addon.
    #[default]
    Events,
    /// Single events to a webhook of an automation rule (Odoo 17 and later).
    Webhook,
    /// Records by `load()`, over `/json/2` where the server is Odoo 19 or later, else over
    /// `/jsonrpc`; the server is asked.
    Load,
    /// Records by `load()` over `/json/2` (Odoo 19 and later).
    Json2,
    /// Records by `load()` over `/jsonrpc` (up to Odoo 21). The endpoint needs `database`,
    /// `login`, `key` and `key_in_body = true`.
    Jsonrpc,
}

/// How many events a request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// As many as the pipeline's batch gives.
    #[default]
    Batch,
    /// One, for an older addon.
    Single,
}

/// Model, external id and fields for a common purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Sessions to `mrp.workcenter.productivity`.
    Productivity,
}

/// External ids of loss types; the defaults are those that Odoo's Manufacturing ships.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Losses {
    /// For the time at work.
    pub productive: String,
    /// For the time on standby within a session.
    pub reduced_speed: String,
    /// For the time from the last sign of life to the time-out.
    pub availability: String,
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            productive: "mrp.block_reason7".into(),
            reduced_speed: "mrp.block_reason4".into(),
            availability: "mrp.block_reason1".into(),
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Webhook => "webhook",
            Self::Load => "load",
            Self::Json2 => "json2",
            Self::Jsonrpc => "jsonrpc",
        }
    }

    fn writes_records(self) -> bool {
        matches!(self, Self::Load | Self::Json2 | Self::Jsonrpc)
    }
}

impl Settings {
    /// What the schema cannot say.
    pub(crate) fn check(&self) -> Result<(), String> {
        let protocol = self.protocol.name();
        if self.protocol == Protocol::Webhook && self.path.is_none() {
            return Err("`protocol = \"webhook\"` needs `path`, the webhook's `/web/hook/…`".into());
        }
        if let Some(path) = &self.path {
            if self.protocol.writes_records() {
                return Err(format!("`path` says nothing to `protocol = \"{protocol}\"`"));
            }
            check_path(path)?;
        }
        let mapped = [
            ("model", self.model.is_some()),
            ("external_id", self.external_id.is_some()),
            ("fields", !self.fields.is_empty()),
            ("preset", self.preset.is_some()),
            ("workcenter", self.workcenter.is_some()),
        ];
        if let Some((name, _)) = mapped.iter().find(|(_, set)| *set)
            && !self.protocol.writes_records()
        {
            return Err(format!(
                "`{name}` says nothing to `protocol = \"{protocol}\"`, which sends events as they \
                 are; records are written by `protocol = \"load\"`"
            ));
        }
        Ok(())
    }
}

fn check_path(path: &str) -> Result<(), String> {
    let odd =
        |character: char| character.is_whitespace() || character.is_control() || character == '#';
    if !path.starts_with('/') || path.starts_with("//") || path.contains(odd) {
        return Err(format!(
            "`path` is `{path}`; it must start with one `/` and hold no space and no `#`; the \
             host name belongs into the endpoint's URL"
        ));
    }
    Ok(())
}
