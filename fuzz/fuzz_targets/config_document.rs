//! A pushed document, as JSON and as YAML: what is kept of it reads back as the same.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tapline::config::document::Format;
use tapline::config::push::Pushed;
use tapline::config::device::Device;
use tapline::config::{Around, Look, Texts, check, report};
use tapline::message::Timestamp;

fuzz_target!(|text: &str| {
    for format in [Format::Json, Format::Yaml] {
        let pushed = match Pushed::read("POST /config", text, format) {
            Ok((pushed, problems)) => {
                report(&problems, &[], Look::Plain);
                if !problems.is_empty() {
                    continue;
                }
                pushed
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "refused without a word");
                report(&problems, &[], Look::Plain);
                continue;
            }
        };
        let restored = Pushed::restore(&pushed.stored(), pushed.password().cloned());
        let restored =
            restored.unwrap_or_else(|problems| panic!("kept, then refused: {problems:?}"));
        let [before, after] = [&pushed, &restored].map(|side| said(side.devices()));
        assert_eq!(before, after);
        let env = BTreeMap::new();
        let now = Timestamp(1_750_000_000_000);
        let around = Around { env: &env, pushed: Some(&restored), generated_name: "fuzzed", now };
        let checked = check(&Texts::default(), around);
        report(&checked.problems(), &checked.warnings, Look::Plain);
    }
});

/// Devices without the places where they are written, which differ.
fn said(devices: &[Arc<Device>]) -> Vec<String> {
    let of = |device: &Arc<Device>| {
        let Device { id, machine_name, topic, parser_type, channel, labels, fields, settings, .. } =
            &**device;
        format!(
            "{id:?} {machine_name:?} {topic:?} {parser_type:?} {channel:?} {labels:?} {fields:?} \
             {settings:?}"
        )
    };
    devices.iter().map(of).collect()
}
