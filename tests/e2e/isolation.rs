//! One pipeline beside another whose module attacks the host without a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tapline_tests::{
    Bench, COURSE, Listener, Machine, Mosquitto, Odoo, Publisher, Setup, copy_of_shipped, fixtures,
};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

/// A pipeline with a parser that does what its payloads say; it may publish to `answers/#`.
fn obeys(name: &str, broker: &str) -> String {
    format!(
        "format = 1\nname = \"{name}\"\n[publish]\nallow = [\"answers/#\"]\n[[source]]\n\
         name = \"orders\"\nbroker = \"{broker}\"\ntopics = [\"{name}/{{device}}\"]\n\
         unknown_devices = \"accept\"\n[[parse]]\nname = \"obey\"\nmodule = \"hostile\"\n\
         topics = [\"{name}/#\"]\n"
    )
}

/// The hostile pipeline's own connection, or the one that all share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Own,
    Shared,
}

/// A broker acknowledges in order on one connection, so that one with a session of its own is
/// what keeps a pipeline that burns from holding back the others' acknowledgements.
async fn bench(connection: Connection) -> Bench {
    let module = std::fs::read(fixtures().join("hostile.wasm")).expect("it was built");
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let (site, hostile) = match connection {
        Connection::Shared => ("format = 1\n".to_owned(), "main"),
        Connection::Own => {
            let url = format!("mqtt://127.0.0.1:{}", broker.port());
            (
                format!(
                    "format = 1\n[broker.main]\nurl = \"{url}\"\npushed = true\n[broker.lab]\nurl = \"{url}\"\nclient_id = \"lab\"\n"
                ),
                "lab",
            )
        }
    };
    let tapline = Setup::s3(&broker, &odoo.0)
        .env("LOG_LEVEL", "info")
        .site("tapline.toml", &site)
        .site("pipelines/hostile.toml", &obeys("hostile", hostile))
        .site("pipelines/calm.toml", &obeys("calm", "main"))
        .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
        .site_bytes("modules/hostile.wasm", module)
        .start()
        .await;
    let devices = Publisher::connect(broker.port()).await;
    Bench { broker, odoo, devices, tapline }
}

#[tokio::test]
async fn every_message_of_a_pipeline_arrives_while_the_module_beside_it_burns() {
    let machines: Vec<_> = (0..10).map(|n| Machine::new(&format!("m{n}"))).collect();
    let all: Vec<_> = machines.iter().collect();
    let bench = bench(Connection::Own).await;
    bench.tapline.push(&tapline_tests::document(&all)).await;
    bench.tapline.subscribed(2 * all.len() as u64 + 2).await;
    // Each takes more than half a second of processor time, so it burns until the end.
    const BURNING: u64 = 500;
    for _ in 0..BURNING {
        bench.devices.send("hostile/lathe", "loop").await;
    }
    bench
        .tapline
        .until("it burns", |h| {
            h["pipelines"]["hostile"]["in_flight"].as_u64().is_some_and(|n| n > 0)
        })
        .await;
    for machine in &machines {
        bench.devices.report(machine, &COURSE).await;
    }
    for machine in &machines {
        bench.odoo.kinds(machine, &WHOLE).await;
    }
    bench.odoo.is_content();
    let health = bench.tapline.health().await;
    let hostile = &health["pipelines"]["hostile"];
    assert!(hostile["in_flight"].as_u64() > Some(0), "it still burns: {hostile}");
    assert_eq!(health["pipelines"]["workshop"]["dead_lettered"], 0, "{health}");
}

/// What the hostile pipeline is given, over and over.
const ATTACKS: [&str; 10] = [
    "loop",
    "panic again",
    "memory",
    "recursion",
    "output 8",
    "items 100000",
    "log 10000",
    "line 8",
    "outside",
    "silent",
];

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
    sorted[at - 1]
}

/// From the publication of an order until its answer is heard, for so many of them.
async fn latencies(bench: &Bench, round: usize, count: usize) -> Vec<Duration> {
    const EVERY: Duration = Duration::from_millis(10);
    let listener = Listener::start(bench.broker.port(), &["answers/#"]).await;
    let mut sent = Vec::with_capacity(count);
    let mut next = tokio::time::interval(EVERY);
    for n in 0..count {
        next.tick().await;
        sent.push(Instant::now());
        bench.devices.send("calm/lathe", format!("publish answers/{round}-{n}")).await;
    }
    for n in 0..count {
        listener.until(&format!("answers/{round}-{n}")).await;
    }
    // One device's answers come in the order of its orders.
    let times = listener.times();
    let mut latencies: Vec<_> = sent.iter().zip(times).map(|(sent, heard)| heard - *sent).collect();
    latencies.sort();
    listener.stop().await;
    latencies
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; cargo xtask bench"]
async fn isolation() {
    measure(Connection::Own, "with a connection of its own").await;
    measure(Connection::Shared, "on the same connection").await;
}

async fn measure(connection: Connection, what: &str) {
    let bench = bench(connection).await;
    bench.tapline.push(&tapline_tests::document(&[])).await;
    bench.tapline.subscribed(2).await;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut attacks = 0;
    for round in 0..3 {
        alone.extend(latencies(&bench, 2 * round, ORDERS).await);
        let stop = Arc::new(AtomicBool::new(false));
        let attacking = tokio::spawn(attack(bench.broker.port(), stop.clone()));
        bench.tapline.until("it burns", |health| burns(health) > 0).await;
        beside.extend(latencies(&bench, 2 * round + 1, ORDERS).await);
        stop.store(true, Ordering::Relaxed);
        attacks += attacking.await.expect("it ends");
        bench.tapline.until("the attacks are over", |health| burns(health) == 0).await;
    }
    alone.sort();
    beside.sort();
    let of = |sorted: &[Duration]| [50, 99].map(|percent| percentile(sorted, percent));
    let ([alone50, alone99], [beside50, beside99]) = (of(&alone), of(&beside));
    println!(
        "isolation: order to answer, {} each: alone p50 {alone50:.1?}, p99 {alone99:.1?}; beside \
         {attacks} attacks {what} p50 {beside50:.1?}, p99 {beside99:.1?}: p99 x {:.2}",
        alone.len(),
        beside99.as_secs_f64() / alone99.as_secs_f64()
    );
}

/// Orders of one measurement, one every ten milliseconds.
const ORDERS: usize = 700;

/// Messages that the hostile pipeline has not worked off.
fn burns(health: &Value) -> u64 {
    health["pipelines"]["hostile"]["in_flight"].as_u64().unwrap_or_default()
}

/// Keeps some attacks waiting all the time, until it is told to stop; how many there were.
async fn attack(port: u16, stop: Arc<AtomicBool>) -> usize {
    let attacker = Publisher::connect(port).await;
    let mut attacks = 0;
    while !stop.load(Ordering::Relaxed) {
        for attack in ATTACKS {
            attacker.send("hostile/lathe", attack).await;
            attacks += 1;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    attacks
}
