#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tapline_tests::properties::module_bytes(bytes));
