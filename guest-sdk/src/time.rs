//! Times as texts.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::message::Timestamp;

/// The end of the year 9999, the last that RFC 3339 can say.
const LAST: Timestamp = 253_402_300_799_999;

/// RFC 3339 in UTC with milliseconds, `2026-02-12T19:40:18.123Z`. Times after the year 9999
/// are given as its end.
pub fn rfc3339(at: Timestamp) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.min(LAST)) * 1_000_000)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default()
}

/// The time that an RFC 3339 text states, in whatever zone; `None` before 1970 and for other
/// texts.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Timestamp::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_rfc_3339() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_770_925_218_123, "2026-02-12T19:40:18.123Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(at), text);
        }
    }

    #[test]
    fn reads_times_in_any_zone() {
        for (text, at) in [
            ("2026-02-12T19:40:18.123Z", Some(1_770_925_218_123)),
            ("2026-02-12T20:40:18.123456+01:00", Some(1_770_925_218_123)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-02-12", None),
            ("42", None),
        ] {
            assert_eq!(parse_rfc3339(text), at, "{text}");
        }
    }
}
