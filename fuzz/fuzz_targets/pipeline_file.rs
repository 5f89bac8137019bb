#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| tapline_tests::properties::pipeline_file(text));
