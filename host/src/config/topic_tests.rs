use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn captured(text: &str, topic: &str) -> Option<Vec<(String, String)>> {
    let pattern = pattern(text);
    let captures = pattern.captures(topic)?;
    Some(captures.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
}

#[test]
fn matches_as_mqtt_does() {
    for (filter, topic, expected) in [
        ("a/b", "a/b", true),
        ("a/b", "a/b/c", false),
        ("a/b", "a", false),
        ("a/+", "a/b", true),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("a/+/c", "a//c", true),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("#", "a/b", true),
        ("+/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/uptime", false),
        ("+/uptime", "$SYS/uptime", false),
        ("{x}/uptime", "$SYS/uptime", false),
        ("$SYS/#", "$SYS/uptime", true),
        ("$share/g/a/+", "a/b", true),
        ("{p...}/status", "a/b/status", true),
        ("{p...}/status", "status", false),
        ("a/{p...}", "a", false),
        ("a/{p...}", "a/b/c", true),
        ("{p...}/x/{c}", "a/x/x/d", true),
    ] {
        assert_eq!(pattern(filter).matches(topic), expected, "{filter} {topic}");
    }
}

#[test]
fn captures_levels_by_name() {
    for (filter, topic, expected) in [
        ("t/{device}/data", "t/d1/data", vec![("device", "d1")]),
        ("{prefix...}/status/{c}", "a/b/status/pm1:0", vec![("prefix", "a/b"), ("c", "pm1:0")]),
        ("tele/{rest...}", "tele/a/SENSOR", vec![("rest", "a/SENSOR")]),
        ("a/+/{x}/#", "a/b/c/d/e", vec![("x", "c")]),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        assert_eq!(captured(filter, topic), Some(expected), "{filter} {topic}");
    }
}

#[test]
fn subscribes_with_plain_wildcards() {
    for (text, filter) in [
        ("a/{x}/b", "a/+/b"),
        ("a/{x...}", "a/#"),
        ("{x...}/b", "#"),
        ("$share/g/a/{x}", "$share/g/a/+"),
        ("a/+/#", "a/+/#"),
    ] {
        assert_eq!(pattern(text).filter(), filter);
    }
}

#[test]
fn refuses_what_is_no_filter() {
    for text in [
        "",
        "a/#/b",
        "a#",
        "a/b+",
        "a/{",
        "a/{}",
        "a/x{y}",
        "{a}/{a}",
        "{a...}/{b...}",
        "{a...}/#",
        "a\0b",
        "$share/g",
        "$share//a",
        "{1}",
        "{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}",
    ] {
        let error = Pattern::parse(text).unwrap_err();
        assert!(!error.remedy().is_empty() && !error.to_string().is_empty());
    }
}

#[test]
fn expands_to_a_topic_or_says_why_not() {
    let topic = pattern("cmnd/{device}/POWER");
    assert_eq!(topic.expand(|_| Some("siren")), Ok("cmnd/siren/POWER".to_owned()));
    assert_eq!(topic.expand(|_| None), Err(ExpandError::Missing("device".into())));
    for value in ["", "a/b", "a+", "#", "\n"] {
        assert!(topic.expand(|_| Some(value)).is_err(), "{value:?}");
    }
    assert_eq!(pattern("a/{p...}").expand(|_| Some("b/c")), Ok("a/b/c".to_owned()));
    assert!(pattern("a/+").expand(|_| Some("b")).is_err());
}

#[test]
fn finds_filters_that_overlap() {
    for (a, b, expected) in [
        ("a/b", "a/b", true),
        ("a/b", "a/c", false),
        ("a/+", "+/b", true),
        ("a/#", "a", true),
        ("a/#", "b/#", false),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("{p...}/status", "a/+/status", true),
        ("{p...}/status", "status", false),
        ("{p...}/x", "{q...}/y", false),
        ("{p...}/x", "y/{q...}", true),
        ("{p...}/x", "a/#", true),
        ("a/+/c", "a/b", false),
        ("$share/g/a/b", "a/+", true),
    ] {
        assert_eq!(pattern(a).overlaps(&pattern(b)), expected, "{a} {b}");
        assert_eq!(pattern(b).overlaps(&pattern(a)), expected, "{b} {a}");
    }
}
