//! Which channel of a device gives its power and its energy counter.
//!
//! A named channel or list wins; in `auto` the first total that reports power does, else the
//! first channel that does, and a counter is known from then on. Invariant: the power that counts comes from one channel or from
//! the channels listed, never from a total and its parts together.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// More would not fit a state of 200 bytes; a meter with more phases has a total.
pub(crate) const MOST_CHANNELS: usize = 4;

/// A channel's name in at most 40 bytes; a longer one as hash and ending, so that a device
/// cannot blow up the state and a total is still known by its ending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name(String);

impl Name {
    const LONGEST: usize = 40;
    const ENDING: usize = 23;

    pub(crate) fn of(channel: &str) -> Self {
        Self(Self::shortened(channel).into_owned())
    }

    fn shortened(channel: &str) -> Cow<'_, str> {
        if channel.len() <= Self::LONGEST {
            return Cow::Borrowed(channel);
        }
        let start = (channel.len() - Self::ENDING..channel.len())
            .find(|&at| channel.is_char_boundary(at))
            .unwrap_or(channel.len());
        Cow::Owned(format!("{:016x}~{}", fnv1a([channel]), &channel[start..]))
    }

    fn is(&self, channel: &str) -> bool {
        self.0 == Self::shortened(channel)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What a total adds up begins like this; `None`: it is no total.
    fn stem(&self) -> Option<&str> {
        let stem = self.0.strip_suffix("total")?;
        (stem.is_empty() || stem.ends_with(['.', ':'])).then_some(stem)
    }
}

/// Whose power counts, by the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    Auto,
    Named(Vec<Name>),
}

/// Whose power has counted so far, with the last values of each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Source {
    of: Of,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
enum Of {
    #[default]
    Unknown,
    One(Name),
    /// A list, by its hash: the settings have the names.
    Several(u32),
}

/// Last known values of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) power_w: Option<f64>,
    pub(crate) energy_wh: Option<f64>,
}

/// Where a reading belongs.
#[derive(Debug, PartialEq)]
pub(crate) enum Place {
    /// To the part with this index.
    Part(usize),
    /// The same, of a source that has just replaced another: nothing of its past is known.
    New(usize),
    /// Its channel is not the one that counts, by a rule.
    Aside,
    /// Its channel gives power too, and no rule says which of the two counts.
    Second(Name),
}

impl Source {
    /// Finds the part that a reading updates and adopts its channel where the rules say so.
    pub(crate) fn place(&mut self, choice: &Choice, channel: &str, has_power: bool) -> Place {
        match choice {
            Choice::Named(names) => {
                let Some(index) = names.iter().position(|name| name.is(channel)) else {
                    return Place::Aside;
                };
                let of = match names.as_slice() {
                    [only] => Of::One(only.clone()),
                    several => Of::Several(fnv1a(several.iter().map(Name::as_str)) as u32),
                };
                if self.of == of && self.parts.len() == names.len() {
                    return Place::Part(index);
                }
                *self = Self { of, parts: vec![Part::default(); names.len()] };
                Place::New(index)
            }
            Choice::Auto => {
                if let Of::One(adopted) = &self.of {
                    if adopted.is(channel) {
                        return Place::Part(0);
                    }
                    let part = adopted.stem().is_some_and(|stem| channel.starts_with(stem));
                    if !has_power || part {
                        return Place::Aside;
                    }
                    if adopted.stem().is_some() || Name::of(channel).stem().is_none() {
                        return Place::Second(adopted.clone());
                    }
                } else if !has_power {
                    return Place::Aside;
                }
                *self = Self { of: Of::One(Name::of(channel)), parts: vec![Part::default()] };
                Place::New(0)
            }
        }
    }

    /// Power of all channels together; `None` until each has reported.
    pub(crate) fn power_w(&self) -> Option<f64> {
        let sum = self.parts.iter().map(|part| part.power_w).sum::<Option<f64>>()?;
        // Two finite values may add up to infinity, which JSON cannot say.
        (!self.parts.is_empty()).then_some(sum.clamp(f64::MIN, f64::MAX))
    }

    /// Whether each channel has an energy counter.
    pub(crate) fn counts_energy(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.energy_wh.is_some())
    }

    /// The one channel that counts, for the events that follow from it.
    pub(crate) fn channel(&self) -> &str {
        match &self.of {
            Of::One(name) => name.as_str(),
            Of::Unknown | Of::Several(_) => "",
        }
    }
}

/// FNV-1a over texts, each ended by a byte that no UTF-8 text contains.
fn fnv1a<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    texts
        .into_iter()
        .flat_map(|text| text.bytes().chain([0xff]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the readings (`+` marks one with power) to a fresh source and says where the
    /// last one belongs.
    fn check(names: &[&str], readings: &[&str], expected: Place) {
        let choice = match names {
            [] => Choice::Auto,
            names => Choice::Named(names.iter().map(|name| Name::of(name)).collect()),
        };
        let mut source = Source::default();
        let mut place = Place::Aside;
        for reading in readings {
            let channel = reading.trim_start_matches('+');
            place = source.place(&choice, channel, reading.starts_with('+'));
        }
        assert_eq!(place, expected, "{names:?} {readings:?}");
    }

    #[test]
    fn follows_the_only_channel_the_total_or_the_names() {
        let second = |name| Place::Second(Name::of(name));
        check(&[], &["+switch:0"], Place::New(0));
        check(&[], &["+switch:0", "switch:0"], Place::Part(0));
        check(&[], &["device", "emdata:0"], Place::Aside);
        check(&[], &["+switch:0", "+switch:1"], second("switch:0"));
        check(&[], &["+switch:0", "switch:1"], Place::Aside);
        check(&[], &["+em:0.total", "+em:0.a"], Place::Aside);
        check(&[], &["+em:0.total", "+switch:0"], second("em:0.total"));
        check(&[], &["+em:0.a", "+em:0.total"], Place::New(0));
        check(&[], &["+em:0.a", "em:0.total"], Place::Aside);
        check(&[], &["+em:0.a", "+em:0.total", "+em:0.a"], Place::Aside);
        check(&[], &["+em:0.total", "+em:1.total"], second("em:0.total"));
        check(&[], &["+energy:0", "+energy:total"], Place::New(0));
        check(&[], &["+l1", "+total"], Place::New(0));
        check(&[], &["+l1", "+subtotal"], second("l1"));
        check(&["pm1:0"], &["+pm1:0", "+switch:0"], Place::Aside);
        check(&["pm1:0"], &["+switch:0", "pm1:0"], Place::New(0));
        check(&["em:0.a", "em:0.b"], &["+em:0.b", "+em:0.a"], Place::Part(0));
        check(&["em:0.a", "em:0.b"], &["+em:0.total"], Place::Aside);
    }

    #[test]
    fn keeps_what_it_knows_where_a_name_replaces_auto_by_the_same_channel() {
        let mut source = Source::default();
        source.place(&Choice::Auto, "pm1:0", true);
        let named = Choice::Named(vec![Name::of("pm1:0")]);
        assert_eq!(source.place(&named, "pm1:0", true), Place::Part(0));
    }

    #[test]
    fn shortens_a_long_name_and_still_knows_it_as_a_total() {
        let long = format!("{}.total", "ü".repeat(500));
        let name = Name::of(&long);
        assert!(name.as_str().len() <= Name::LONGEST && name.is(&long));
        assert!(name.stem().is_some());
        assert!(!name.is(&format!("{}.total", "ü".repeat(501))));
        assert_eq!(Name::of(&"x".repeat(40)).as_str(), "x".repeat(40));
    }
}
