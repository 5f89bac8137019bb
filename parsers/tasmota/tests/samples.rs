//! The parser over `samples/tasmota.jsonl`: messages of real devices, each with its source and
//! what it must give. They travel in the module, too; here they are run without a host.

use tapline_sdk::prelude::*;
use tapline_sdk::testing::{Sample, parse_all, samples};
use tapline_tasmota::Tasmota;

const SAMPLES: &str = include_str!("../samples/tasmota.jsonl");

#[test]
fn every_sample_gives_exactly_what_it_must() {
    let samples = samples(SAMPLES);
    assert_eq!(samples.len(), 120);
    let messages: Vec<_> = samples.iter().map(|sample| sample.message.clone()).collect();
    let outcomes = parse_all::<Tasmota>(&NoSettings {}, &messages);
    let pairs = samples.iter().zip(&outcomes);
    let wrong = pairs.filter_map(|(sample, outcome)| sample.difference::<Tasmota>(outcome));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reading_is_of_its_own_device_and_never_empty() {
    for Sample { name, message, .. } in samples(SAMPLES) {
        for item in Tasmota.parse(&message).unwrap_or_default() {
            let Item::Reading(reading) = item else { continue };
            assert!(reading.device.is_none() && !reading.is_empty(), "{name}: {reading:?}");
        }
    }
}

#[test]
fn a_sample_cut_or_spoilt_at_any_byte_never_panics() {
    let parser = Tasmota;
    for Sample { message, .. } in samples(SAMPLES) {
        for at in 0..message.payload.len() {
            let cut = Message { payload: message.payload[..at].to_vec(), ..message.clone() };
            let _ = parser.parse(&cut);
            let mut spoilt = message.clone();
            spoilt.payload[at] = 0xff;
            let _ = parser.parse(&spoilt);
        }
    }
}
