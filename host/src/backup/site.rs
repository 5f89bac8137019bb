//! Which files of a site directory go into a backup, and what in them is secret.
//!
//! Without secrets only what is known to hold none is taken: pipelines, devices, modules,
//! schemas, tests, notes, the certificates that `tapline.toml` names, and that file itself with
//! its secrets blanked. The rest is named, so that a person can bring it along.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{BackupError, LeftOut, at};
use crate::config::site::is_secret;

/// The file that may hold secrets as text.
pub(super) const SITE_FILE: &str = "tapline.toml";
/// Folders of a site that hold no secrets, by what they are for.
const OPEN_FOLDERS: [&str; 6] = ["captures", "devices", "modules", "pipelines", "schemas", "tests"];
/// More than a person writes; a wrong directory, `/` say, is found out soon.
const MOST_FILES: usize = 20_000;
const DEEPEST: usize = 16;
/// What `--force` moved aside, and what has a history of its own.
const NEVER: [&str; 2] = [".git", ".replaced-"];

/// A file to take.
pub(super) struct SiteFile {
    /// In the site directory, with `/`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) private: bool,
}

/// What `tapline.toml` says about secrets.
#[derive(Default)]
pub(super) struct Secrets {
    /// The text without them.
    pub(super) blanked: String,
    /// Files of the site that hold one, as written.
    files: BTreeSet<String>,
    /// Files that are named and hold none.
    open: BTreeSet<String>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Files of the site directory in order of name, without the data directory.
pub(super) fn list(
    dir: &Path,
    not: &[PathBuf],
    secrets: &Secrets,
    with_secrets: bool,
) -> Result<(Vec<SiteFile>, Vec<LeftOut>), BackupError> {
    let mut walk = Walk { not, files: BTreeMap::new(), seen: BTreeSet::new(), left: 0 };
    walk.folder(dir, "", 0)
        .map_err(|()| BackupError::SiteSize { dir: dir.to_owned(), most: MOST_FILES })??;
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    for (name, path) in walk.files {
        let private = secrets.files.contains(&name) || !is_open(&name, secrets);
        let why = if with_secrets {
            None
        } else if secrets.files.contains(&name) {
            Some("a secret")
        } else if !is_open(&name, secrets) {
            Some("not known to hold no secret")
        } else if holds_private_key(&path) {
            Some("a private key")
        } else {
            None
        };
        match why {
            None => taken.push(SiteFile { private: private || name == SITE_FILE, name, path }),
            Some(why) => {
                left_out.push(LeftOut { what: format!("site file `{name}`"), why: why.to_owned() });
            }
        }
    }
    Ok((taken, left_out))
}

fn is_open(name: &str, secrets: &Secrets) -> bool {
    let mut levels = name.split('/');
    let first = levels.next().unwrap_or_default();
    let is_hidden = name.split('/').any(|level| level.starts_with('.'));
    let is_in_folder = levels.next().is_some() && OPEN_FOLDERS.contains(&first);
    let is_note = !name.contains('/') && name.ends_with(".md");
    !is_hidden && (is_in_folder || is_note || name == SITE_FILE || secrets.open.contains(name))
}

/// A key in PEM that lies beside certificates, or in them.
fn holds_private_key(path: &Path) -> bool {
    // What cannot be read ends the backup where it is taken.
    std::fs::read(path)
        .is_ok_and(|bytes| bytes.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY))
}

const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

struct Walk<'w> {
    /// Not below these.
    not: &'w [PathBuf],
    files: BTreeMap<String, PathBuf>,
    /// Folders, so that a link to one above has an end.
    seen: BTreeSet<PathBuf>,
    left: usize,
}

impl Walk<'_> {
    /// `Err`: there is too much.
    fn folder(
        &mut self,
        dir: &Path,
        name: &str,
        depth: usize,
    ) -> Result<Result<(), BackupError>, ()> {
        let real = match dir.canonicalize() {
            Ok(real) => real,
            Err(error) => return Ok(Err(at(dir)(error))),
        };
        if self.not.contains(&real) || !self.seen.insert(real) {
            return Ok(Ok(()));
        }
        if depth > DEEPEST {
            return Err(());
        }
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return Ok(Err(at(dir)(error))),
        };
        for entry in entries.flatten() {
            self.left += 1;
            if self.left > MOST_FILES {
                return Err(());
            }
            let file_name = entry.file_name();
            // A name that is no text is no file of a site.
            let Some(last) = file_name.to_str() else { continue };
            if NEVER.iter().any(|never| last.starts_with(never)) {
                continue;
            }
            let path = entry.path();
            let name = if name.is_empty() { last.to_owned() } else { format!("{name}/{last}") };
            // Follows links: container platforms mount files so.
            let Ok(about) = std::fs::metadata(&path) else { continue };
            if about.is_dir() {
                if let Err(error) = self.folder(&path, &name, depth + 1)? {
                    return Ok(Err(error));
                }
            } else if about.is_file()
                && !self.not.contains(&path.canonicalize().unwrap_or_default())
            {
                self.files.insert(name, path);
            }
        }
        Ok(Ok(()))
    }
}

/// Reads what is secret in a `tapline.toml`; `None`: it is no TOML.
pub(super) fn secrets_of(text: &str) -> Option<Secrets> {
    let table = DeTable::parse(text).ok()?;
    let mut found = Found::default();
    found.table(table.get_ref(), "");
    let mut secrets = Secrets::default();
    for (pointer, span, value) in found.values {
        match value {
            Value::Text(path) if names_file(&pointer) => match within(&path) {
                Some(name) if pointer.ends_with("/key") => {
                    secrets.files.insert(name);
                }
                Some(name) => {
                    secrets.open.insert(name);
                }
                None => secrets.left_out.push(outside(&path)),
            },
            Value::Text(_) if is_secret(&pointer) => {
                found.blank.push((span, "\"\""));
                secrets.left_out.push(LeftOut {
                    what: format!("`{}` of {SITE_FILE}", dotted(&pointer)),
                    why: "a secret that stands in the file".to_owned(),
                });
            }
            Value::Text(name) => {
                let owner = pointer.rsplit_once('/').map_or("", |(owner, _)| owner);
                if !is_secret(owner) {
                    continue;
                }
                match pointer.rsplit('/').next() {
                    Some("env") => {
                        let what = format!("environment variable `{name}`");
                        secrets.left_out.push(LeftOut { what, why: "a secret".to_owned() });
                    }
                    Some("file") => match within(&name) {
                        Some(name) => {
                            secrets.files.insert(name);
                        }
                        None => secrets.left_out.push(outside(&name)),
                    },
                    Some("expires") => {}
                    // No way to write a secret, but somebody did.
                    _ => found.blank.push((span, "\"\"")),
                }
            }
            // A number is a secret, too, where one belongs.
            Value::Other => {
                if is_secret(&pointer) {
                    found.blank.push((span, "\"\""));
                }
            }
        }
    }
    secrets.blanked = blank(text, found.blank, &found.ends);
    Some(secrets)
}

#[derive(Default)]
struct Found {
    values: Vec<(String, Range<usize>, Value)>,
    blank: Vec<(Range<usize>, &'static str)>,
    /// Where a secret ends, in whatever form.
    ends: Vec<usize>,
}

enum Value {
    Text(String),
    Other,
}

impl Found {
    fn table(&mut self, table: &DeTable<'_>, pointer: &str) {
        for (key, value) in table.iter() {
            let pointer = format!("{pointer}/{}", key.get_ref());
            self.value(value.get_ref(), value.span(), &pointer);
        }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Range<usize>, pointer: &str) {
        if is_secret(pointer) {
            self.ends.push(span.end);
        }
        match value {
            DeValue::Table(table) => self.table(table, pointer),
            DeValue::Array(items) => {
                for item in items.iter() {
                    self.value(item.get_ref(), item.span(), pointer);
                }
            }
            DeValue::String(text) => {
                self.values.push((pointer.to_owned(), span, Value::Text(text.to_string())));
            }
            _ => self.values.push((pointer.to_owned(), span, Value::Other)),
        }
    }
}

/// Whether a path stands there, of a certificate or its key.
fn names_file(pointer: &str) -> bool {
    let levels: Vec<&str> = pointer.split('/').skip(1).collect();
    match levels[..] {
        ["broker", _, last] => ["ca", "cert", "key"].contains(&last),
        ["endpoint", _, last] => last == "ca",
        ["http", "tls", last] => ["cert", "key"].contains(&last),
        _ => false,
    }
}

/// A path below the site directory; `None`: it leads elsewhere.
fn within(path: &str) -> Option<String> {
    let mut levels = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(level) => levels.push(level.to_str()?),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(levels.join("/"))
}

fn outside(path: &str) -> LeftOut {
    let why = "lies outside of the site directory".to_owned();
    LeftOut { what: format!("file `{path}`"), why }
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// The text with these spans replaced, and without comments that may tell an old secret.
fn blank(text: &str, mut spans: Vec<(Range<usize>, &'static str)>, ends: &[usize]) -> String {
    for end in ends {
        let line = text[*end..].find('\n').map_or(text.len(), |at| end + at);
        if let Some(comment) = text[*end..line].find('#') {
            spans.push((end + comment..line, ""));
        }
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        // What was put out of use: `# password = "old"`.
        let is_assignment = line.trim_start().starts_with('#') && line.contains('=');
        let name = line.trim_start().trim_start_matches(['#', ' ', '\t']);
        let name = name.split('=').next().unwrap_or_default().trim();
        if is_assignment && is_secret(&format!("/{}", name.replace('.', "/"))) {
            let equals = line.find('=').map_or(line.len(), |at| at + 1);
            let end = line.trim_end_matches(['\r', '\n']).len();
            spans.push((start + equals..start + end.max(equals), ""));
        }
        start += line.len();
    }
    spans.sort_by_key(|(span, _)| span.start);
    let (mut blanked, mut from) = (String::with_capacity(text.len()), 0);
    for (span, instead) in spans {
        if span.start >= from {
            blanked.push_str(&text[from..span.start]);
            blanked.push_str(instead);
            from = span.end;
        }
    }
    blanked.push_str(&text[from..]);
    blanked
}

/// The texts of a site directory without their secrets: what it runs, by name.
///
/// # Errors
/// If something cannot be read, or `tapline.toml` is no TOML.
pub fn open_texts(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, BackupError> {
    let file = dir.join(SITE_FILE);
    let secrets = match std::fs::read_to_string(&file) {
        Ok(text) => secrets_of(&text).ok_or(BackupError::SiteFile(file))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Secrets::default(),
        Err(error) => return Err(at(&file)(error)),
    };
    let (files, _) = list(dir, &[], &secrets, false)?;
    let is_text = |name: &str| {
        name.ends_with(".toml")
            && (!name.contains('/')
                || name.starts_with("pipelines/")
                || name.starts_with("devices/"))
    };
    let mut texts = Vec::new();
    for file in files.into_iter().filter(|file| is_text(&file.name)) {
        let bytes = match file.name == SITE_FILE {
            true => secrets.blanked.clone().into_bytes(),
            false => std::fs::read(&file.path).map_err(at(&file.path))?,
        };
        texts.push((file.name, bytes));
    }
    Ok(texts)
}
