//! Whether the broker keeps what it is trusted with: its limits against what is asked of it, a
//! session that is gone, and its own count of what it dropped.
//!
//! `receive` says what it learned; this judges it, shows it on the board and logs each risk when
//! it appears. Invariant: it only looks. Nothing here changes what is received or acknowledged.

use std::sync::Arc;
use std::time::Duration;

use super::link::Shared;
use super::risk::Risk;
use super::session::{Drops, Session};
use super::subscriptions::Subscriptions;
use super::wire::{Limits, has_wildcard, is_shared};
use crate::config::site::{Broker, MqttVersion};
use crate::message::Timestamp;

/// A broker that goes on dropping is spoken of this often.
const SPEAK_AGAIN: u64 = 3600 * 1000;

pub(super) struct SelfCheck {
    shared: Arc<Shared>,
    /// What the limits of this connection put at risk.
    limits: Vec<Risk>,
    forgotten: Option<Risk>,
    dropped: Option<Risk>,
    /// When the log last spoke of dropped messages.
    spoken: Option<Timestamp>,
}

impl SelfCheck {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, limits: Vec::new(), forgotten: None, dropped: None, spoken: None }
    }

    /// Compares what the broker does with what is wanted of it.
    pub(super) fn limits(&mut self, limits: &Limits, subscriptions: &Subscriptions) {
        let found = at_risk(&self.shared.broker, limits, subscriptions);
        if found == self.limits {
            return;
        }
        let broker = &self.shared.broker.name;
        for risk in found.iter().filter(|risk| !self.limits.contains(risk)) {
            tracing::warn!(event = "mqtt_messages_at_risk", broker = %broker, risk = risk.kind(), reason = %risk, "the broker's limits put messages at risk");
        }
        let gone = |risk: &&Risk| !found.iter().any(|left| left.kind() == risk.kind());
        for risk in self.limits.iter().filter(gone) {
            tracing::info!(event = "mqtt_risk_is_over", broker = %broker, risk = risk.kind(), "the broker's limits are wide enough again");
        }
        self.limits = found;
        self.show();
    }

    /// The broker answered CONNECT; `before` is the session that it should have had.
    pub(super) fn connected(&mut self, before: &Session, owner: &str, session_present: bool) {
        let broker = Arc::clone(&self.shared.broker);
        if session_present || broker.clean_start || !before.belongs_to(owner) {
            return;
        }
        let now = self.shared.now();
        let away = before.seen.map(|seen| Duration::from_millis(now.since(seen)));
        let asked = (broker.version == MqttVersion::V5).then_some(broker.session_expiry);
        let risk = Risk::Forgotten { at: now, away, asked };
        tracing::error!(event = "mqtt_session_forgotten", broker = %broker.name, reason = %risk, "the broker had forgotten the session");
        self.forgotten = Some(risk);
        self.show();
    }

    /// The broker says how many messages it has dropped since its start; `before` is what it
    /// said last, and comes back as what it says now.
    pub(super) fn counted(&mut self, before: Option<Drops>, count: u64) -> Drops {
        let now = self.shared.now();
        let Some(before) = before else { return Drops { count, at: now } };
        // A smaller count is that of a broker that has started anew.
        let more = count.checked_sub(before.count).unwrap_or(count);
        if more > 0 {
            self.dropped(more, before.at, now);
        }
        Drops { count, at: now }
    }

    fn dropped(&mut self, more: u64, since: Timestamp, now: Timestamp) {
        let (count, from) = match &self.dropped {
            Some(risk @ Risk::Dropped { count, from, .. }) if !risk.is_over(now) => {
                (count.saturating_add(more), *from)
            }
            _ => (more, since),
        };
        let risk = Risk::Dropped { count, from, to: now };
        if self.spoken.is_none_or(|spoken| now.since(spoken) >= SPEAK_AGAIN) {
            self.spoken = Some(now);
            tracing::error!(event = "mqtt_broker_dropped", broker = %self.shared.broker.name, count, reason = %risk, "the broker dropped messages");
        }
        self.dropped = Some(risk);
        self.shared.board.update(|status| status.dropped = status.dropped.saturating_add(more));
        self.show();
    }

    fn show(&self) {
        let happened = [&self.forgotten, &self.dropped].into_iter().flatten();
        let risks: Vec<_> = self.limits.iter().chain(happened).cloned().collect();
        self.shared.board.update(|status| status.risks = risks);
    }
}

fn at_risk(broker: &Broker, limits: &Limits, subscriptions: &Subscriptions) -> Vec<Risk> {
    let mut found = Vec::new();
    let granted = limits.session_expiry.map(|seconds| Duration::from_secs(u64::from(seconds)));
    if let Some(granted) = granted.filter(|granted| *granted < broker.session_expiry)
        && !broker.clean_start
    {
        found.push(Risk::ShortSession { asked: broker.session_expiry, granted });
    }
    let lowered = subscriptions.wanted().find_map(|(filter, how, granted)| {
        let most = granted.unwrap_or(how.qos).min(limits.most_qos);
        (most < how.qos).then(|| Risk::LowQos { filter: filter.to_owned(), asked: how.qos, most })
    });
    found.extend(lowered);
    if !limits.retains {
        found.push(Risk::NothingRetained);
    }
    if let Some(theirs) = limits.largest_packet.filter(|theirs| *theirs < broker.max_packet) {
        found.push(Risk::SmallPackets { ours: broker.max_packet, theirs });
    }
    let those = |fits: fn(&str) -> bool| {
        let mut filters = subscriptions.wanted().map(|(filter, ..)| filter).filter(|f| fits(f));
        filters.next().map(|first| (first.to_owned(), 1 + filters.count()))
    };
    if !limits.wildcards
        && let Some((filter, filters)) = those(has_wildcard)
    {
        found.push(Risk::NoWildcards { filter, filters });
    }
    if !limits.shared
        && let Some((filter, filters)) = those(is_shared)
    {
        found.push(Risk::NoShared { filter, filters });
    }
    found
}
