//! `/metrics`: nothing gets lost between the numbers, and what documents name is there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OpenFlags};
use tapline::pipeline::FILTERS;
use tapline::telemetry::metrics::METRICS;
use tapline_tests::{
    Bench, COURSE, Machine, PATIENCE, Scrape, copy_of_shipped, eventually, fixtures, project,
};

/// A pipeline in which a message can meet every fate.
const MIXED: &str = "format = 1
name = \"mixed\"
[[source]]
name = \"orders\"
broker = \"main\"
topics = [\"hostile/{device}\"]
except = [\"hostile/ignored\"]
unknown_devices = \"accept\"
[[source]]
name = \"strangers\"
broker = \"main\"
topics = [\"strange/{device}\", \"noise/#\"]
unknown_devices = \"report\"
[[parse]]
name = \"hostile\"
module = \"hostile\"
topics = [\"hostile/#\", \"strange/#\"]
[[detect]]
name = \"session\"
module = \"session\"
take = [\"reading:power_w\"]
key = [\"device\"]
";

/// One of each fate, with what becomes of it.
const FATES: [(&str, &str, &str); 7] = [
    ("hostile/lathe", "100", "committed"),
    ("hostile/drill", "50", "committed"),
    ("hostile/ignored", "100", "except"),
    ("noise/fan", "100", "unmatched"),
    ("strange/lathe", "100", "unknown-device"),
    ("hostile/lathe", "refuse", "dead"),
    ("hostile/lathe", "panic the tool broke", "dead"),
];

async fn mixed(press: &Machine) -> Bench {
    let bench = Bench::with(|setup| {
        let bytes = std::fs::read(fixtures().join("hostile.wasm")).expect("it was built");
        setup
            .site("tapline.toml", "format = 1\n")
            .site("pipelines/mixed.toml", MIXED)
            .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
            .site_bytes("modules/hostile.wasm", bytes)
    })
    .await;
    bench.tapline.push(&tapline_tests::document(&[press])).await;
    bench.tapline.subscribed(5).await;
    bench
}

/// The parts of what a pipeline received, as the page has them.
fn parts(page: &Scrape, pipeline: &str) -> [(&'static str, u64); 6] {
    let names = [
        "tapline_pipeline_committed_total",
        "tapline_pipeline_filtered_total",
        "tapline_pipeline_dead_lettered_total",
        "tapline_pipeline_duplicates_total",
        "tapline_pipeline_returned_total",
        "tapline_pipeline_in_flight",
    ];
    names.map(|name| (name, page.sum(name, &[("pipeline", pipeline)])))
}

fn adds_up(page: &Scrape, pipeline: &str) {
    let received = page.sum("tapline_pipeline_received_total", &[("pipeline", pipeline)]);
    let parts = parts(page, pipeline);
    let sum: u64 = parts.iter().map(|(_, count)| count).sum();
    assert_eq!(received, sum, "{pipeline}: {parts:?}");
    let sinks = [
        "tapline_sink_delivered_total",
        "tapline_sink_dead_lettered_total",
        "tapline_sink_waiting",
    ];
    let of_sinks = sinks.map(|name| page.sum(name, &[("pipeline", pipeline)]));
    let queued = page.sum("tapline_sink_queued_total", &[("pipeline", pipeline)]);
    assert_eq!(queued, of_sinks.iter().sum::<u64>(), "{pipeline}: {of_sinks:?}");
}

async fn until(bench: &Bench, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    eventually(what, || async {
        let page = bench.tapline.scrape().await;
        adds_up(&page, "mixed");
        adds_up(&page, "workshop");
        if holds(&page) { Ok(page) } else { Err(format!("{:?}", parts(&page, "mixed"))) }
    })
    .await
}

#[tokio::test]
async fn what_was_received_is_accounted_for_at_every_scrape_and_in_the_store() {
    const TIMES: u64 = 20;
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let mut bench = mixed(&press).await;
    let sent = AtomicBool::new(false);
    let send = async {
        for round in 0..TIMES {
            for (topic, payload, _) in FATES {
                bench.devices.send(topic, payload).await;
            }
            // A plan that changes in between loses no count either.
            if round == TIMES / 2 {
                bench.tapline.push(&tapline_tests::document(&[&press, &saw])).await;
            }
        }
        bench.devices.report(&press, &COURSE).await;
        sent.store(true, Ordering::Relaxed);
    };
    let look = async {
        let mut scrapes = 0;
        while !sent.load(Ordering::Relaxed) {
            let page = bench.tapline.scrape().await;
            adds_up(&page, "mixed");
            adds_up(&page, "workshop");
            scrapes += 1;
        }
        scrapes
    };
    let ((), scrapes) = tokio::join!(send, look);
    assert!(scrapes > 0);
    let flying = |page: &Scrape| page.sum("tapline_pipeline_in_flight", &[]);
    until(&bench, "all are worked off", |page| {
        let count = FATES.len() as u64 * TIMES + COURSE.len() as u64;
        page.sum("tapline_pipeline_received_total", &[]) == count && flying(page) == 0
    })
    .await;

    // Another writer keeps the next commits from the disk; a restart of the broker makes it
    // send again what was not acknowledged.
    let path = bench.tapline.data().join("tapline.db");
    let other = Connection::open(&path).expect("the database is there");
    other.busy_timeout(PATIENCE).expect("a time-out can be set");
    other.execute_batch("BEGIN IMMEDIATE").expect("the write lock comes in time");
    bench.devices.send("hostile/lathe", "100").await;
    bench.devices.send("hostile/lathe", "refuse").await;
    until(&bench, "two are in flight", |page| flying(page) == 2).await;
    bench.broker.stop().await;
    bench.broker.start_again().await;
    until(&bench, "both came again", |page| flying(page) == 4).await;
    other.execute_batch("ROLLBACK").expect("the lock goes");
    let page = until(&bench, "nothing is in flight", |page| flying(page) == 0).await;

    let of = |by: &str| FATES.iter().filter(|(_, _, fate)| *fate == by).count() as u64 * TIMES;
    let mixed = [("pipeline", "mixed")];
    assert_eq!(page.sum("tapline_pipeline_committed_total", &mixed), of("committed") + 1);
    for by in ["except", "unmatched", "unknown-device"] {
        let filtered = page.sum("tapline_pipeline_filtered_total", &[mixed[0], ("by", by)]);
        assert_eq!(filtered, of(by), "{by}");
    }
    let dead = page.sum("tapline_pipeline_dead_lettered_total", &mixed);
    assert_eq!(dead, of("dead") + 1);
    assert_eq!(page.sum("tapline_pipeline_duplicates_total", &mixed), 2);
    let stage = [mixed[0], ("stage", "hostile")];
    assert_eq!(page.sum("tapline_stage_rejected_total", &stage), dead);
    let traps =
        page.sum("tapline_stage_failures_total", &[stage[0], stage[1], ("code", "module-trap")]);
    assert!(traps >= TIMES, "{traps} traps");

    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let sink = [("pipeline", "workshop"), ("sink", "odoo")];
    let page = until(&bench, "everything is delivered", |page| {
        page.sum("tapline_sink_delivered_total", &sink) == 2
    })
    .await;
    assert_eq!(page.sum("tapline_sink_queued_total", &sink), 2);
    assert_eq!(page.sum("tapline_sink_waiting", &sink), 0);
    assert_eq!(page.sum("tapline_sink_lag_seconds_count", &sink), 2);

    // The store says the same.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let store = Connection::open_with_flags(&path, flags).expect("the database is there");
    let count = |table: &str| {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let rows: u32 = store.query_row(&sql, [], |row| row.get(0)).expect("the table is there");
        u64::from(rows)
    };
    assert_eq!((count("dead_letters"), count("outbox")), (dead, 0));
    assert_eq!(page.sum("tapline_dead_letters", &[]), dead);
    bench.odoo.is_content();
}

#[tokio::test]
async fn labels_take_no_value_that_a_device_chooses() {
    let press = Machine::new("press");
    let bench = mixed(&press).await;
    for device in ["lathe", "drill", "saw"] {
        for topic in ["hostile", "strange", "noise"] {
            bench.devices.send(&format!("{topic}/{device}"), "100").await;
        }
    }
    bench.devices.report(&press, &COURSE).await;
    bench.odoo.kinds(&press, &["session_started", "session_stopped"]).await;
    let page = until(&bench, "all are worked off", |page| {
        page.sum("tapline_pipeline_received_total", &[("pipeline", "mixed")]) == 9
            && page.sum("tapline_pipeline_in_flight", &[]) == 0
    })
    .await;
    let filters: BTreeSet<_> = FILTERS.into_iter().collect();
    assert_eq!(page.values_of("by"), filters, "a rule that filters is missing in the list");
    let guide = std::fs::read_to_string(project().join("docs/guides/metrics.md"));
    let guide = guide.expect("the guide is there");
    for filter in filters {
        assert!(guide.contains(&format!("`{filter}`")), "the guide does not explain `{filter}`");
    }
    for label in ["pipeline", "stage", "sink", "by", "broker", "module"] {
        for value in page.values_of(label) {
            let chosen = ["lathe", "drill", "saw", "press"].iter().any(|d| value.contains(d));
            assert!(!chosen && !value.contains("hall/"), "{label}={value}");
        }
    }
}

#[tokio::test]
async fn prometheus_needs_the_token_where_one_is_set() {
    let bench = Bench::with(|setup| setup.env("BRIDGE_API_TOKEN", "secret")).await;
    assert_eq!(bench.tapline.get("/metrics").await.status, 401);
    let call = bench.tapline.call("GET", "/metrics", None);
    let answer = call.header("authorization", "Bearer secret").send().await;
    let answer = answer.expect("it answers");
    assert_eq!(answer.status, 200);
    Scrape::read(answer.body.as_str().expect("a page is text"));
}

/// Names of metrics in a text, without the endings that Prometheus adds to a histogram's.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("tapline_"));
    let known: BTreeSet<_> = METRICS.iter().map(|metric| metric.name()).collect();
    names
        .map(|name| {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|base| known.contains(*base));
            base.unwrap_or(name).to_owned()
        })
        .collect()
}

#[tokio::test]
async fn the_guide_lists_exactly_the_metrics_that_the_program_exports() {
    let bench = Bench::start().await;
    let page = bench.tapline.scrape().await;
    let guide = std::fs::read_to_string(project().join("docs/guides/metrics.md"));
    let guide = guide.expect("the guide is there");
    let rows = guide.lines().filter(|line| line.starts_with("| `tapline_"));
    let row = |line: &str| {
        let mut cells = line.split('|').map(|cell| cell.trim().replace('`', "")).skip(1);
        let mut next = || cells.next().unwrap_or_default();
        (next(), next(), next())
    };
    let listed: BTreeSet<_> = rows.map(row).collect();
    let exported = page.families.iter().map(|(name, kind)| {
        let metric = METRICS.iter().find(|m| m.name().trim_end_matches("_total") == name);
        let metric = metric.unwrap_or_else(|| panic!("`{name}` is not in the table"));
        (metric.name(), kind.clone(), metric.labels.join(", "))
    });
    let exported: BTreeSet<_> = exported.collect();
    let missing: Vec<_> = exported.difference(&listed).collect();
    let invented: Vec<_> = listed.difference(&exported).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not listed: {missing:#?}; not exported: {invented:#?}"
    );
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_there_are() {
    let known: BTreeSet<_> = METRICS.iter().map(|metric| metric.name()).collect();
    for file in ["docs/grafana/tapline.json", "docs/grafana/alerts.yaml"] {
        let text = std::fs::read_to_string(project().join(file)).expect("the file is there");
        let named = names_in(&text);
        assert!(named.len() >= 5, "{file} names hardly anything: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}
