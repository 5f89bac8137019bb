//! Whether what was built keeps its own promises, before the running Tapline sees it.

use std::path::Path;

use tapline_kit::{Project, samples};

use super::super::test_module::failure;
use crate::module::samples::run;
use crate::module::{Engine, EngineError, EngineOptions};
use crate::telemetry::words;

/// Runs the samples of what was built.
pub(super) struct Trial {
    engine: Engine,
    /// Samples without an outcome, when they were last spoken of.
    open: usize,
}

impl Trial {
    /// What is compiled here is kept where the running Tapline looks for it, so that it need not
    /// be compiled twice.
    pub(super) fn new(data: &Path) -> Result<Self, EngineError> {
        let compiled = data.is_dir().then(|| data.join("compiled"));
        Ok(Self { engine: Engine::new(compiled, EngineOptions::default())?, open: 0 })
    }

    /// Whether a module gives what its samples say; tells what fails.
    pub(super) fn passes(&mut self, project: &Project, bytes: &[u8]) -> bool {
        let module = match self.engine.load(bytes) {
            Ok(module) => module,
            Err(error) => {
                eprintln!("error: {}", words(&error));
                eprintln!("help: {}", error.remedy());
                return false;
            }
        };
        let samples = match module.samples() {
            Ok(samples) => samples,
            Err(why) => {
                eprintln!("error: its samples cannot be read: {why}");
                return false;
            }
        };
        let ran = run(&module, samples.iter(), module.usual_limits());
        let failures = ran.iter().filter(|ran| !ran.verdict.is_passed());
        let failures: Vec<_> = failures.map(failure).collect();
        let root = project.root.display();
        if !failures.is_empty() {
            eprint!("{}", failures.concat());
            eprintln!("dev: {} of {} samples fail", failures.len(), ran.len());
            eprintln!("help: if what comes out is right, keep it: `tapline test {root} --accept`");
            return false;
        }
        let open = samples::read_folder(&project.root)
            .map_or(0, |folder| folder.samples().filter(|sample| sample.is_open()).count());
        if open > 0 && open != self.open {
            eprintln!("dev: {open} samples do not say what is to come out");
            eprintln!("help: `tapline test {root} --accept` writes it; read it before you keep it");
        }
        self.open = open;
        true
    }
}
