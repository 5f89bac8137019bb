//! A certificate authority of the test's own.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tapline::message::Timestamp;
use tapline::telemetry::clock;

/// An authority; it and what it signs are good for rcgen's default time unless days are named.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    days: Option<u64>,
}

impl Authority {
    /// # Panics
    /// If the system has no randomness.
    pub fn new(name: &str) -> Self {
        Self::lasting(name, None)
    }

    /// The same, and nothing of it lasts longer than so many days.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn of_days(name: &str, days: u64) -> Self {
        Self::lasting(name, Some(days))
    }

    fn lasting(name: &str, days: Option<u64>) -> Self {
        let mut params = params(Vec::new(), days);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { pem, issuer: Issuer::new(params, key), days }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Certificate and key for a server on this machine.
    pub fn server(&self) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.sign(names, "localhost", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Certificate and key for a client.
    pub fn client(&self, name: &str) -> (String, String) {
        self.sign(Vec::new(), name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        names: Vec<String>,
        common: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> (String, String) {
        let mut params = params(names, self.days);
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages.push(usage);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.signed_by(&key, &self.issuer).expect("the authority signs");
        (signed.pem(), key.serialize_pem())
    }
}

fn params(names: Vec<String>, days: Option<u64>) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("names of this machine are names");
    if let Some(days) = days {
        let (year, month, day) = date(day_in(days));
        params.not_after = rcgen::date_time_ymd(year, month, day);
    }
    params
}

/// The beginning of the day that comes after so many days from now.
pub fn day_in(days: u64) -> Timestamp {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let at = clock::now().plus_ms(days * DAY_MS);
    Timestamp(at.0 - at.0 % DAY_MS)
}

fn date(at: Timestamp) -> (i32, u8, u8) {
    let text = at.rfc3339();
    let part = |from: usize, to: usize| text[from..to].parse::<u16>().expect("a date");
    let small = |number: u16| u8::try_from(number).expect("a month or a day");
    (part(0, 4).into(), small(part(5, 7)), small(part(8, 10)))
}
