//! What a topic says by itself: whose it is, and what kind of message comes on it.
//!
//! Read from the end, because the prefix of later generations is free text that may hold
//! slashes, words like `status`, or start with `shellies/`. The same reading serves
//! messages and the topic filters of the registry.

/// The kind of a message, by its topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Topic<'a> {
    /// `<prefix>/online`, of any generation.
    Online { prefix: &'a str },
    /// `<prefix>/status/<component>`
    Status { prefix: &'a str, component: &'a str },
    /// `<prefix>/events/rpc`
    Notification { prefix: &'a str },
    /// Anything else below `shellies/`.
    Gen1(Gen1<'a>),
    /// Commands, RPC, announcements, and what is no Shelly topic at all.
    Other,
}

/// A generation 1 topic: `shellies/<id>/…`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gen1<'a> {
    /// With `shellies/` and what a bridge may have put before it.
    pub(crate) prefix: &'a str,
    pub(crate) leaf: Leaf<'a>,
}

/// The end of a generation 1 topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leaf<'a> {
    /// `relay/0/power`
    Measure { kind: &'a str, index: &'a str, measure: &'a str },
    /// `relay/0`
    State { kind: &'a str, index: &'a str },
    /// `sensor/temperature`, and `relay/power` of a device with one meter for both relays.
    Part { kind: &'a str, measure: &'a str },
    /// `temperature`
    Device { measure: &'a str },
}

impl<'a> Topic<'a> {
    /// Reads a topic. Never fails: an unknown topic is [`Topic::Other`].
    pub(crate) fn of(topic: &'a str) -> Self {
        let Some((rest, last)) = cut_last(topic) else { return Self::Other };
        if last == "online" {
            return Self::Online { prefix: rest };
        }
        match cut_last(rest) {
            Some((prefix, "status")) => return Self::Status { prefix, component: last },
            Some((prefix, "events")) if last == "rpc" => return Self::Notification { prefix },
            _ => {}
        }
        match Gen1::of(topic) {
            Some(gen1) => Self::Gen1(gen1),
            None => Self::Other,
        }
    }
}

impl<'a> Gen1<'a> {
    fn of(topic: &'a str) -> Option<Self> {
        let id = id_start(topic)?;
        // The device's name may hold slashes; at least one level of it must be left over.
        let (name, last) = cut_last(&topic[id..])?;
        if is_no_report(last) {
            return None;
        }
        let with_name = |name: &str, leaf| Some(Self { prefix: &topic[..id + name.len()], leaf });
        if let Some((rest, middle)) = cut_last(name) {
            if is_index(middle)
                && let Some((rest, kind)) = cut_last(rest)
            {
                return with_name(rest, Leaf::Measure { kind, index: middle, measure: last });
            }
            if is_index(last) {
                return with_name(rest, Leaf::State { kind: middle, index: last });
            }
            if PARTS.contains(&middle) {
                return with_name(rest, Leaf::Part { kind: middle, measure: last });
            }
        }
        with_name(name, Leaf::Device { measure: last })
    }
}

/// What carries values of its own without a number.
const PARTS: [&str; 2] = ["sensor", "relay"];

/// Splits the last level off, where something stands before it.
pub(crate) fn cut_last(topic: &str) -> Option<(&str, &str)> {
    topic.rsplit_once('/').filter(|(rest, _)| !rest.is_empty())
}

/// Where the device's name begins in a generation 1 topic.
fn id_start(topic: &str) -> Option<usize> {
    const ROOT: &str = "shellies/";
    if topic.starts_with(ROOT) {
        return Some(ROOT.len());
    }
    topic.find("/shellies/").map(|at| at + 1 + ROOT.len())
}

/// Commands to the device, and what it tells of itself rather than of what it measures.
fn is_no_report(level: &str) -> bool {
    matches!(level, "command" | "set" | "rpc" | "announce" | "info")
}

/// A number, or what stands for one in a topic filter.
fn is_index(level: &str) -> bool {
    let number = (1..=3).contains(&level.len()) && level.bytes().all(|byte| byte.is_ascii_digit());
    number || level == "+"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_may_hold_slashes_and_any_words() {
        for prefix in ["x", "hall 3/line/status/saw", "shellies/saw", "events/rpc", "ünï/côde"] {
            let status = format!("{prefix}/status/switch:0");
            assert_eq!(Topic::of(&status), Topic::Status { prefix, component: "switch:0" });
            let rpc = format!("{prefix}/events/rpc");
            assert_eq!(Topic::of(&rpc), Topic::Notification { prefix });
            let online = format!("{prefix}/online");
            assert_eq!(Topic::of(&online), Topic::Online { prefix });
        }
    }

    #[test]
    fn generation_1_topics_are_read_from_their_end() {
        let cases = [
            ("relay/0", Leaf::State { kind: "relay", index: "0" }),
            ("relay/0/power", Leaf::Measure { kind: "relay", index: "0", measure: "power" }),
            ("relay/power", Leaf::Part { kind: "relay", measure: "power" }),
            ("sensor/battery", Leaf::Part { kind: "sensor", measure: "battery" }),
            ("temperature", Leaf::Device { measure: "temperature" }),
            ("color/0/status", Leaf::Measure { kind: "color", index: "0", measure: "status" }),
        ];
        for prefix in ["shellies/plug", "shellies/hall 3/plug", "site/a/shellies/plug"] {
            for (end, leaf) in &cases {
                let topic = format!("{prefix}/{end}");
                let Topic::Gen1(gen1) = Topic::of(&topic) else { panic!("{topic}") };
                assert_eq!((gen1.prefix, &gen1.leaf), (prefix, leaf), "{topic}");
            }
        }
    }

    #[test]
    fn commands_and_strangers_are_other() {
        for topic in [
            "",
            "/",
            "//",
            "online",
            "/online",
            "status/switch:0",
            "x/command",
            "x/command/switch:0",
            "x/rpc",
            "x/debug/log",
            "shellies/command",
            "shellies/announce",
            "shellies/",
            "shellies/plug",
            "shellies//",
            "shellies/plug/announce",
            "shellies/plug/command",
            "shellies/plug/relay/0/command",
            "shellies/plug/light/0/set",
            "shellies_discovery/rpc",
        ] {
            assert_eq!(Topic::of(topic), Topic::Other, "{topic}");
        }
    }
}
