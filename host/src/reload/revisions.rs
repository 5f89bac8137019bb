//! What was configured before: the journal, documents by revision, and their differences.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Tapline;
use super::changes::{Changes, Kept, Outline};
use super::push::PushError;
use super::start::blocking;
use crate::config::push::Pushed;
use crate::store::StoreError;

/// A line of the journal, as the API answers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts up over all changes.
    pub number: u64,
    /// Of a pushed document; a change of files has none.
    #[serde(default)]
    pub revision: Option<u64>,
    pub at: String,
    pub author: String,
    /// Devices that were registered after it.
    pub devices: usize,
    /// What it changed, in words.
    pub what: String,
}

/// A value in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// `broker.main.host`
    pub path: String,
    pub value: Value,
    /// `pushed`, `tapline.toml:3`, the environment variable, or `default`.
    pub origin: String,
}

impl Tapline {
    /// At most `limit` lines of the journal below number `before`, the newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn journal(
        &self,
        limit: usize,
        before: Option<u64>,
    ) -> Result<Vec<Entry>, StoreError> {
        let store = self.store.clone();
        let entries = blocking(move || store.journal(limit, before)).await?;
        let entry = |entry: crate::store::Entry| Entry {
            number: entry.number,
            revision: entry.rev,
            at: entry.change.at.rfc3339(),
            author: entry.change.author,
            devices: entry.change.devices,
            what: entry.change.what,
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// A revision with its document, secrets as `***`.
    ///
    /// # Errors
    /// If there is none of this number, or the store cannot be read.
    pub async fn revision_document(&self, revision: u64) -> Result<Value, PushError> {
        let found = self.stored(revision).await?;
        let stored: Value = serde_json::from_slice(&found.document).unwrap_or_default();
        let document = stored.get("document").cloned().unwrap_or_default();
        Ok(json!({
            "revision": found.rev,
            "at": found.at.rfc3339(),
            "author": found.author,
            "document": document,
        }))
    }

    /// What became different from one revision to another. `to`: the one in force if absent;
    /// `from`: the one before `to`.
    ///
    /// # Errors
    /// If one of them is not there, or cannot be read any more.
    pub async fn revision_changes(
        &self,
        from: Option<u64>,
        to: Option<u64>,
    ) -> Result<(u64, u64, Changes), PushError> {
        let to = to.unwrap_or_else(|| self.revision());
        let from = from.unwrap_or_else(|| to.saturating_sub(1));
        let (before, after) = (self.document_of(from).await?, self.document_of(to).await?);
        Ok((from, to, changes(&before, &after)))
    }

    /// The document of a revision, with today's password.
    pub(super) async fn document_of(&self, revision: u64) -> Result<Pushed, PushError> {
        let found = self.stored(revision).await?;
        let password = self.running().pushed.as_ref().and_then(|p| p.password().cloned());
        let stored: Value = serde_json::from_slice(&found.document).unwrap_or_default();
        Pushed::restore(&stored, password).map_err(PushError::Invalid)
    }

    async fn stored(&self, revision: u64) -> Result<crate::store::Revision, PushError> {
        let store = self.store.clone();
        let (found, kept) = blocking(move || {
            Ok::<_, StoreError>((store.revision(revision)?, store.kept_revisions()?))
        })
        .await?;
        found.ok_or(PushError::NoRevision { wanted: revision, kept })
    }

    /// The values of the site in force, each with where it comes from. Secrets are `***`.
    pub fn in_force(&self) -> Vec<InForce> {
        let config = self.config();
        let values = Outline::of_site(&config.site).values();
        values
            .into_iter()
            .map(|(path, value)| InForce {
                origin: config.origins.of(&path).to_string(),
                path,
                value,
            })
            .collect()
    }
}

/// Field by field: documents say little but devices.
fn changes(before: &Pushed, after: &Pushed) -> Changes {
    Changes::between(&Outline::of_pushed(before), &Outline::of_pushed(after), &Kept::default())
}
