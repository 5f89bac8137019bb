//! Which layer a value comes from: pushed > file > environment > default, per field.

use std::collections::BTreeMap;
use std::fmt;

use super::environment::Given;
use super::problem::{Place, Problem};

/// Where a value in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Pushed,
    /// This line of `tapline.toml`.
    File(usize),
    /// This environment variable.
    Environment(&'static str),
    Default,
}

/// In words: `pushed`, `tapline.toml:3`, `MQTT_BROKER`, `default`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pushed => f.write_str("pushed"),
            Self::File(line) => write!(f, "tapline.toml:{line}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Default => f.write_str("default"),
        }
    }
}

/// By path, such as `broker.main.host`; what is not named has its default.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Of the value at `path`, or of the first of those below it.
    pub fn of(&self, path: &str) -> Origin {
        let below = format!("{path}.");
        let found = self.0.get(path).or_else(|| {
            let (first, origin) = self.0.range(below.clone()..).next()?;
            first.starts_with(&below).then_some(origin)
        });
        found.copied().unwrap_or(Origin::Default)
    }

    /// Adds what stands in the file and has no other layer.
    pub(super) fn add_written(&mut self, written: impl IntoIterator<Item = (String, usize)>) {
        for (path, line) in written {
            self.0.entry(path).or_insert(Origin::File(line));
        }
    }
}

/// Chooses values and remembers from where.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) origins: Origins,
    /// File values that a pushed one hides.
    pub(super) hidden: Vec<Problem>,
}

impl Layers {
    /// The value in force; `place` is where the file's stands.
    pub(super) fn pick<T: PartialEq>(
        &mut self,
        path: &str,
        pushed: Option<T>,
        file: Option<T>,
        environment: Option<Given<T>>,
        place: impl FnOnce() -> Place,
    ) -> Option<T> {
        let (value, origin) = match (pushed, file, environment) {
            (Some(pushed), file, _) => {
                if file.is_some_and(|file| file != pushed) {
                    let (what, remedy) = (
                        format!("the pushed configuration hides this value of `{path}`"),
                        "remove it here, or change it where the configuration is pushed from",
                    );
                    self.hidden.push(Problem::at(place(), what, remedy));
                }
                (pushed, Origin::Pushed)
            }
            (None, Some(file), _) => (file, Origin::File(place().line_and_column().0)),
            (None, None, Some(given)) => (given.value, Origin::Environment(given.variable)),
            (None, None, None) => return None,
        };
        self.origins.0.insert(path.to_owned(), origin);
        Some(value)
    }
}
