//! What pipelines read of devices: a device that nothing reads is most likely misspelt.

use super::PipelineUnit;
use crate::config::device::Device;
use crate::config::document::push_key;
use crate::config::problem::{Place, Problem};
use crate::config::schema::{nearest, ticked};

/// What pipelines read of devices; nothing is known if a pipeline is wrong, since it might
/// read any of it.
#[derive(Default)]
pub(super) struct Known<'p> {
    parser_types: Vec<&'p str>,
    /// Fields of settings.
    fields: Vec<&'p str>,
    stages: Vec<&'p str>,
    is_complete: bool,
}

impl<'p> Known<'p> {
    pub(super) fn of(pipelines: &'p [PipelineUnit]) -> Self {
        let mut known = Self { fields: vec!["session_config"], ..Self::default() };
        for unit in pipelines {
            let Ok(pipeline) = &unit.result else { return Self::default() };
            known
                .parser_types
                .extend(pipeline.parse.iter().flat_map(|p| &p.parser_types).map(|n| &**n));
            known
                .fields
                .extend(pipeline.detect.iter().filter_map(|d| d.device_settings.as_deref()));
            known.stages.extend(pipeline.parse.iter().map(|p| &*p.stage.name));
            known.stages.extend(pipeline.detect.iter().map(|d| &*d.stage.name));
        }
        for list in [&mut known.parser_types, &mut known.fields, &mut known.stages] {
            list.sort_unstable();
            list.dedup();
        }
        known.is_complete = true;
        known
    }

    /// What of a device no pipeline reads.
    pub(super) fn problems(&self, device: &Device) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.is_complete {
            return problems;
        }
        let mut check = |name: &str, known: &[&str], what: String, place: &dyn Fn() -> Place| {
            if known.contains(&name) {
                return;
            }
            let remedy = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`? known are {}", ticked(known)),
                None if known.is_empty() => "add a stage of this name to a pipeline".to_owned(),
                None => format!("known are {}", ticked(known)),
            };
            problems.push(Problem::at(place(), what, remedy));
        };
        let name = &*device.parser_type;
        let what = format!("no parse stage reads the parser type `{name}`");
        check(name, &self.parser_types, what, &|| device.place("/parser_type"));
        for name in device.fields.keys() {
            let what = format!("no stage takes its settings from `{name}`");
            check(name, &self.fields, what, &|| device.anchor.key_place(&format!("/{name}")));
        }
        for name in device.settings.keys() {
            let what = format!("no parse or detect stage is called `{name}`");
            let mut pointer = "/settings".to_owned();
            push_key(&mut pointer, name);
            check(name, &self.stages, what, &|| device.anchor.key_place(&pointer));
        }
        problems
    }
}
