//! Reads what `{ env = … }` and `{ file = … }` refer to.

use std::collections::BTreeMap;

use super::build::{Build, DAY};
use super::file::SecretFile;
use crate::config::problem::Problem;
use crate::config::secret::{self, Secret};
use crate::message::Timestamp;

/// How long before the end it is time to say something.
const NOTICE_DAYS: u64 = 30;

impl Build<'_> {
    /// The value of a secret; `None` if it is absent or cannot be had.
    pub(super) fn secret(&mut self, at: &str, written: Option<SecretFile>) -> Option<Secret> {
        let reference = match written? {
            SecretFile::Plain(value) => {
                self.holds_secret |= !value.is_empty();
                return (!value.is_empty()).then(|| Secret::new(&value));
            }
            SecretFile::Reference(reference) => reference,
        };
        let expires = self.expiry(at, reference.expires.as_deref(), "secret");
        let value = match (reference.env, reference.file) {
            (Some(variable), None) => {
                match self.around.env.get(&variable).filter(|v| !v.is_empty()) {
                    Some(value) => Some(value.clone()),
                    None => {
                        let what = format!("environment variable `{variable}` is not set");
                        let remedy = "set it where Tapline is started, or in `.env`";
                        self.reader.problem(&format!("{at}/env"), what, remedy);
                        None
                    }
                }
            }
            (None, Some(file)) => match secret::read_file(&self.path(&file)) {
                Ok(value) => Some(value),
                Err(error) => {
                    let what = format!("secret file `{file}` cannot be read: {error}");
                    let remedy = "create it, readable by the user that runs Tapline";
                    self.reader.problem(&format!("{at}/file"), what, remedy);
                    None
                }
            },
            _ => {
                let remedy = "write `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";
                self.reader.problem(at, "secret needs one of `env` and `file`", remedy);
                None
            }
        }?;
        Some(Secret::until(&value, expires))
    }

    /// The beginning of the day from which something is no longer taken.
    pub(super) fn expiry(&mut self, at: &str, text: Option<&str>, noun: &str) -> Option<Timestamp> {
        let text = text?;
        let at = format!("{at}/expires");
        let day = text.get(..10).unwrap_or(text);
        let Some(expires) = crate::config::push::parse_time(&format!("{day}T00:00:00Z")) else {
            let what = format!("`{}` is not a date", crate::config::environment::short(text));
            self.reader.problem(&at, what, "write a day such as 2027-02-01");
            return None;
        };
        let left = expires.since(self.around.now) / DAY.as_millis() as u64;
        if left < NOTICE_DAYS {
            let what = match expires > self.around.now {
                true => format!("this {noun} expires in {left} days"),
                false => format!("this {noun} expired on {day}"),
            };
            let place = self.reader.place(&at);
            self.warnings.push(Problem::at(place, what, "renew it, and write the new day here"));
        }
        Some(expires)
    }

    pub(super) fn headers(
        &mut self,
        at: &str,
        written: BTreeMap<String, SecretFile>,
    ) -> Vec<(String, Secret)> {
        let mut headers = Vec::new();
        for (name, value) in written {
            let at = format!("{at}/headers/{}", name.replace('~', "~0").replace('/', "~1"));
            let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(fits) {
                let what = format!("`{}` is not a header", name.escape_debug());
                self.reader.key_problem(&at, what, "write a name such as \"X-Api-Key\"");
                continue;
            }
            let Some(value) = self.secret(&at, Some(value)) else { continue };
            if value.reveal().chars().any(|c| c.is_control()) {
                let remedy = "remove the line break or control character";
                self.reader.problem(&at, "the value does not fit into a header", remedy);
                continue;
            }
            headers.push((name, value));
        }
        headers
    }

    /// A plain secret in a file that everybody on this machine reads is none.
    pub(super) fn warn_of_readers(&mut self) {
        use std::os::unix::fs::PermissionsExt;
        let Some(dir) = self.around.dir.filter(|_| self.holds_secret) else { return };
        let file = dir.join("tapline.toml");
        let is_open = |m: std::fs::Metadata| m.permissions().mode() & 0o004 != 0;
        if std::fs::metadata(&file).is_ok_and(is_open) {
            let what = "holds a secret, and everybody on this machine may read it";
            let remedy = "run `chmod 640`, or write `{ file = \"PATH\" }` for the secret";
            self.warnings.push(Problem::of("tapline.toml", what, remedy));
        }
    }
}
