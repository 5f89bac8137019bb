//! What runs, for those who look at single devices and topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tapline;
use crate::pipeline::Plan;

impl Tapline {
    /// What each pipeline runs now, by name.
    pub fn plans(&self) -> BTreeMap<Arc<str>, Arc<Plan>> {
        let running = self.running();
        running.shards.iter().map(|(name, shard)| (name.clone(), shard.plan())).collect()
    }
}
