//! All that follows from a batch: what to commit, what to tell, what to count.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::detect::LATE_MS;
use super::ingest::Job;
use super::inputs::carries;
use super::item::{Emitted, Identity, Routed};
use super::plan::Plan;
use super::shadow::{Shadowed, Stepped};
use super::worker::Worker;
use crate::config::pipeline::OnReject;
use crate::message::{Content, DeviceId, Item, Message, Origin, Publication, Rejection, Timestamp};
use crate::module::Module;
use crate::store::{DeadLetter, KeyId, KeyRow, Mark, ModuleTag, NewDelivery, SinkId};

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Committed,
    /// By which stage or rule.
    Filtered(Arc<str>),
    DeadLettered,
}

/// The effects of one batch.
#[derive(Debug, Default)]
pub struct Effects {
    pub keys: Vec<(KeyId, Option<KeyRow>)>,
    pub outbox: Vec<NewDelivery>,
    pub dead: Vec<DeadLetter>,
    /// Why the pipeline has to halt, and at which message of the batch; then nothing of these
    /// effects counts.
    pub halts: Vec<(Option<usize>, DeadLetter)>,
    pub marks: Vec<Mark>,
    /// Dead letters that a replay did away with, by number.
    pub letters_gone: Vec<u64>,
    /// Dead letters that a replay left, with the reason of today.
    pub letters_again: Vec<(u64, DeadLetter)>,
    /// By message.
    pub fates: Vec<Fate>,
    /// Every item that a stage emitted, in order.
    pub items: Vec<Emitted>,
    /// Questions to devices, and the broker on which each is asked.
    pub asks: Vec<(Option<Arc<str>>, Publication)>,
    /// Inputs that a detector left aside: stage, device, why.
    pub ignored: Vec<(Arc<str>, Option<DeviceId>, Rejection)>,
    /// Topics and devices that nobody has registered.
    pub unknown: Vec<(Arc<str>, Option<DeviceId>)>,
    /// Rejections that the stage lets pass: stage and code.
    pub passed: Vec<(Arc<str>, String)>,
    pub late: u64,
    pub unclaimed: u64,
    /// What shadows are to be compared on, where the pipeline runs live.
    pub(super) shadowed: Vec<Shadowed>,
    /// The same of detectors.
    pub(super) stepped: Vec<Stepped>,
    pub(super) sequence: usize,
    pub(super) kept: BTreeMap<usize, bool>,
}

impl Effects {
    pub(super) fn filter(&mut self, message: usize, reason: &str) {
        if self.fates[message] == Fate::Committed {
            self.fates[message] = Fate::Filtered(reason.into());
        }
    }

    /// A parser's result for one device of a message: one that keeps something is enough.
    pub(super) fn parsed(
        &mut self,
        message: usize,
        kept: bool,
        reason: &str,
        read_otherwise: bool,
    ) {
        let before = self.kept.entry(message).or_insert(false);
        *before |= kept;
        match (*before, &self.fates[message]) {
            (true, Fate::Filtered(_)) => self.fates[message] = Fate::Committed,
            (false, Fate::Committed) if !read_otherwise => {
                self.fates[message] = Fate::Filtered(reason.into());
            }
            _ => {}
        }
    }

    pub(super) fn reject(
        &mut self,
        policy: OnReject,
        stage: &Arc<str>,
        message: usize,
        rejection: &Rejection,
        build: impl FnOnce() -> DeadLetter,
    ) {
        match policy {
            OnReject::Pass => return self.passed.push((stage.clone(), rejection.code.clone())),
            OnReject::DeadLetter => self.dead.push(build()),
            OnReject::Halt => self.halts.push((Some(message), build())),
        }
        self.fates[message] = Fate::DeadLettered;
    }

    pub(super) fn reject_wake(
        &mut self,
        policy: OnReject,
        stage: &Arc<str>,
        message: Option<usize>,
        rejection: &Rejection,
        build: impl FnOnce() -> DeadLetter,
    ) {
        match policy {
            OnReject::Pass => self.passed.push((stage.clone(), rejection.code.clone())),
            OnReject::DeadLetter => self.dead.push(build()),
            OnReject::Halt => self.halts.push((message, build())),
        }
    }

    /// The first message at which the pipeline has to halt (`None`: a wake-up), and why.
    pub(super) fn take_first_halt(&mut self) -> Option<(Option<usize>, DeadLetter)> {
        let halts = std::mem::take(&mut self.halts);
        halts.into_iter().min_by_key(|(message, _)| *message)
    }

    /// Nothing halts: what would is set aside.
    pub(super) fn set_halts_aside(&mut self) {
        self.dead.extend(self.halts.drain(..).map(|(_, letter)| letter));
    }

    pub(super) fn refuse_item(
        &mut self,
        plan: &Plan,
        parser: usize,
        job: &Job,
        (routed, device): (&Routed, Option<DeviceId>),
        rejection: &Rejection,
    ) {
        let stage = &plan.parsers[parser].stage;
        let known = |letter: &DeadLetter| {
            letter.stage == stage.name && letter.code == rejection.code && letter.device == device
        };
        // One letter, however many items of a message it concerns: it brings all of them back.
        if self.dead.iter().rev().take_while(|l| l.is_of(&routed.message)).any(known) {
            return;
        }
        self.reject(stage.on_reject, &stage.name, job.message, rejection, || {
            letter(plan, &stage.name, Some(&stage.module), rejection, Some(&routed.message), device)
        });
    }

    /// An item that lacks what the stage's key is made of.
    pub(super) fn unkeyed(&mut self, stage: &Arc<str>, missing: String) {
        self.ignored.push((
            stage.clone(),
            None,
            Rejection::new("no-key", format!("the item lacks {missing}")),
        ));
    }
}

/// A dead letter of a stage, with the message's bytes and the module that refused it.
pub(super) fn letter(
    plan: &Plan,
    stage: &Arc<str>,
    module: Option<&Arc<Module>>,
    rejection: &Rejection,
    message: Option<&Arc<Message>>,
    device: Option<DeviceId>,
) -> DeadLetter {
    DeadLetter {
        pipeline: plan.file.name.clone(),
        stage: stage.clone(),
        code: rejection.code.clone(),
        detail: rejection.detail.clone(),
        at: message.map(|m| m.received_at).unwrap_or_default(),
        message: message.map(|m| Message::clone(m)),
        delivery: None,
        module: module.map(|m| ModuleTag {
            name: m.name().to_owned(),
            version: m.version().to_owned(),
            hash: m.hash().0,
        }),
        device,
        key: None,
        attempts: 1,
        answer: None,
        raw: None,
    }
}

/// A command that says nothing of its life expires so long after its input came.
const COMMAND_MS: u64 = 30_000;

impl Worker {
    /// Turns items into deliveries and takes the changed rows along.
    pub(super) fn finish(&mut self, routed: &[Option<Routed>], effects: &mut Effects) {
        let plan = self.plan.clone();
        let mut items = std::mem::take(&mut effects.items);
        let claimed_by_detectors = |item: &Emitted| {
            let rank = plan.rank(&item.stage);
            plan.detectors.iter().any(|d| {
                (!d.source.from.is_empty() || rank < plan.first_detector_rank())
                    && d.source.takes(&item.stage, &item.item)
            })
        };
        for item in items.iter_mut().filter(|item| item.counts) {
            if let Item::Publication(publication) = &item.item {
                let publication = publication.clone();
                self.publish(&plan, item, publication, effects, routed);
                continue;
            }
            let mut claimed = claimed_by_detectors(item);
            for sink in plan.takers() {
                let named = carries(item.bound.as_ref(), sink.labels);
                if !(named && sink.source.takes(&item.stage, &item.item)) {
                    continue;
                }
                claimed = true;
                let identity = self.identify(&plan, item);
                self.deliver(effects, || {
                    let sink_id = SinkId::new(plan.file.name.clone(), sink.name.clone());
                    let content = Content::Item(item.item.clone());
                    delivery(sink_id, sink.expire_ms, identity, item, content, routed)
                });
            }
            effects.unclaimed += u64::from(!claimed);
        }
        self.deliver_messages(&plan, routed, effects);
        effects.items = items;
        for (stage, keys) in &mut self.keys {
            if self.has_store {
                effects.keys.extend(keys.take_changes(&plan.file.name, stage));
            } else {
                keys.forget_changes();
            }
        }
    }

    /// Has it delivered, where anybody keeps what is to be delivered.
    fn deliver(&self, effects: &mut Effects, build: impl FnOnce() -> NewDelivery) {
        if self.has_store {
            effects.outbox.push(build());
        }
    }

    /// Who an item of a parser is: its device's time at that stage moves on.
    fn identify(&mut self, plan: &Plan, item: &mut Emitted) -> Identity {
        if let Some(identity) = &item.identity {
            return identity.clone();
        }
        let key: Arc<str> = item.device.as_ref().map_or_else(|| "".into(), |d| d.0.clone());
        let counted = item.stated.unwrap_or(item.received_at);
        let identity =
            self.tick(plan, &item.stage, &key, item.device.clone(), counted, item.retained);
        item.identity = Some(identity.clone());
        identity
    }

    fn tick(
        &mut self,
        plan: &Plan,
        stage: &Arc<str>,
        key: &Arc<str>,
        device: Option<DeviceId>,
        counted: Timestamp,
        retained: bool,
    ) -> Identity {
        let keys = self.keys.entry(stage.clone()).or_default();
        let place = (&*plan.site.name, &*plan.file.name, &**stage);
        keys.change(key, |row| {
            row.device = device;
            let late = row.at.is_some_and(|last| last.since(counted) > LATE_MS);
            if late {
                // Late items keep their time; the count of late ones tells equal times apart.
                row.late = row.late.wrapping_add(1);
                return Identity::new(place, key, counted, row.late | 1 << 31, 0);
            }
            let at = row.at.map_or(counted, |last| last.max(counted));
            row.ordinal = if row.at == Some(at) { row.ordinal.wrapping_add(1) } else { 0 };
            if !retained {
                row.at = Some(at);
            }
            Identity::new(place, key, at, row.ordinal, 0)
        })
    }

    fn publish(
        &mut self,
        plan: &Plan,
        item: &mut Emitted,
        publication: Publication,
        effects: &mut Effects,
        routed: &[Option<Routed>],
    ) {
        let origin = item.message.and_then(|i| routed.get(i)).and_then(Option::as_ref);
        if !plan.file.publish.iter().any(|p| p.matches(&publication.topic)) {
            let rejection = Rejection::new(
                "publish-not-allowed",
                format!(
                    "topic `{}` is not under [publish] allow of the pipeline",
                    publication.topic
                ),
            );
            let message = origin.map(|r| &r.message);
            let dead = letter(plan, &item.stage, None, &rejection, message, item.device.clone());
            if let Some(i) = item.message {
                effects.fates[i] = Fate::DeadLettered;
            }
            effects.dead.push(dead);
            return;
        }
        let broker = publication
            .broker
            .clone()
            .or_else(|| origin.map(|r| r.message.id.source.to_string()))
            .or_else(|| plan.file.sources.first().map(|s| s.broker.to_string()))
            .unwrap_or_default();
        let identity = self.identify(plan, item);
        let expires = publication.properties.message_expiry.map(|s| u64::from(s) * 1000);
        // What a broker keeps is a state, not a command, and stays right.
        let expires = expires.or((!publication.retain).then_some(COMMAND_MS));
        self.deliver(effects, || {
            let sink = SinkId::publish(plan.file.name.clone(), &broker);
            let content = Content::Item(Item::Publication(publication));
            delivery(sink, expires, identity, item, content, routed)
        });
    }

    /// Sinks that take messages get them as they came, once for each device.
    fn deliver_messages(&mut self, plan: &Plan, routed: &[Option<Routed>], effects: &mut Effects) {
        let stage: Arc<str> = "message".into();
        for sink in plan.takers().filter(|s| s.takes_messages) {
            for (index, r) in routed.iter().enumerate() {
                let Some(r) = r.as_ref().filter(|_| effects.fates[index] == Fate::Committed) else {
                    continue;
                };
                let device = r.bound.first().map(|b| b.device.id.clone());
                let key = device.as_ref().map_or_else(|| r.message.topic.clone(), |d| d.0.clone());
                let counted = r.message.received_at;
                let identity = self.tick(plan, &stage, &key, device.clone(), counted, false);
                self.deliver(effects, || NewDelivery {
                    sink: SinkId::new(plan.file.name.clone(), sink.name.clone()),
                    id: identity.id,
                    key: identity.key,
                    at: identity.at,
                    device,
                    content: Content::Message((*r.message).clone()),
                    origin: Some(Origin::from(&*r.message)),
                    replayed: false,
                    message: Some(r.message.id.clone()),
                    expires_at: sink.expire_ms.map(|ms| counted.plus_ms(ms)),
                });
            }
        }
    }
}

fn delivery(
    sink: SinkId,
    expire_ms: Option<u64>,
    identity: Identity,
    item: &Emitted,
    content: Content,
    routed: &[Option<Routed>],
) -> NewDelivery {
    let origin = item.message.and_then(|i| routed.get(i)).and_then(Option::as_ref);
    let at = match &item.item {
        Item::Event(event) => event.at,
        Item::Reading(reading) => reading.at,
        Item::Publication(_) => None,
    };
    NewDelivery {
        sink,
        id: identity.id,
        key: identity.key,
        at: at.unwrap_or(identity.at),
        device: item.device.clone(),
        content,
        origin: origin.map(|r| Origin::from(&*r.message)),
        replayed: false,
        message: origin.map(|r| r.message.id.clone()),
        expires_at: expire_ms.map(|ms| item.received_at.plus_ms(ms)),
    }
}
