//! TLS to the broker: authorities and client certificate, read anew for each connection so that
//! a renewed certificate is taken up without a restart.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::WireError;
use crate::config::site::Tls;

pub(super) type ClientConfig = Arc<rustls::ClientConfig>;

/// The TLS side of a connection; without settings the system's authorities are trusted.
pub(super) fn client_config(tls: Option<&Tls>) -> Result<ClientConfig, WireError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| WireError::Tls(error.to_string()))?
        .with_root_certificates(match tls.and_then(|tls| tls.ca.as_deref()) {
            Some(path) => own_authorities(path)?,
            None => system_authorities()?,
        });
    let config = match tls.and_then(|tls| tls.client.as_ref()) {
        Some((chain, key)) => {
            builder.with_client_auth_cert(certificates(chain)?, private_key(key)?).map_err(
                |error| WireError::Tls(format!("the client certificate does not fit: {error}")),
            )?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn own_authorities(path: &Path) -> Result<RootCertStore, WireError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path)?);
    if roots.is_empty() {
        return Err(WireError::Tls(format!("`{}` holds no usable certificate", path.display())));
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, WireError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(WireError::Tls(
            "the system has no certificate authorities: name one with `ca`".to_owned(),
        ));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(WireError::Tls(format!("`{}` holds no PEM certificate", path.display()))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, WireError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| WireError::Tls(format!("`{}` holds no PEM private key", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, WireError> {
    std::fs::read(path)
        .map_err(|source| WireError::File { path: path.display().to_string(), source })
}
