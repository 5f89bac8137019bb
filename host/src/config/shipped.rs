//! Pipelines that live in the program; a site's file of the same name replaces one.

use sha2::{Digest, Sha256};

/// A pipeline that ships.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name, and its file's without `.toml`.
    pub name: &'static str,
    pub text: &'static str,
}

/// All of them.
pub const SHIPPED: &[Shipped] =
    &[Shipped { name: "workshop", text: include_str!("../../../pipelines/workshop.toml") }];

/// Begins the line by which a copy remembers what it was copied from.
const MARK: &str = "# copied from the shipped pipeline, version ";

impl Shipped {
    /// Tells one version of it from another.
    pub fn version(&self) -> String {
        Sha256::digest(self.text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A copy for a site directory.
    pub fn copy(&self) -> String {
        format!("{MARK}{}\n{}", self.version(), self.text)
    }

    /// What is odd about a site's file of the same name, and what to do about it.
    pub fn compared_with(&self, text: &str) -> Option<(String, String)> {
        if text == self.text || text == self.copy() {
            return None;
        }
        let what = format!("this file replaces the shipped pipeline `{}`", self.name);
        let version = text.lines().find_map(|line| line.strip_prefix(MARK));
        let remedy = match version {
            Some(version) if version == self.version() => {
                "delete this file to use the shipped one; it is the one that this was copied from"
            }
            Some(_) => {
                "compare the two: the shipped one changed since it was copied (`tapline init` \
                 writes it to a new directory)"
            }
            None => "delete this file to use the shipped one",
        };
        Some((what, remedy.to_owned()))
    }
}
