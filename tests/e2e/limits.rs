//! A store with little room: what is said, what is withheld, what is kept of the past.

use std::collections::BTreeSet;

use serde_json::Value;
use tapline::stand_in::Behaviour;
use tapline_tests::{
    Bench, COURSE, Machine, Scripted, Setup, Tapline, copy_of_shipped, document, eventually,
    fixtures, write,
};

use super::publish::COMMANDS;

/// A store of 2 MiB, and an Odoo that takes a device's events in one request. How much room
/// others leave on the disk must not count.
const SMALL: &str = "format = 1\n[endpoint.odoo]\nin_order = true\n\
                     [store]\nmax_size = \"2 MiB\"\nmin_free = \"1 MiB\"\n";

/// Seconds between two reports, and with a heartbeat a second, events that each brings.
const STEP: f64 = 40.0;

fn small(setup: Setup) -> Setup {
    setup.site("tapline.toml", SMALL).site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
}

fn room(health: &Value) -> &str {
    health["store"]["room"].as_str().unwrap_or_default()
}

fn committed(health: &Value) -> u64 {
    health["pipelines"]["workshop"]["committed"].as_u64().unwrap_or_default()
}

/// Reports until the store is full; what it said of its room on the way, and the packet ids.
async fn fill(it: &Scripted) -> (Vec<String>, Vec<u16>) {
    let (mut levels, mut sent) = (Vec::new(), Vec::new());
    loop {
        let packet_id = u16::try_from(sent.len()).expect("few") + 1;
        assert!(packet_id < 500, "the store is never full: {}", it.tapline.health().await);
        it.deliver(&it.message(packet_id, f64::from(packet_id) * STEP, 100.0));
        sent.push(packet_id);
        let taken =
            |health: &Value| room(health) == "full" || committed(health) == u64::from(packet_id);
        let health = it.tapline.until("it is committed, or the store is full", taken).await;
        if levels.last().is_none_or(|last| last != room(&health)) {
            levels.push(room(&health).to_owned());
            let problems = health["problems"].to_string();
            match room(&health) {
                "low" => assert!(problems.contains("the store is nearly full"), "{health}"),
                "full" => {
                    let words = "the store is full (`store.max_size` is 2.0 MiB";
                    assert!(problems.contains(words), "{health}");
                    return (levels, sent);
                }
                _ => assert!(!problems.contains("the store is"), "{health}"),
            }
        }
    }
}

#[tokio::test]
async fn a_full_store_is_said_withholds_and_goes_on_by_itself_when_odoo_takes_what_waits() {
    for is_away in [true, false] {
        let mut it = Scripted::prepare(small).await;
        it.press = Machine::new("press").beginning(3 * 24 * 3600).with("heartbeat_interval_s", 1.0);
        match is_away {
            true => it.odoo.0.go_away().await,
            false => it.odoo.0.behave(u32::MAX, Behaviour::status(503)),
        }
        it.start().await;
        let (levels, mut sent) = fill(&it).await;
        assert_eq!(levels, ["ok", "low", "full"]);
        // What came into the last group was still taken.
        eventually("a look follows the last commit", || async {
            let acked = it.acked().len() as u64;
            let health = it.tapline.health().await;
            if committed(&health) == acked { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        let at_the_limit = it.acked();
        for _ in 0..5 {
            let packet_id = u16::try_from(sent.len()).expect("few") + 1;
            it.deliver(&it.message(packet_id, f64::from(packet_id) * STEP, 100.0));
            sent.push(packet_id);
        }
        let held =
            |health: &Value| health["pipelines"]["workshop"]["in_flight"].as_u64() >= Some(5);
        let health = it.tapline.until("they were received", held).await;
        assert_eq!(health["status"], "degraded", "{health}");
        assert_eq!(it.acked(), at_the_limit, "acknowledged without room");
        let events = health["sinks"]["workshop/odoo"]["waiting"].as_u64().unwrap_or_default();
        assert!(events > 1000, "{health}");
        let scrape = it.tapline.scrape().await;
        assert_eq!(scrape.sum("tapline_store_full", &[]), 1);
        assert_eq!(scrape.sum("tapline_store_left_bytes", &[]), 0);
        assert!(scrape.sum("tapline_store_used_bytes", &[]) >= 2 << 20);
        let status = it.tapline.output(&["status"]).await;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("the store is full"), "{status}");
        for event in ["store_low", "store_full"] {
            assert_eq!(it.tapline.logged(event).len(), 1, "{event}");
        }

        // Nobody has to do anything but mend Odoo.
        match is_away {
            true => it.odoo.0.come_back().await.expect("its port is free"),
            false => it.odoo.0.behave_well(),
        }
        it.until_acked(&sent).await;
        let well = |health: &Value| {
            matches!(room(health), "ok" | "low")
                && health["sinks"]["workshop/odoo"]["waiting"] == 0
                && committed(health) == sent.len() as u64
        };
        it.tapline.until("there is room again", well).await;
        assert_eq!(it.tapline.scrape().await.sum("tapline_store_full", &[]), 0);
        assert!(!it.tapline.logged("store_has_room").is_empty());
        let last = sent.len() as f64 * STEP;
        let packet_id = u16::try_from(sent.len()).expect("few") + 1;
        it.deliver(&it.message(packet_id, last + 1.0, 0.0));
        it.deliver(&it.message(packet_id + 1, last + 30.0, 0.0));
        let stopped = |health: &Value| {
            let events = it.odoo.of(&it.press);
            health["sinks"]["workshop/odoo"]["waiting"] == 0
                && events.last().is_some_and(|event| event.event_type == "session_stopped")
        };
        let health = it.tapline.until("the session ends", stopped).await;
        assert_eq!(health["dead_letters"], 0);
        let events = it.odoo.of(&it.press);
        let kinds = |kind: &str| events.iter().filter(|event| event.event_type == kind).count();
        assert_eq!((kinds("session_started"), kinds("session_stopped")), (1, 1));
        // One each second, and not one too few or twice.
        let beats = kinds("session_heartbeat") as f64;
        let expected = events.last().and_then(|event| event.payload["working_s"].as_f64());
        let lasted = expected.unwrap_or_default();
        assert!((lasted..=lasted + 16.0).contains(&beats), "{beats} in {lasted} s");
        it.odoo.is_content();
        println!("Odoo away {is_away}: {events} events waited in 2 MiB", events = events.len());
    }
}

const MIRROR: &str = "
[[sink]]
name    = \"mirror\"
publish = { broker = \"main\", topic = \"mirror/{device}/{kind}\", payload = \"{data.state}\" }
take    = [\"event:session_*\"]
";

fn remembers(setup: Setup) -> Setup {
    let hostile = std::fs::read(fixtures().join("hostile.wasm")).expect("it was built");
    let site = "format = 1\n[reload]\nrescan = \"1s\"\n[store]\nmin_free = \"1 MiB\"\n\
                history = { keep = \"30d\", max_size = \"1 MiB\" }\n";
    setup
        .site("tapline.toml", site)
        .site("pipelines/workshop.toml", &(copy_of_shipped("workshop") + MIRROR))
        .site("pipelines/commands.toml", COMMANDS)
        .site_bytes("modules/hostile.wasm", hostile)
}

async fn history(tapline: &Tapline, query: &str) -> Vec<Value> {
    let answer = tapline.get(&format!("/api/v1/history?limit=1000&{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["history"].as_array().expect("a list").clone()
}

async fn until_history(tapline: &Tapline, query: &str, messages: usize) -> Vec<Value> {
    eventually(&format!("{messages} messages match {query}"), || async {
        let found = history(tapline, query).await;
        if found.len() == messages { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

async fn lines(tapline: &Tapline, arguments: &[&str]) -> Vec<Value> {
    let output = tapline.output(arguments).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn the_history_is_found_by_device_time_and_direction() {
    let (press, saw) = (Machine::new("press"), Machine::new("saw"));
    let bench = Bench::with(remembers).await;
    bench.tapline.push(&document(&[&press, &saw])).await;
    bench.tapline.subscribed(5).await;
    bench.devices.report(&press, &COURSE).await;
    let query = "device=press&direction=received";
    let first = until_history(&bench.tapline, query, COURSE.len()).await;
    bench.devices.report(&saw, &COURSE).await;
    let came = until_history(&bench.tapline, "device=saw&direction=received", COURSE.len()).await;

    // The newest first.
    for (entry, (second, watts)) in came.iter().rev().zip(COURSE) {
        let payload = String::from_utf8(saw.report(second, watts)).expect("text");
        assert_eq!(entry["payload"], payload, "{entry}");
        assert_eq!((&entry["topic"], &entry["fate"]), (&saw.topic().into(), &"committed".into()));
    }
    let time = |entry: Option<&Value>| {
        entry.and_then(|entry| entry["at"].as_str()).expect("a time").to_owned()
    };
    let (until, from) = (time(first.first()), time(came.last()));
    let later = history(&bench.tapline, &format!("direction=received&from={from}")).await;
    assert!(later.iter().all(|e| !e["topic"].to_string().contains("press")), "{later:?}");
    assert_eq!(later.len(), COURSE.len());
    let before = history(&bench.tapline, &format!("direction=received&until={until}")).await;
    assert!(before.iter().all(|e| e["topic"].to_string().contains("press")), "{before:?}");
    assert_eq!(before.len(), COURSE.len());
    assert!(history(&bench.tapline, "device=drill").await.is_empty());

    let of_saw = ["history", "--device", "saw", "--direction", "received", "--json"];
    assert_eq!(lines(&bench.tapline, &of_saw).await, came);
    let few = lines(&bench.tapline, &["history", "--limit", "3", "--json"]).await;
    assert_eq!(few.len(), 3);
    let table = bench.tapline.output(&["history", "--device", "press", "--from", "1h"]).await;
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.starts_with("ID") && table.matches("hall/press").count() >= 6, "{table}");
    assert!(!table.contains("hall/saw"), "{table}");

    // What sinks make of events, too.
    let mirrored = until_history(&bench.tapline, "topic=mirror/%23&device=press", 2).await;
    until_history(&bench.tapline, "topic=mirror/%23&device=saw", 2).await;
    let kinds = mirrored.iter().map(|entry| (entry["topic"].clone(), entry["payload"].clone()));
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(
        kinds,
        [
            ("mirror/press/session_stopped".into(), "idle".into()),
            ("mirror/press/session_started".into(), "working".into())
        ]
    );
    assert!(mirrored.iter().all(|entry| entry["message_id"].is_string()), "{mirrored:?}");

    // What was sent names the message that it follows from.
    bench.devices.send("orders/lathe", "publish lamps/7").await;
    let gone = until_history(&bench.tapline, "direction=sent&topic=lamps/%23", 1).await;
    assert_eq!((&gone[0]["topic"], &gone[0]["fate"]), (&"lamps/7".into(), &"confirmed".into()));
    let cause = gone[0]["message_id"].as_str().expect("an id");
    let both = history(&bench.tapline, &format!("message={cause}")).await;
    let topics: BTreeSet<_> = both.iter().filter_map(|entry| entry["topic"].as_str()).collect();
    assert_eq!(topics, BTreeSet::from(["lamps/7", "orders/lathe"]));

    // Page by page the same.
    let all = history(&bench.tapline, "").await;
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = bench.tapline.get(&format!("/api/v1/history?limit=5{cursor}")).await.body;
        let page = answer["history"].as_array().expect("a list");
        assert!(page.len() <= 5);
        pages.extend(page.iter().cloned());
        let Some(next) = answer["next"].as_u64() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(pages, all);
    for query in ["from=yesterday", "direction=up", "topic=a%23", "devise=press", "limit=many"] {
        let answer = bench.tapline.get(&format!("/api/v1/history?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        let name = query.split('=').next().expect("a name");
        assert!(answer.body.to_string().contains(name), "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_history_stays_within_its_size_and_goes_when_it_is_not_wanted_any_more() {
    let press = Machine::new("press");
    let bench = Bench::with(remembers).await;
    bench.tapline.push(&document(&[&press])).await;
    bench.tapline.subscribed(3).await;
    // Blocks are compressed, so it is nothing that repeats itself.
    let padded = |second: u32| {
        let mut random = fastrand::Rng::with_seed(second.into());
        let pad: String = std::iter::repeat_with(|| random.alphanumeric()).take(4000).collect();
        let mut report: Value =
            serde_json::from_slice(&press.report(f64::from(second), 100.0)).expect("JSON");
        report["pad"] = pad.into();
        report.to_string()
    };
    for second in 0..600 {
        bench.devices.send(&press.topic(), padded(second)).await;
    }
    bench.tapline.until("all are committed", |health| committed(health) == 600).await;
    let (oldest, newest) = (padded(0), padded(599));
    let kept = eventually("the oldest goes first", || async {
        let kept = history(&bench.tapline, "device=press&direction=received").await;
        let is_there = kept.iter().any(|entry| entry["payload"] == oldest);
        if is_there { Err(format!("{} are kept", kept.len())) } else { Ok(kept) }
    })
    .await;
    assert!(kept.iter().any(|entry| entry["payload"] == newest), "the newest is kept");
    let within = |health: &Value| {
        let bytes = health["store"]["history_bytes"].as_u64().unwrap_or_default();
        (1..=1 << 20).contains(&bytes)
    };
    let health = bench.tapline.until("the history is within its size", within).await;
    assert_eq!(room(&health), "ok");

    write(&bench.tapline.dir().join("site"), "tapline.toml", "format = 1\n");
    let gone = |health: &Value| health["store"]["history_bytes"] == 0;
    bench.tapline.until("it is let go", gone).await;
    let answer = bench.tapline.get("/api/v1/history").await.body;
    assert_eq!((&answer["kept"], &answer["history"]), (&false.into(), &Value::Array(vec![])));
    let output = bench.tapline.output(&["history"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no history is kept"), "{said}");
}
