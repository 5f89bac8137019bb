//! Generations 2 to 4: components report themselves as JSON objects.
//!
//! One component whole on `<prefix>/status/<component>` ([`status`]); or a frame with any
//! number of components, mostly only what changed, on `<prefix>/events/rpc`
//! ([`notification`]). A component has the same keys in both ([`component`]).
//! <https://shelly-api-docs.shelly.cloud/gen2/>

mod component;
mod frame;
mod meter;
mod phases;
mod report;
mod sensor;
#[cfg(test)]
mod tests;

use serde::de::{DeserializeSeed, IgnoredAny};
use tapline_sdk::prelude::*;

pub(crate) use self::component::Component;
pub(crate) use self::frame::{ASK_ID, notification};
use self::report::Report;

/// Reads `<prefix>/status/<component>`.
pub(crate) fn status(component: &str, message: &Message) -> Result<Vec<Item>, Rejection> {
    let Some(component) = Component::of(component) else { return Ok(Vec::new()) };
    let mut report = Report::default();
    read_json(message, component.into_report(&mut report))?;
    Ok(report.into_items(None, message.retained))
}

/// Reads the whole payload as one JSON value.
fn read_json<'de, S>(message: &'de Message, seed: S) -> Result<S::Value, Rejection>
where
    S: DeserializeSeed<'de>,
{
    let mut json = serde_json::Deserializer::from_slice(&message.payload);
    seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value)).map_err(|error| {
        if error.is_data() {
            return Rejection::new("wrong-shape", error.to_string());
        }
        // In the words of every other parser; a number out of range is ignored there.
        let same = message.json::<IgnoredAny>().err();
        same.unwrap_or_else(|| Rejection::new("not-json", error.to_string()))
    })
}
