//! Another version of a pipeline, to be compared with the one that is replayed: one module of
//! it, another file, or other devices.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Options, ReplayError, asked};
use crate::config::Problem;
use crate::config::push::Pushed;
use crate::pipeline::Plan;
use crate::reload::{self, Alone};

/// With what a replay is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// A module's file, in place of that of a stage; `None`: of the stage that it fits.
    Module { file: PathBuf, stage: Option<String> },
    /// A name, or a path to a `.toml` file.
    Pipeline(String),
    /// A document of `POST /config`.
    Devices(PathBuf),
}

impl Against {
    /// What `text` names, by its ending and, where that may be either, by what the file holds.
    ///
    /// # Errors
    /// If a `stage` is given for what is no module.
    pub fn of(text: &str, stage: Option<&str>) -> Result<Self, Vec<Problem>> {
        let ending = Path::new(text).extension().and_then(|ending| ending.to_str());
        let against = match ending {
            Some("wasm") => {
                let (file, stage) = (PathBuf::from(text), stage.map(str::to_owned));
                return Ok(Self::Module { file, stage });
            }
            Some("json" | "yaml" | "yml") => Self::Devices(text.into()),
            Some("toml") if holds_devices(Path::new(text)) => Self::Devices(text.into()),
            _ => Self::Pipeline(text.to_owned()),
        };
        match stage {
            Some(stage) => Err(vec![Problem::of(
                "--stage",
                format!("`{stage}` is given, but `{text}` is no module"),
                "leave --stage out, or name a .wasm file",
            )]),
            None => Ok(against),
        }
    }

    /// The other version's plan, and what is odd about it.
    pub(super) fn plan(
        &self,
        options: &Options,
        document: Option<Pushed>,
        alone: &Alone,
    ) -> Result<(Arc<Plan>, Vec<Problem>), ReplayError> {
        let plan = match self {
            Self::Module { file, stage } => {
                alone.with_module(file, stage.as_deref()).map(|plan| (plan, Vec::new()))
            }
            Self::Pipeline(pipeline) => alone.beside(&asked(options, pipeline, document)),
            Self::Devices(file) => {
                let document = reload::read_document(file).map_err(ReplayError::Config)?;
                alone.beside(&asked(options, &options.pipeline, Some(document)))
            }
        };
        plan.map_err(ReplayError::Config)
    }
}

/// Whether a file in TOML is a document of `POST /config` and no pipeline. What cannot be read
/// is taken for a pipeline, whose reader says what is wrong.
fn holds_devices(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    table.contains_key("devices") && !table.contains_key("parse") && !table.contains_key("source")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_modules_pipelines_and_devices_apart() {
        let dir = tempfile::tempdir().unwrap();
        let devices = dir.path().join("d.toml");
        std::fs::write(&devices, "[[devices]]\ndevice_id = \"a\"\n").unwrap();
        let pipeline = dir.path().join("p.toml");
        std::fs::write(&pipeline, "[[source]]\nbroker = \"main\"\n").unwrap();
        let of = |path: &Path| Against::of(path.to_str().unwrap(), None).unwrap();
        assert_eq!(of(&devices), Against::Devices(devices.clone()));
        assert_eq!(of(&pipeline), Against::Pipeline(pipeline.to_str().unwrap().to_owned()));
        assert_eq!(of(Path::new("d.yaml")), Against::Devices("d.yaml".into()));
        assert_eq!(of(Path::new("workshop")), Against::Pipeline("workshop".to_owned()));
        let module = Against::Module { file: "x.wasm".into(), stage: Some("shelly".to_owned()) };
        assert_eq!(Against::of("x.wasm", Some("shelly")).unwrap(), module);
        let problems = Against::of("workshop", Some("shelly")).unwrap_err();
        assert!(problems[0].to_string().contains("is no module"), "{problems:?}");
    }
}
