//! Sessions to `mrp.workcenter.productivity`, Odoo's record of what a work center's time went
//! to.
//!
//! A session becomes one record for its time at work and, where there was any, one for its
//! time on standby; a time-out adds the time in which nothing was heard. The detector tells
//! sums, so within a session the work stands before the standby. The first event opens the
//! record for work without an end; later ones update it, whichever arrive.

use serde::Deserialize;
use tapline_sdk::Template;
use tapline_sdk::prelude::*;
use tapline_sdk::time::parse_rfc3339;

use crate::rows::{Row, datetime, external_id};
use crate::settings::Losses;

#[derive(Debug)]
pub(crate) struct Productivity {
    workcenter: Template,
    losses: Losses,
}

/// What is read of a session's event.
#[derive(Deserialize)]
#[serde(crate = "tapline_sdk::serde")]
struct Session {
    session_id: String,
    started_at: String,
    ended_at: Option<String>,
    working_s: Option<f64>,
    standby_s: Option<f64>,
    energy_wh: Option<f64>,
    reason: Option<String>,
}

impl Productivity {
    pub(crate) const MODEL: &'static str = "mrp.workcenter.productivity";

    pub(crate) fn new(workcenter: Template, losses: Losses) -> Self {
        Self { workcenter, losses }
    }

    pub(crate) fn rows(&self, delivery: &Delivery) -> Result<Vec<Row>, Rejection> {
        let event = match &delivery.content {
            Content::Item(Item::Event(event)) if event.kind.starts_with("session_") => event,
            _ => {
                let why = "the preset `productivity` takes the events of sessions; let the sink \
                           `take` only `event:session_*`";
                return Err(Rejection::new("not-a-session", why));
            }
        };
        let odd = |what: String| Rejection::new("not-a-session", what);
        let session: Session =
            event.read().map_err(|e| odd(format!("data of event `{}`: {e}", event.kind)))?;
        let time = |text: &str| {
            parse_rfc3339(text).ok_or_else(|| odd(format!("`{text}` is no time in RFC 3339")))
        };
        let workcenter = self.workcenter.fill(delivery).map_err(|missing| {
            let what = format!(
                "work center `{}`: {missing}; give the device the label, or set `workcenter`",
                self.workcenter.text()
            );
            Rejection::new("no-workcenter", what)
        })?;
        let description = description(delivery, &session);
        let row = |part: &str, loss: &str, from: u64, to: Option<u64>| {
            let mut row = vec![
                ("id", external_id(&format!("tapline.{}_{part}", session.session_id))),
                ("workcenter_id/id", workcenter.clone()),
                ("loss_id/id", loss.to_owned()),
                ("date_start", datetime(from)),
            ];
            row.extend(to.map(|to| ("date_end", datetime(to))));
            row.push(("description", description.clone()));
            row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        };
        let losses = &self.losses;
        let start = time(&session.started_at)?;
        let Some(end) = session.ended_at.as_deref().map(time).transpose()? else {
            return Ok(vec![row("working", &losses.productive, start, None)]);
        };
        let end = end.max(start);
        let worked = (session.working_s.unwrap_or(0.0).max(0.0) * 1000.0) as u64;
        // Without a standby the two ends are one, whatever rounding says.
        let stood_by = session.standby_s.is_some_and(|seconds| seconds > 0.0);
        let turn = if stood_by { start.saturating_add(worked).min(end) } else { end };
        let mut rows = vec![row("working", &losses.productive, start, Some(turn))];
        if stood_by {
            rows.push(row("standby", &losses.reduced_speed, turn, Some(end)));
        }
        let told = event.at.unwrap_or(delivery.at);
        if event.kind == "session_timeout" && told > end {
            rows.push(row("silent", &losses.availability, end, Some(told)));
        }
        Ok(rows)
    }
}

fn description(delivery: &Delivery, session: &Session) -> String {
    let machine = delivery.device.as_ref().map_or(&*delivery.key, |device| &device.name);
    let mut text = machine.to_owned();
    if let Some(energy) = session.energy_wh {
        text.push_str(&format!(", {energy} Wh"));
    }
    if let Some(reason) = session.reason.as_deref().filter(|reason| *reason != "power") {
        text.push_str(&format!(", ended by {reason}"));
    }
    text
}
