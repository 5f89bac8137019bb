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
        "format = 1\nname = \"{name}\"\n[publish]\nallow = [\"answers/#\", \"hostile\"]\n[[source]]\n\
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
    // Each takes more than half a second of processor time, so it burns until the end.
    let bench = sessions_beside("loop", 500).await;
    let health = bench.tapline.health().await;
    let hostile = &health["pipelines"]["hostile"];
    assert!(hostile["in_flight"].as_u64() > Some(0), "it still burns: {hostile}");
    assert_eq!(health["pipelines"]["workshop"]["dead_lettered"], 0, "{health}");
}

#[tokio::test]
async fn every_message_of_both_arrives_while_the_module_beside_it_publishes_megabytes() {
    const LARGE: u64 = 40;
    let bench = sessions_beside("output 2", LARGE).await;
    let all = |health: &Value| health["pipelines"]["hostile"]["deliveries"] == LARGE;
    bench.tapline.until("the large publications are committed", all).await;
    let health = bench.tapline.health().await;
    assert_eq!(health["pipelines"]["hostile"]["dead_lettered"], 0, "{health}");
    assert_eq!(health["pipelines"]["workshop"]["dead_lettered"], 0, "{health}");
}

/// Ten machines' sessions arrive at Odoo beside so many attacks.
async fn sessions_beside(attack: &str, count: u64) -> Bench {
    let machines: Vec<_> = (0..10).map(|n| Machine::new(&format!("m{n}"))).collect();
    let all: Vec<_> = machines.iter().collect();
    let bench = bench(Connection::Own).await;
    bench.tapline.push(&tapline_tests::document(&all)).await;
    bench.tapline.subscribed(2 * all.len() as u64 + 2).await;
    for _ in 0..count {
        bench.devices.send("hostile/lathe", attack).await;
    }
    let begun = |health: &Value| health["pipelines"]["hostile"]["received"].as_u64() > Some(0);
    bench.tapline.until("the attack begins", begun).await;
    for machine in &machines {
        bench.devices.report(machine, &COURSE).await;
    }
    for machine in &machines {
        bench.odoo.kinds(machine, &WHOLE).await;
    }
    bench.odoo.is_content();
    bench
}

/// What a hostile pipeline is given, and how much of it in a round: enough to keep its thread
/// at work.
const ATTACKS: [(&str, usize); 11] = [
    ("loop", 1),
    ("panic again", 8),
    ("memory", 8),
    ("recursion", 8),
    ("output 8", 8),
    ("output 3", 8),
    ("items 100000", 8),
    ("log 10000", 8),
    ("line 8", 8),
    ("outside", 8),
    ("silent", 8),
];

/// Rounds that are under way at a time, so that the next waits when one has ended.
const ROUNDS: usize = 3;

/// Orders of one measurement, one every ten milliseconds.
const ORDERS: usize = 300;
const EVERY: Duration = Duration::from_millis(10);

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
    sorted[at - 1]
}

/// From the publication of an order until its answer is heard, for each of some orders.
async fn latencies(bench: &Bench, round: &str) -> Vec<Duration> {
    let listener = Listener::start(bench.broker.port(), &["answers/calm/#"]).await;
    let mut sent = Vec::with_capacity(ORDERS);
    let mut next = tokio::time::interval(EVERY);
    for n in 0..ORDERS {
        next.tick().await;
        sent.push(Instant::now());
        bench.devices.send("calm/lathe", format!("publish answers/calm/{round}-{n}")).await;
    }
    listener.until(&format!("answers/calm/{round}-{}", ORDERS - 1)).await;
    // One device's answers come in the order of its orders.
    let times = listener.times();
    assert_eq!(times.len(), ORDERS, "each order is answered once");
    listener.stop().await;
    sent.iter().zip(times).map(|(sent, heard)| heard - *sent).collect()
}

/// Measures; `cargo xtask bench isolation` runs it with an optimised program. Quiet and hostile
/// phases take turns, since what else the machine does changes from minute to minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; cargo xtask bench"]
async fn isolation() {
    measure(Connection::Own, "a connection of its own").await;
    measure(Connection::Shared, "the same connection").await;
}

async fn measure(connection: Connection, what: &str) {
    let bench = bench(connection).await;
    bench.tapline.push(&tapline_tests::document(&[])).await;
    bench.tapline.subscribed(2).await;
    println!(
        "isolation: an order every {EVERY:?} to one pipeline, from its publication to the answer \
         at a listener, {ORDERS} alone and {ORDERS} beside a pipeline under attack, which has \
         {what}"
    );
    let row = |name: &str, alone: &[Duration], beside: &[Duration], count: usize| {
        let [a50, a99, b50, b99] = [(alone, 50), (alone, 99), (beside, 50), (beside, 99)]
            .map(|(times, percent)| percentile(times, percent));
        println!(
            "  {name:<14} alone p50 {a50:>7.1?} p99 {a99:>7.1?}   beside p50 {b50:>7.1?} p99 \
             {b99:>7.1?}   p50 x {:>5.2} p99 x {:>5.2}   {count} attacks",
            b50.as_secs_f64() / a50.as_secs_f64(),
            b99.as_secs_f64() / a99.as_secs_f64()
        );
    };
    let (mut all_alone, mut all_beside, mut all_attacks) = (Vec::new(), Vec::new(), 0);
    latencies(&bench, "warm-up").await;
    for (index, (attack, count)) in ATTACKS.into_iter().enumerate() {
        let alone = latencies(&bench, &format!("alone-{index}")).await;
        let stop = Arc::new(AtomicBool::new(false));
        let attacking = tokio::spawn(attack_with(bench.broker.port(), attack, count, stop.clone()));
        bench.tapline.until("it burns", |health| burns(health) > 0).await;
        let beside = latencies(&bench, &format!("beside-{index}")).await;
        stop.store(true, Ordering::Relaxed);
        let attacks = attacking.await.expect("it ends");
        bench.tapline.until("the attacks are over", |health| burns(health) == 0).await;
        row(attack, &alone, &beside, attacks);
        all_alone.extend(alone);
        all_beside.extend(beside);
        all_attacks += attacks;
    }
    row("all", &all_alone, &all_beside, all_attacks);
}

/// Messages that the hostile pipeline has not worked off.
fn burns(health: &Value) -> u64 {
    health["pipelines"]["hostile"]["in_flight"].as_u64().unwrap_or_default()
}

/// Keeps a few rounds of attacks waiting until it is told to stop; how many attacks were worked
/// off. At the end of each round stands an order, whose answer calls for the next.
async fn attack_with(port: u16, attack: &str, count: usize, stop: Arc<AtomicBool>) -> usize {
    let attacker = Publisher::connect(port).await;
    let ears = Listener::with(port, &["answers/hostile/#"], |broker| {
        broker.client_id = "attacker".to_owned();
    });
    let round = async |number: usize| {
        for _ in 0..count {
            attacker.send("hostile/lathe", attack).await;
        }
        attacker.send("hostile/lathe", format!("publish answers/hostile/{number}")).await;
    };
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        while rounds < ROUNDS + ears.heard().len() {
            round(rounds).await;
            rounds += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while ears.heard().len() < rounds {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ears.stop().await;
    rounds * count
}
