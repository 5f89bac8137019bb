//! From a message to items: which source, which devices, which parser; whose reading it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::directory::Bound;
use super::effects::Effects;
use super::item::{Emitted, Position, Routed, stated};
use super::plan::Plan;
use crate::broker::RetainHandling;
use crate::config::pipeline::{KeyPart, Retained, UnknownDevices};
use crate::config::topic::Pattern;
use crate::message::{DeviceId, Item, Message, Reading, Rejection};
use crate::module::{Input, SettingsId};
use crate::quantity;

/// Why a message is filtered before any stage sees it.
pub(super) type Reason = &'static str;

/// Codes of rejections that concern one item of a message, not all that a parser reads in it.
pub(super) const OF_AN_ITEM: [&str; 2] = ["unknown-device", "no-device"];

/// A message for a parser: once for each device that it is bound to.
pub(super) struct Job {
    pub message: usize,
    pub parser: usize,
    pub bound: Option<Arc<Bound>>,
}

/// Finds source and devices of a message; `told` is the device that it is of, where something
/// other than its topic says so.
///
/// # Errors
/// The reason for which it is filtered.
pub(super) fn route(
    plan: &Plan,
    message: &Arc<Message>,
    told: Option<&DeviceId>,
) -> Result<Routed, Reason> {
    let broker = &*message.id.source;
    let bound: Vec<_> = match told {
        Some(device) => plan.directory.get(device).into_iter().cloned().collect(),
        None => plan.directory.find(broker, &message.topic).into_iter().cloned().collect(),
    };
    for (index, source) in plan.file.sources.iter().enumerate() {
        if *source.broker != *broker {
            continue;
        }
        let captures = captures(&source.topics, &message.topic);
        let fixed = captures.is_some() && !source.topics.is_empty();
        if !(fixed || source.devices && !bound.is_empty()) {
            continue;
        }
        if source.except.iter().any(|e| e.matches(&message.topic)) {
            return Err("except");
        }
        if message.retained && source.retained == Retained::Ignore {
            return Err("retained");
        }
        let mut captures = captures.filter(|_| fixed).unwrap_or_default();
        if let Some(device) = told {
            captures.retain(|(name, _)| &**name != "device");
            captures.push(("device".into(), device.as_str().to_owned()));
        }
        let mut routed = Routed { message: message.clone(), bound, captures, source: index };
        if routed.bound.is_empty()
            && let Some(device) = routed.captured_device()
            && let Some(bound) = plan.directory.get(&device)
        {
            routed.bound.push(bound.clone());
        }
        return Ok(routed);
    }
    Err("unsubscribed")
}

/// What the first matching pattern captures; `Some` without captures where there are no
/// patterns at all.
pub(super) fn captures(patterns: &[Pattern], topic: &str) -> Option<Vec<(Arc<str>, String)>> {
    if patterns.is_empty() {
        return Some(Vec::new());
    }
    patterns
        .iter()
        .find_map(|p| p.captures(topic))
        .map(|found| found.iter().map(|(name, value)| (name.into(), value.into())).collect())
}

/// The module's view of a routed message. A message of several devices is validated once.
pub(super) fn input_of(routed: &Routed) -> (&Message, Option<&DeviceId>) {
    let device = match routed.bound.as_slice() {
        [one] => Some(&one.device.id),
        _ => None,
    };
    (&routed.message, device)
}

/// Module inputs of a batch.
pub(super) fn inputs<'a>(
    batch: &[(SettingsId, &(&'a Message, Option<&'a DeviceId>))],
) -> Vec<Input<'a>> {
    batch
        .iter()
        .map(|&(settings, &(message, device))| Input { settings, message, device })
        .collect()
}

/// Applies a JSON Schema to a payload.
///
/// # Errors
/// `not-json`, or `schema` with the first places that do not fit.
pub(super) fn check_schema(
    schema: &jsonschema::Validator,
    payload: &[u8],
) -> Result<(), Rejection> {
    let value: serde_json::Value = serde_json::from_slice(payload)
        .map_err(|error| Rejection::new("not-json", format!("payload is not JSON: {error}")))?;
    let words: Vec<_> = schema
        .iter_errors(&value)
        .take(3)
        .map(|error| format!("`{}`: {error}", error.instance_path()))
        .collect();
    if words.is_empty() { Ok(()) } else { Err(Rejection::new("schema", words.join("; "))) }
}

/// Which parser reads which message for which device, and what no parser reads.
pub(super) fn jobs(plan: &Plan, routed: &[Option<Routed>]) -> (Vec<Job>, Vec<(usize, Reason)>) {
    let mut jobs = Vec::with_capacity(routed.len());
    let mut unmatched = Vec::new();
    for (message, r) in routed.iter().enumerate() {
        let Some(r) = r else { continue };
        if !r.bound.is_empty() {
            jobs.extend(r.bound.iter().map(|bound| Job {
                message,
                parser: bound.parser,
                bound: Some(bound.clone()),
            }));
            continue;
        }
        let parser =
            plan.parsers.iter().position(|p| p.topics.iter().any(|t| t.matches(&r.message.topic)));
        match parser {
            Some(parser) => jobs.push(Job { message, parser, bound: None }),
            None if plan.reads_messages => {}
            None if r.captured_device().is_some() => unmatched.push((message, "unknown-device")),
            None => unmatched.push((message, "unmatched")),
        }
    }
    (jobs, unmatched)
}

/// Decides whose each item is, what of it counts and when.
pub(super) fn claim(
    plan: &Plan,
    parser: usize,
    job: &Job,
    routed: &Routed,
    found: Vec<Item>,
    effects: &mut Effects,
    items: &mut Vec<Emitted>,
) {
    let stage = &plan.parsers[parser];
    let source = &plan.file.sources[routed.source];
    let message = &routed.message;
    let mut kept = false;
    let mut reason: Option<Reason> = None;
    for (output, mut item) in found.into_iter().enumerate() {
        let own = match &item {
            Item::Reading(r) => r.device.clone(),
            Item::Event(e) => e.device.clone(),
            Item::Publication(_) => None,
        };
        let (device, bound) = match whose(plan, job, routed, own) {
            Whose::Registered(bound) => (Some(bound.device.id.clone()), Some(bound)),
            Whose::Named(device) => match source.unknown_devices {
                UnknownDevices::Accept => (Some(device), None),
                UnknownDevices::Report => {
                    effects.unknown.push((message.topic.clone(), Some(device)));
                    reason = Some("unknown-device");
                    continue;
                }
                UnknownDevices::DeadLetter => {
                    let detail = format!("device `{device}` is not registered");
                    effects.refuse_item(
                        plan,
                        parser,
                        job,
                        (routed, Some(device)),
                        &Rejection::new("unknown-device", detail),
                    );
                    continue;
                }
            },
            Whose::Nobody if matches!(item, Item::Publication(_)) => (None, None),
            Whose::Nobody => {
                let detail =
                    format!("neither registry nor payload of `{}` names a device", message.topic);
                effects.refuse_item(
                    plan,
                    parser,
                    job,
                    (routed, None),
                    &Rejection::new("no-device", detail),
                );
                continue;
            }
        };
        let said = match &item {
            Item::Reading(r) => r.at,
            Item::Event(e) => e.at,
            Item::Publication(_) => None,
        };
        let said = stated(stage.time, plan.site.time, said, message.received_at);
        let retained = message.retained && said.is_none() && source.retained == Retained::Flags;
        if let Item::Reading(reading) = &mut item {
            if retained {
                reading.measurements.retain(|m| quantity::is_flag(m.quantity));
            }
            if reading.measurements.is_empty() {
                reason = Some("retained");
                continue;
            }
            if bound.as_ref().is_some_and(|b| !is_channel_of(&b.device.channel, reading)) {
                reason = Some("other-channel");
                continue;
            }
        } else if retained && matches!(item, Item::Event(_)) {
            reason = Some("retained");
            continue;
        }
        kept = true;
        items.push(Emitted {
            item,
            stage: stage.stage.name.clone(),
            device,
            bound,
            stated: said,
            received_at: message.received_at,
            qos: message.qos,
            retained,
            message: Some(job.message),
            woken: None,
            position: Position {
                input: job.message,
                stage: plan.rank(&stage.stage.name),
                output: items.len() + output,
            },
            identity: None,
            counts: true,
        });
    }
    effects.parsed(job.message, kept, reason.unwrap_or("nothing"), plan.reads_messages);
}

enum Whose {
    Registered(Arc<Bound>),
    Named(DeviceId),
    Nobody,
}

/// The registry's device beats the parser's, unless the parser's is itself registered.
fn whose(plan: &Plan, job: &Job, routed: &Routed, own: Option<DeviceId>) -> Whose {
    if let Some(bound) = own.as_ref().and_then(|own| plan.directory.get(own)) {
        return Whose::Registered(bound.clone());
    }
    if let Some(bound) = &job.bound {
        return Whose::Registered(bound.clone());
    }
    match own.or_else(|| routed.captured_device()) {
        Some(device) => Whose::Named(device),
        None => Whose::Nobody,
    }
}

/// A reading goes to the device whose channel it is; that the device can be reached
/// concerns all its channels.
fn is_channel_of(channels: &[String], reading: &Reading) -> bool {
    channels.is_empty()
        || channels.contains(&reading.channel)
        || quantity::by_name("online")
            .is_some_and(|online| reading.measurements.iter().any(|m| m.quantity == online))
}

/// The key of an input at a detector; `captures` is what its topic captured.
///
/// # Errors
/// What it lacks.
pub(super) fn key(
    parts: &[KeyPart],
    device: Option<&DeviceId>,
    channel: &str,
    captures: &[(Arc<str>, String)],
) -> Result<Arc<str>, String> {
    let part = |part: &KeyPart| match part {
        KeyPart::Device => device.map(|d| d.0.clone()).ok_or_else(|| "a device".to_owned()),
        KeyPart::Channel => Ok(channel.into()),
        KeyPart::Capture(name) => captures
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str().into())
            .ok_or_else(|| format!("`{{{name}}}` in its topic")),
    };
    if let [only] = parts {
        return part(only);
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|p| part(p).map(|text| text.replace('%', "%25").replace('/', "%2F")))
        .collect::<Result<_, _>>()?;
    Ok(parts.join("/").into())
}

/// The filters that a pipeline wants of each broker, with the strongest wish of its sources.
pub fn subscriptions(
    plan: &Plan,
) -> BTreeMap<Arc<str>, BTreeMap<String, crate::broker::Subscription>> {
    let mut all: BTreeMap<Arc<str>, BTreeMap<String, crate::broker::Subscription>> =
        BTreeMap::new();
    for source in &plan.file.sources {
        let wishes = all.entry(source.broker.clone()).or_default();
        let wish = crate::broker::Subscription {
            qos: source.qos,
            no_local: source.no_local,
            retain_as_published: source.retain_as_published,
            retain_handling: match source.retain_handling {
                1 => RetainHandling::IfNew,
                2 => RetainHandling::Never,
                _ => RetainHandling::Always,
            },
        };
        let mut add = |filter: String| {
            wishes.entry(filter).and_modify(|old| old.qos = old.qos.max(wish.qos)).or_insert(wish);
        };
        source.topics.iter().for_each(|t| add(t.filter()));
        if source.devices {
            let devices = plan.directory.bound.iter();
            devices.flat_map(|b| &b.filters).for_each(|f| add(f.clone()));
        }
    }
    all
}
