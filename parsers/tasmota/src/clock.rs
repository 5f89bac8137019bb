//! The time that a device states, if it is of any use.

use tapline_sdk::prelude::*;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::lenient::Value;

/// When the device says it was, in milliseconds since the epoch.
#[derive(Default)]
pub(crate) struct Clock {
    zoned: Option<Timestamp>,
    epoch: Option<Timestamp>,
}

impl Clock {
    /// `Time` is local and without a zone, of use to nobody, unless SetOption52 adds the zone
    /// or `Time 3` makes it seconds since the epoch.
    pub(crate) fn set(&mut self, time: &Value<'_>) {
        match time {
            Value::Number(seconds) => self.set_epoch(Some(*seconds)),
            Value::Text(text) => {
                self.zoned = OffsetDateTime::parse(text, &Rfc3339)
                    .ok()
                    .and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
                    .and_then(synchronised);
            }
            Value::Absent | Value::Flag(_) => {}
        }
    }

    pub(crate) fn set_epoch(&mut self, seconds: Option<f64>) {
        // Saturates where it is negative or beyond all time.
        self.epoch = seconds.and_then(|seconds| synchronised((seconds * 1000.0) as u64));
    }

    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.zoned.or(self.epoch)
    }
}

/// A clock before 2016 was never set: Tasmota's own rule (`START_VALID_TIME`).
fn synchronised(at: Timestamp) -> Option<Timestamp> {
    const START_VALID_TIME_MS: Timestamp = 1_451_602_800_000;
    (at >= START_VALID_TIME_MS).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_time_only_where_zone_or_epoch_make_it_one() {
        let check = |time: &str, expected: Option<Timestamp>| {
            let mut clock = Clock::default();
            clock.set(&Value::Text(time.into()));
            assert_eq!(clock.at(), expected, "{time}");
        };
        check("2021-06-27T15:03:44+02:00", Some(1_624_799_024_000));
        check("2021-06-27T13:03:44.123Z", Some(1_624_799_024_123));
        check("2021-06-27T15:03:44", None);
        check("2018.02.04 23:17:01", None);
        check("1970-01-01T10:27:15+01:00", None);
        check("1969-01-01T00:00:00Z", None);
        check("", None);
        let epoch = |seconds: f64| {
            let mut clock = Clock::default();
            clock.set(&Value::Number(seconds));
            clock.at()
        };
        assert_eq!(epoch(1_567_595_328.0), Some(1_567_595_328_000));
        assert_eq!(epoch(37.0), None);
        assert_eq!(epoch(-1e300), None);
        assert_eq!(epoch(1e300), Some(u64::MAX));
    }
}
