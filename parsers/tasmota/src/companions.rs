//! What belongs to a device beside the topic that the user gave.

use tapline_sdk::prelude::*;

use crate::topic::{self, Address};

/// Its last will, the topics of the answers, and the question that makes it report.
///
/// `Status 8` (sensors and energy) and `Status 11` (state) are asked rather than a new
/// TelePeriod, because they change nothing in the device. An old firmware answers 8 on
/// STATUS10.
pub(crate) fn of(filter: &str) -> Companions {
    let Some(address) = Address::of(filter).filter(Address::names_a_device) else {
        return Companions::default();
    };
    let last = address.last();
    let (answers, question): (&[&str], _) = match last {
        "SENSOR" | "ENERGY" | "STATUS8" | "STATUS10" | "#" | "+" => {
            (&["STATUS8", "STATUS10"], Some(("STATUS", "8")))
        }
        "STATE" | "STATUS11" => (&["STATUS11"], Some(("STATUS", "11"))),
        "RESULT" => (&[], Some(("POWER", ""))),
        power if topic::relay(power).is_some() => (&[], Some((power, ""))),
        _ => (&[], None),
    };
    let covered = |prefix: &str, name: &str| {
        prefix == address.prefix() && (last == name || matches!(last, "#" | "+"))
    };
    let also = std::iter::once(("tele", "LWT"))
        .chain(answers.iter().map(|answer| ("stat", *answer)))
        .filter(|(prefix, name)| !covered(prefix, name))
        .map(|(prefix, name)| address.sibling(prefix, name))
        .collect();
    // A question goes to one device: a filter is no topic to publish to.
    let is_one_topic = !address.sibling("", "").contains(['+', '#']) && !filter.starts_with('$');
    let ask = question
        .filter(|_| is_one_topic)
        .map(|(command, payload)| Publication::new(address.sibling("cmnd", command), payload));
    let channel = topic::relay(last).map(|relay| format!("relay:{relay}"));
    Companions { also, channel, ask }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, also: &[&str], channel: Option<&str>, ask: Option<(&str, &str)>) {
        let found = of(filter);
        assert_eq!(found.also, also, "{filter}");
        assert_eq!(found.channel.as_deref(), channel, "{filter}");
        let asked = found.ask.map(|ask| (ask.topic, String::from_utf8(ask.payload).unwrap()));
        let expected = ask.map(|(topic, payload)| (topic.to_owned(), payload.to_owned()));
        assert_eq!(asked, expected, "{filter}");
    }

    #[test]
    fn finds_last_will_answers_and_question_in_the_same_order_of_full_topic() {
        check(
            "tele/plug/SENSOR",
            &["tele/plug/LWT", "stat/plug/STATUS8", "stat/plug/STATUS10"],
            None,
            Some(("cmnd/plug/STATUS", "8")),
        );
        check(
            "plug/tele/SENSOR",
            &["plug/tele/LWT", "plug/stat/STATUS8", "plug/stat/STATUS10"],
            None,
            Some(("plug/cmnd/STATUS", "8")),
        );
        check(
            "site/hall/tele/plug/ENERGY",
            &[
                "site/hall/tele/plug/LWT",
                "site/hall/stat/plug/STATUS8",
                "site/hall/stat/plug/STATUS10",
            ],
            None,
            Some(("site/hall/cmnd/plug/STATUS", "8")),
        );
    }

    #[test]
    fn asks_for_what_the_topic_reports() {
        check(
            "tele/plug/STATE",
            &["tele/plug/LWT", "stat/plug/STATUS11"],
            None,
            Some(("cmnd/plug/STATUS", "11")),
        );
        check("stat/plug/RESULT", &["tele/plug/LWT"], None, Some(("cmnd/plug/POWER", "")));
        check("tele/plug/UPTIME", &["tele/plug/LWT"], None, None);
    }

    #[test]
    fn names_the_channel_where_the_topic_does() {
        check(
            "stat/plug/POWER2",
            &["tele/plug/LWT"],
            Some("relay:1"),
            Some(("cmnd/plug/POWER2", "")),
        );
        check(
            "stat/plug/POWER",
            &["tele/plug/LWT"],
            Some("relay:0"),
            Some(("cmnd/plug/POWER", "")),
        );
    }

    #[test]
    fn subscribes_nothing_that_the_filter_covers() {
        check("tele/plug/LWT", &[], None, None);
        check(
            "tele/plug/#",
            &["stat/plug/STATUS8", "stat/plug/STATUS10"],
            None,
            Some(("cmnd/plug/STATUS", "8")),
        );
        check("stat/plug/+", &["tele/plug/LWT"], None, Some(("cmnd/plug/STATUS", "8")));
    }

    #[test]
    fn asks_nobody_where_the_filter_matches_several_devices() {
        check("tele/+/SENSOR", &["tele/+/LWT", "stat/+/STATUS8", "stat/+/STATUS10"], None, None);
        check(
            "$share/g/tele/plug/STATE",
            &["$share/g/tele/plug/LWT", "$share/g/stat/plug/STATUS11"],
            None,
            None,
        );
    }

    #[test]
    fn has_no_companions_for_a_topic_that_names_no_device() {
        for filter in ["", "#", "+", "plug", "plug/SENSOR", "tele/#", "tele/SENSOR", "+/+/SENSOR"] {
            check(filter, &[], None, None);
        }
    }
}
