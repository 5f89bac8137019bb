//! Which layer a value comes from: pushed > file > environment > default, per field.

use std::collections::BTreeMap;

use super::environment::Given;
use super::problem::{Place, Problem};

/// Where a value in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Pushed,
    File,
    /// This environment variable.
    Environment(&'static str),
}

/// By path, such as `broker.main.host`; what is not named has its default.
pub type Origins = BTreeMap<String, Origin>;

/// Chooses values and remembers from where.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) origins: Origins,
    /// File values that a pushed one hides.
    pub(super) hidden: Vec<Problem>,
}

impl Layers {
    /// The value in force; `place` is asked only where a pushed value hides the file's.
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
            (None, Some(file), _) => (file, Origin::File),
            (None, None, Some(given)) => (given.value, Origin::Environment(given.variable)),
            (None, None, None) => return None,
        };
        self.origins.insert(path.to_owned(), origin);
        Some(value)
    }
}
