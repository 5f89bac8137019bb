//! Messages of real devices, `samples/shelly.jsonl`, each with what it must yield and where
//! it was published. They travel in the module, too; here they are run without a host.

use tapline_sdk::prelude::*;
use tapline_sdk::testing::{Sample, parse_all, samples};
use tapline_shelly::Shelly;

const SAMPLES: &str = include_str!("../samples/shelly.jsonl");

fn outcomes() -> Vec<(Sample, Result<Vec<Item>, Rejection>)> {
    let samples = samples(SAMPLES);
    let messages: Vec<_> = samples.iter().map(|sample| sample.message.clone()).collect();
    samples.into_iter().zip(parse_all::<Shelly>(&NoSettings {}, &messages)).collect()
}

#[test]
fn every_sample_yields_exactly_what_it_must() {
    let outcomes = outcomes();
    assert_eq!(outcomes.len(), 94);
    let wrong =
        outcomes.iter().filter_map(|(sample, outcome)| sample.difference::<Shelly>(outcome));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reading_is_of_its_own_device_and_never_empty() {
    for (sample, outcome) in outcomes() {
        for item in outcome.unwrap_or_default() {
            let Item::Reading(reading) = item else { continue };
            assert!(
                reading.device.is_none() && !reading.is_empty(),
                "{}: {reading:?}",
                sample.name
            );
        }
    }
}

#[test]
fn a_total_comes_before_its_parts() {
    for (sample, outcome) in outcomes() {
        let items = outcome.unwrap_or_default();
        let part = |item: &Item| match item {
            Item::Reading(reading) => reading.channel.strip_prefix("em:0.").map(str::to_owned),
            _ => None,
        };
        let parts: Vec<_> = items.iter().filter_map(part).collect();
        let total = parts.iter().position(|part| part == "total");
        assert!(total.is_none_or(|at| at == 0), "{}: {parts:?}", sample.name);
    }
}

/// No panic, and a report that was cut off never passes for a whole one.
#[test]
fn a_sample_cut_off_anywhere_is_refused_or_of_no_interest() {
    for Sample { name, message: whole, .. } in samples(SAMPLES) {
        for end in 0..whole.payload.trim_ascii_end().len() {
            let payload = whole.payload[..end].to_vec();
            let outcome = Shelly.parse(&Message { payload, ..whole.clone() });
            if whole.payload.starts_with(b"{") {
                let items = outcome.unwrap_or_default();
                assert!(items.is_empty(), "{name} cut at {end}: {items:?}");
            }
        }
    }
}

#[test]
fn a_damaged_byte_never_panics_nor_yields_what_is_not_finite() {
    let damage = [0x00, 0x22, 0x2d, 0x39, 0x5b, 0x65, 0x7b, 0xff];
    for Sample { message: whole, .. } in samples(SAMPLES) {
        for at in 0..whole.payload.len() {
            for byte in damage {
                let mut message = whole.clone();
                message.payload[at] = byte;
                for item in Shelly.parse(&message).unwrap_or_default() {
                    if let Item::Reading(reading) = item {
                        assert!(reading.measurements.iter().all(|it| it.value.is_finite()));
                    }
                }
            }
        }
    }
}
