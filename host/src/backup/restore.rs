//! Reads an archive, checks all of it, and only then puts it in place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use super::make::Sum;
use super::{
    ACCEPTED, BackupError, DATABASE, FORMAT, FileEntry, KIND, MANIFEST, Manifest, SECRETS, SITE, at,
};
use crate::store::{Held, check_copy, set_apart};
use crate::telemetry::clock;

/// A manifest of as many files as a site may have fits many times over.
const LARGEST_MANIFEST: u64 = 16 << 20;

/// Where a box goes.
pub struct Target<'t> {
    pub data: &'t Path,
    pub site: Option<&'t Path>,
    /// Moves aside what is there already.
    pub force: bool,
}

/// Who the restored box is for the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The box itself, in a new place; the old one is gone.
    Same,
    /// A client of its own beside it.
    Copy,
}

/// An archive that was unpacked and found whole.
#[derive(Debug)]
pub struct Checked {
    pub manifest: Manifest,
    files: TempDir,
}

/// Unpacks an archive into `scratch` and checks it.
///
/// # Errors
/// If it is none, of a later program, damaged, or holds what no backup holds.
pub fn check(archive: impl Read, scratch: &Path) -> Result<Checked, BackupError> {
    let mut archive = BufReader::new(archive);
    // However it is called: a compressed one begins with these bytes.
    let is_compressed =
        archive.fill_buf().map_err(BackupError::Archive)?.starts_with(&[0x1f, 0x8b]);
    if is_compressed {
        unpack(flate2::read::MultiGzDecoder::new(archive), scratch)
    } else {
        unpack(archive, scratch)
    }
}

fn unpack(archive: impl Read, scratch: &Path) -> Result<Checked, BackupError> {
    let files = tempfile::Builder::new()
        .prefix(".tapline-restore-")
        .tempdir_in(scratch)
        .map_err(at(scratch))?;
    let mut archive = tar::Archive::new(archive);
    // The archive's own words would bring along what stands in the file.
    let no_tar = |error: std::io::Error| match error.raw_os_error() {
        Some(_) => BackupError::Archive(error),
        None => {
            let what = "it is no tar archive, or only the beginning of one: name the file that \
                        `tapline backup` wrote";
            BackupError::NoBackup(what.to_owned())
        }
    };
    let mut entries = archive.entries().map_err(no_tar)?;
    let Some(first) = entries.next() else {
        return Err(BackupError::NoBackup("it is empty".to_owned()));
    };
    let manifest = manifest(first.map_err(no_tar)?)?;
    let mut expected: BTreeMap<&str, &FileEntry> = BTreeMap::new();
    for file in &manifest.files {
        if !belongs(&file.path) {
            let what = format!("`{}` is no place of a backup", file.path.escape_debug());
            return Err(BackupError::Damaged(what));
        }
        if expected.insert(&file.path, file).is_some() {
            return Err(BackupError::Damaged(format!("`{}` is listed twice", file.path)));
        }
    }
    for entry in entries {
        let mut entry = entry.map_err(BackupError::Archive)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(file) = expected.remove(name.as_str()) else {
            let what = format!("`{}` is not in its list, or twice in it", name.escape_debug());
            return Err(BackupError::Damaged(what));
        };
        if !entry.header().entry_type().is_file() {
            return Err(BackupError::Damaged(format!("`{name}` is no plain file")));
        }
        one(&mut entry, file, files.path())?;
    }
    if let Some(missing) = expected.keys().next() {
        return Err(BackupError::Damaged(format!("`{missing}` is missing")));
    }
    let database = files.path().join(DATABASE);
    if !manifest.files.iter().any(|file| file.path == DATABASE) {
        return Err(BackupError::Damaged("it has no database".to_owned()));
    }
    let found = check_copy(&database)?;
    if found != manifest.store_format {
        let what = format!("its database is in format {found}, not {}", manifest.store_format);
        return Err(BackupError::Damaged(what));
    }
    Ok(Checked { manifest, files })
}

fn manifest(entry: tar::Entry<'_, impl Read>) -> Result<Manifest, BackupError> {
    let no_backup = |why: &str| BackupError::NoBackup(why.to_owned());
    if *entry.path_bytes() != *MANIFEST.as_bytes() || !entry.header().entry_type().is_file() {
        return Err(no_backup("it does not begin with `manifest.json`"));
    }
    let mut text = Vec::new();
    entry.take(LARGEST_MANIFEST + 1).read_to_end(&mut text).map_err(BackupError::Archive)?;
    if text.len() as u64 > LARGEST_MANIFEST {
        return Err(no_backup("its `manifest.json` is too large"));
    }
    let value: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| BackupError::Damaged(format!("`manifest.json`: {error}")))?;
    if value["kind"] != KIND {
        return Err(no_backup("its `manifest.json` is of something else"));
    }
    // First the format: a later one may have another shape.
    let found = value["format"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    if found > FORMAT {
        return Err(BackupError::TooNew { found });
    }
    serde_json::from_value(value)
        .map_err(|error| BackupError::Damaged(format!("`manifest.json`: {error}")))
}

/// Whether a backup may hold a file of this name: nothing that leads out of its place.
fn belongs(name: &str) -> bool {
    let is_plain = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
        && !name.contains(['\0', '\\'])
        && !name.ends_with('/')
        && !name.contains("//")
        && !name.split('/').any(|level| level == ".");
    let below = |folder: &str| name.strip_prefix(folder).is_some_and(|rest| !rest.is_empty());
    let is_accepted = below(ACCEPTED) && !name[ACCEPTED.len()..].contains('/');
    is_plain && (name == DATABASE || name == SECRETS || is_accepted || below(SITE))
}

fn one(entry: &mut impl Read, file: &FileEntry, root: &Path) -> Result<(), BackupError> {
    let path = root.join(&file.path);
    let folder = path.parent().unwrap_or(root);
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let mut target =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(at(&path))?;
    let mut sum = Sum::default();
    let mut size = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = entry.read(&mut buffer).map_err(BackupError::Archive)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        if size > file.size {
            break;
        }
        sum.write_all(&buffer[..read]).map_err(BackupError::Archive)?;
        target.write_all(&buffer[..read]).map_err(at(&path))?;
    }
    if size != file.size || sum.text() != file.sha256 {
        return Err(BackupError::Damaged(format!("`{}` has another content", file.path)));
    }
    Ok(())
}

/// In a data directory and of no interest: made anew, or of the file system.
const NOTHING: [&str; 4] = ["compiled", "tapline.lock", "lost+found", "tapline.sock"];

impl Checked {
    /// Puts the box in place. The database comes last: before it is there, nothing is.
    /// Returns where what was there before has gone.
    ///
    /// # Errors
    /// If a Tapline runs there, something is there already, or the disk does not take it.
    pub fn put(&self, target: &Target<'_>, who: Who) -> Result<Vec<PathBuf>, BackupError> {
        let site = match (target.site, self.manifest.has_site()) {
            (Some(site), true) => Some(site),
            (None, true) => return Err(BackupError::NoSite),
            (_, false) => None,
        };
        let _held = Held::take(target.data)?;
        let own = self.files.path().file_name();
        let mut aside = Vec::new();
        for dir in [Some(target.data), site].into_iter().flatten() {
            std::fs::create_dir_all(dir).map_err(at(dir))?;
            let there = contents(dir, own, target)?;
            if !there.is_empty() && !target.force {
                return Err(BackupError::NotEmpty(dir.to_owned()));
            }
        }
        if who == Who::Copy {
            let mark = uuid::Uuid::new_v4().simple().to_string();
            set_apart(&self.files.path().join(DATABASE), &mark[..8])?;
        }
        for dir in [Some(target.data), site].into_iter().flatten() {
            aside.extend(move_aside(dir, own, target)?);
        }
        let mut folders = BTreeSet::new();
        let last = |file: &&FileEntry| file.path == DATABASE;
        let files = &self.manifest.files;
        for file in files.iter().filter(|f| !last(f)).chain(files.iter().filter(last)) {
            let path = match (file.path.strip_prefix(SITE), file.path.strip_prefix("data/"), site) {
                (Some(name), _, Some(site)) => site.join(name),
                (_, Some(name), _) => target.data.join(name),
                _ => continue,
            };
            if file.path == DATABASE {
                settle(&folders)?;
            }
            folders.extend(path.parent().map(Path::to_owned));
            copy(&self.files.path().join(&file.path), &path, file.private)?;
        }
        settle(&folders)?;
        Ok(aside)
    }
}

/// What is in a directory, without what is made anew.
fn contents(
    dir: &Path,
    own: Option<&std::ffi::OsStr>,
    target: &Target<'_>,
) -> Result<Vec<PathBuf>, BackupError> {
    // One of the two may lie in the other.
    let places = [Some(target.data), target.site].map(|dir| dir?.canonicalize().ok());
    let is_place = |path: &Path| {
        let path = path.canonicalize().ok();
        path.is_some_and(|path| places.iter().flatten().any(|place| place.starts_with(&path)))
    };
    let entries = std::fs::read_dir(dir).map_err(at(dir))?;
    let is_there = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let is_nothing = name
            .to_str()
            .is_some_and(|name| NOTHING.contains(&name) || name.starts_with(".replaced-"));
        !is_nothing && Some(name.as_os_str()) != own && !is_place(&entry.path())
    };
    Ok(entries.flatten().filter(is_there).map(|entry| entry.path()).collect())
}

/// A folder in the directory itself, which may be a volume of its own.
fn move_aside(
    dir: &Path,
    own: Option<&std::ffi::OsStr>,
    target: &Target<'_>,
) -> Result<Option<PathBuf>, BackupError> {
    let there = contents(dir, own, target)?;
    if there.is_empty() {
        return Ok(None);
    }
    let now = clock::now().rfc3339().replace(':', "");
    let folder = dir.join(format!(".replaced-{now}"));
    std::fs::create_dir_all(&folder).map_err(at(&folder))?;
    for path in there {
        let name = path.file_name().unwrap_or_default();
        std::fs::rename(&path, folder.join(name)).map_err(at(&path))?;
    }
    Ok(Some(folder))
}

/// On the disk before anything follows from it.
fn copy(from: &Path, to: &Path, private: bool) -> Result<(), BackupError> {
    let folder = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::copy(&mut std::fs::File::open(from)?, &mut file)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = if private { 0o600 } else { 0o644 };
            file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        file.as_file().sync_all()?;
        file.persist(to).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(at(to))
}

fn settle(folders: &BTreeSet<PathBuf>) -> Result<(), BackupError> {
    for folder in folders {
        std::fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(at(folder))?;
    }
    Ok(())
}
