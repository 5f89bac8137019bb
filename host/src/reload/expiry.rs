//! What has a last day: certificates, tokens, keys. Said in time, as each of them stops
//! everything behind it at once.
//!
//! Certificates are read from their files; of a key or password nobody but the other side knows
//! the end, so the site file says it (`expires`). What is known is gathered with each change that
//! is applied, a replaced certificate for one; how near the end is, is told from the clock that
//! is passed in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, Weak};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Tapline;
use crate::config::site::{Secret, Site};
use crate::message::Timestamp;
use crate::telemetry::clock;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// How long before the end it is time to say something; as `tapline check` does.
const NOTICE_MS: u64 = 30 * DAY_MS;
/// Between two looks at the clock.
const LOOK: Duration = Duration::from_secs(60);

/// Something that ends on a known day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expiring {
    /// Its kind: a label of the metric, so one of a few.
    pub what: &'static str,
    /// Whose it is: a broker, an endpoint, a token.
    pub name: String,
    /// For a person: what it is, and where.
    words: String,
    pub at: Timestamp,
    remedy: String,
}

impl Expiring {
    /// What, when and the remedy, from thirty days before the end.
    pub(super) fn problem(&self, now: Timestamp) -> Option<String> {
        if self.at.0 > now.0.saturating_add(NOTICE_MS) {
            return None;
        }
        let day = self.at.rfc3339();
        let day = day.get(..10).unwrap_or(&day);
        let when = match self.at.since(now) / DAY_MS {
            _ if self.at <= now => format!("expired on {day}"),
            0 => format!("expires within a day, on {day}"),
            1 => format!("expires tomorrow, on {day}"),
            days => format!("expires in {days} days, on {day}"),
        };
        Some(format!("{} {when}: {}", self.words, self.remedy))
    }
}

/// What it is, and whose.
type Key = (&'static str, String);

/// Which end was last spoken of, and when.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<Key, (Timestamp, Timestamp)>);

impl Said {
    /// What is to be said now: each problem once a day, and at once when it has another end.
    /// The second list is of what was spoken of and is well again.
    fn due<'a>(
        &mut self,
        all: &'a [Expiring],
        now: Timestamp,
    ) -> (Vec<(&'a Expiring, String)>, Vec<Key>) {
        let mut due = Vec::new();
        let mut before = std::mem::take(&mut self.0);
        for expiring in all {
            let Some(problem) = expiring.problem(now) else { continue };
            let key = (expiring.what, expiring.name.clone());
            let is_said = |(at, said): &(Timestamp, Timestamp)| {
                *at == expiring.at && now.since(*said) < DAY_MS
            };
            let said = before.remove(&key).filter(is_said).unwrap_or_else(|| {
                due.push((expiring, problem));
                (expiring.at, now)
            });
            self.0.insert(key, said);
        }
        (due, before.into_keys().collect())
    }
}

/// Looks at the clock until `tapline` is gone.
pub(super) async fn watch(tapline: Weak<Tapline>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(tapline) = tapline.upgrade() else { return };
        tapline.say_expiries(clock::now());
    }
}

impl Tapline {
    /// Logs what expires soon, each once a day.
    pub(super) fn say_expiries(&self, now: Timestamp) {
        let running = self.running();
        let mut said = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, renewed) = said.due(&running.expiring, now);
        for (expiring, problem) in due {
            let Expiring { what, name, at, .. } = expiring;
            if *at <= now {
                tracing::error!(event = "expired", what, name, at = %at, problem, "something has expired");
            } else {
                tracing::warn!(event = "expires_soon", what, name, at = %at, problem, "something expires soon");
            }
        }
        for (what, name) in renewed {
            tracing::info!(
                event = "expiry_renewed",
                what,
                name,
                "what was about to expire was replaced"
            );
        }
    }
}

/// Everything of a site whose end is known.
pub(super) fn of(site: &Site) -> Vec<Expiring> {
    let mut found = Vec::new();
    for (name, broker) in &site.brokers {
        let whose = format!("broker `{name}`");
        if let Some(tls) = &broker.tls {
            found.extend(tls.ca.as_deref().and_then(|file| authority(file, name, &whose)));
            if let Some((file, _)) = &tls.client {
                found.extend(own(file, "client-certificate", name, &whose));
            }
        }
        found.extend(secret(broker.password.as_ref(), "password", name, &whose));
    }
    for (name, endpoint) in &site.endpoints {
        let whose = format!("endpoint `{name}`");
        found.extend(endpoint.ca.as_deref().and_then(|file| authority(file, name, &whose)));
        found.extend(secret(endpoint.key.as_ref(), "key", name, &whose));
        for (header, value) in &endpoint.headers {
            let name = format!("{name}/{header}");
            found.extend(secret(Some(value), "header", &name, &whose));
        }
    }
    if let Some((file, _)) = &site.http.tls {
        found.extend(own(file, "api-certificate", "http", "the API"));
    }
    found.extend(secret(site.http.token.as_ref(), "token", "http", "the API"));
    for token in &site.http.tokens {
        let Some(at) = token.expires else { continue };
        let name = token.name.to_string();
        let words = format!("token `{name}` of the API");
        let remedy = format!(
            "run `tapline token {name}`, replace [http.tokens.{name}], and give the new one to its user"
        );
        found.push(Expiring { what: "token", name, words, at, remedy });
    }
    found
}

fn secret(
    secret: Option<&Secret>,
    what: &'static str,
    name: &str,
    whose: &str,
) -> Option<Expiring> {
    let at = secret?.expires()?;
    let words = format!("{what} of {whose}");
    let remedy = "renew it at the other side, then put value and new `expires` in place".to_owned();
    Some(Expiring { what, name: name.to_owned(), words, at, remedy })
}

/// Authorities to trust. While one is good the others may be old ones that a change left there,
/// so the last to end counts.
fn authority(file: &Path, name: &str, whose: &str) -> Option<Expiring> {
    certificate(file, "authority", name, whose, ends(file).max()?)
}

/// A chain that we show: it is as good as the first of it to end.
fn own(file: &Path, what: &'static str, name: &str, whose: &str) -> Option<Expiring> {
    certificate(file, what, name, whose, ends(file).min()?)
}

fn certificate(
    file: &Path,
    what: &'static str,
    name: &str,
    whose: &str,
    at: Timestamp,
) -> Option<Expiring> {
    let words = format!("certificate `{}` of {whose}", file.display());
    let remedy = "replace the file, no restart is needed".to_owned();
    Some(Expiring { what, name: name.to_owned(), words, at, remedy })
}

/// The ends of the certificates in a file. One that cannot be used is a problem of its own,
/// which is told where it is used.
fn ends(file: &Path) -> impl Iterator<Item = Timestamp> {
    let all = std::fs::read(file).map(|bytes| {
        let all = CertificateDer::pem_slice_iter(&bytes).flatten();
        all.filter_map(|der| end(&der)).collect::<Vec<_>>()
    });
    all.unwrap_or_default().into_iter()
}

fn end(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    // One from before 1970 has ended as well as can be.
    Some(Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn key(at: Timestamp) -> Expiring {
        let key = Secret::until("k", Some(at));
        secret(Some(&key), "key", "odoo", "endpoint `odoo`").unwrap()
    }

    fn pem(years: &[i32]) -> String {
        let one = |year: &i32| {
            let mut params = rcgen::CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(*year, 2, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().pem()
        };
        years.iter().map(one).collect()
    }

    #[test]
    fn says_what_expires_when_and_what_helps_from_thirty_days_before() {
        let end = NOW.plus_ms(40 * DAY_MS);
        let key = key(end);
        assert_eq!(key.problem(NOW.plus_ms(10 * DAY_MS - 1)), None);
        let remedy = "renew it at the other side, then put value and new `expires` in place";
        for (left, when) in [
            (30 * DAY_MS, "expires in 30 days, on"),
            (DAY_MS, "expires tomorrow, on"),
            (1, "expires within a day, on"),
            (0, "expired on"),
        ] {
            let expected = format!("key of endpoint `odoo` {when} 2027-02-24: {remedy}");
            assert_eq!(key.problem(end.minus_ms(left)), Some(expected));
        }
    }

    #[test]
    fn is_said_once_a_day_at_once_for_another_end_and_once_more_when_renewed() {
        let mut said = Said::default();
        let soon = [key(NOW.plus_ms(5 * DAY_MS))];
        let count = |said: &mut Said, all: &[Expiring], at| {
            let (due, renewed) = said.due(all, at);
            (due.len(), renewed.len())
        };
        assert_eq!(count(&mut said, &soon, NOW), (1, 0));
        assert_eq!(count(&mut said, &soon, NOW.plus_ms(DAY_MS - 1)), (0, 0));
        assert_eq!(count(&mut said, &soon, NOW.plus_ms(DAY_MS)), (1, 0));
        let sooner = [key(NOW.plus_ms(3 * DAY_MS))];
        assert_eq!(count(&mut said, &sooner, NOW.plus_ms(DAY_MS + 1)), (1, 0));
        let later = [key(NOW.plus_ms(90 * DAY_MS))];
        assert_eq!(count(&mut said, &later, NOW.plus_ms(DAY_MS + 2)), (0, 1));
        assert_eq!(count(&mut said, &later, NOW.plus_ms(DAY_MS + 3)), (0, 0));
    }

    #[test]
    fn a_chain_ends_with_its_first_certificate_and_authorities_with_their_last() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("some.pem");
        std::fs::write(&file, pem(&[2031, 2029])).unwrap();
        let year = |found: Option<Expiring>| found.unwrap().at.rfc3339()[..4].to_owned();
        assert_eq!(year(own(&file, "api-certificate", "http", "the API")), "2029");
        assert_eq!(year(authority(&file, "main", "broker `main`")), "2031");
        std::fs::write(&file, "nonsense").unwrap();
        assert_eq!(authority(&file, "main", "broker `main`"), None);
    }
}
