//! A status as a person reads it: first whether all is well, then tables.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::table;
use crate::message::Timestamp;
use crate::reload::{PipelineStatus, StageStatus, Status};

/// Errors that are listed at the end, the newest first.
const ERRORS: usize = 10;

/// The whole text; `now` dates it.
pub(super) fn of(status: &Status, now: Timestamp) -> String {
    let sections = [
        headline(status),
        head(status, now),
        brokers(status, now),
        pipelines(status),
        stages(status),
        sinks(status, now),
        modules(status),
        errors(status, now),
    ];
    let sections: Vec<_> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    sections.join("\n\n")
}

fn headline(status: &Status) -> String {
    let mut text = match status.problems.as_slice() {
        [] => format!("{}: everything runs", status.status),
        [one] => format!("{}: {}", status.status, table::plain(one)),
        several => {
            let mut text = format!("{}: {} problems", status.status, several.len());
            for problem in several {
                let _always = write!(text, "\n  {}", table::plain(problem));
            }
            text
        }
    };
    for warning in &status.warnings {
        let _always = write!(text, "\nwarning: {}", table::plain(warning));
    }
    text
}

fn head(status: &Status, now: Timestamp) -> String {
    let config = match (status.revision, &status.last_config_update) {
        (Some(revision), Some(at)) => format!("revision {revision}, pushed {}", ago(at, now)),
        (Some(revision), None) => format!("revision {revision}"),
        (None, _) => "nothing was pushed yet".to_owned(),
    };
    let up = span(status.uptime_s);
    let rows = [
        ("bridge", format!("{}, Tapline {}, up {up}", status.bridge_id, status.version)),
        ("site", status.site.clone().unwrap_or_else(|| "none; what ships runs".to_owned())),
        ("data", format!("{}, {}", status.data, size(status.store_bytes))),
        ("config", config),
        ("devices", status.devices.to_string()),
        ("dead letters", status.dead_letters.to_string()),
    ];
    let lines = rows.map(|(name, value)| format!("{name:<14}{}", table::plain(&value)));
    lines.join("\n")
}

fn brokers(status: &Status, now: Timestamp) -> String {
    let rows = status.brokers.iter().map(|broker| {
        let since = broker.since.as_deref().map(|at| age(at, now)).unwrap_or_default();
        let connected = match (broker.connected, since.is_empty()) {
            (true, true) => "yes".to_owned(),
            (true, false) => format!("for {since}"),
            (false, true) => "no".to_owned(),
            (false, false) => format!("not for {since}"),
        };
        let mut filters = broker.granted.to_string();
        if broker.pending > 0 {
            let _always = write!(filters, ", {} pending", broker.pending);
        }
        if !broker.refused.is_empty() {
            let _always = write!(filters, ", {} refused", broker.refused.len());
        }
        let session = match (broker.session_present, broker.drained) {
            (true, true) => "resumed",
            (false, true) => "new",
            (true, false) => "resumed, catching up",
            (false, false) => "new, catching up",
        };
        let session = if broker.connected { session } else { "" };
        let counts = [broker.received, broker.shed, broker.unrouted, broker.reconnects];
        [
            vec![broker.broker.clone(), broker.address.clone(), connected, filters],
            vec![session.to_owned()],
            counts.map(|n| n.to_string()).to_vec(),
        ]
        .concat()
    });
    let headers = [
        "broker",
        "address",
        "connected",
        "subscriptions",
        "session",
        "received",
        "shed",
        "unrouted",
        "reconnects",
    ];
    table::text(&headers, rows.collect())
}

fn pipelines(status: &Status) -> String {
    let rows = status.pipelines.iter().map(|pipeline| {
        let counts = &pipeline.counts;
        let numbers = [
            pipeline.devices as u64,
            counts.received,
            counts.committed,
            counts.filtered_in_all(),
            counts.dead_lettered,
            counts.duplicates,
            counts.in_flight,
        ];
        [
            vec![pipeline.pipeline.clone(), yes(pipeline.running)],
            numbers.map(|n| n.to_string()).to_vec(),
            vec![pipeline.file.clone()],
        ]
        .concat()
    });
    let headers = [
        "pipeline",
        "running",
        "devices",
        "received",
        "committed",
        "filtered",
        "dead-lettered",
        "duplicates",
        "in flight",
        "file",
    ];
    table::text(&headers, rows.collect())
}

fn stages(status: &Status) -> String {
    let rows = all_stages(status).map(|(pipeline, stage)| {
        let module = match (&stage.module, &stage.version) {
            (Some(module), Some(version)) => format!("{module} {version}"),
            _ => "a schema".to_owned(),
        };
        let failed: u64 = stage.failures.values().sum();
        let call = stage.busy_ms.saturating_mul(1000).checked_div(stage.calls).unwrap_or(0);
        vec![
            format!("{}/{}", pipeline.pipeline, stage.stage),
            stage.kind.clone(),
            module,
            stage.hash.clone().unwrap_or_default(),
            stage.calls.to_string(),
            stage.inputs.to_string(),
            stage.rejected.to_string(),
            failed.to_string(),
            micros(call),
        ]
    });
    let headers =
        ["stage", "kind", "module", "hash", "calls", "inputs", "rejected", "failures", "a call"];
    table::text(&headers, rows.collect())
}

fn sinks(status: &Status, now: Timestamp) -> String {
    let rows = status.sinks.iter().map(|sink| {
        let trouble = match (&sink.paused, &sink.last_error) {
            (Some(why), _) => format!("paused: {}", why.what),
            (None, error) => error.clone().unwrap_or_default(),
        };
        let last = sink.last_delivered_at.as_deref().map(|at| ago(at, now)).unwrap_or_default();
        let counts = [sink.delivered, sink.retried, sink.dead_lettered].map(|n| n.to_string());
        [
            vec![format!("{}/{}", sink.pipeline, sink.sink), sink.waiting.to_string()],
            vec![sink.oldest_s.map(span).unwrap_or_default()],
            counts.to_vec(),
            vec![last, short(&trouble)],
        ]
        .concat()
    });
    let headers = [
        "sink",
        "waiting",
        "oldest",
        "delivered",
        "retried",
        "dead-lettered",
        "last delivered",
        "trouble",
    ];
    table::text(&headers, rows.collect())
}

fn modules(status: &Status) -> String {
    let rows = status.modules.iter().map(|module| {
        vec![
            module.module.clone(),
            module.version.clone(),
            module.role.clone(),
            module.hash.clone(),
            size(module.size_bytes as u64),
            module.from.clone(),
            module.used_by.join(", "),
        ]
    });
    let headers = ["module", "version", "role", "hash", "size", "from", "used by"];
    table::text(&headers, rows.collect())
}

/// What went wrong last at each place; it may be over.
fn errors(status: &Status, now: Timestamp) -> String {
    let of_brokers = status.brokers.iter().filter_map(|broker| {
        let error = broker.last_error.as_ref()?;
        Some((error.at.clone(), format!("broker {}", broker.broker), error.what.clone()))
    });
    let of_stages = all_stages(status).filter_map(|(pipeline, stage)| {
        let error = stage.last_error.as_ref()?;
        let place = format!("stage {}/{}", pipeline.pipeline, stage.stage);
        Some((error.at.clone(), place, error.what.clone()))
    });
    let mut all: Vec<_> = of_brokers.chain(of_stages).collect();
    all.sort_by(|one, other| other.0.cmp(&one.0));
    all.truncate(ERRORS);
    let rows = all.into_iter().map(|(at, place, what)| {
        vec![at.map(|at| ago(&at, now)).unwrap_or_default(), place, short(&what)]
    });
    table::text(&["last errors", "where", "what"], rows.collect())
}

fn all_stages(status: &Status) -> impl Iterator<Item = (&PipelineStatus, &StageStatus)> {
    status.pipelines.iter().flat_map(|p| p.stages.iter().map(move |stage| (p, stage)))
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "NO" }.to_owned()
}

/// The beginning of a long text; `--json` has the whole.
fn short(text: &str) -> String {
    const LENGTH: usize = 100;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

fn micros(us: u64) -> String {
    match us {
        0 => String::new(),
        1..10_000 => format!("{us} µs"),
        _ => format!("{} ms", us / 1000),
    }
}

/// The two largest parts of a time.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// How long ago; the text itself if it is no time.
fn age(at: &str, now: Timestamp) -> String {
    let Ok(parsed) = OffsetDateTime::parse(at, &Rfc3339) else { return at.to_owned() };
    let at = u64::try_from(parsed.unix_timestamp()).unwrap_or(0);
    span((now.0 / 1000).saturating_sub(at))
}

fn ago(at: &str, now: Timestamp) -> String {
    format!("{} ago", age(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::{BrokerStatus, Failure, ModuleStatus, SinkState};

    const NOW: Timestamp = Timestamp(1_795_000_000_000);

    fn at(seconds_ago: u64) -> String {
        NOW.minus_ms(seconds_ago * 1000).rfc3339()
    }

    fn healthy() -> Status {
        let stage = StageStatus {
            stage: "session".into(),
            kind: "detect".into(),
            module: Some("session".into()),
            version: Some("0.1.0".into()),
            hash: Some("0123456789ab".into()),
            calls: 12_000,
            inputs: 30_000,
            rejected: 0,
            failures: Default::default(),
            recycled: 0,
            busy_ms: 1_200,
            last_error: None,
        };
        Status {
            status: "ok".into(),
            problems: Vec::new(),
            warnings: Vec::new(),
            version: "0.1.0".into(),
            bridge_id: "hall".into(),
            uptime_s: 11_520,
            site: None,
            data: "/var/lib/tapline".into(),
            devices: 12,
            revision: Some(4),
            last_config_update: Some(at(120)),
            dead_letters: 0,
            store_bytes: 1 << 20,
            brokers: vec![BrokerStatus {
                broker: "main".into(),
                address: "broker:1883".into(),
                connected: true,
                since: Some(at(90_000)),
                granted: 24,
                pending: 0,
                refused: Default::default(),
                session_present: true,
                drained: true,
                received: 30_001,
                acknowledged: 30_001,
                shed: 0,
                oversize: 0,
                unrouted: 0,
                reconnects: 1,
                held_messages: 0,
                risks: Vec::new(),
                dropped_by_broker: 0,
                last_error: None,
            }],
            pipelines: vec![PipelineStatus {
                pipeline: "workshop".into(),
                file: "pipelines/workshop.toml (shipped)".into(),
                running: true,
                devices: 12,
                queue: 0,
                counts: Default::default(),
                stages: vec![stage],
            }],
            sinks: vec![SinkState {
                pipeline: "workshop".into(),
                sink: "odoo".into(),
                waiting: 0,
                oldest_s: None,
                in_flight: 0,
                queued: 7,
                delivered: 7,
                retried: 0,
                dead_lettered: 0,
                paused: None,
                last_error: None,
                last_delivered_at: Some(at(61)),
            }],
            modules: vec![ModuleStatus {
                module: "session".into(),
                version: "0.1.0".into(),
                role: "detector".into(),
                hash: "0123456789ab".into(),
                size_bytes: 200 << 10,
                from: "shipped".into(),
                used_by: vec!["workshop/session".into()],
            }],
        }
    }

    #[test]
    fn a_healthy_status_reads_at_a_glance() {
        let expected = "\
ok: everything runs

bridge        hall, Tapline 0.1.0, up 3h 12m
site          none; what ships runs
data          /var/lib/tapline, 1.0 MiB
config        revision 4, pushed 2m 0s ago
devices       12
dead letters  0

BROKER  ADDRESS      CONNECTED  SUBSCRIPTIONS  SESSION  RECEIVED  SHED  UNROUTED  RECONNECTS
main    broker:1883  for 1d 1h  24             resumed  30001     0     0         1

PIPELINE  RUNNING  DEVICES  RECEIVED  COMMITTED  FILTERED  DEAD-LETTERED  DUPLICATES  IN FLIGHT  FILE
workshop  yes      12       0         0          0         0              0           0          pipelines/workshop.toml (shipped)

STAGE             KIND    MODULE         HASH          CALLS  INPUTS  REJECTED  FAILURES  A CALL
workshop/session  detect  session 0.1.0  0123456789ab  12000  30000   0         0         100 µs

SINK           WAITING  OLDEST  DELIVERED  RETRIED  DEAD-LETTERED  LAST DELIVERED  TROUBLE
workshop/odoo  0                7          0        0              1m 1s ago

MODULE   VERSION  ROLE      HASH          SIZE       FROM     USED BY
session  0.1.0    detector  0123456789ab  200.0 KiB  shipped  workshop/session";
        assert_eq!(of(&healthy(), NOW), expected);
    }

    #[test]
    fn the_first_line_says_what_is_wrong() {
        let mut status = healthy();
        status.status = "degraded".into();
        status.problems = vec!["broker `main` is not connected: refused".into()];
        let text = of(&status, NOW);
        assert!(text.starts_with("degraded: broker `main` is not connected: refused\n"), "{text}");
        status.problems.push("sink `workshop/odoo` is paused: no endpoint".into());
        let text = of(&status, NOW);
        let begin = "degraded: 2 problems\n  broker `main` is not connected: refused\n  sink";
        assert!(text.starts_with(begin), "{text}");
    }

    #[test]
    fn what_modules_and_devices_write_cannot_command_the_terminal() {
        let mut status = healthy();
        let what = "trap: \u{1b}]0;owned\u{7}\u{1b}[2J and\na new line".to_owned();
        status.pipelines[0].stages[0].last_error = Some(Failure { what, at: Some(at(5)) });
        let text = of(&status, NOW);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("5s ago       stage workshop/session  trap: "), "{last}");
        assert!(last.ends_with("a new line"), "{last}");
    }

    #[test]
    fn times_keep_their_two_largest_parts() {
        let cases = [(5, "5s"), (65, "1m 5s"), (3600, "1h 0m"), (100_000, "1d 3h")];
        for (seconds, expected) in cases {
            assert_eq!(span(seconds), expected);
        }
    }
}
