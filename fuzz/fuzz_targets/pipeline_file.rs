//! A site's pipeline file, whatever stands in it: problems or a pipeline, and words that can be
//! rendered.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tapline::config::load::Text;
use tapline::config::{Around, Look, Texts, check, report};
use tapline::message::Timestamp;

fuzz_target!(|text: &str| {
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
});
