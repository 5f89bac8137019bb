//! From a pipeline file's text to a checked [`Pipeline`], or everything that is wrong with it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::file::{
    DetectFile, ParseFile, PipelineFile, PublishFile, RetainedText, SinkFile, SourceFile, TimeText,
    UnknownDevicesText, ValidateFile,
};
use super::stage::{Common, on_reject};
use super::{
    Batch, Check, Detect, KeyPart, Parse, Pipeline, Publisher, Retained, Sink, Source, StageTime,
    Take, UnknownDevices, Validate,
};
use crate::config::document::{Anchor, Format};
use crate::config::problem::Problem;
use crate::config::reader::Reader;
use crate::config::schema::Shape;
use crate::config::site::Site;
use crate::config::units::{FilterText, Name};

pub(in crate::config) static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<PipelineFile>);

pub(super) const MIB: u64 = 1024 * 1024;
pub(super) const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a pipeline file refers to.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// `None` where it could not be read: its names are then taken on trust.
    pub site: Option<&'c Site>,
    /// Reads a file of the site, by its path relative to the site directory.
    pub open: &'c dyn Fn(&str) -> io::Result<String>,
    /// Topics by name, below those that the file gives itself.
    pub topics: &'c BTreeMap<String, String>,
}

/// A checked pipeline and what is odd but not wrong about it.
pub type Loaded = (Pipeline, Vec<Problem>);

/// Reads a pipeline file; `file` is what problems call it, relative to the site directory.
pub fn load(file: &str, text: &str, context: Context<'_>) -> Result<Loaded, Vec<Problem>> {
    let (pipeline, build) = read(file, text, context)?;
    let Build { reader, warnings, .. } = build;
    let problems = reader.into_problems();
    if problems.is_empty() { Ok((pipeline, warnings)) } else { Err(problems) }
}

/// What can be read of a pipeline file that has problems, so that they hide none of the rest.
/// It is not fit to run.
pub fn draft(file: &str, text: &str, context: Context<'_>) -> Option<Pipeline> {
    read(file, text, context).ok().map(|(pipeline, _)| pipeline)
}

fn read<'c>(
    file: &str,
    text: &str,
    context: Context<'c>,
) -> Result<(Pipeline, Build<'c>), Vec<Problem>> {
    let reader = Reader::open(file, text, Format::Toml, &SHAPE)?;
    let mut build = Build {
        reader,
        context,
        topics: context.topics.clone(),
        hash: Sha256::new(),
        warnings: Vec::new(),
    };
    build.hash.update(text);
    let pipeline = build.pipeline(file);
    Ok((pipeline, build))
}

/// The name under which a pipeline file would run, whether or not it is right.
pub(in crate::config) fn default_name(file: &str) -> &str {
    Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file)
}

pub(super) struct Build<'c> {
    pub(super) reader: Reader,
    pub(super) context: Context<'c>,
    pub(super) topics: BTreeMap<String, String>,
    hash: Sha256,
    pub(super) warnings: Vec<Problem>,
}

impl Build<'_> {
    fn pipeline(&mut self, file: &str) -> Pipeline {
        self.check_duplicates();
        self.read_topics();
        let name = self.reader.text("/name").unwrap_or_else(|| default_name(file)).into();
        let state_from = self.reader.read::<Name>("/state_from").map(|name| name.0.into());
        let shards = self.reader.read::<u32>("/shards").unwrap_or(1);
        let publish = match self.reader.read::<PublishFile>("/publish") {
            Some(publish) => self.patterns("/publish/allow", publish.allow),
            None => Vec::new(),
        };
        let sources: Vec<_> = self.each("/source", Self::source);
        let validate = self.each("/validate", Self::validate);
        let parse = self.each("/parse", Self::parse);
        let detect = self.each("/detect", Self::detect);
        let sinks = self.each("/sink", Self::sink);
        let publishers = self.each("/sink", Self::publisher_if_it_publishes);
        self.check_echoes(&publishers, &sources);
        self.check_order();
        self.check_state_from();
        self.check_captures(&sources, &detect);
        self.check_loops(&publish, &sources);
        self.warn_of_overlaps(&parse);
        if self.reader.entries("/source").is_empty() {
            let remedy = "add a [[source]] with `broker` and `devices = true` or `topics`";
            self.reader.problem("", "pipeline has no source", remedy);
        }
        for (name, topic) in self.context.topics {
            self.hash.update(name);
            self.hash.update(topic);
        }
        Pipeline {
            name,
            file: file.into(),
            state_from,
            written: Arc::new(self.reader.value.clone()),
            hash: self.hash.clone().finalize().into(),
            shards: shards as usize,
            publish,
            sources,
            validate,
            parse,
            detect,
            sinks,
            publishers,
        }
    }

    fn each<T>(&mut self, list: &str, read: fn(&mut Self, &str) -> Option<T>) -> Vec<T> {
        let entries = self.reader.entries(list);
        entries.iter().filter_map(|at| read(self, at)).collect()
    }

    fn read_topics(&mut self) {
        let topics = self.reader.read::<BTreeMap<String, FilterText>>("/topics");
        self.topics.extend(topics.into_iter().flatten().map(|(name, topic)| (name, topic.0)));
    }

    fn source(&mut self, at: &str) -> Option<Source> {
        let source: SourceFile = self.reader.read(at)?;
        let reserved = [
            ("http", source.http.is_some()),
            ("every", source.every.is_some()),
            ("outcome", source.outcome.is_some()),
        ];
        if let Some((kind, _)) = reserved.into_iter().find(|(_, given)| *given) {
            let what = format!("a source of kind `{kind}` is not in this version");
            let remedy = "remove this source: in this version messages come from brokers alone";
            self.reader.key_problem(&format!("{at}/{kind}"), what, remedy);
            return None;
        }
        let only_others = [
            ("topic", source.topic.is_some()),
            ("schema", source.schema.is_some()),
            ("access", source.access.is_some()),
            ("rate", source.rate.is_some()),
            ("answer", source.answer.is_some()),
        ];
        for (key, _) in only_others.into_iter().filter(|(_, given)| *given) {
            let what = format!("`{key}` does not belong to a source that is a broker");
            let remedy = if key == "topic" { "did you mean `topics`?" } else { "remove it" };
            self.reader.key_problem(&format!("{at}/{key}"), what, remedy);
        }
        let Some(broker) = source.broker else {
            let remedy = "add `broker`: a [broker.NAME] of tapline.toml";
            self.reader.key_problem(at, "source has no broker", remedy);
            return None;
        };
        let known = self.context.site.map(|site| site.brokers.keys().map(String::as_str).collect());
        self.check_known(&format!("{at}/broker"), "broker", &broker.0, known);
        if !source.devices && source.topics.is_empty() {
            let remedy = "add `devices = true`, or filters in `topics`";
            self.reader.key_problem(at, "source subscribes to nothing", remedy);
        }
        Some(Source {
            anchor: Anchor::new(&self.reader.document, at),
            name: source.name.0.into(),
            place: self.reader.place(&format!("{at}/name")),
            broker: broker.0.into(),
            devices: source.devices,
            topics: self.patterns(&format!("{at}/topics"), source.topics),
            except: self.patterns(&format!("{at}/except"), source.except),
            qos: source.qos.unwrap_or(1),
            retained: match source.retained {
                Some(RetainedText::Accept) => Retained::Accept,
                Some(RetainedText::Flags) | None => Retained::Flags,
                Some(RetainedText::Ignore) => Retained::Ignore,
            },
            unknown_devices: match source.unknown_devices {
                Some(UnknownDevicesText::Accept) => UnknownDevices::Accept,
                Some(UnknownDevicesText::Report) | None => UnknownDevices::Report,
                Some(UnknownDevicesText::DeadLetter) => UnknownDevices::DeadLetter,
            },
            no_local: source.no_local,
            retain_as_published: source.retain_as_published,
            retain_handling: source.retain_handling.unwrap_or(0),
        })
    }

    fn validate(&mut self, at: &str) -> Option<Validate> {
        let stage: ValidateFile = self.reader.read(at)?;
        let name: Arc<str> = stage.name.0.as_str().into();
        let topics = self.patterns(&format!("{at}/topics"), stage.topics);
        let check = match (stage.module, stage.schema) {
            (Some(module), None) => Check::Module(Box::new(self.stage(
                at,
                Common {
                    name: stage.name.0,
                    module: module.0,
                    settings: stage.settings,
                    limits: stage.limits,
                    on_reject: stage.on_reject,
                    shadow: stage.shadow,
                },
            ))),
            (None, Some(file)) => {
                for key in ["settings", "limits", "shadow"] {
                    let at = format!("{at}/{key}");
                    if self.reader.value.pointer(&at).is_some() {
                        let what = format!("a schema has no `{key}`");
                        self.reader.key_problem(&at, what, "remove it");
                    }
                }
                self.schema(&format!("{at}/schema"), file)?
            }
            (Some(_), Some(_)) => {
                let remedy = "keep one of the two, and write a second stage for the other";
                let what = "stage has both a module and a schema";
                self.reader.key_problem(&format!("{at}/schema"), what, remedy);
                return None;
            }
            (None, None) => {
                let remedy = "add `module`, or `schema` with a JSON Schema file";
                self.reader.key_problem(at, "stage has neither a module nor a schema", remedy);
                return None;
            }
        };
        let place = self.reader.place(&format!("{at}/name"));
        let anchor = Anchor::new(&self.reader.document, at);
        let on_reject = on_reject(stage.on_reject);
        Some(Validate { name, place, anchor, topics, check, on_reject })
    }

    fn schema(&mut self, at: &str, file: String) -> Option<Check> {
        let text = match (self.context.open)(&file) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("schema `{file}` cannot be read: {error}");
                let remedy = "write its path relative to the site directory";
                self.reader.problem(at, what, remedy);
                return None;
            }
        };
        self.hash.update(&text);
        let schema: Value = match serde_json::from_str(&text) {
            Ok(schema) => schema,
            Err(error) => {
                let what = format!("schema `{file}` is not valid JSON: {error}");
                self.reader.problem(at, what, "correct the schema file");
                return None;
            }
        };
        if let Err(error) = jsonschema::validator_for(&schema) {
            let what = format!("schema `{file}` is not a JSON Schema: {error}");
            self.reader.problem(at, what, "correct the schema file");
            return None;
        }
        Some(Check::Schema { file: file.into(), schema: Arc::new(schema) })
    }

    fn parse(&mut self, at: &str) -> Option<Parse> {
        let stage: ParseFile = self.reader.read(at)?;
        let parser_types = stage.parser_types.unwrap_or_else(|| vec![stage.module.0.clone()]);
        let topics = self.patterns(&format!("{at}/topics"), stage.topics);
        let common = Common {
            name: stage.name.0,
            module: stage.module.0,
            settings: stage.settings,
            limits: stage.limits,
            on_reject: stage.on_reject,
            shadow: stage.shadow,
        };
        Some(Parse {
            anchor: Anchor::new(&self.reader.document, at),
            stage: self.stage(at, common),
            topics,
            parser_types: parser_types.into_iter().map(Arc::from).collect(),
            time: stage_time(stage.time),
        })
    }

    fn detect(&mut self, at: &str) -> Option<Detect> {
        let stage: DetectFile = self.reader.read(at)?;
        let take = match stage.take {
            Some(take) => self.takes(&format!("{at}/take"), take),
            None => vec![Take::Reading(None)],
        };
        if let Some(i) = take.iter().position(|take| *take == Take::Publication) {
            let remedy = "let a sink take it";
            let what = "a detector does not take publications";
            self.reader.problem(&format!("{at}/take/{i}"), what, remedy);
        }
        if !stage.topics.is_empty() && !take.contains(&Take::Message) {
            let remedy = "add \"message\" to `take`, or remove `topics`";
            let what = "`topics` chooses messages, and this stage takes none";
            self.reader.key_problem(&format!("{at}/topics"), what, remedy);
        }
        let key = stage.key.unwrap_or_else(|| vec!["device".to_owned()]);
        let key = key.into_iter().map(|part| match part.as_str() {
            "device" => KeyPart::Device,
            "channel" => KeyPart::Channel,
            _ => KeyPart::Capture(part.into()),
        });
        if let Some(field) = stage.device_settings.as_ref().filter(|f| !f.ends_with("_config")) {
            let what = format!("devices have no field `{field}` for settings");
            let remedy = "such fields end in `_config`, as `session_config` does";
            self.reader.problem(&format!("{at}/device_settings"), what, remedy);
        }
        let common = Common {
            name: stage.name.0,
            module: stage.module.0,
            settings: stage.settings,
            limits: stage.limits,
            on_reject: stage.on_reject,
            shadow: stage.shadow,
        };
        Some(Detect {
            anchor: Anchor::new(&self.reader.document, at),
            state_from: stage.state_from.map(|name| name.0.into()),
            from: stage.from.into_iter().map(Arc::from).collect(),
            take,
            labels: stage.labels,
            topics: self.patterns(&format!("{at}/topics"), stage.topics),
            key: key.collect(),
            device_settings: stage.device_settings.map(Arc::from),
            time: stage_time(stage.time),
            stage: self.stage(at, common),
        })
    }

    fn publisher_if_it_publishes(&mut self, at: &str) -> Option<Publisher> {
        self.publishes(at).then(|| self.publisher(at)).flatten()
    }

    fn publishes(&self, at: &str) -> bool {
        self.reader.value.pointer(&format!("{at}/publish")).is_some()
    }

    fn sink(&mut self, at: &str) -> Option<Sink> {
        if self.publishes(at) {
            return None;
        }
        let stage: SinkFile = self.reader.read(at)?;
        let why = "sinks have no shadow: what a sink sends cannot be sent twice";
        self.refuse_shadow(at, stage.shadow.as_ref(), why, "remove it");
        let take = self.takes(&format!("{at}/take"), stage.take);
        let expire = format!("{at}/expire");
        let shortest = Duration::from_millis(1);
        let expire = self.reader.duration(&expire, stage.expire, shortest, YEAR);
        let wait = format!("{at}/batch/wait");
        let longest = Duration::from_secs(3600);
        let wait = self.reader.duration(&wait, stage.batch.wait, Duration::ZERO, longest);
        let Some(module) = stage.module else {
            self.reader.key_problem(
                at,
                "sink has no module",
                "add `module`, such as \"odoo\", or `publish`",
            );
            return None;
        };
        let Some(endpoint) = stage.endpoint else {
            let remedy = "add `endpoint`: an [endpoint.NAME] of tapline.toml";
            self.reader.key_problem(at, "sink has no endpoint", remedy);
            return None;
        };
        let endpoint_at = format!("{at}/endpoint");
        let known =
            self.context.site.map(|site| site.endpoints.keys().map(String::as_str).collect());
        self.check_known(&endpoint_at, "endpoint", &endpoint.0, known);
        let common = Common {
            name: stage.name.0,
            module: module.0,
            settings: stage.settings,
            limits: stage.limits,
            on_reject: None,
            shadow: None,
        };
        Some(Sink {
            anchor: Anchor::new(&self.reader.document, at),
            from: stage.from.into_iter().map(Arc::from).collect(),
            take,
            labels: stage.labels,
            endpoint: endpoint.0.into(),
            endpoint_place: self.reader.place(&endpoint_at),
            batch: Batch {
                max: stage.batch.max.unwrap_or(100) as usize,
                wait: wait.unwrap_or(Duration::from_secs(1)),
            },
            expire,
            stage: self.stage(at, common),
        })
    }
}

fn stage_time(text: Option<TimeText>) -> StageTime {
    match text {
        None => StageTime::Auto,
        Some(TimeText::Device) => StageTime::Device,
        Some(TimeText::Receipt) => StageTime::Receipt,
    }
}
