//! Topic filters: a pattern matches what MQTT 5, 4.7 says, and is overlapped by itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tapline::config::topic::Pattern;

fuzz_target!(|texts: (&str, &str, &str)| {
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
});

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
