//! Gathers a box into a scratch directory and writes it as an archive.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::site::{self, SITE_FILE};
use super::{
    ACCEPTED, BackupError, DATABASE, FORMAT, FileEntry, KIND, LeftOut, MANIFEST, Manifest, SECRETS,
    SITE, at,
};
use crate::store::copy_database;
use crate::telemetry::clock;

/// What to back up.
pub struct Wanted<'w> {
    pub data: &'w Path,
    pub site: Option<&'w Path>,
    pub with_secrets: bool,
    /// Where the copy of the database has room until it is in the archive.
    pub scratch: &'w Path,
    /// The archive itself, which an earlier run may have left in the site directory.
    pub archive: Option<&'w Path>,
}

/// A box, ready to be written; it takes its room on the disk until this is dropped.
#[derive(Debug)]
pub struct Gathered {
    pub manifest: Manifest,
    files: TempDir,
}

/// Copies everything as it is now. A Tapline that runs goes on meanwhile.
///
/// # Errors
/// If something cannot be read, or there is no room for the copy.
pub fn gather(wanted: &Wanted<'_>) -> Result<Gathered, BackupError> {
    let files = tempfile::Builder::new()
        .prefix(".tapline-backup-")
        .tempdir_in(wanted.scratch)
        .map_err(at(wanted.scratch))?;
    let mut box_ = Staged { root: files.path().to_owned(), files: Vec::new() };
    let database = box_.place(DATABASE)?;
    let store_format = copy_database(wanted.data, &database)?;
    box_.note(DATABASE, true)?;
    accepted(wanted.data, &mut box_)?;
    let mut left_out = Vec::new();
    secrets_file(wanted, &mut box_, &mut left_out)?;
    if let Some(dir) = wanted.site {
        site_files(wanted, dir, &mut box_, &mut left_out)?;
    }
    let manifest = Manifest {
        kind: KIND.to_owned(),
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: clock::now().rfc3339(),
        store_format,
        with_secrets: wanted.with_secrets,
        left_out,
        files: box_.files,
    };
    Ok(Gathered { manifest, files })
}

impl Gathered {
    /// Writes the archive.
    ///
    /// # Errors
    /// If `out` takes it no more.
    pub fn write(&self, out: impl Write) -> Result<(), BackupError> {
        let mut archive = tar::Builder::new(out);
        let text = serde_json::to_vec_pretty(&self.manifest).unwrap_or_default();
        let write = || {
            archive.append_data(&mut header(text.len() as u64, false), MANIFEST, &*text)?;
            for file in &self.manifest.files {
                let content = std::fs::File::open(self.files.path().join(&file.path))?;
                archive.append_data(&mut header(file.size, file.private), &file.path, content)?;
            }
            archive.into_inner()?.flush()
        };
        write().map_err(BackupError::Write)
    }
}

fn header(size: u64, private: bool) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(if private { 0o600 } else { 0o644 });
    header.set_mtime(clock::now().0 / 1000);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// The copy of a box in the scratch directory.
struct Staged {
    root: PathBuf,
    files: Vec<FileEntry>,
}

impl Staged {
    /// Where a file of the archive goes, with its folder.
    fn place(&self, name: &str) -> Result<PathBuf, BackupError> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        Ok(path)
    }

    fn put(&mut self, name: &str, bytes: &[u8], private: bool) -> Result<(), BackupError> {
        let path = self.place(name)?;
        std::fs::write(&path, bytes).map_err(at(&path))?;
        self.note(name, private)
    }

    /// Lists a file that lies in its place.
    fn note(&mut self, name: &str, private: bool) -> Result<(), BackupError> {
        let path = self.root.join(name);
        let (size, sha256) = hash(&path).map_err(at(&path))?;
        self.files.push(FileEntry { path: name.to_owned(), size, sha256, private });
        Ok(())
    }
}

/// Size and hash of a file of any size.
pub(super) fn hash(path: &Path) -> std::io::Result<(u64, String)> {
    let mut sum = Sum::default();
    let size = std::io::copy(&mut std::fs::File::open(path)?, &mut sum)?;
    Ok((size, sum.text()))
}

/// A hash of what is written to it.
#[derive(Default)]
pub(super) struct Sum(Sha256);

impl Sum {
    pub(super) fn text(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How often a folder is read again that changed meanwhile.
const TRIES: usize = 10;

/// The last accepted versions. Their index names what lies beside it, so both must be of one
/// moment: it is the same after everything was read as before.
fn accepted(data: &Path, box_: &mut Staged) -> Result<(), BackupError> {
    let folder = data.join("accepted");
    let index = || match std::fs::read(folder.join("index.json")) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(folder.join("index.json"))(error)),
    };
    for _ in 0..TRIES {
        let Some(before) = index()? else { return Ok(()) };
        let mut contents = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))?.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Files under way to their names begin with a dot.
            if name.starts_with('.') || !entry.path().is_file() {
                continue;
            }
            if let Ok(bytes) = std::fs::read(entry.path()) {
                contents.push((name.to_owned(), bytes));
            }
        }
        if index()?.is_some_and(|after| after == before) {
            contents.sort();
            for (name, bytes) in contents {
                box_.put(&format!("{ACCEPTED}{name}"), &bytes, true)?;
            }
            return Ok(());
        }
    }
    Err(BackupError::Restless)
}

fn secrets_file(
    wanted: &Wanted<'_>,
    box_: &mut Staged,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), BackupError> {
    let path = wanted.data.join("secrets.json");
    match std::fs::read(&path) {
        Ok(bytes) if wanted.with_secrets => box_.put(SECRETS, &bytes, true),
        Ok(_) => {
            let what = "the password of the pushed broker".to_owned();
            left_out.push(LeftOut { what, why: "a secret".to_owned() });
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(&path)(error)),
    }
}

fn site_files(
    wanted: &Wanted<'_>,
    dir: &Path,
    box_: &mut Staged,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), BackupError> {
    let file = dir.join(SITE_FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(&file)(error)),
    };
    let mut secrets = match &text {
        None => site::Secrets::default(),
        Some(text) => match site::secrets_of(text) {
            Some(secrets) => secrets,
            None if wanted.with_secrets => site::Secrets::default(),
            None => return Err(BackupError::SiteFile(file)),
        },
    };
    let places = [Some(wanted.data), Some(wanted.scratch), wanted.archive];
    // The scratch directory may be the site itself: then only what is gathered in it is not.
    let own = box_.root.canonicalize().ok();
    let not = places.into_iter().flatten().filter_map(|path| path.canonicalize().ok());
    let site = dir.canonicalize().map_err(at(dir))?;
    let not: Vec<_> = not.filter(|path| !site.starts_with(path)).chain(own).collect();
    let (files, without) = site::list(dir, &not, &secrets, wanted.with_secrets)?;
    left_out.append(&mut secrets.left_out);
    if wanted.with_secrets {
        // Those that stand in files came along; what is elsewhere did not.
        left_out.retain(|left| !left.why.contains("stands in the file"));
    }
    left_out.extend(without);
    for file in files {
        let name = format!("{SITE}{}", file.name);
        if file.name == SITE_FILE && !wanted.with_secrets {
            box_.put(&name, secrets.blanked.as_bytes(), file.private)?;
            continue;
        }
        let bytes = std::fs::read(&file.path).map_err(at(&file.path))?;
        box_.put(&name, &bytes, file.private)?;
    }
    Ok(())
}
