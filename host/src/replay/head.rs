//! The beginning of a recording: what was known when it began.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::{Map, Value, json};

use super::lines::Lines;
use super::written::{FORMAT, Line, Said, Start};
use super::{ReplayError, Talk};
use crate::config::Problem;
use crate::pipeline::Plan;
use crate::store::StoredKey;

/// What stands before the first thing that happened; empty for a capture.
#[derive(Default)]
pub(super) struct Head {
    start: Option<Box<Start>>,
    devices: Vec<Map<String, Value>>,
    rows: Vec<StoredKey>,
}

impl Head {
    /// Reads up to the first line that is not about the beginning.
    pub(super) fn read(
        lines: &mut Lines<impl BufRead>,
        talk: &mut dyn Talk,
        faults: &mut u64,
    ) -> Result<Self, ReplayError> {
        let mut head = Self::default();
        loop {
            let Some((number, bytes)) = lines.next().map_err(ReplayError::Input)? else {
                return Ok(head);
            };
            let said = match bytes.and_then(|bytes| Line::read(number, bytes)) {
                Ok(said) => said,
                // Where a recording has begun, what is missing from its head would show in all
                // that follows; in a capture the loop over messages says what is wrong.
                Err(fault) if head.start.is_some() => {
                    *faults += 1;
                    talk.fault(fault);
                    continue;
                }
                Err(_) => {
                    lines.back();
                    return Ok(head);
                }
            };
            match said {
                Said::Start(start) if head.start.is_none() && number == 1 => {
                    if start.format != FORMAT {
                        let what = format!(
                            "the recording is in format {}, this program reads {FORMAT}",
                            start.format
                        );
                        let remedy = "replay it with the program that wrote it";
                        return Err(ReplayError::Config(vec![Problem::of(
                            "recording",
                            what,
                            remedy,
                        )]));
                    }
                    head.start = Some(start);
                }
                Said::Registered(device) if head.start.is_some() => head.devices.push(*device),
                Said::Key(key) if head.start.is_some() => head.rows.extend(key.row()),
                _ => {
                    lines.back();
                    return Ok(head);
                }
            }
        }
    }

    pub(super) fn is_recording(&self) -> bool {
        self.start.is_some()
    }

    /// The devices that were registered, as a document.
    pub(super) fn devices(&self) -> Option<Value> {
        self.start.as_ref()?;
        Some(json!({ "devices": self.devices }))
    }

    /// What the stages remembered.
    pub(super) fn rows(&self) -> &[StoredKey] {
        &self.rows
    }

    /// How the pipeline at hand differs from the one that was recorded.
    pub(super) fn compare(&self, plan: &Plan) -> Vec<Problem> {
        let Some(start) = &self.start else { return Vec::new() };
        let (before, now) = (&start.modules, modules(plan));
        let remedy = "results may differ from what was live";
        let differing = now.iter().filter_map(|(stage, module)| match before.get(stage) {
            Some(same) if same == module => None,
            Some(other) => Some(format!("stage `{stage}` ran `{other}`, now it is `{module}`")),
            None => Some(format!("stage `{stage}` was not there")),
        });
        let gone = before
            .keys()
            .filter(|stage| !now.contains_key(*stage))
            .map(|stage| format!("stage `{stage}` is gone"));
        differing.chain(gone).map(|what| Problem::of("recording", what, remedy)).collect()
    }
}

/// Module, version and hash of each stage.
pub(super) fn modules(plan: &Plan) -> BTreeMap<String, String> {
    let of = |stage: &&crate::pipeline::ModuleStage| {
        let hash: String =
            stage.module.hash().0.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {hash}", stage.module.name(), stage.module.version())
    };
    plan.module_stages().iter().map(|stage| (stage.name.to_string(), of(stage))).collect()
}
