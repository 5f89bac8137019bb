//! The page of `/metrics`: what every part counted, gathered at one moment.
//!
//! Parts keep their own numbers; nothing is counted here.

use std::sync::Arc;

use super::{Connection, Tapline};
use crate::broker::{Risk, SubscriptionStatus};
use crate::module::Module;
use crate::pipeline::{FILTERS, Flow, Plan, Shard, StageStats};
use crate::store::SinkId;
use crate::telemetry::metrics::{Page, table};
use crate::telemetry::{clock, process};

impl Tapline {
    /// All metrics at this moment. Looks into the store, so it is not for the async runtime.
    pub fn metrics(&self) -> Page {
        let mut page = Page::default();
        self.of_process(&mut page);
        for expiring in &self.running().expiring {
            let labels = &[expiring.what, &*expiring.name];
            page.real(&table::EXPIRES, labels, seconds(expiring.at.0));
        }
        for (name, connection) in self.links.all() {
            of_broker(&mut page, &name, &connection);
        }
        let shards = self.running().shards.clone();
        for (name, shard) in &shards {
            of_pipeline(&mut page, name, shard, &self.activity.flow(name));
        }
        self.of_sinks(&mut page);
        self.of_store(&mut page);
        let plans: Vec<_> = shards.values().map(|shard| shard.plan()).collect();
        self.of_modules(&mut page, &plans);
        page
    }

    fn of_process(&self, page: &mut Page) {
        let health = self.health();
        page.level(&table::BUILD_INFO, &[health.version], 1);
        page.real(&table::UPTIME, &[], self.started.elapsed().as_secs_f64());
        if let Some(bytes) = process::resident() {
            page.level(&table::RESIDENT, &[], bytes);
        }
        page.level(&table::PROBLEMS, &[], health.problem_count as u64);
        page.level(&table::DEVICES, &[], health.devices as u64);
        // Until the store can be read again, the page has no revision; the problems say why.
        if let Ok(revision) = self.store.latest_revision_number() {
            page.level(&table::REVISION, &[], revision.unwrap_or(0));
        }
        let reloads = self.reloads();
        page.count(&table::RELOADS, &[], reloads.attempted);
        page.count(&table::RELOADS_APPLIED, &[], reloads.applied);
        page.count(&table::RELOADS_REFUSED, &[], reloads.refused);
        page.real(&table::RELOAD_LAST, &[], seconds(reloads.took_ms));
    }

    fn of_sinks(&self, page: &mut Page) {
        let now = clock::now();
        let mut lags = self.delivery.lags();
        for (id, status) in self.delivery.status() {
            // Each pipeline could publish to each broker; what never did is left out.
            if id.broker().is_some() && status.queued == 0 {
                continue;
            }
            let labels: &[&str] = &[&id.pipeline, &id.stage];
            page.count(&table::SINK_QUEUED, labels, status.queued);
            page.count(&table::SINK_DELIVERED, labels, status.delivered);
            page.count(&table::SINK_RETRIED, labels, status.retries);
            page.count(&table::SINK_DEAD_LETTERED, labels, status.dead);
            page.level(&table::SINK_WAITING, labels, status.waiting);
            page.level(&table::SINK_IN_FLIGHT, labels, status.in_flight as u64);
            page.flag(&table::SINK_PAUSED, labels, status.paused.is_some());
            if let Some(oldest) = self.oldest_ms(&id, status.waiting, now) {
                page.real(&table::SINK_OLDEST, labels, seconds(oldest));
            }
            if let Some(lag) = lags.remove(&id) {
                page.distribution(&table::SINK_LAG, labels, lag);
            }
        }
    }

    /// Age of what waits longest for a sink; `None` if the store cannot be read.
    pub(super) fn oldest_ms(
        &self,
        sink: &SinkId,
        waiting: u64,
        now: crate::message::Timestamp,
    ) -> Option<u64> {
        if waiting == 0 {
            return Some(0);
        }
        let oldest = self.store.outbox_oldest(sink).ok()?;
        Some(oldest.map_or(0, |at| now.since(at)))
    }

    fn of_store(&self, page: &mut Page) {
        let stats = self.store.stats();
        page.level(&table::DEAD_LETTERS, &[], self.store.dead_letter_count());
        page.count(&table::STORE_COMMITS, &[], stats.commits.get());
        page.distribution(&table::STORE_GROUP, &[], stats.group.snapshot());
        page.distribution(&table::STORE_WRITE, &[], stats.write.snapshot());
        page.distribution(&table::STORE_SYNC, &[], stats.sync.snapshot());
        page.count(&table::STORE_FAILURES, &[], stats.failures.get());
        page.level(&table::STORE_SIZE, &[], self.store.size());
        let space = self.store.space();
        page.level(&table::STORE_USED, &[], space.used);
        page.level(&table::STORE_HISTORY, &[], space.history);
        if let Some(free) = space.free {
            page.level(&table::STORE_FREE, &[], free);
        }
        if let Some(room) = space.room {
            page.level(&table::STORE_LEFT, &[], room);
        }
        page.flag(&table::STORE_FULL, &[], self.store.is_full());
    }

    fn of_modules(&self, page: &mut Page, plans: &[Arc<Plan>]) {
        let mut modules: Vec<&Arc<Module>> = plans
            .iter()
            .flat_map(|plan| {
                let sinks = plan.sinks.iter().map(|sink| &sink.stage);
                plan.module_stages().into_iter().chain(sinks)
            })
            .map(|stage| &stage.module)
            .collect();
        modules.sort_by_key(|module| module.hash());
        modules.dedup_by_key(|module| module.hash());
        for module in modules {
            let labels: &[&str] =
                &[module.name(), module.version(), module.role().name(), &module.hash().short()];
            page.level(&table::MODULE_INFO, labels, 1);
        }
        for aside in &self.inputs().aside {
            page.level(&table::MODULE_PUT_ASIDE, &[&aside.module, &aside.hash.short()], 1);
        }
        let stats = self.engine.stats();
        page.count(&table::CACHE_HITS, &[], stats.hits.get());
        page.count(&table::CACHE_MISSES, &[], stats.misses.get());
        page.distribution(&table::COMPILE, &[], stats.compile.snapshot());
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn of_broker(page: &mut Page, name: &str, connection: &Connection) {
    let status = connection.link.status();
    let labels = &[name];
    page.flag(&table::BROKER_CONNECTED, labels, status.connected);
    page.count(&table::BROKER_RECONNECTS, labels, status.reconnects);
    page.count(&table::BROKER_RECEIVED, labels, status.received);
    page.count(&table::BROKER_ACKNOWLEDGED, labels, status.acked);
    page.count(&table::BROKER_SHED, labels, status.shed);
    page.count(&table::BROKER_OVERSIZE, labels, status.oversize);
    page.count(&table::BROKER_UNROUTED, labels, connection.router.unrouted());
    page.level(&table::BROKER_HELD, labels, status.held_messages as u64);
    page.level(&table::BROKER_HELD_BYTES, labels, status.held_bytes as u64);
    let (mut granted, mut pending, mut refused) = (0, 0, 0);
    for state in status.subscriptions.values() {
        match state {
            SubscriptionStatus::Granted { .. } => granted += 1,
            SubscriptionStatus::Pending => pending += 1,
            SubscriptionStatus::Refused { .. } => refused += 1,
        }
    }
    for (state, count) in [("granted", granted), ("pending", pending), ("refused", refused)] {
        page.level(&table::BROKER_SUBSCRIPTIONS, &[name, state], count);
    }
    for kind in Risk::KINDS {
        let at_risk = status.risks.iter().any(|risk| risk.kind() == kind);
        page.flag(&table::BROKER_RISK, &[name, kind], at_risk);
    }
    page.count(&table::BROKER_DROPPED, labels, status.dropped);
}

fn of_pipeline(page: &mut Page, name: &str, shard: &Shard, flow: &Flow) {
    let counts = flow.counts();
    let labels = &[name];
    page.flag(&table::RUNNING, labels, shard.is_alive());
    page.flag(&table::HALTED, labels, shard.halted().is_some());
    page.count(&table::RECEIVED, labels, counts.received);
    page.count(&table::COMMITTED, labels, counts.committed);
    for by in FILTERS.iter().filter(|by| !counts.filtered.contains_key(**by)) {
        page.count(&table::FILTERED, &[name, by], 0);
    }
    for (by, count) in &counts.filtered {
        page.count(&table::FILTERED, &[name, by], *count);
    }
    page.count(&table::DEAD_LETTERED, labels, counts.dead_lettered);
    page.count(&table::DUPLICATES, labels, counts.duplicates);
    page.count(&table::RETURNED, labels, counts.returned);
    page.level(&table::IN_FLIGHT, labels, counts.in_flight);
    page.level(&table::QUEUE, labels, shard.waiting() as u64);
    page.count(&table::LATE, labels, counts.late);
    page.count(&table::UNCLAIMED, labels, counts.unclaimed);
    page.count(&table::DELIVERIES, labels, counts.deliveries);
    page.distribution(&table::BATCH_MESSAGES, labels, flow.batch_messages.snapshot());
    page.distribution(&table::BATCH_TIME, labels, flow.batch_time.snapshot());
    page.distribution(&table::COMMIT_LAG, labels, flow.commit_lag.snapshot());
    for (stage, stats) in flow.all_stages() {
        of_stage(page, &[name, &stage], &stats);
    }
    let plan = shard.plan();
    for (stage, shadow) in plan.shadows() {
        let tally = flow.shadow(&stage.name, shadow);
        for (outcome, count) in tally.counts().by_outcome() {
            page.count(&table::SHADOW_INPUTS, &[name, &stage.name, outcome], count);
        }
        page.flag(&table::SHADOW_STOPPED, &[name, &stage.name], tally.stopped().is_some());
    }
}

fn of_stage(page: &mut Page, labels: &[&str; 2], stats: &StageStats) {
    page.distribution(&table::STAGE_CALL, labels, stats.calls.snapshot());
    page.count(&table::STAGE_INPUTS, labels, stats.inputs.get());
    page.count(&table::STAGE_ROUNDS, labels, stats.rounds.get());
    page.count(&table::STAGE_REJECTED, labels, stats.rejected.get());
    for (code, count) in stats.failures() {
        page.count(&table::STAGE_FAILURES, &[labels[0], labels[1], code], count);
    }
    page.count(&table::STAGE_INSTANCES, labels, stats.instances.get());
    page.count(&table::STAGE_RECYCLED, labels, stats.recycled.get());
}
