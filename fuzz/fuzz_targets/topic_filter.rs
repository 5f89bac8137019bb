#![no_main]

libfuzzer_sys::fuzz_target!(|texts: (&str, &str, &str)| tapline_tests::properties::topic_filter(texts));
