//! What holds whatever others wrote: for each thing that reads files, pushes, messages and
//! modules, a function that panics where it does not.
//!
//! `fuzz/` throws nonsense at them; the end-to-end tests give them what the repository has.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tapline::config::device::Device;
use tapline::config::document::Format;
use tapline::config::load::Text;
use tapline::config::push::Pushed;
use tapline::config::topic::Pattern;
use tapline::config::{Around, Look, Texts, check, report};
use tapline::message::Timestamp;
use tapline::module::{Engine, EngineOptions, Limits};
use tapline_sdk::prelude::*;
use tapline_sdk::testing::message;
use tapline_shelly::Shelly;
use tapline_tasmota::Tasmota;

/// A site's pipeline file: problems or a pipeline, and words that can be rendered.
///
/// # Panics
/// Where that does not hold.
pub fn pipeline_file(text: &str) {
    let file = Text { file: "pipelines/fuzzed.toml".into(), text: text.into() };
    let texts = Texts {
        site: Some("format = 1\n[broker.main]\nurl = \"mqtt://127.0.0.1\"\n".into()),
        pipelines: vec![file],
        ..Texts::default()
    };
    let env = BTreeMap::new();
    let now = Timestamp(1_750_000_000_000);
    let around = Around { env: &env, pushed: None, generated_name: "fuzzed", now };
    let checked = check(&texts, around);
    let said = report(&checked.problems(), &checked.warnings, Look::Plain);
    assert!(!said.is_empty());
}

/// A pushed document, as JSON and as YAML: what is kept of it reads back as the same.
///
/// # Panics
/// Where that does not hold.
pub fn config_document(text: &str) {
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
}

/// Devices without the places where they are written, which differ.
fn said(devices: &[Arc<Device>]) -> Vec<String> {
    let of = |device: &Arc<Device>| {
        let Device {
            id, machine_name, topic, parser_type, channel, labels, fields, settings, ..
        } = &**device;
        format!(
            "{id:?} {machine_name:?} {topic:?} {parser_type:?} {channel:?} {labels:?} {fields:?} \
             {settings:?}"
        )
    };
    devices.iter().map(of).collect()
}

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

/// Lines of captures and recordings; and the whole as a payload on topics of the parsers that
/// ship.
///
/// # Panics
/// Where that does not hold.
pub fn message_lines(bytes: &[u8]) {
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
}

/// The host refuses what is no number, so a parser that gives it loses the rest of the message.
fn finite(item: &Item) {
    if let Item::Reading(reading) = item {
        assert!(reading.measurements.iter().all(|m| m.value.is_finite()), "{item:?}");
    }
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let options = EngineOptions {
        module_size: 1 << 20,
        describe: Limits {
            memory: 16 << 20,
            time: Duration::from_millis(200),
            ..EngineOptions::default().describe
        },
        ..EngineOptions::default()
    };
    Engine::new(None, options).expect("an engine starts")
});

/// A file in `modules/`: refused in words, or loaded.
///
/// # Panics
/// Where that does not hold.
pub fn module_bytes(bytes: &[u8]) {
    if let Err(error) = ENGINE.load(bytes) {
        assert!(!error.to_string().is_empty());
    }
}

/// Topic filters: a pattern matches what MQTT 5, 4.7 says, and is overlapped by itself.
///
/// # Panics
/// Where that does not hold.
pub fn topic_filter(texts: (&str, &str, &str)) {
    let (one, other, topic) = texts;
    let Ok(pattern) = Pattern::parse(one) else { return };
    let filter = pattern.filter();
    // What the broker is asked for is a pattern without names.
    let plain = Pattern::parse(&filter)
        .unwrap_or_else(|error| panic!("{one:?} asks for {filter:?}: {error}"));
    assert!(pattern.overlaps(&pattern), "{one:?}");
    // Nothing is routed that the broker would not have sent.
    let is_topic = !topic.is_empty() && !topic.contains(['+', '#', '\0']);
    if is_topic && pattern.matches(topic) {
        assert!(sent(&filter, topic), "{one:?} takes {topic:?}, {filter:?} does not get it");
        assert!(plain.matches(topic), "{filter:?} refuses {topic:?}");
        if let Ok(other) = Pattern::parse(other)
            && other.matches(topic)
        {
            assert!(pattern.overlaps(&other), "{one:?} and {other:?} both take {topic:?}");
            assert!(other.overlaps(&pattern), "{other:?} and {one:?} both take {topic:?}");
        }
    }
}

/// MQTT 5, 4.7, by the letter.
fn sent(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filters, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(word), Some(level)) if word == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}
