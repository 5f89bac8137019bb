//! The configuration that was pushed, as it is kept and read back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Options;
use super::start::{StartError, blocking};
use crate::config::Problem;
use crate::config::document::Format;
use crate::config::push::Pushed;
use crate::config::site::Secret;
use crate::message::Timestamp;
use crate::store::{Change, SecretsError, SecretsFile, Store, StoreError};
use crate::telemetry::clock;

/// Under this name the pushed broker's password lies in the secrets file.
const PASSWORD: &str = "mqtt.password";
/// Under this name the store keeps the generated name of the site.
const NAME: &str = "site-name";
/// What S3 left in its data directory; imported once.
const S3_CONFIG: &str = "config-active.yaml";

/// What the data directory says of configuration.
pub(super) struct Kept {
    /// The name of a site that says none.
    pub(super) name: String,
    /// What sets this copy of another box apart from it.
    pub(super) copy: Option<String>,
    pub(super) pushed: Option<Arc<Pushed>>,
    pub(super) updated: Option<Timestamp>,
    /// The document's number; 0 if there is none yet.
    pub(super) revision: u64,
    /// Read from a file just now, and to be kept.
    pub(super) fresh: bool,
}

/// Why a configuration cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the database does not take it")]
    Store(#[from] StoreError),
    #[error("its password cannot be kept")]
    Secrets(#[from] SecretsError),
}

impl Kept {
    /// Reads what was kept, or at the first start the document of `--config`, or S3's own.
    pub(super) async fn read(store: &Store, options: &Options) -> Result<Self, StartError> {
        let (store, options) = (store.clone(), options.clone());
        blocking(move || {
            let name = site_name(&store)?;
            let copy = store.copy_mark()?;
            if let Some(revision) = store.latest_revision()? {
                let secrets = SecretsFile::new(&options.data).read().unwrap_or_else(|error| {
                    tracing::error!(event = "secrets_unreadable", error = &error as &dyn std::error::Error, "push the password again");
                    BTreeMap::new()
                });
                let password = secrets.get(PASSWORD).map(|p| Secret::new(p));
                let document = serde_json::from_slice(&revision.document).unwrap_or_default();
                let pushed = Pushed::restore(&document, password).map_err(StartError::Config)?;
                let (updated, revision) = (Some(revision.at), revision.rev);
                return Ok(Self { name, copy, pushed: Some(Arc::new(pushed)), updated, revision, fresh: false });
            }
            let s3 = options.data.join(S3_CONFIG);
            let first = match &options.config_file {
                Some(file) => Some(file.clone()),
                None => s3.exists().then_some(s3),
            };
            let Some(file) = first else {
                return Ok(Self { name, copy, pushed: None, updated: None, revision: 0, fresh: false });
            };
            let pushed = read_document(&file).map_err(StartError::Config)?;
            tracing::info!(event = "config_imported", file = %file.display(), devices = pushed.devices().len(), "configuration read from a file");
            let updated = Some(clock::now());
            Ok(Self { name, copy, pushed: Some(Arc::new(pushed)), updated, revision: 0, fresh: true })
        })
        .await
    }
}

/// Reads a document in S3's shape from a JSON, YAML or TOML file.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read_document(file: &Path) -> Result<Pushed, Vec<Problem>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let remedy = "name a readable file in JSON, YAML or TOML";
        vec![Problem::of(file, format!("cannot be read: {error}"), remedy)]
    })?;
    let format = match file.extension().and_then(|e| e.to_str()) {
        Some("json") => Format::Json,
        Some("toml") => Format::Toml,
        _ => Format::Yaml,
    };
    Pushed::parse(&file.display().to_string(), &text, format)
}

/// Keeps a document as the next revision. The password goes first: if the rest fails, the
/// old one is put back.
pub(super) async fn keep(
    store: &Store,
    data: &Path,
    pushed: &Pushed,
    change: Change,
) -> Result<u64, KeepError> {
    let (store, file) = (store.clone(), SecretsFile::new(data));
    let document = pushed.stored().to_string().into_bytes();
    let password = pushed.password().map(|secret| secret.reveal().to_owned());
    blocking(move || {
        let before = file.read()?;
        let mut secrets = before.clone();
        match password {
            Some(password) => secrets.insert(PASSWORD.to_owned(), password),
            None => secrets.remove(PASSWORD),
        };
        if secrets != before {
            file.write(&secrets)?;
        }
        store.add_revision(&change, &document).map_err(|error| {
            if secrets != before
                && let Err(error) = file.write(&before)
            {
                tracing::error!(
                    event = "secrets_not_restored",
                    error = &error as &dyn std::error::Error,
                    "the old password is lost"
                );
            }
            KeepError::Store(error)
        })
    })
    .await
}

/// The generated name, the same at every start.
fn site_name(store: &Store) -> Result<String, StoreError> {
    if let Some(name) = store.meta_get(NAME)?.and_then(|name| String::from_utf8(name).ok()) {
        return Ok(name);
    }
    let random = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("tapline-{}", &random[..8]);
    store.meta_put(NAME, name.as_bytes())?;
    tracing::info!(event = "site_named", bridge_id = name, at = %clock::now(), "named this Tapline");
    Ok(name)
}
