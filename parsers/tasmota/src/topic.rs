//! What a topic says: where the prefix stands, and what kind of message comes there.
//!
//! Tasmota's FullTopic is free (`%prefix%/%topic%/`, `%topic%/%prefix%/`, with a site before
//! it, …), but the prefix is a segment of its own and the last segment names the message.

use crate::document::Shape;

/// What a message on a topic carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Document(Shape),
    /// `Online` or `Offline`, by last will.
    Will,
    /// `ON` or `OFF`, of the relay with this number from 0.
    Relay(u8),
    /// `ON` or `OFF`: whether the limit of this name is crossed.
    Margin(&'static str),
}

/// The limits that Tasmota watches: as topic (firmware of old), as key, and as event.
pub(crate) const MARGINS: [(&str, &str, &str); 6] = [
    ("POWER_LOW", "PowerLow", "power_low"),
    ("POWER_HIGH", "PowerHigh", "power_high"),
    ("VOLT_LOW", "VoltageLow", "voltage_low"),
    ("VOLT_HIGH", "VoltageHigh", "voltage_high"),
    ("CURRENT_LOW", "CurrentLow", "current_low"),
    ("CURRENT_HIGH", "CurrentHigh", "current_high"),
];

/// `None`: a command, or nothing that can be measured.
pub(crate) fn kind_of(topic: &str) -> Option<Kind> {
    let address = Address::of(topic)?;
    if address.prefix() == "cmnd" {
        return None;
    }
    let kind = match address.last() {
        "SENSOR" => Kind::Document(Shape::Sensors),
        "STATE" => Kind::Document(Shape::State),
        "RESULT" => Kind::Document(Shape::Result),
        "ENERGY" => Kind::Document(Shape::Energy),
        "MARGINS" => Kind::Document(Shape::Margins),
        "LWT" => Kind::Will,
        last if is_status(last) => Kind::Document(Shape::Status),
        last => match MARGINS.iter().find(|(topic, ..)| *topic == last) {
            Some((.., event)) => Kind::Margin(event),
            None => Kind::Relay(relay(last)?),
        },
    };
    Some(kind)
}

/// Relays, switches and the like are counted to at most this; Tasmota has 32.
const MOST: u8 = 64;

/// The number from 0 of `POWER` (the only one, or the first) or `POWER<n>`.
pub(crate) fn relay(name: &str) -> Option<u8> {
    match name.strip_prefix("POWER")? {
        "" => Some(0),
        digits => number(digits),
    }
}

/// The number from 0 of what Tasmota counts from 1.
pub(crate) fn number(digits: &str) -> Option<u8> {
    let starts_well = digits.starts_with(|first: char| matches!(first, '1'..='9'));
    let number: u8 = digits.parse().ok().filter(|_| starts_well)?;
    (number <= MOST).then(|| number - 1)
}

fn is_status(last: &str) -> bool {
    last.strip_prefix("STATUS").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A topic, or a topic filter, in which the prefix was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'t> {
    topic: &'t str,
    /// Where the prefix starts and ends.
    prefix: (usize, usize),
    /// Where the last segment starts.
    last: usize,
}

impl<'t> Address<'t> {
    /// `None` where no segment before the last is a prefix.
    ///
    /// Where several are (a device may be called `stat`), the first segment goes before the
    /// last but one, as in the two usual FullTopics, and that before any other.
    pub(crate) fn of(topic: &'t str) -> Option<Self> {
        let last = topic.rfind('/')? + 1;
        let mut found = None;
        let mut start = 0;
        for segment in topic[..last - 1].split('/') {
            let end = start + segment.len();
            if matches!(segment, "tele" | "stat" | "cmnd") {
                if start == 0 {
                    found = Some((start, end));
                    break;
                }
                if found.is_none() || end + 1 == last {
                    found = Some((start, end));
                }
            }
            start = end + 1;
        }
        Some(Self { topic, prefix: found?, last })
    }

    pub(crate) fn prefix(&self) -> &'t str {
        &self.topic[self.prefix.0..self.prefix.1]
    }

    pub(crate) fn last(&self) -> &'t str {
        &self.topic[self.last..]
    }

    /// Whether anything but prefix and last segment is there: without it, no device is named.
    pub(crate) fn names_a_device(&self) -> bool {
        self.prefix.0 > 0 || self.prefix.1 + 1 < self.last
    }

    /// The topic of the same device with another prefix and last segment.
    pub(crate) fn sibling(&self, prefix: &str, last: &str) -> String {
        let before = &self.topic[..self.prefix.0];
        let between = &self.topic[self.prefix.1..self.last];
        [before, prefix, between, last].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_prefix_in_any_order_of_full_topic() {
        let check = |topic: &str, expected: Option<Kind>| {
            assert_eq!(kind_of(topic), expected, "{topic}");
        };
        let sensors = Some(Kind::Document(Shape::Sensors));
        check("tele/plug/SENSOR", sensors);
        check("plug/tele/SENSOR", sensors);
        check("site/hall/tele/plug/SENSOR", sensors);
        check("site/plug/tele/SENSOR", sensors);
        check("tele/a/b/c/SENSOR", sensors);
        check("tele/SENSOR", sensors);
        check("plug/tele/extra/SENSOR", sensors);
        check("/plug/tele//SENSOR", sensors);
        check("plug/SENSOR", None);
        check("SENSOR", None);
        check("tele", None);
        check("plug/tele", None);
        check("", None);
        check("television/plug/SENSOR", None);
        check("tasmota/discovery/69D1E12DA82A/config", None);
    }

    #[test]
    fn takes_the_usual_place_where_a_device_is_called_like_a_prefix() {
        let prefix = |topic| Address::of(topic).map(|address| address.prefix());
        assert_eq!(prefix("tele/cmnd/SENSOR"), Some("tele"));
        assert_eq!(prefix("hall/cmnd/tele/SENSOR"), Some("tele"));
        assert_eq!(prefix("hall/stat/plug/cmnd/x/SENSOR"), Some("stat"));
        assert_eq!(kind_of("cmnd/tele/SENSOR"), None);
    }

    #[test]
    fn tells_the_kinds_apart() {
        let check = |last: &str, expected: Option<Kind>| {
            assert_eq!(kind_of(&format!("stat/plug/{last}")), expected, "{last}");
        };
        check("STATUS", Some(Kind::Document(Shape::Status)));
        check("STATUS11", Some(Kind::Document(Shape::Status)));
        check("STATUSX", None);
        check("POWER", Some(Kind::Relay(0)));
        check("POWER1", Some(Kind::Relay(0)));
        check("POWER32", Some(Kind::Relay(31)));
        check("POWER0", None);
        check("POWER01", None);
        check("POWER+1", None);
        check("POWER999999999999", None);
        check("POWER_LOW", Some(Kind::Margin("power_low")));
        check("POWERSAVE", None);
        check("LWT", Some(Kind::Will));
        check("UPTIME", None);
        check("INFO1", None);
        check("", None);
    }

    #[test]
    fn ignores_every_command() {
        for last in ["POWER", "Power", "SENSOR", "STATE", "RESULT", "STATUS8", "LWT"] {
            assert_eq!(kind_of(&format!("cmnd/plug/{last}")), None);
            assert_eq!(kind_of(&format!("plug/cmnd/{last}")), None);
        }
    }
}
