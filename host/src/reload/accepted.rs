//! The last accepted version of each pipeline and device file, in the data directory: what a
//! start falls back to when a file has become unusable meanwhile.
//!
//! An index names contents by their hashes; contents lie beside it. Invariant: the index is
//! replaced whole and after what it names is on the disk, so it always describes one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::aside::Versions;
use crate::module::Hash;

/// The folder in the data directory.
const FOLDER: &str = "accepted";
const INDEX: &str = "index.json";

/// Why it cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be used")]
pub(super) struct AcceptedError {
    path: String,
    #[source]
    source: io::Error,
}

/// What one file was when it was last accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Unit {
    pub(super) text: String,
    /// By the name that the pipeline gives them.
    pub(super) schemas: BTreeMap<String, String>,
    /// Modules by name. Those that ship with the program are named only.
    pub(super) modules: BTreeMap<String, Hash>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Index {
    files: BTreeMap<String, Entry>,
    versions: Versions,
}

/// Contents by their hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    text: String,
    schemas: BTreeMap<String, String>,
    modules: BTreeMap<String, String>,
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    folder: PathBuf,
}

impl Accepted {
    pub(super) fn new(data: &Path) -> Self {
        Self { folder: data.join(FOLDER) }
    }

    /// All files as they were last accepted. What is damaged is left out, with a line in the
    /// log: it is only needed where the file itself is unusable, too.
    pub(super) fn read(&self) -> BTreeMap<String, Unit> {
        let index = match self.index() {
            Ok(index) => index,
            Err(error) => {
                warn(&error);
                return BTreeMap::new();
            }
        };
        let unit = |(file, entry): (String, Entry)| {
            let text = |hash: &String| -> Result<String, AcceptedError> {
                let bytes = self.content(hash)?;
                String::from_utf8(bytes).map_err(|_| self.damaged(hash))
            };
            let schemas = entry.schemas.iter().map(|(name, hash)| Ok((name.clone(), text(hash)?)));
            let schemas = schemas.collect::<Result<_, _>>();
            let modules =
                entry.modules.iter().filter_map(|(name, hash)| Some((name.clone(), parse(hash)?)));
            match (text(&entry.text), schemas) {
                (Ok(text), Ok(schemas)) => {
                    Some((file, Unit { text, schemas, modules: modules.collect() }))
                }
                (Err(error), _) | (_, Err(error)) => {
                    warn(&error);
                    None
                }
            }
        };
        index.files.into_iter().filter_map(unit).collect()
    }

    /// What is known of versions of modules; nothing where the index is damaged, which
    /// [`read`](Self::read) says.
    pub(super) fn versions(&self) -> Versions {
        self.index().unwrap_or_default().versions
    }

    /// Bytes of a module that was kept.
    pub(super) fn module(&self, hash: &Hash) -> Result<Vec<u8>, AcceptedError> {
        self.content(&hash.to_string())
    }

    /// Keeps the bytes of a module until the next [`keep`](Self::keep) does not name it.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Hash, AcceptedError> {
        let hash = Hash::of(bytes);
        let path = self.folder.join(hash.to_string());
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == bytes.len() as u64) {
            return Ok(hash);
        }
        self.write(&path, bytes)?;
        Ok(hash)
    }

    /// Makes `units`, and what `versions` names, all that is kept.
    pub(super) fn keep(
        &self,
        units: &BTreeMap<String, Unit>,
        versions: &Versions,
    ) -> Result<(), AcceptedError> {
        let mut index = Index { versions: versions.clone(), ..Index::default() };
        for (file, unit) in units {
            let mut entry =
                Entry { text: self.put(unit.text.as_bytes())?.to_string(), ..Entry::default() };
            for (name, text) in &unit.schemas {
                entry.schemas.insert(name.clone(), self.put(text.as_bytes())?.to_string());
            }
            let modules = unit.modules.iter().map(|(name, hash)| (name.clone(), hash.to_string()));
            entry.modules.extend(modules);
            index.files.insert(file.clone(), entry);
        }
        if self.index().is_ok_and(|before| before == index) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&index).unwrap_or_default();
        self.write(&self.folder.join(INDEX), &text)?;
        self.sweep(&index);
        Ok(())
    }

    fn index(&self) -> Result<Index, AcceptedError> {
        let path = self.folder.join(INDEX);
        match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| self.failed(&path)(error.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            Err(error) => Err(self.failed(&path)(error)),
        }
    }

    fn content(&self, hash: &str) -> Result<Vec<u8>, AcceptedError> {
        let path = self.folder.join(hash);
        let bytes = std::fs::read(&path).map_err(self.failed(&path))?;
        if Hash::of(&bytes).to_string() == hash { Ok(bytes) } else { Err(self.damaged(hash)) }
    }

    fn damaged(&self, name: &str) -> AcceptedError {
        self.failed(&self.folder.join(name))(io::ErrorKind::InvalidData.into())
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> AcceptedError + use<> {
        let path = path.display().to_string();
        move |source| AcceptedError { path: path.clone(), source }
    }

    /// Under its name only once it is on the disk.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), AcceptedError> {
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(self.failed(path))
    }

    /// Removes what the index does not name. What cannot be removed is tried again next time.
    fn sweep(&self, index: &Index) {
        let versions: Vec<_> = index.versions.hashes().map(|hash| hash.to_string()).collect();
        let named: BTreeSet<&str> = index
            .files
            .values()
            .flat_map(|entry| {
                let hashes = entry.schemas.values().chain(entry.modules.values());
                hashes.chain([&entry.text]).map(String::as_str)
            })
            .chain([INDEX])
            .chain(versions.iter().map(String::as_str))
            .collect();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
                let _next_time = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A hash as the index has it.
pub(super) fn parse(hash: &str) -> Option<Hash> {
    let byte = |at: usize| u8::from_str_radix(hash.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hash.len()).step_by(2).map(byte).collect();
    Some(Hash(bytes?.try_into().ok()?))
}

fn warn(error: &AcceptedError) {
    tracing::warn!(
        event = "accepted_unreadable",
        error = error as &dyn std::error::Error,
        "an unusable file has nothing to fall back to"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str, module: Hash) -> Unit {
        Unit {
            text: text.to_owned(),
            schemas: [("a.json".to_owned(), "{}".to_owned())].into(),
            modules: [("own".to_owned(), module)].into(),
        }
    }

    #[test]
    fn what_was_accepted_is_read_back_and_what_is_gone_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let accepted = Accepted::new(data.path());
        assert!(accepted.read().is_empty());
        let (one, two) = (accepted.put(b"one").unwrap(), accepted.put(b"two").unwrap());
        let units: BTreeMap<_, _> =
            [("a.toml".to_owned(), unit("a", one)), ("b.toml".to_owned(), unit("b", two))].into();
        accepted.keep(&units, &Versions::default()).unwrap();
        assert_eq!(accepted.read(), units);
        assert_eq!(accepted.module(&one).unwrap(), b"one");
        let fewer: BTreeMap<_, _> = [("b.toml".to_owned(), unit("b", two))].into();
        accepted.keep(&fewer, &Versions::default()).unwrap();
        assert_eq!(accepted.read(), fewer);
        assert!(accepted.module(&one).is_err());
        // Index, text, schema and module.
        assert_eq!(std::fs::read_dir(data.path().join(FOLDER)).unwrap().count(), 4);
    }

    #[test]
    fn damaged_content_is_not_taken_for_the_accepted_one() {
        let data = tempfile::tempdir().unwrap();
        let accepted = Accepted::new(data.path());
        let module = accepted.put(b"module").unwrap();
        accepted
            .keep(&[("a.toml".to_owned(), unit("text", module))].into(), &Versions::default())
            .unwrap();
        let folder = data.path().join(FOLDER);
        std::fs::write(folder.join(Hash::of(b"text").to_string()), "tex").unwrap();
        std::fs::write(folder.join(module.to_string()), "modul").unwrap();
        assert!(accepted.read().is_empty());
        assert!(accepted.module(&module).is_err());
    }
}
