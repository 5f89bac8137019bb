//! A module's project: what its `module.toml` says, read once into types that cannot be wrong.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The file that makes a folder a module's project.
pub(crate) const FILE: &str = "module.toml";

/// The newest format of that file.
const FORMAT: u32 = 1;

/// The longest name; it is part of files' names and of log lines.
const LONGEST_NAME: usize = 40;

/// What a module does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Validator,
    Parser,
    Detector,
    Sink,
}

/// What a module is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    Python,
    JavaScript,
}

impl Role {
    /// Whether what comes in is a message as it was received.
    #[must_use]
    pub fn takes_messages(self) -> bool {
        matches!(self, Self::Validator | Self::Parser)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validator => "validator",
            Self::Parser => "parser",
            Self::Detector => "detector",
            Self::Sink => "sink",
        })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "javascript",
        })
    }
}

/// A module's name: lower-case words with hyphens, which every language can make a name of
/// its own from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &str) -> Result<Self, Error> {
        let refused = |why| Err(Error::Name { name: name.to_owned(), why });
        if name.is_empty() {
            return refused("it is empty");
        }
        if name.len() > LONGEST_NAME {
            return refused("it is longer than 40 letters");
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return refused("it has other characters than a-z, 0-9 and `-`");
        }
        if name.split('-').any(|word| !word.starts_with(|first: char| first.is_ascii_lowercase())) {
            return refused("each of its words has to begin with a letter");
        }
        // Names of Rust's own crates and keywords, of Python's and JavaScript's; and the SDK's.
        if RESERVED.contains(&name) {
            return refused("languages or the SDK use this word themselves");
        }
        Ok(Self(name.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `my-meter` as `my_meter`.
    #[must_use]
    pub fn snake(&self) -> String {
        self.0.replace('-', "_")
    }

    /// `my-meter` as `MyMeter`.
    #[must_use]
    pub fn camel(&self) -> String {
        let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        self.0.split('-').map(word).collect()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const RESERVED: [&str; 54] = [
    "abstract",
    "alloc",
    "async",
    "await",
    "become",
    "box",
    "break",
    "class",
    "const",
    "continue",
    "core",
    "crate",
    "def",
    "do",
    "dyn",
    "else",
    "enum",
    "export",
    "extern",
    "false",
    "fn",
    "for",
    "function",
    "if",
    "impl",
    "import",
    "in",
    "item",
    "let",
    "loop",
    "match",
    "message",
    "mod",
    "move",
    "mut",
    "pass",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "settings",
    "static",
    "std",
    "struct",
    "super",
    "tapline",
    "tapline-sdk",
    "test",
    "trait",
    "type",
    "use",
    "where",
    "while",
];

/// The folder of one module's source.
#[derive(Clone, Debug)]
pub struct Project {
    pub root: PathBuf,
    pub name: Name,
    pub role: Role,
    pub language: Language,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: toml::Spanned<u32>,
    name: toml::Spanned<String>,
    role: Role,
    language: Language,
}

impl Project {
    /// Reads the project in a folder.
    ///
    /// # Errors
    /// That it is none, or what its `module.toml` says wrong, and where.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoProject { path: folder.to_owned() });
            }
            Err(source) => return Err(Error::file(&path, "read")(source)),
        };
        let at = |offset: usize, what: String, remedy: String| {
            let before = &text[..offset.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            Error::Manifest { path: path.clone(), line, column, what, remedy }
        };
        let manifest: Manifest = toml::from_str(&text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let remedy = "write `format = 1`, `name`, `role` (validator, parser, detector, sink) \
                          and `language` (rust, python, javascript)";
            at(offset, error.message().replace('\n', "; "), remedy.into())
        })?;
        if *manifest.format.get_ref() != FORMAT {
            let what = format!("this version reads format {FORMAT}");
            let remedy = "write `format = 1`, or take the version of tapline that wrote it";
            return Err(at(manifest.format.span().start, what, remedy.into()));
        }
        let name = Name::new(manifest.name.get_ref()).map_err(|error| {
            let remedy = error.remedy().unwrap_or_default();
            at(manifest.name.span().start, error.to_string(), remedy)
        })?;
        // Compilers run in the folder, and name files as the system does.
        let root = folder.canonicalize().map_err(Error::file(folder, "found"))?;
        Ok(Self { root, name, role: manifest.role, language: manifest.language })
    }

    /// What `module.toml` says of this project.
    #[must_use]
    pub fn manifest(&self) -> String {
        let Self { name, role, language, .. } = self;
        format!(
            "format = {FORMAT}\nname = \"{name}\"\nrole = \"{role}\"\nlanguage = \"{language}\"\n"
        )
    }

    /// Where the built component lies.
    #[must_use]
    pub fn built(&self) -> PathBuf {
        self.root.join("dist").join(format!("{}.wasm", self.name))
    }
}
