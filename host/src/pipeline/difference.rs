//! How a plan differs from the one that runs: worked out before the pipeline's thread is
//! asked for anything, so that it stands still for as short as can be.

use std::collections::{HashMap, HashSet};

use super::directory::Bound;
use super::plan::{DetectStage, ModuleStage, Plan, ShadowStage};
use crate::message::DeviceId;

/// Which keys have to be told of a new plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    Nobody,
    /// Keys of these devices: changed, or gone.
    Devices(HashSet<DeviceId>),
    Everybody,
}

impl Plan {
    /// Whether `other` does exactly the same, so that there is nothing to take up.
    pub fn is_same(&self, other: &Self) -> bool {
        *self.file == *other.file
            && self.site.name == other.site.name
            && self.site.time == other.site.time
            && all_same(&self.module_stages(), &other.module_stages(), |a, b| same_stage(a, b))
            && all_same(&self.sinks, &other.sinks, |a, b| {
                same_stage(&a.stage, &b.stage) && a.endpoint == b.endpoint
            })
            && self.concerned(other) == Concerned::Nobody
    }

    /// Whose settings or existence `next` changes.
    pub fn concerned(&self, next: &Self) -> Concerned {
        if self.accepts_unknown() != next.accepts_unknown()
            || !all_same(&self.detectors, &next.detectors, same_to_keys)
        {
            return Concerned::Everybody;
        }
        let before: HashMap<_, _> =
            self.directory.bound.iter().map(|bound| (&bound.device.id, bound)).collect();
        let mut concerned = HashSet::new();
        for bound in &next.directory.bound {
            let same = before.get(&bound.device.id).is_some_and(|old| same_bound(old, bound));
            if !same {
                concerned.insert(bound.device.id.clone());
            }
        }
        let is_gone = |id: &&DeviceId| next.directory.get(id).is_none();
        concerned.extend(before.into_keys().filter(is_gone).cloned());
        if concerned.is_empty() { Concerned::Nobody } else { Concerned::Devices(concerned) }
    }
}

fn all_same<T>(one: &[T], other: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
}

fn same_stage(one: &ModuleStage, other: &ModuleStage) -> bool {
    one.name == other.name
        && one.module.hash() == other.module.hash()
        && one.limits == other.limits
        && one.on_reject == other.on_reject
        && one.settings.hash == other.settings.hash
        && same_shadow(one.shadow.as_deref(), other.shadow.as_deref())
}

fn same_shadow(one: Option<&ShadowStage>, other: Option<&ShadowStage>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.module == other.module && one.stage.module.hash() == other.stage.module.hash()
        }
        (None, None) => true,
        _ => false,
    }
}

/// What decides whose a key is and with which settings it steps.
fn same_to_keys(one: &DetectStage, other: &DetectStage) -> bool {
    one.stage.name == other.stage.name
        && one.stage.settings.hash == other.stage.settings.hash
        && one.labels == other.labels
        && one.key == other.key
}

fn same_bound(one: &Bound, other: &Bound) -> bool {
    let settings = |bound: &Bound| bound.detect_settings.iter().map(|s| s.hash).collect::<Vec<_>>();
    one.device.is_same(&other.device)
        && one.parser == other.parser
        && one.parse_settings.hash == other.parse_settings.hash
        && settings(one) == settings(other)
        && one.filters == other.filters
        && one.ask == other.ask
        && one.brokers == other.brokers
}
