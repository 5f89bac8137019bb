//! What one message says, gathered while it is read.

use serde::Serialize;
use tapline_sdk::prelude::*;

use crate::DEVICE;

/// Readings and events in the order they stand in the message, totals before their parts.
#[derive(Default)]
pub(super) struct Report {
    readings: Vec<Reading>,
    events: Vec<Event>,
    /// The device's link to the broker, where the message tells of it.
    pub(super) connected: Option<bool>,
    pub(super) rssi_dbm: Option<f64>,
}

impl Report {
    /// Adds a reading, unless it measures nothing. What a channel measured in two
    /// components (`em:0`, `emdata:0`) stays two readings.
    pub(super) fn add(&mut self, reading: Reading) {
        if !reading.is_empty() {
            self.readings.push(reading);
        }
    }

    pub(super) fn add_event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Conditions such as `overpower`, of which a component tells as long as they last.
    pub(super) fn add_errors(&mut self, channel: &str, errors: Option<Vec<String>>) {
        for error in errors.unwrap_or_default() {
            self.events.push(crate::error_event(channel, &error));
        }
    }

    /// `at`: the time of the message, where it states one. A retained message tells of no
    /// event that happens now.
    pub(super) fn into_items(mut self, at: Option<u64>, retained: bool) -> Vec<Item> {
        let device = Reading::channel(DEVICE).online(self.connected).rssi_dbm(self.rssi_dbm);
        self.add(device);
        let mut items = Vec::with_capacity(self.readings.len() + self.events.len());
        for mut reading in self.readings {
            reading.at = at.or(reading.at);
            items.push(reading.into());
        }
        if !retained {
            for mut event in self.events {
                event.at = event.at.or(at);
                items.push(event.into());
            }
        }
        items
    }
}

/// Milliseconds of a time that the device states as seconds with fractions. A device
/// without a clock says `null`, or the seconds since it started: the host judges those.
pub(super) fn milliseconds(seconds: f64) -> Option<u64> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    (0.0..YEAR_10000).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}

/// What is known of an event beside its channel and time.
#[derive(Serialize)]
pub(super) struct EventData {
    pub(super) event: String,
    /// What a script on the device adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<serde_json::Value>,
}
