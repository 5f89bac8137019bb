#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tapline_tests::properties::message_lines(bytes));
