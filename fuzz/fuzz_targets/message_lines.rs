//! Messages: lines of captures and recordings, and each text after the first as a payload on a
//! topic of its own for the parsers that ship.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tapline_sdk::prelude::*;
use tapline_sdk::testing::message;
use tapline_shelly::Shelly;
use tapline_tasmota::Tasmota;

/// Where the two families publish.
const TOPICS: [&str; 8] = [
    "tele/plug/SENSOR",
    "tele/plug/STATE",
    "stat/plug/RESULT",
    "stat/plug/POWER",
    "shellies/plug/relay/0/power",
    "shellies/plug/info",
    "shellyplus/status/switch:0",
    "shellyplus/events/rpc",
];

fuzz_target!(|bytes: &[u8]| {
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if let Err(fault) = tapline::replay::read_line(number as u64, line) {
            assert!(!fault.what.is_empty() && !fault.remedy.is_empty());
        }
    }
    let (tasmota, shelly) = (Tasmota, Shelly);
    for topic in TOPICS {
        let message = message(topic, bytes);
        for parsed in [tasmota.parse(&message), shelly.parse(&message)] {
            match parsed {
                Ok(items) => items.iter().for_each(finite),
                Err(rejection) => assert!(!rejection.code.is_empty()),
            }
        }
    }
});

/// The host refuses what is no number, so a parser that gives it loses the rest of the message.
fn finite(item: &Item) {
    if let Item::Reading(reading) = item {
        assert!(reading.measurements.iter().all(|m| m.value.is_finite()), "{item:?}");
    }
}
