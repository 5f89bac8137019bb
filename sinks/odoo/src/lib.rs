//! Speaks to Odoo: events to the endpoint that the Tapline addon offers
//! (`POST /ows/iot/event`), records by `load()` over `/json/2` or `/jsonrpc`, or single events
//! to a webhook; and back from the answer to what became of each.
//!
//! `events` and `webhook` write bodies, `rows` turns deliveries into records, `remote` calls
//! `load()` with them; `conclude` judges answers with the help of `body` (what came back) and
//! `fault` (whom a named error blames). Sending, credentials, retries and dead letters are the
//! host's. Invariant: nothing counts as delivered unless Odoo said so.

mod body;
mod conclude;
mod events;
mod fault;
mod productivity;
mod remote;
mod rows;
mod settings;

pub use settings::{Losses, Packing, Preset, Protocol, Settings};
use tapline_sdk::prelude::*;

use conclude::Expected;
use remote::Remote;

/// The sink: see the crate's documentation.
#[derive(Debug)]
pub struct Odoo {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Posts { path: String, size: Option<usize>, expected: Expected },
    Records(Remote),
}

impl Sink for Odoo {
    type Settings = Settings;
    const NAME: &'static str = "odoo";
    const SUMMARY: &'static str =
        "Sends events to Odoo or writes records there, and reads what became of each.";

    fn new(settings: Settings) -> Result<Self, String> {
        settings.check()?;
        let way = match settings.protocol {
            Protocol::Events => {
                let size = (settings.body == Packing::Single).then_some(1);
                let path = settings.path.unwrap_or_else(|| "/ows/iot/event".to_owned());
                Way::Posts { path, size, expected: Expected::Results }
            }
            Protocol::Webhook => Way::Posts {
                path: settings.path.unwrap_or_default(),
                size: Some(1),
                expected: Expected::Nothing,
            },
            Protocol::Load | Protocol::Json2 | Protocol::Jsonrpc => {
                Way::Records(Remote::new(settings)?)
            }
        };
        Ok(Self { way })
    }

    fn encode(&self, session: Option<&[u8]>, deliveries: &[Delivery]) -> Encoding {
        match &self.way {
            Way::Records(remote) => remote.encode(session, deliveries),
            Way::Posts { path, size, expected } => {
                events::encode(path, *size, *expected, deliveries)
            }
        }
    }

    fn conclude(
        &self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Conclusion {
        match &self.way {
            Way::Records(remote) => remote.conclude(session, deliveries, response),
            Way::Posts { path, expected, .. } => {
                conclude::outcome(path, deliveries, response, *expected).into()
            }
        }
    }
}

tapline_sdk::export_sink!(Odoo);
