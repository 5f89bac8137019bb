//! Frames on `<prefix>/events/rpc`: several components at once, and events.
//!
//! `NotifyStatus` names only what changed, `NotifyFullStatus` everything, `NotifyEvent`
//! what happened; and the answer to [`crate::companions`]' question comes here too.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use tapline_sdk::prelude::*;

use super::component::Key;
use super::read_json;
use super::report::{EventData, Report, milliseconds};

/// Number of the question to which a `result` on this topic is taken for an answer.
pub(crate) const ASK_ID: u32 = 4251;

/// Reads `<prefix>/events/rpc`.
pub(crate) fn notification(message: &Message) -> Result<Vec<Item>, Rejection> {
    let frame = read_json(message, PhantomData::<Frame>)?;
    let (contents, delta) = match (frame.method, frame.params, frame.result) {
        (Method::NotifyStatus | Method::NotifyEvent, Some(params), _) => (params, true),
        (Method::NotifyFullStatus, Some(params), _) => (params, false),
        (Method::Other, _, Some(result)) if frame.id == Some(RequestId::Number(ASK_ID)) => {
            (result, false)
        }
        _ => return Ok(Vec::new()),
    };
    let Contents { at, mut report } = contents;
    if !delta {
        // That the link is up is news where it changed. A full status always says so, also
        // that of a device which sleeps a moment later.
        report.connected = None;
    }
    Ok(report.into_items(at, message.retained))
}

#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    method: Method,
    id: Option<RequestId>,
    params: Option<Contents>,
    result: Option<Contents>,
}

#[derive(Deserialize, Default)]
enum Method {
    NotifyStatus,
    NotifyFullStatus,
    NotifyEvent,
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Deserialize, PartialEq)]
#[serde(untagged)]
enum RequestId {
    Number(u32),
    Other(IgnoredAny),
}

/// `params` of a notification, `result` of an answer.
#[derive(Default)]
struct Contents {
    at: Option<u64>,
    report: Report,
}

impl<'de> Deserialize<'de> for Contents {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(ContentsVisitor)
    }
}

struct ContentsVisitor;

impl<'de> Visitor<'de> for ContentsVisitor {
    type Value = Contents;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of components")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Contents, M::Error> {
        let mut contents = Contents::default();
        let mut clock = None;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Ts => {
                    contents.at = map.next_value::<Option<f64>>()?.and_then(milliseconds);
                }
                Key::Sys => {
                    clock = map.next_value::<Option<Sys>>()?.and_then(|sys| sys.unixtime);
                }
                Key::Events => {
                    for event in map.next_value::<Option<Vec<Happened>>>()?.unwrap_or_default() {
                        contents.report.add_event(event.into());
                    }
                }
                Key::Component(component) => {
                    map.next_value_seed(component.into_report(&mut contents.report))?;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // An answer has no time of its own but the device's clock among its components.
        contents.at = contents.at.or(clock.and_then(milliseconds));
        Ok(contents)
    }
}

#[derive(Deserialize)]
struct Sys {
    unixtime: Option<f64>,
}

/// One event: a button, a firmware update, a changed setting, a script's own.
#[derive(Deserialize)]
struct Happened {
    component: String,
    event: String,
    ts: Option<f64>,
    data: Option<serde_json::Value>,
}

impl From<Happened> for Event {
    fn from(happened: Happened) -> Self {
        let Happened { component, event, ts, data } = happened;
        Self::new(crate::DEVICE_EVENT)
            .channel(component)
            .at_ms(ts.and_then(milliseconds))
            .data(&EventData { event, data })
    }
}
