//! A file in `modules/`, whatever stands in it: refused in words, or loaded.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tapline::module::{Engine, EngineOptions, Limits};

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

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = ENGINE.load(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
