//! The authorities that endpoints name: whether their files can be used.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::certificates::chain;
use crate::config::Problem;
use crate::config::site::Endpoint;
use crate::pipeline::Plan;

/// The hash of the authorities that an endpoint trusts; `None`: it names none, or some that
/// cannot be used now.
pub(super) fn hash(endpoint: &Endpoint) -> Option<[u8; 32]> {
    chain(endpoint.ca.as_deref()?).ok().map(|hash| hash.0)
}

/// Names the files that cannot be used.
pub(super) fn check(plans: &[Arc<Plan>], problems: &mut Vec<Problem>) {
    let sinks = plans.iter().flat_map(|plan| &plan.sinks);
    let named = sinks.filter_map(|sink| Some((sink.endpoint.ca.as_deref()?, &sink.endpoint.name)));
    let files: BTreeMap<&Path, &String> = named.collect();
    for (file, endpoint) in files {
        let Err(why) = chain(file) else { continue };
        let what = format!("endpoint `{endpoint}` cannot use it: {why}");
        let problem =
            Problem::of(file, what, "replace it; a sink that runs goes on with the one before");
        tracing::error!(event = "certificate_unusable", endpoint, %problem, "a sink that runs goes on with the one before");
        problems.push(problem);
    }
}
