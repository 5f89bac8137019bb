//! What stands in the files that decide what runs, as one hash of their contents.
//!
//! Times and names prove nothing on a mount that is swapped or synchronised, so contents are
//! read; only a module, which is large, is taken as read while all that the system says of
//! its file is as before and long past.

use std::collections::{BTreeSet, HashMap};
use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::Options;
use crate::config::Texts;
use crate::module::Hash;

/// A file that changed less long ago may have changed again within one tick of its clock.
const PAST: Duration = Duration::from_secs(10);
/// Read of one file at most; what is longer differs by its size.
const READ: u64 = 64 * 1024 * 1024;

/// A state of the files; equal where everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen([u8; 32]);

/// Looks, and remembers what it need not read again.
#[derive(Debug)]
pub(super) struct Scan {
    site: Option<PathBuf>,
    modules: Vec<PathBuf>,
    known: HashMap<PathBuf, (Sight, Hash)>,
    /// Folders and files beside the site directory that a change may come to.
    beside: BTreeSet<PathBuf>,
}

/// All that the system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    place: (u64, u64),
    size: u64,
    times: [(i64, i64); 2],
}

impl Sight {
    fn of(file: &Metadata) -> Self {
        Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            times: [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())],
        }
    }
}

impl Scan {
    pub(super) fn new(options: &Options) -> Self {
        let site = options.site.clone();
        let modules = site.iter().map(|site| site.join("modules")).chain(options.modules.clone());
        let modules = modules.collect();
        Self { site, modules, known: HashMap::new(), beside: BTreeSet::new() }
    }

    /// Folders whose events concern us; what lies below them does not, a database for one.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let own = |site: &PathBuf| ["", "pipelines", "devices"].map(|folder| site.join(folder));
        let beside = self.beside.iter().filter_map(|file| file.parent().map(Path::to_owned));
        self.site.iter().flat_map(own).chain(self.modules.clone()).chain(beside).collect()
    }

    /// What stands there now.
    pub(super) fn look(&mut self) -> Seen {
        let texts = self.site.as_deref().map(Texts::read).unwrap_or_default();
        let mut hash = Sha256::new();
        let mut add = |name: &str, content: &[u8]| {
            for part in [name.as_bytes(), content] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        };
        if let Some(site) = &texts.site {
            add("tapline.toml", site.as_bytes());
        }
        for text in texts.pipelines.iter().chain(&texts.devices) {
            add(&text.file, text.text.as_bytes());
        }
        for problem in &texts.unreadable {
            add("unreadable", problem.to_string().as_bytes());
        }
        for folder in self.modules.clone() {
            for (path, name) in super::modules::files(&folder) {
                add(&name, &self.module(&path).0);
            }
        }
        self.beside = texts.mentions();
        for file in &self.beside {
            let content = read(file);
            add(&file.to_string_lossy(), content.as_ref().map_or(&[0; 32], |hash| &hash.0));
        }
        Seen(hash.finalize().into())
    }

    fn module(&mut self, path: &Path) -> Hash {
        let sight = std::fs::metadata(path).ok().map(|file| Sight::of(&file));
        let changed = |sight: &Sight| {
            let latest = sight.times.iter().map(|time| time.0).max().unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(latest).unwrap_or(0))
        };
        let is_past = |sight: &Sight| changed(sight).elapsed().is_ok_and(|age| age > PAST);
        if let (Some(sight), Some((known, hash))) = (&sight, self.known.get(path))
            && sight == known
        {
            return *hash;
        }
        let place = super::modules::place(path, self.site.as_deref()).ok();
        let hash = place.and_then(|place| read(&place)).unwrap_or(Hash([0; 32]));
        match sight.filter(is_past) {
            Some(sight) => self.known.insert(path.to_owned(), (sight, hash)),
            None => self.known.remove(path),
        };
        hash
    }
}

/// The hash of a file's content; `None`: it cannot be read.
fn read(path: &Path) -> Option<Hash> {
    // A pipe or a device would never end, and to open a pipe may wait for ever.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let about = file.metadata().ok().filter(Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes).ok()?;
    bytes.extend(about.len().to_le_bytes());
    Some(Hash::of(&bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    fn options(dir: &Path) -> Options {
        Options {
            site: Some(dir.to_owned()),
            data: dir.join("data"),
            env: BTreeMap::new(),
            config_file: None,
            modules: None,
        }
    }

    #[test]
    fn every_kind_of_file_counts_by_its_content_and_a_touch_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("tapline.toml", "[broker.main]\npassword = { file = \"secret\" }");
        write("pipelines/a.toml", "[[validate]]\nschema = \"a.json\"");
        let mut scan = Scan::new(&options(dir.path()));
        let mut before = scan.look();
        for (name, text) in [
            ("tapline.toml", "[broker.main]\npassword = { file = \"secret\" }\nca = \"ca.pem\""),
            ("pipelines/a.toml", "[[validate]]\nschema = \"a.json\"\n"),
            ("pipelines/b.toml", ""),
            ("devices/hall.toml", "a"),
            ("modules/own.wasm", "one"),
            ("modules/own.wasm", "two"),
            ("a.json", "{}"),
            ("secret", "one"),
            ("secret", "two"),
            ("ca.pem", "one"),
        ] {
            write(name, text);
            let after = scan.look();
            assert_ne!(before, after, "{name}: {text}");
            before = after;
            write(name, text);
            assert_eq!(before, scan.look(), "{name} was only written again");
        }
        write("notes.txt", "nothing");
        assert_eq!(before, scan.look());
        fs::remove_file(dir.path().join("modules/own.wasm")).unwrap();
        assert_ne!(before, scan.look());
    }

    #[test]
    fn a_swapped_link_to_a_folder_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        for (version, text) in [("one", "a"), ("two", "b")] {
            let folder = dir.path().join(version).join("pipelines");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("a.toml"), text).unwrap();
        }
        let site = dir.path().join("site");
        fs::create_dir(&site).unwrap();
        let link = |to: &str| {
            let fresh = site.join("..fresh");
            std::os::unix::fs::symlink(dir.path().join(to), &fresh).unwrap();
            fs::rename(fresh, site.join("..data")).unwrap();
        };
        link("one");
        std::os::unix::fs::symlink("..data/pipelines", site.join("pipelines")).unwrap();
        let mut scan = Scan::new(&options(&site));
        let before = scan.look();
        link("two");
        assert_ne!(before, scan.look());
        link("one");
        assert_eq!(before, scan.look());
    }
}
