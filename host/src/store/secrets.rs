//! Secrets that were pushed and must survive: a file of their own, for its owner alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `secrets.json` in the data directory. Never part of a database, a backup or a log.
#[derive(Clone, Debug)]
pub struct SecretsFile {
    path: PathBuf,
}

/// Why the secrets cannot be read or written; never says what they are.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("the secrets in `{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is not a JSON object of texts", path.display())]
    Format { path: PathBuf },
    #[error("the secrets cannot be written to `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl SecretsFile {
    /// The file in the data directory `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { path: dir.join("secrets.json") }
    }

    /// All secrets by name; none if there is no file.
    pub fn read(&self) -> Result<BTreeMap<String, String>, SecretsError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(source) => return Err(SecretsError::Read { path: self.path.clone(), source }),
        };
        // serde_json's error would quote the value.
        serde_json::from_slice(&text).map_err(|_| SecretsError::Format { path: self.path.clone() })
    }

    /// Replaces all secrets: after a crash there are the old ones or the new ones.
    pub fn write(&self, secrets: &BTreeMap<String, String>) -> Result<(), SecretsError> {
        self.replace(secrets)
            .map_err(|source| SecretsError::Write { path: self.path.clone(), source })
    }

    fn replace(&self, secrets: &BTreeMap<String, String>) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // A temporary file is made with mode 0600 and keeps it under its new name.
        let mut file = tempfile::Builder::new().prefix(".secrets").tempfile_in(dir)?;
        serde_json::to_writer_pretty(&mut file, secrets)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        std::fs::File::open(dir)?.sync_all()
    }
}
