//! Every metric that Tapline exports: name, kind, labels, and one sentence. The guide's table
//! and the dashboard are compared with this one by tests.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up; starts anew with the process.
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Without the prefix `tapline_`, a counter's `_total` and the unit.
    pub(super) stem: &'static str,
    pub kind: Kind,
    /// Base unit, the last part of the name.
    pub unit: Option<&'static str>,
    pub labels: &'static [&'static str],
    /// One sentence without its full stop.
    pub help: &'static str,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// As one asks for it: a counter with `_total`, a histogram without `_bucket`.
    pub fn name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let end = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("tapline_{}{unit}{end}", self.stem)
    }
}

macro_rules! metrics {
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
    ($($(#[$doc:meta])* $name:ident = $kind:ident $stem:literal $(in $unit:literal)?
        by [$($label:literal),*]: $help:literal;)+) => {
        $(
            $(#[$doc])*
            #[doc = $help]
            pub const $name: Metric = Metric {
                stem: $stem,
                kind: Kind::$kind,
                unit: metrics!(@unit $($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )+
        /// All of them, in the order of the page.
        pub const METRICS: &[Metric] = &[$($name),+];
    };
}

metrics! {
    BUILD_INFO = Gauge "build_info" by ["version"]: "Always 1; the label tells which program runs";
    UPTIME = Gauge "uptime" in "seconds" by []: "Time since the start";
    RESIDENT = Gauge "process_resident_memory" in "bytes" by []:
        "Memory that the process holds, as the system counts it; not told everywhere";
    PROBLEMS = Gauge "problems" by []: "Problems that /health names; 0 is ok, more is degraded";
    DEVICES = Gauge "devices" by []: "Registered devices";
    REVISION = Gauge "config_revision" by []:
        "Number of the pushed configuration in force; 0 before the first";
    RELOADS = Counter "reloads" by []: "Times that files were read again";
    RELOADS_APPLIED = Counter "reloads_applied" by []: "Of these, times that something took effect";
    RELOADS_REFUSED = Counter "reloads_refused" by []:
        "Of these, times that a file was wrong, or nothing could be read";
    RELOAD_LAST = Gauge "reload_last" in "seconds" by []: "Duration of the last one";
    EXPIRES = Gauge "expires_timestamp" in "seconds" by ["what", "name"]:
        "When a certificate, token or key expires, in Unix time; what has no known end is left out";

    BROKER_CONNECTED = Gauge "broker_connected" by ["broker"]:
        "1 while the receiving connection stands";
    BROKER_RECONNECTS = Counter "broker_reconnects" by ["broker"]:
        "Connections after the first";
    BROKER_RECEIVED = Counter "broker_received" by ["broker"]: "Messages that came from the broker";
    BROKER_ACKNOWLEDGED = Counter "broker_acknowledged" by ["broker"]:
        "Messages of QoS 1 and 2 that were acknowledged";
    BROKER_SHED = Counter "broker_shed" by ["broker"]:
        "Messages of QoS 0 that came at the ceiling and were dropped";
    BROKER_OVERSIZE = Counter "broker_oversize" by ["broker"]:
        "Messages over the packet limit that were acknowledged unread";
    BROKER_UNROUTED = Counter "broker_unrouted" by ["broker"]:
        "Messages that no pipeline wanted any more";
    BROKER_HELD = Gauge "broker_held_messages" by ["broker"]: "Messages received and not settled";
    BROKER_HELD_BYTES = Gauge "broker_held" in "bytes" by ["broker"]: "Their size";
    BROKER_SUBSCRIPTIONS = Gauge "broker_subscriptions" by ["broker", "state"]:
        "Topic filters by state: granted, pending or refused";
    BROKER_RISK = Gauge "broker_risk" by ["broker", "risk"]:
        "1 while the broker can lose messages in this way, or did within the last day";
    BROKER_DROPPED = Counter "broker_dropped" by ["broker"]:
        "Messages of any client that the broker counted as dropped";

    RUNNING = Gauge "pipeline_running" by ["pipeline"]: "1 while the pipeline's thread runs";
    HALTED = Gauge "pipeline_halted" by ["pipeline"]:
        "1 while the pipeline stands still before an input that a stage refuses";
    RECEIVED = Counter "pipeline_received" by ["pipeline"]: "Messages handed to the pipeline";
    COMMITTED = Counter "pipeline_committed" by ["pipeline"]:
        "Messages whose effects are on the disk";
    FILTERED = Counter "pipeline_filtered" by ["pipeline", "by"]:
        "Messages that a stage or rule left aside on purpose";
    DEAD_LETTERED = Counter "pipeline_dead_lettered" by ["pipeline"]:
        "Messages that went to the dead letters";
    DUPLICATES = Counter "pipeline_duplicates" by ["pipeline"]:
        "Redelivered messages that had been committed already";
    RETURNED = Counter "pipeline_returned" by ["pipeline"]:
        "Messages dropped without a commit when the pipeline broke; the broker sends those of QoS 1 and 2 again";
    IN_FLIGHT = Gauge "pipeline_in_flight" by ["pipeline"]:
        "Messages handed to the pipeline and neither committed nor returned";
    QUEUE = Gauge "pipeline_queue" by ["pipeline"]: "Messages that wait for the pipeline's thread";
    LATE = Counter "pipeline_late" by ["pipeline"]:
        "Inputs over a minute older than their key's last; no detector saw them";
    UNCLAIMED = Counter "pipeline_unclaimed" by ["pipeline"]: "Items that no stage took";
    DELIVERIES = Counter "pipeline_deliveries" by ["pipeline"]:
        "Deliveries that the pipeline handed to its sinks";
    BATCH_MESSAGES = Histogram "pipeline_batch_messages" by ["pipeline"]: "Messages in a batch";
    BATCH_TIME = Histogram "pipeline_batch" in "seconds" by ["pipeline"]:
        "Time to work a batch off, without its commit";
    COMMIT_LAG = Histogram "pipeline_commit_lag" in "seconds" by ["pipeline"]:
        "Time from a message's receipt until its effects are on the disk";

    STAGE_CALL = Histogram "stage_call" in "seconds" by ["pipeline", "stage"]:
        "Time of a module's call, as the host sees it";
    STAGE_INPUTS = Counter "stage_inputs" by ["pipeline", "stage"]: "Inputs of these calls";
    STAGE_ROUNDS = Counter "stage_rounds" by ["pipeline", "stage"]:
        "Rounds in which a detector worked batches off, each key at most once a round";
    STAGE_REJECTED = Counter "stage_rejected" by ["pipeline", "stage"]:
        "Inputs that the stage refused, or that its module could not bear";
    STAGE_FAILURES = Counter "stage_failures" by ["pipeline", "stage", "code"]:
        "Calls that cost the instance: module-trap, module-timeout, module-memory, module-output, module-length or module-answer";
    STAGE_INSTANCES = Counter "stage_instances" by ["pipeline", "stage"]: "Instances made";
    STAGE_RECYCLED = Counter "stage_recycled" by ["pipeline", "stage"]:
        "Instances replaced because their memory had grown";

    SHADOW_INPUTS = Counter "shadow_inputs" by ["pipeline", "stage", "outcome"]:
        "Inputs of a stage with a shadow: same, different, only-live, only-shadow, refused-differently, failed or not-compared";
    SHADOW_STOPPED = Gauge "shadow_stopped" by ["pipeline", "stage"]:
        "1 once a shadow has failed so often that it looks at nothing any more";

    SINK_QUEUED = Counter "sink_queued" by ["pipeline", "sink"]:
        "Deliveries put into the outbox, those found there at the start included";
    SINK_DELIVERED = Counter "sink_delivered" by ["pipeline", "sink"]:
        "Deliveries that the other side accepted, those it had already included";
    SINK_RETRIED = Counter "sink_retried" by ["pipeline", "sink"]:
        "Attempts that have to be repeated";
    SINK_DEAD_LETTERED = Counter "sink_dead_lettered" by ["pipeline", "sink"]:
        "Deliveries that went to the dead letters";
    SINK_WAITING = Gauge "sink_waiting" by ["pipeline", "sink"]:
        "Deliveries in the outbox, those on their way included";
    SINK_IN_FLIGHT = Gauge "sink_in_flight" by ["pipeline", "sink"]: "Deliveries on their way";
    SINK_OLDEST = Gauge "sink_oldest" in "seconds" by ["pipeline", "sink"]:
        "Age of the oldest delivery in the outbox; 0 if there is none";
    SINK_PAUSED = Gauge "sink_paused" by ["pipeline", "sink"]:
        "1 while nothing is sent until a person acts";
    SINK_LAG = Histogram "sink_lag" in "seconds" by ["pipeline", "sink"]:
        "Time from an event, by its own date, until the other side accepted it";

    DEAD_LETTERS = Gauge "dead_letters" by []: "Dead letters in the store";
    STORE_COMMITS = Counter "store_commits" by []: "Commits that are on the disk";
    STORE_GROUP = Histogram "store_group_commits" by []: "Commits that shared a transaction";
    STORE_WRITE = Histogram "store_write" in "seconds" by []:
        "Time to write a group and bring it to the disk";
    STORE_SYNC = Histogram "store_sync" in "seconds" by []: "The part of it that waits for the disk";
    STORE_FAILURES = Counter "store_failures" by []: "Attempts at a group that failed and were repeated";
    STORE_SIZE = Gauge "store_size" in "bytes" by []: "Database and its log";
    STORE_USED = Gauge "store_used" in "bytes" by []: "What lies in the database";
    STORE_HISTORY = Gauge "store_history" in "bytes" by []:
        "Of these, the history of messages, which goes first when room is short";
    STORE_FREE = Gauge "store_free" in "bytes" by []:
        "Free space of the file system; not told everywhere";
    STORE_LEFT = Gauge "store_left" in "bytes" by []:
        "What may still come before the next of the store's limits";
    STORE_FULL = Gauge "store_full" by []:
        "1 while there is no room and messages are not acknowledged";

    MODULE_INFO = Gauge "module_info" by ["module", "version", "role", "hash"]:
        "Always 1; a module that a stage uses, with the first digits of its hash";
    MODULE_PUT_ASIDE = Gauge "module_put_aside" by ["module", "hash"]:
        "Always 1; a version that failed again and again, by the name of its file and its first digits";
    CACHE_HITS = Counter "module_cache_hits" by []: "Modules taken compiled from the cache";
    CACHE_MISSES = Counter "module_cache_misses" by []: "Modules that the cache did not have";
    COMPILE = Histogram "module_compile" in "seconds" by []: "Time to compile a module";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_in_the_form_that_prometheus_asks_for() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(["seconds", "bytes"].iter().all(|u| !metric.stem.ends_with(u)), "{name}");
            assert!(metric.unit.is_none_or(|u| u == "seconds" || u == "bytes"), "{name}");
            assert!(!metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
            assert!(seen.insert(name.clone()), "{name} stands twice");
        }
    }

    #[test]
    fn no_label_takes_what_a_device_chooses() {
        for metric in METRICS {
            for label in metric.labels {
                assert!(!["device", "topic", "key", "channel", "detail"].contains(label));
            }
        }
    }
}
