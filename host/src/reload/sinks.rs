//! What delivery needs of the rest: sink modules that encode, brokers that publish.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Links, authorities};
use crate::config::pipeline::Batch;
use crate::delivery::{
    Encoder, EncoderFailure, Encoders, Form, HttpWay, Patience, PublishError, Publisher,
    Publishing, SinkPlan, Way,
};
use crate::message::Publication;
use crate::module::sink::{Conclusion, Delivery, Encoding, Response};
use crate::module::{CallError, Hash, Instance, Limits, LogContext, Module, SettingsId};
use crate::pipeline::{Activity, Flow, Plan, Probation, PublishStage, SinkStage, StageStats};
use crate::store::{ModuleTag, SinkId};

/// The number of a sink's one set of settings.
const SETTINGS: SettingsId = SettingsId(0);
/// How long a publication may wait for its acknowledgement.
const PUBLISH: Duration = Duration::from_secs(20);
/// Publications go out one by one; the batch bounds what is read at a time.
const PUBLICATIONS: Batch = Batch { max: 100, wait: Duration::ZERO };

/// One publisher a broker, the same for as long as the process runs, whatever becomes of the
/// connection behind it.
pub(super) struct Publishers {
    links: Arc<Links>,
    by_broker: Mutex<BTreeMap<String, Arc<dyn Publisher>>>,
}

impl Publishers {
    pub(super) fn new(links: Arc<Links>) -> Self {
        Self { links, by_broker: Mutex::default() }
    }

    fn of(&self, broker: &str) -> Arc<dyn Publisher> {
        let mut all = self.by_broker.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(broker.to_owned())
            .or_insert_with(|| {
                Arc::new(ToBroker { links: self.links.clone(), broker: broker.to_owned() })
            })
            .clone()
    }

    /// What delivery is to do: each pipeline's sinks, and publications to each broker.
    pub(super) fn plans<'a>(
        &self,
        plans: &[Arc<Plan>],
        activity: &Activity,
        brokers: impl Iterator<Item = &'a String> + Clone,
    ) -> Vec<SinkPlan> {
        let mut sinks = Vec::new();
        for plan in plans {
            let pipeline = &plan.file.name;
            let flow = activity.flow(pipeline);
            sinks.extend(plan.sinks.iter().map(|s| of_stage(pipeline, s, &flow)));
            sinks.extend(plan.publishers.iter().map(|stage| self.of_publisher(pipeline, stage)));
            let allowed: Arc<[_]> = plan.file.publish.clone().into();
            sinks.extend(brokers.clone().map(|broker| SinkPlan {
                id: SinkId::publish(pipeline.clone(), broker),
                way: Way::Publish(self.of(broker), allowed.clone()),
                batch: PUBLICATIONS,
                module: None,
                answers: None,
                fingerprint: [0; 32],
            }));
        }
        sinks
    }

    fn of_publisher(&self, pipeline: &Arc<str>, stage: &PublishStage) -> SinkPlan {
        let publisher = &stage.publisher;
        let form = Form {
            broker: publisher.broker.clone(),
            topic: publisher.topic.clone(),
            payload: publisher.payload.clone(),
            qos: publisher.qos,
            retain: publisher.retain,
        };
        SinkPlan {
            id: SinkId::new(pipeline.clone(), publisher.name.clone()),
            way: Way::Compose(self.of(&publisher.broker), Arc::new(form)),
            batch: PUBLICATIONS,
            module: None,
            answers: None,
            fingerprint: [0; 32],
        }
    }
}

fn of_stage(pipeline: &Arc<str>, sink: &SinkStage, flow: &Flow) -> SinkPlan {
    let stage = &sink.stage;
    let mut fingerprint = Sha256::new();
    fingerprint.update(stage.module.hash().0);
    fingerprint.update(stage.settings.hash);
    fingerprint.update(format!("{:?}", stage.limits));
    SinkPlan {
        id: SinkId::new(pipeline.clone(), stage.name.clone()),
        way: Way::Http(HttpWay {
            encoders: Arc::new(ModuleEncoders {
                module: stage.module.clone(),
                settings: stage.settings.json.clone(),
                limits: stage.limits,
                log: LogContext::new(pipeline, &stage.name),
                stats: flow.stage(&stage.name),
                failures: Failures {
                    probation: flow.probation().clone(),
                    module: stage.module.hash(),
                    pipeline: pipeline.clone(),
                    stage: stage.name.clone(),
                },
            }),
            authorities: authorities::hash(&sink.endpoint),
            endpoint: sink.endpoint.clone(),
        }),
        batch: sink.batch,
        module: Some(ModuleTag {
            name: stage.module.name().to_owned(),
            version: stage.module.version().to_owned(),
            hash: stage.module.hash().0,
        }),
        answers: None,
        fingerprint: fingerprint.finalize().into(),
    }
}

struct ModuleEncoders {
    module: Arc<Module>,
    settings: Arc<str>,
    limits: Limits,
    log: LogContext,
    stats: Arc<StageStats>,
    failures: Failures,
}

/// Where a sink's failures are counted.
#[derive(Clone)]
struct Failures {
    probation: Arc<Probation>,
    module: Hash,
    pipeline: Arc<str>,
    stage: Arc<str>,
}

impl Failures {
    /// Counts a failure on one delivery; one that took too long is tried with more time first.
    fn count(&self, deliveries: usize, patience: Patience, error: &CallError) {
        let comes_again = patience == Patience::Usual && matches!(error, CallError::Timeout { .. });
        if deliveries == 1 && !comes_again && !error.is_callers() {
            let what = error.to_string();
            // Another version comes with another plan; none goes on within this one.
            let _instead = self.probation.failed(self.module, &self.pipeline, &self.stage, &what);
        }
    }
}

impl Encoders for ModuleEncoders {
    fn fresh(&self, patience: Patience) -> Result<Box<dyn Encoder>, String> {
        let time = match patience {
            Patience::Usual => self.limits.time,
            Patience::TenTimes => self.limits.time.saturating_mul(10),
        };
        let limits = Limits { time, ..self.limits };
        let words = |error: CallError| crate::telemetry::words(&error);
        let mut instance = self.module.instantiate(limits, self.log.clone()).map_err(words)?;
        self.stats.instances.inc();
        instance.configure(SETTINGS, &self.settings).map_err(words)??;
        let (stats, failures) = (self.stats.clone(), self.failures.clone());
        Ok(Box::new(ModuleEncoder { instance, stats, failures, patience }))
    }
}

struct ModuleEncoder {
    instance: Instance,
    stats: Arc<StageStats>,
    failures: Failures,
    patience: Patience,
}

impl Encoder for ModuleEncoder {
    fn encode(
        &mut self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
    ) -> Result<Encoding, EncoderFailure> {
        let instance = &mut self.instance;
        let call = || instance.encode(SETTINGS, session, deliveries);
        let count = deliveries.len();
        let called = self.stats.call(count, call);
        called.map_err(|error| failure(error, count, self.patience, &self.failures))
    }

    fn conclude(
        &mut self,
        session: Option<&[u8]>,
        deliveries: &[Delivery],
        response: &Response,
    ) -> Result<Conclusion, EncoderFailure> {
        let instance = &mut self.instance;
        let call = || instance.conclude(SETTINGS, session, deliveries, response);
        let count = deliveries.len();
        let called = self.stats.call(count, call);
        called.map_err(|error| failure(error, count, self.patience, &self.failures))
    }

    fn is_worn(&self) -> bool {
        let worn = self.instance.is_bloated();
        if worn {
            self.stats.recycled.inc();
        }
        worn
    }
}

fn failure(
    error: CallError,
    deliveries: usize,
    patience: Patience,
    failures: &Failures,
) -> EncoderFailure {
    failures.count(deliveries, patience, &error);
    let words = crate::telemetry::words(&error);
    match error {
        CallError::Timeout { .. } => EncoderFailure::Timeout(words),
        _ => EncoderFailure::Trap(words),
    }
}

struct ToBroker {
    links: Arc<Links>,
    broker: String,
}

impl Publisher for ToBroker {
    fn publish(&self, publication: Publication, expiry: Option<Duration>) -> Publishing<'_> {
        Box::pin(async move {
            let Some(connection) = self.links.get(&self.broker) else {
                let why = format!("there is no broker `{}` any more", self.broker);
                return Err(PublishError::Unreachable(why));
            };
            let published = connection.link.publish(&publication, expiry, PUBLISH).await;
            published.map_err(|error| {
                let words = error.to_string();
                if error.is_temporary() {
                    PublishError::Unreachable(words)
                } else {
                    PublishError::Refused(words)
                }
            })
        })
    }
}
