#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| tapline_tests::properties::config_document(text));
