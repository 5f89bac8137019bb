//! Devices that were probably meant: whose topic differs by one level, or by upper and lower
//! case.

use std::sync::Arc;

use super::{Step, Verdict};
use crate::config::Devices;
use crate::config::device::Device;
use crate::pipeline::plan::Plan;

/// How many are named.
const NAMED: usize = 3;

/// The devices whose topics come nearest to `topic`, the nearest first.
pub(super) fn near(topic: &str, devices: &Devices, plans: &[Arc<Plan>]) -> Vec<Step> {
    let mut found: Vec<(u32, &Device, String)> = Vec::new();
    for device in devices.by_id.values() {
        let own = device.topic.filter();
        let bound = plans.iter().find_map(|plan| plan.directory.get(&device.id));
        let companions = bound.iter().flat_map(|bound| bound.filters.iter().skip(1));
        let nearest = std::iter::once(&own)
            .chain(companions)
            .filter_map(|filter| difference(topic, filter).map(|(far, how)| (far, filter, how)))
            .min_by_key(|(far, ..)| *far);
        if let Some((far, filter, how)) = nearest {
            let which = if *filter == own { "mqtt_topic" } else { "the companion topic" };
            let what = format!("device `{}` has {which} `{filter}`, {how}", device.id);
            found.push((far, device, what));
            // Only the nearest stay, however many devices there are.
            if found.len() > 100 {
                found.sort_by_key(|(far, ..)| *far);
                found.truncate(NAMED);
            }
        }
    }
    found.sort_by_key(|(far, ..)| *far);
    let steps = found.into_iter().take(NAMED);
    steps
        .map(|(_, device, what)| Step::new(Verdict::Note, what).at(&device.place("/mqtt_topic")))
        .collect()
}

/// How far they are apart, and how to say it; `None`: too far.
fn difference(topic: &str, filter: &str) -> Option<(u32, String)> {
    let have: Vec<&str> = topic.split('/').collect();
    let mut want: Vec<&str> = filter.split('/').collect();
    if want.last() == Some(&"#") && have.len() + 1 >= want.len() {
        want.pop();
        want.extend(std::iter::repeat_n("+", have.len().saturating_sub(want.len())));
    }
    let same = |have: &str, want: &str| want == "+" || have == want;
    if have.len() == want.len() {
        let pairs = have.iter().zip(&want).enumerate();
        let apart: Vec<_> = pairs.filter(|(_, (have, want))| !same(have, want)).collect();
        if apart.is_empty() {
            // It is this one's: whoever follows the topic says why it ends.
            return None;
        }
        if apart.iter().all(|(_, (have, want))| have.eq_ignore_ascii_case(want)) {
            return Some((0, "which differs in upper and lower case alone".to_owned()));
        }
        if let [(level, (have, want))] = apart.as_slice() {
            let alike = strsim::normalized_damerau_levenshtein(have, want);
            let how = format!(
                "which differs in one level, the {}: `{want}` there, `{have}` here",
                ordinal(level + 1)
            );
            // A text that has nothing in common is another device, unless all else agrees.
            let far = 10 + ((1.0 - alike) * 50.0) as u32;
            return (alike >= 0.5 || have.len() > 3 && level + 1 == want.len())
                .then_some((far, how));
        }
        return None;
    }
    let (long, short, which) = if have.len() == want.len() + 1 {
        (&have, &want, "has not")
    } else if want.len() == have.len() + 1 {
        (&want, &have, "has besides")
    } else {
        return None;
    };
    let extra = (0..long.len()).find(|&skip| {
        let rest = long.iter().enumerate().filter(|(i, _)| *i != skip).map(|(_, level)| level);
        rest.zip(short).all(|(a, b)| a == b || *a == "+" || *b == "+")
    })?;
    let words = match long[extra] {
        "" => "a slash at an end of it".to_owned(),
        level => format!("the level `{level}`"),
    };
    Some((20, format!("which {which} {words}")))
}

fn ordinal(n: usize) -> String {
    let end = match (n % 10, n % 100) {
        (1, 1..=10 | 20..) => "st",
        (2, 2..=10 | 20..) => "nd",
        (3, 3..=10 | 20..) => "rd",
        _ => "th",
    };
    format!("{n}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_a_topic_differs_from_the_one_that_was_meant() {
        let cases = [
            ("hall/Press/status", "hall/press/status", "upper and lower case"),
            ("hall/press/status/pm1:1", "hall/press/status/pm1:0", "the 4th: `pm1:0` there"),
            ("halls/press/events/rpc", "hall/press/events/rpc", "the 1st: `hall` there"),
            ("/hall/press/rpc", "hall/press/rpc", "has not a slash at an end of it"),
            ("press/rpc", "hall/press/rpc", "has besides the level `hall`"),
            ("tele/drill/SENSOR", "tele/dril/+", "the 2nd: `dril` there"),
            ("tele/drill/a/b", "tele/dril/#", "the 2nd: `dril` there"),
        ];
        for (topic, filter, expected) in cases {
            let (_, how) = difference(topic, filter).unwrap_or_else(|| panic!("{topic} {filter}"));
            assert!(how.contains(expected), "{topic} {filter}: {how}");
        }
        for (topic, filter) in [("a/b/c", "x/y/z"), ("a/b", "a/b/c/d"), ("a/press", "a/qqqqq")] {
            assert_eq!(difference(topic, filter), None, "{topic} {filter}");
        }
    }
}
