//! Certificates of a broker connection: whether the files hold others than it was made with.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Problem;
use crate::config::site::Broker;
use crate::module::Hash;

/// The contents of the files, as far as they could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificates(Vec<(PathBuf, Option<Hash>)>);

impl Certificates {
    pub(super) fn of(broker: &Broker) -> Self {
        let hash = |file: PathBuf| {
            let hash = std::fs::read(&file).ok().map(|bytes| Hash::of(&bytes));
            (file, hash)
        };
        Self(files(broker).into_iter().map(hash).collect())
    }

    /// Whether the files hold others now that can be used. Some that cannot are a problem,
    /// and no reason to leave a broker that is connected.
    pub(super) fn are_renewed(&self, broker: &Broker, problems: &mut Vec<Problem>) -> bool {
        if *self == Self::of(broker) {
            return false;
        }
        let wrong = unusable(broker);
        let usable = wrong.is_empty();
        for problem in &wrong {
            tracing::error!(event = "certificate_unusable", broker = broker.name, %problem, "the connection goes on with those before");
        }
        problems.extend(wrong);
        usable
    }
}

fn files(broker: &Broker) -> Vec<PathBuf> {
    let tls = broker.tls.iter();
    tls.flat_map(|tls| {
        let client = tls.client.iter().flat_map(|(cert, key)| [cert, key]);
        tls.ca.iter().chain(client).cloned()
    })
    .collect()
}

fn unusable(broker: &Broker) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(tls) = &broker.tls else { return problems };
    let mut problem = |file: &PathBuf, why: String| {
        let what = format!("broker `{}` cannot use it: {why}", broker.name);
        problems.push(Problem::of(
            file,
            what,
            "replace it; the connection goes on with the one before",
        ));
    };
    let chains = tls.ca.iter().chain(tls.client.iter().map(|(cert, _)| cert));
    for file in chains {
        if let Err(why) = chain(file) {
            problem(file, why);
        }
    }
    if let Some((_, key)) = &tls.client
        && let Err(error) = PrivateKeyDer::from_pem_file(key)
    {
        problem(key, error.to_string());
    }
    problems
}

/// The hash of a file that holds certificates.
///
/// # Errors
/// In words for a person: it cannot be used.
pub(super) fn chain(file: &Path) -> Result<Hash, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err("it holds no certificate".to_owned()),
        Ok(_) => Ok(Hash::of(&bytes)),
        Err(error) => Err(error.to_string()),
    }
}
