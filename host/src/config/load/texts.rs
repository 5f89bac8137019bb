//! What stands in a site directory, as text: nothing is checked here.
//!
//! Invariant: what cannot be read is a problem of its file; a directory that is not to be seen is
//! told apart from one without files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::config::problem::Problem;
use crate::config::regular;

/// Bytes of one file: some 100,000 devices.
const LARGEST: u64 = 64 << 20;

/// Everything that a site directory says, as text.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// Where relative paths start.
    pub dir: Option<PathBuf>,
    /// `tapline.toml`.
    pub site: Option<Arc<str>>,
    /// In order of file name; also `devices`.
    pub pipelines: Vec<Text>,
    pub devices: Vec<Text>,
    /// Schema files that are to be used instead of those in `dir`, by relative path.
    pub schemas: BTreeMap<String, String>,
    /// Files that stand there and could not be read.
    pub unreadable: Vec<Problem>,
    /// The directory is not to be seen, so nobody knows what the site says.
    pub is_gone: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Relative to the site directory.
    pub file: Arc<str>,
    pub text: Arc<str>,
}

impl Texts {
    /// Reads a site directory.
    pub fn read(dir: &Path) -> Self {
        let mut texts = Self { dir: Some(dir.to_owned()), ..Self::default() };
        if !dir.is_dir() {
            texts.lose("is no directory", "name a site directory; `tapline init DIR` writes one");
        }
        texts.site = texts.file(Path::new("tapline.toml")).map(|text| text.text);
        texts.pipelines = texts.folder("pipelines");
        texts.devices = texts.folder("devices");
        texts
    }

    /// Reads it again. A directory that has nothing any more has lost its disk, its mount say:
    /// nobody removes a site that way.
    pub fn read_again(dir: &Path, before: &Self) -> Self {
        let mut texts = Self::read(dir);
        if texts.is_empty() && !before.is_empty() && !texts.is_gone {
            texts.lose(
                "has no files any more",
                "mount it or put them back; to run without them, start Tapline anew",
            );
        }
        texts
    }

    fn lose(&mut self, what: &str, remedy: &str) {
        let dir = self.dir.as_deref().unwrap_or(Path::new("")).display();
        let what = format!("the site `{dir}` {what}");
        self.unreadable.push(Problem::of("tapline.toml", what, remedy));
        self.is_gone = true;
    }

    /// Whether there is nothing at all, so that environment and shipped pipelines are all.
    fn is_empty(&self) -> bool {
        self.site.is_none() && self.pipelines.is_empty() && self.devices.is_empty()
    }

    /// The files; without a `tapline.toml` there are defaults.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let texts = self.pipelines.iter().chain(&self.devices);
        std::iter::once("tapline.toml").chain(texts.map(|text| &*text.file))
    }

    /// Whether this file is among them.
    pub fn has(&self, file: &str) -> bool {
        self.files().any(|name| name == file)
    }

    /// A pipeline's or device file's text.
    pub fn text(&self, file: &str) -> Option<&str> {
        let mut files = self.pipelines.iter().chain(&self.devices);
        files.find(|text| *text.file == *file).map(|text| &*text.text)
    }

    /// These texts, but the files in `held` as `before` has them, and their schemas as given.
    #[must_use]
    pub fn holding(
        &self,
        before: &Self,
        held: &BTreeSet<String>,
        schemas: BTreeMap<String, String>,
    ) -> Self {
        let is_held = |file: &str| held.contains(file);
        let mixed = |new: &[Text], old: &[Text]| {
            let new = new.iter().filter(|text| !is_held(&text.file));
            let old = old.iter().filter(|text| is_held(&text.file));
            let mut all: Vec<_> = new.chain(old).cloned().collect();
            all.sort_by(|a, b| a.file.cmp(&b.file));
            all
        };
        let site = if is_held("tapline.toml") { &before.site } else { &self.site };
        let unreadable = self.unreadable.iter().filter(|problem| {
            let file = problem.origin.as_ref().map(|file| file.to_string_lossy());
            !file.is_some_and(|file| is_held(&file))
        });
        Self {
            dir: self.dir.clone(),
            site: site.clone(),
            pipelines: mixed(&self.pipelines, &before.pipelines),
            devices: mixed(&self.devices, &before.devices),
            schemas,
            unreadable: unreadable.cloned().collect(),
            is_gone: self.is_gone,
        }
    }

    fn folder(&mut self, name: &str) -> Vec<Text> {
        let folder = self.dir.clone().unwrap_or_default().join(name);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let what = format!("cannot be listed: {error}");
                self.unreadable.push(Problem::of(name, what, "make it readable for Tapline"));
                return Vec::new();
            }
        };
        let mut files = BTreeSet::new();
        for entry in entries.flatten() {
            // Editors leave `.workshop.toml.swp` and the like.
            let file = entry.file_name();
            let Some(file) = file.to_str().filter(|file| !file.starts_with('.')) else { continue };
            if file.ends_with(".toml") {
                files.insert(Path::new(name).join(file));
            }
        }
        files.iter().filter_map(|file| self.file(file)).collect()
    }

    fn file(&mut self, file: &Path) -> Option<Text> {
        let path = self.dir.clone().unwrap_or_default().join(file);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let (what, remedy) = match error.kind() {
                    io::ErrorKind::IsADirectory => {
                        ("a folder stands in place of a file".to_owned(), "move it elsewhere")
                    }
                    _ => (
                        format!("cannot be read: {error}"),
                        "make it readable for the user that runs Tapline",
                    ),
                };
                self.unreadable.push(Problem::of(file, what, remedy));
                return None;
            }
        };
        match text_of(bytes) {
            Ok(text) => Some(Text { file: file.to_string_lossy().into(), text: text.into() }),
            Err(what) => {
                self.unreadable.push(Problem::of(file, what, "save it as UTF-8"));
                None
            }
        }
    }

    /// An unreadable `tapline.toml` is no absent one.
    pub(super) fn unreadable_site(&self) -> Option<&Problem> {
        let is_site = |p: &&Problem| p.origin.as_deref() == Some(Path::new("tapline.toml"));
        self.unreadable.iter().find(is_site)
    }

    /// Those of a folder, by file.
    pub(super) fn unreadable_in(
        &self,
        folder: &str,
    ) -> impl Iterator<Item = (Arc<str>, Vec<Problem>)> {
        self.unreadable.iter().filter_map(move |problem| {
            let file = problem.origin.as_deref().filter(|file| file.starts_with(folder))?;
            Some((file.to_string_lossy().into(), vec![problem.clone()]))
        })
    }

    /// A file that a pipeline names.
    pub(super) fn open(&self, file: &str) -> io::Result<String> {
        match (self.schemas.get(file), &self.dir) {
            (Some(text), _) => Ok(text.clone()),
            (None, Some(dir)) => {
                let bytes = read(&dir.join(within(file)?))?;
                String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
            }
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// The path of a file that lies in the site directory, whatever is there.
fn within(file: &str) -> io::Result<&Path> {
    let path = Path::new(file);
    if path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(path);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it leads out of the site directory"))
}

/// A file's text, if it is one and not larger than a person's files are.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    regular::read(path, LARGEST)
}

/// The text of a file, without the mark that some editors put before it.
fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is no UTF-8 but UTF-16".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count();
        format!("is no UTF-8: line {line} holds the byte 0x{:02x}", bytes[valid])
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
