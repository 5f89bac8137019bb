//! Speaks to Odoo: session events to the endpoint that the Tapline addon offers
//! (`POST /ows/iot/event`), and back from its answer to what became of each event.
//!
//! `encode` writes requests, `conclude` judges answers with the help of `body` (what came
//! back) and `fault` (whom a named error blames). Sending, credentials, retries and dead
//! letters are the host's. Invariant: no event counts as delivered unless Odoo said so.

mod body;
mod conclude;
mod encode;
mod fault;
mod time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tapline_sdk::prelude::*;

/// How Odoo is spoken to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `events`: the event endpoint of the Tapline addon. The only one in this version.
    pub protocol: String,
    /// Where events go, below the endpoint's URL.
    pub path: String,
    /// How many events a request carries.
    pub body: Packing,
}

/// How many events a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// As many as the pipeline's batch gives.
    Batch,
    /// One, for an older addon.
    Single,
}

impl Default for Settings {
    fn default() -> Self {
        Self { protocol: "events".into(), path: "/ows/iot/event".into(), body: Packing::Batch }
    }
}

/// The sink: see the crate's documentation.
#[derive(Debug)]
pub struct Odoo {
    settings: Settings,
}

impl Sink for Odoo {
    type Settings = Settings;
    const NAME: &'static str = "odoo";
    const SUMMARY: &'static str = "Sends session events to Odoo and reads what became of each.";

    fn new(settings: Settings) -> Result<Self, String> {
        if settings.protocol != "events" {
            return Err(format!(
                "`protocol` is `{}`, which version {} of this module does not speak; it speaks \
                 `events`",
                settings.protocol,
                env!("CARGO_PKG_VERSION")
            ));
        }
        let path = &settings.path;
        let odd = |character: char| {
            character.is_whitespace() || character.is_control() || character == '#'
        };
        if !path.starts_with('/') || path.starts_with("//") || path.contains(odd) {
            return Err(format!(
                "`path` is `{path}`; it must start with one `/` and hold no space and no `#`; the \
                 host name belongs into the endpoint's URL"
            ));
        }
        Ok(Self { settings })
    }

    fn encode(&self, _session: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
        let mut encoding = Encoding::default();
        let mut events = Vec::with_capacity(deliveries.len());
        for (index, delivery) in (0..).zip(deliveries) {
            match encode::event(delivery) {
                Ok(event) => events.push((index, event)),
                Err(why) => encoding.refuse(index, why),
            }
        }
        let bridge = deliveries.first().map_or("", |delivery| &delivery.bridge);
        let size = match self.settings.body {
            Packing::Batch => events.len().max(1),
            Packing::Single => 1,
        };
        for chunk in events.chunks(size) {
            let (indices, texts): (Vec<u32>, Vec<&str>) =
                chunk.iter().map(|(index, event)| (*index, event.as_str())).unzip();
            encoding.exchange(indices, encode::request(&self.settings.path, bridge, &texts));
        }
        encoding
    }

    fn conclude(
        &self,
        _session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Conclusion {
        conclude::outcome(&self.settings.path, deliveries, response).into()
    }
}

tapline_sdk::export_sink!(Odoo);
