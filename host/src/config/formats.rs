//! Formats of our own in schemas.
//!
//! A text with a grammar of its own is checked together with the shape around it, so that a
//! wrong topic and a wrong type in one section come at once.

use super::environment::{check_http_url, check_log_level};
use super::topic::Pattern;
use super::{pipeline, push, site, units};

pub(super) const DURATION: &str = "tapline-duration";
pub(super) const SIZE: &str = "tapline-size";
pub(super) const FILTER: &str = "tapline-topic-filter";
pub(super) const TAKE: &str = "tapline-take";
pub(super) const BROKER_URL: &str = "tapline-broker-url";
pub(super) const HTTP_URL: &str = "tapline-http-url";
pub(super) const LOG_LEVEL: &str = "tapline-log-level";
pub(super) const TIME: &str = "tapline-time";

/// What is wrong with a text, and the remedy.
pub(super) type Wrong = (String, String);

type Check = fn(&str) -> Result<(), Wrong>;

/// Every format with its check.
pub(super) const ALL: [(&str, Check); 8] = [
    (DURATION, |text| match units::duration(text) {
        Some(_) => Ok(()),
        None => wrong(format!("`{}` is not a duration", short(text)), units::DURATION_REMEDY),
    }),
    (SIZE, |text| match units::size(text) {
        Some(_) => Ok(()),
        None => wrong(format!("`{}` is not a size", short(text)), units::SIZE_REMEDY),
    }),
    (FILTER, |text| match Pattern::parse(text) {
        // A name of [topics]: looked up where they are known.
        _ if text.starts_with('@') => Ok(()),
        Ok(_) => Ok(()),
        Err(error) => wrong(error.to_string(), error.remedy()),
    }),
    (TAKE, |text| pipeline::check_take(text)),
    (BROKER_URL, |text| match site::check_broker_url(text) {
        Ok(()) => Ok(()),
        Err((what, remedy)) => wrong(what, remedy),
    }),
    (HTTP_URL, |text| match check_http_url(text) {
        Ok(_) => Ok(()),
        Err((what, remedy)) => wrong(what, remedy),
    }),
    (LOG_LEVEL, |text| match check_log_level(text) {
        Ok(_) => Ok(()),
        Err((what, remedy)) => wrong(what, remedy),
    }),
    (TIME, |text| match push::parse_time(text) {
        Some(_) => Ok(()),
        None => {
            let what = format!("`{}` is not a time", short(text));
            wrong(what, "write it as 2026-02-12T19:40:18Z")
        }
    }),
];

/// Why `text` is not of this format.
pub(super) fn refusal(format: &str, text: &str) -> Option<Wrong> {
    let (_, check) = ALL.iter().find(|(name, _)| *name == format)?;
    check(text).err()
}

fn wrong(what: String, remedy: &str) -> Result<(), Wrong> {
    Err((what, remedy.to_owned()))
}

fn short(text: &str) -> String {
    super::environment::short(text)
}
