//! Makes a plan of a pipeline file: everything that could be wrong is found here, all at once.
//!
//! Start, reload, push and `tapline check` take this one path. What is wrong with one device or one
//! shadow is named beside the plan, and stops nothing else.

use std::sync::Arc;

use super::{
    DetectStage, ModuleSet, ModuleStage, ParseStage, Plan, PublishStage, ShadowStage, SinkStage,
    Source, Taken, ValidateCheck, ValidateStage,
};
use crate::config::pipeline::{
    Check, Detect, Parse, Pipeline, Publisher, Shadow, Sink, Stage, Take, Validate,
};
use crate::config::{Config, Place, Problem, Site};
use crate::module::samples::Failure;
use crate::module::{Limits, Module, Role};
use crate::pipeline::directory::Directory;
use crate::pipeline::settings::{Asked, SettingsSet};
use crate::quantity;

/// What is wrong with a pipeline's modules and their settings, whatever else is wrong with it.
pub fn check_modules(file: &Pipeline, modules: &ModuleSet) -> Vec<Problem> {
    let mut builder = Builder { modules, samples: false, problems: Vec::new(), unfit: Vec::new() };
    for validate in &file.validate {
        if let Check::Module(stage) = &validate.check {
            builder.stage(stage, Role::Validator);
        }
    }
    for parse in &file.parse {
        builder.stage(&parse.stage, Role::Parser);
    }
    for detect in &file.detect {
        builder.stage(&detect.stage, Role::Detector);
    }
    for sink in &file.sinks {
        builder.stage(&sink.stage, Role::Sink);
    }
    builder.problems.extend(builder.unfit);
    builder.problems
}

impl Plan {
    /// Resolves `file` against modules, site and devices. A device that does not fit is left
    /// out and named beside the plan: it stops no other. Likewise a shadow.
    ///
    /// # Errors
    /// Everything that is wrong with the pipeline, each with place and remedy.
    pub fn build(
        file: &Arc<Pipeline>,
        config: &Config,
        modules: &ModuleSet,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let samples = config.site.modules.samples;
        let mut builder = Builder { modules, samples, problems: Vec::new(), unfit: Vec::new() };
        let validators = file.validate.iter().filter_map(|v| builder.validator(v)).collect();
        let parsers: Vec<_> = file.parse.iter().filter_map(|p| builder.parser(p)).collect();
        let detectors: Vec<_> =
            in_order(&file.detect).into_iter().filter_map(|d| builder.detector(d)).collect();
        let sinks: Vec<_> =
            file.sinks.iter().filter_map(|s| builder.sink(s, &config.site)).collect();
        for source in &file.sources {
            if !config.site.brokers.contains_key(&*source.broker) {
                builder.problem(
                    &source.place,
                    format!("there is no broker `{}`", source.broker),
                    format!("add [broker.{}] to tapline.toml", source.broker),
                );
            }
        }
        for publisher in &file.publishers {
            if !config.site.brokers.contains_key(&*publisher.broker) {
                builder.problem(
                    &publisher.broker_place,
                    format!("there is no broker `{}`", publisher.broker),
                    format!("add [broker.{}] to tapline.toml", publisher.broker),
                );
            }
        }
        if !builder.problems.is_empty() {
            return Err([builder.problems, builder.unfit].concat());
        }
        // Devices are checked against the stages' schemas, so only once the stages stand.
        let mut unfit = builder.unfit;
        let directory = Directory::build(file, &config.devices, &parsers, &detectors, &mut unfit);
        let publishers: Vec<_> = file.publishers.iter().map(publish_stage).collect();
        let reads_messages = detectors.iter().any(|d| d.takes_messages)
            || sinks.iter().any(|s| s.takes_messages)
            || publishers.iter().any(|p| p.takes_messages);
        let plan = Self {
            reads_messages,
            file: file.clone(),
            site: config.site.clone(),
            validators,
            parsers,
            detectors,
            sinks,
            publishers,
            directory,
        };
        Ok((plan, unfit))
    }
}

/// Detectors such that each comes after those it takes from, otherwise in file order.
/// `config` has refused cycles; a stage that still cannot be placed keeps its file order.
fn in_order(detectors: &[Detect]) -> Vec<&Detect> {
    let mut left: Vec<&Detect> = detectors.iter().collect();
    let mut placed = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |d: &Detect| {
            left.iter().any(|o| d.stage.name != o.stage.name && d.from.contains(&o.stage.name))
        };
        let next = left.iter().position(|d| !waits(d)).unwrap_or(0);
        placed.push(left.remove(next));
    }
    placed
}

/// As the stage says, and where it says nothing, as is usual for such a module.
fn limits(stage: &Stage, module: &Module) -> Limits {
    let written = &stage.limits;
    let default = module.usual_limits();
    Limits {
        memory: written.memory.unwrap_or(default.memory),
        time: written.time.unwrap_or(default.time),
        output: written.output.unwrap_or(default.output),
        state: written.state.unwrap_or(default.state),
    }
}

struct Builder<'a> {
    modules: &'a ModuleSet,
    /// Whether a module whose own samples fail is refused.
    samples: bool,
    problems: Vec<Problem>,
    /// What is wrong with shadows, which stops nothing else.
    unfit: Vec<Problem>,
}

impl Builder<'_> {
    fn problem(&mut self, place: &Place, what: String, remedy: String) {
        self.problems.push(Problem::at(place.clone(), what, remedy));
    }

    fn stage(&mut self, stage: &Stage, role: Role) -> Option<ModuleStage> {
        let module = self.module(&stage.module, &stage.module_place, role)?;
        let Some(module) = module else {
            let known: Vec<_> = self.modules.keys().map(|k| &**k).collect();
            self.problems.push(stage.missing_module(&known));
            return None;
        };
        let mut problems = stage.settings.check_against(module.settings_schema());
        let limits = limits(stage, &module);
        if self.samples
            && let Err(failure) = module.check_samples(limits)
        {
            let what = format!("module `{}` is refused: {failure}", stage.module);
            self.problem(&stage.module_place, what, Failure::REMEDY.to_owned());
            return None;
        }
        let settings = Arc::new(SettingsSet::new(&stage.settings.value));
        if problems.is_empty()
            && let Some(why) = Asked::new(&module, limits, &stage.name).refusal(&settings)
        {
            let place = stage.settings.anchor.place("");
            problems.push(Problem::at(place, why, "correct the settings"));
        }
        self.problems.extend(problems);
        let mut built = ModuleStage {
            name: stage.name.clone(),
            module,
            limits,
            on_reject: stage.on_reject,
            settings,
            shadow: None,
        };
        if let Some(shadow) = &stage.shadow {
            built.shadow = self.shadow(stage, shadow, &built).map(Arc::new);
        }
        Some(built)
    }

    /// The module of this name, if there is one; `None`: something else is wrong, and said.
    fn module(
        &mut self,
        name: &Arc<str>,
        place: &Place,
        role: Role,
    ) -> Option<Option<Arc<Module>>> {
        let module = match self.modules.get(name) {
            Some(Ok(module)) => module.clone(),
            Some(Err(why)) => {
                self.problem(
                    place,
                    format!("module `{name}` cannot be loaded: {why}"),
                    format!("replace modules/{name}.wasm"),
                );
                return None;
            }
            // What is no name has been refused as such.
            None if name.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)) => {
                return None;
            }
            None => return Some(None),
        };
        if module.role() != role {
            self.problem(
                place,
                format!("module `{name}` is a {}, not a {role}", module.role()),
                format!("name a {role} here, or move the stage to [[{}]]", module.role().table()),
            );
            return None;
        }
        Some(Some(module))
    }

    /// A stage's shadow, if it can take the stage's place; else it is said why not.
    fn shadow(
        &mut self,
        stage: &Stage,
        shadow: &Shadow,
        live: &ModuleStage,
    ) -> Option<ShadowStage> {
        let role = live.module.role();
        if let Some(Ok(other)) = self.modules.get(&shadow.module)
            && other.role() != role
        {
            let (name, is) = (&shadow.module, other.role());
            self.unfit.push(Problem::at(
                shadow.place.clone(),
                format!("the shadow cannot run: module `{name}` is a {is}, not a {role}"),
                "name another version of the stage's module",
            ));
            return None;
        }
        let before = std::mem::take(&mut self.problems);
        let module = self.module(&shadow.module, &shadow.place, role);
        let found = std::mem::replace(&mut self.problems, before);
        self.unfit.extend(found.into_iter().map(|problem| Problem {
            what: format!("the shadow cannot run: {}", problem.what),
            ..problem
        }));
        let Some(module) = module? else {
            let name = &shadow.module;
            self.unfit.push(Problem::at(
                shadow.place.clone(),
                format!("the shadow cannot run: there is no modules/{name}.wasm"),
                "put it there, or remove `shadow`",
            ));
            return None;
        };
        let name: Arc<str> = format!("{}.shadow", stage.name).into();
        let limits = limits(stage, &module);
        if self.samples
            && let Err(failure) = module.check_samples(limits)
        {
            let what = format!("the shadow is refused: {failure}");
            self.unfit.push(Problem::at(shadow.place.clone(), what, Failure::REMEDY));
            return None;
        }
        let wrong = stage.settings.check_against(module.settings_schema());
        let why = wrong.first().map(|wrong| format!("`{}`: {}", wrong.pointer(), wrong.what));
        let why = why.or_else(|| Asked::new(&module, limits, &name).refusal(&live.settings));
        if let Some(why) = why {
            self.unfit.push(Problem::at(
                shadow.place.clone(),
                format!("the shadow does not take the stage's settings: {why}"),
                "let it take them, or write settings that both versions take",
            ));
            return None;
        }
        let settings = live.settings.clone();
        Some(ShadowStage {
            stage: ModuleStage {
                name,
                module,
                limits,
                on_reject: live.on_reject,
                settings,
                shadow: None,
            },
            module: shadow.module.clone(),
            live: live.module.hash(),
        })
    }

    fn validator(&mut self, v: &Validate) -> Option<ValidateStage> {
        let check = match &v.check {
            Check::Module(stage) => ValidateCheck::Module(self.stage(stage, Role::Validator)?),
            Check::Schema { file, schema } => match jsonschema::validator_for(schema) {
                Ok(validator) => ValidateCheck::Schema(Box::new(validator)),
                Err(error) => {
                    self.problem(
                        &v.place,
                        format!("`{file}` is not a JSON Schema: {error}"),
                        "mend the schema file".to_owned(),
                    );
                    return None;
                }
            },
        };
        Some(ValidateStage {
            name: v.name.clone(),
            topics: v.topics.clone(),
            on_reject: v.on_reject,
            check,
        })
    }

    fn parser(&mut self, parse: &Parse) -> Option<ParseStage> {
        Some(ParseStage {
            stage: self.stage(&parse.stage, Role::Parser)?,
            topics: parse.topics.clone(),
            parser_types: parse.parser_types.clone(),
            time: parse.time,
        })
    }

    fn detector(&mut self, detect: &Detect) -> Option<DetectStage> {
        Some(DetectStage {
            stage: self.stage(&detect.stage, Role::Detector)?,
            source: source(&detect.from, &detect.take),
            labels: detect.labels.clone(),
            topics: detect.topics.clone(),
            key: detect.key.clone(),
            time: detect.time,
            takes_messages: detect.take.contains(&Take::Message),
        })
    }

    fn sink(&mut self, sink: &Sink, site: &Site) -> Option<SinkStage> {
        let Some(endpoint) = site.endpoints.get(&*sink.endpoint) else {
            self.problem(
                &sink.endpoint_place,
                format!("there is no endpoint `{}`", sink.endpoint),
                format!("add [endpoint.{}] to tapline.toml", sink.endpoint),
            );
            return None;
        };
        Some(SinkStage {
            stage: self.stage(&sink.stage, Role::Sink)?,
            source: source(&sink.from, &sink.take),
            labels: sink.labels.clone(),
            takes_messages: sink.take.contains(&Take::Message),
            endpoint: endpoint.clone(),
            batch: sink.batch,
            expire_ms: sink.expire.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

fn publish_stage(publisher: &Publisher) -> PublishStage {
    let ms = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    PublishStage {
        source: source(&publisher.from, &publisher.take),
        takes_messages: publisher.take.contains(&Take::Message),
        expire_ms: publisher.expire.map(ms),
        publisher: publisher.clone(),
    }
}

fn source(from: &[Arc<str>], take: &[Take]) -> Source {
    let takes = take
        .iter()
        .filter_map(|take| match take {
            Take::Message => None,
            // `config` knows only names of the table.
            Take::Reading(name) => {
                Some(Taken::Reading(name.as_ref().and_then(|name| quantity::by_name(name))))
            }
            Take::Event(_) => Some(Taken::Event(take.clone())),
            Take::Publication => Some(Taken::Publication),
        })
        .collect();
    Source { from: from.to_vec(), takes }
}
