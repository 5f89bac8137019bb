//! What belongs to a device whose messages come on a topic: its last will, the channel
//! that the topic names, and the question that makes it report now.

use serde::Serialize;
use tapline_sdk::prelude::*;

use crate::gen2::{ASK_ID, Component};
use crate::topic::{Leaf, Topic, cut_last};

/// Never fails: of a filter that says nothing, nothing is said.
pub(crate) fn of(filter: &str) -> Companions {
    let filter = without_share(filter);
    match Topic::of(filter) {
        Topic::Online { prefix } if is_gen1(prefix) => alone(gen1_update(prefix)),
        Topic::Online { prefix } => alone(status_update(prefix)),
        Topic::Status { prefix, component } => {
            let channel = Component::of(component).and_then(Component::channel);
            beside(prefix, channel, status_update(prefix))
        }
        Topic::Notification { prefix } => beside(prefix, None, get_status(prefix)),
        Topic::Gen1(gen1) => match (&gen1.leaf, cut_last(gen1.prefix)) {
            // All that the device has of one kind.
            (Leaf::Device { measure: "#" | "+" }, Some((prefix, last))) if is_kind(last) => {
                beside(prefix, None, gen1_update(prefix))
            }
            // All of the device, its last will among it.
            (Leaf::Device { measure: "#" | "+" }, _) => alone(gen1_update(gen1.prefix)),
            (Leaf::Part { measure: "#" | "+", .. }, _) => {
                beside(gen1.prefix, None, gen1_update(gen1.prefix))
            }
            _ => {
                let channel = gen1.channel().filter(|channel| !channel.contains('+'));
                beside(gen1.prefix, channel, gen1_update(gen1.prefix))
            }
        },
        Topic::Other => match cut_last(filter) {
            Some((rest, "#" | "+")) => match cut_last(rest) {
                Some((prefix, "events")) => beside(prefix, None, get_status(prefix)),
                Some((prefix, "status")) => beside(prefix, None, status_update(prefix)),
                // `shellies/#` is every device.
                _ if rest == "shellies" => Companions::default(),
                _ => alone(status_update(rest)),
            },
            _ => Companions::default(),
        },
    }
}

/// The last will comes on the filter itself.
fn alone(ask: Publication) -> Companions {
    Companions { also: Vec::new(), channel: None, ask: answerable(ask) }
}

/// The last will comes beside it.
fn beside(prefix: &str, channel: Option<String>, ask: Publication) -> Companions {
    Companions { also: vec![format!("{prefix}/online")], channel, ask: answerable(ask) }
}

/// Nothing can be published to a filter that stands for many devices.
fn answerable(ask: Publication) -> Option<Publication> {
    (!ask.topic.split('/').any(|level| matches!(level, "+" | "#"))).then_some(ask)
}

/// Makes every component publish itself on `<prefix>/status/…`, also where the device is
/// set not to do so by itself. Needs "MQTT control", which is on from the factory.
fn status_update(prefix: &str) -> Publication {
    Publication::new(format!("{prefix}/command"), "status_update")
}

/// Asks over RPC, because whoever listens to `events/rpc` alone hears no answer to
/// `status_update`. The answer goes to `<src>/rpc`, so `src` names that very topic.
fn get_status(prefix: &str) -> Publication {
    #[derive(Serialize)]
    struct Request<'a> {
        id: u32,
        src: &'a str,
        method: &'a str,
    }
    let request =
        Request { id: ASK_ID, src: &format!("{prefix}/events"), method: "Shelly.GetStatus" };
    let payload = serde_json::to_vec(&request).expect("a struct of texts and a number is JSON");
    Publication::new(format!("{prefix}/rpc"), payload)
}

/// Makes a generation 1 device publish all its topics.
fn gen1_update(prefix: &str) -> Publication {
    Publication::new(format!("{prefix}/command"), "update")
}

fn is_gen1(prefix: &str) -> bool {
    prefix.starts_with("shellies/") || prefix.contains("/shellies/")
}

fn is_kind(level: &str) -> bool {
    matches!(level, "emeter" | "input" | "light" | "white" | "color" | "roller")
}

/// `$share/<group>/x` is about `x`.
fn without_share(filter: &str) -> &str {
    filter
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
        .map_or(filter, |(_, topic)| topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `also`, `channel`, topic and payload of `ask`; empty where there is none.
    fn check(filter: &str, also: &str, channel: &str, ask: (&str, &str)) {
        let got = of(filter);
        assert_eq!(got.also.join(" "), also, "{filter}");
        assert_eq!(got.channel.unwrap_or_default(), channel, "{filter}");
        let (topic, payload) = got.ask.map_or_else(Default::default, |ask| {
            assert!(!ask.retain && ask.qos <= 1, "{filter}");
            (ask.topic, String::from_utf8(ask.payload).unwrap())
        });
        assert_eq!((topic.as_str(), payload.as_str()), ask, "{filter}");
    }

    #[test]
    fn a_component_topic_names_its_channel_and_the_last_will_beside_it() {
        let update = ("x/command", "status_update");
        for (topic, channel) in [
            ("x/status/pm1:0", "pm1:0"),
            ("x/status/switch:2", "switch:2"),
            ("x/status/em1:0", "em1:0"),
            ("x/status/em1data:0", "em1:0"),
            ("x/status/em:0", "em:0.total"),
            ("x/status/emdata:0", "em:0.total"),
            ("x/status/wifi", ""),
            ("x/status/script:1", ""),
            ("x/status/#", ""),
            ("x/status/+", ""),
            ("$share/tapline/x/status/pm1:0", "pm1:0"),
        ] {
            check(topic, "x/online", channel, update);
        }
        let ask = ("hall 3/saw/command", "status_update");
        check("hall 3/saw/status/pm1:0", "hall 3/saw/online", "pm1:0", ask);
    }

    #[test]
    fn notifications_are_asked_for_where_they_come() {
        let request = r#"{"id":4251,"src":"a/x/events","method":"Shelly.GetStatus"}"#;
        check("a/x/events/rpc", "a/x/online", "", ("a/x/rpc", request));
        check("a/x/events/#", "a/x/online", "", ("a/x/rpc", request));
        let request = r#"{"id":4251,"src":"a\"b/events","method":"Shelly.GetStatus"}"#;
        check("a\"b/events/rpc", "a\"b/online", "", ("a\"b/rpc", request));
    }

    #[test]
    fn a_generation_1_topic_names_its_channel() {
        let update = ("shellies/x/command", "update");
        for (topic, channel) in [
            ("shellies/x/relay/0/power", "relay:0"),
            ("shellies/x/relay/0", "relay:0"),
            ("shellies/x/relay/1/#", "relay:1"),
            ("shellies/x/emeter/2/total", "emeter:2"),
            ("shellies/x/emeter/0/+", "emeter:0"),
            ("shellies/x/emeter/+/power", ""),
            ("shellies/x/emeter/#", ""),
            ("shellies/x/relay/#", ""),
            ("shellies/x/relay/+", ""),
            ("shellies/x/sensor/+", ""),
        ] {
            check(topic, "shellies/x/online", channel, update);
        }
    }

    #[test]
    fn a_filter_that_holds_the_last_will_needs_nothing_beside_it() {
        check("x/#", "", "", ("x/command", "status_update"));
        check("a/x/+", "", "", ("a/x/command", "status_update"));
        check("x/online", "", "", ("x/command", "status_update"));
        check("shellies/x/#", "", "", ("shellies/x/command", "update"));
        check("shellies/x/online", "", "", ("shellies/x/command", "update"));
    }

    #[test]
    fn a_filter_for_many_devices_is_no_address() {
        check("+/status/pm1:0", "+/online", "pm1:0", ("", ""));
        check("shellies/+/relay/0/power", "shellies/+/online", "relay:0", ("", ""));
        for filter in ["#", "+", "+/#", "shellies/#", "shellies/+/#", "", "x", "$share/", "x/y"] {
            check(filter, "", "", ("", ""));
        }
    }
}
