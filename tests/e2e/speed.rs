//! How fast it is. Nothing here is asserted but that the work was done: `cargo xtask bench` runs
//! it with an optimised program and prints what was measured, and how.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapline_tests::{
    Bench, COURSE, Load, Machine, Mosquitto, Odoo, Tapline, courses, document, number_of,
};

use super::reload_load::{Replacing, site};

fn machines(count: usize, back: u64) -> Arc<[Machine]> {
    (0..count).map(|n| Machine::new(&format!("m{n}")).beginning(back)).collect()
}

async fn committed(tapline: &Tapline) -> u64 {
    tapline.health().await["pipelines"]["workshop"]["committed"].as_u64().unwrap_or_default()
}

/// Far longer than anything here takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(600);

async fn until_committed(tapline: &Tapline, count: u64) {
    let begun = Instant::now();
    while committed(tapline).await < count {
        assert!(begun.elapsed() < LIMIT, "{} of {count} committed", committed(tapline).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processor seconds of a process so far, and its resident memory in MB.
fn usage(process: u32) -> (f64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}"));
    let stat = read("stat").unwrap_or_default();
    // The name may hold anything but the last bracket; times are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    let status = read("status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 =
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    ((ticks(12) + ticks(13)) / 100.0, kilobytes / 1000.0)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; cargo xtask bench"]
async fn throughput() {
    // A device states times of the last days, so one alone has no more to tell.
    for (devices, rounds) in [(1, 5000), (100, 100), (1000, 10)] {
        let all = machines(devices, (rounds * 100 + 3600) as u64);
        let config = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
                      max_inflight_messages 1000\nlog_type none\n";
        let broker = Mosquitto::with(config, &[]).await;
        let odoo = Odoo::start().await;
        let setup = tapline_tests::Setup::s3(&broker, &odoo.0).env("LOG_LEVEL", "warn");
        let mut tapline = setup.start().await;
        tapline.push(&document(&all.iter().collect::<Vec<_>>())).await;
        tapline.subscribed(2 * devices as u64).await;
        // The broker queues while nobody is there, so no publisher is in the way.
        tapline.terminate().await;
        let sent = Load::stream(broker.port(), courses(all.clone(), 0..rounds), 1_000_000).await;
        tapline.start_again().await;
        let process = tapline.process().expect("it runs");
        let (begun, (before, _)) = (Instant::now(), usage(process));
        let already = committed(&tapline).await;
        until_committed(&tapline, sent).await;
        let counted = (sent - already) as f64;
        let (took, (after, memory)) = (begun.elapsed().as_secs_f64(), usage(process));
        println!(
            "throughput: {devices} device(s), {sent} QoS 1 messages queued by Mosquitto: {:.0} \
             messages/s, {:.1} µs of processor time a message, {memory:.0} MB resident",
            counted / took,
            (after - before) * 1e6 / counted,
        );
    }
}

/// A push of a hundred thousand devices takes longer than anything that tests wait for.
async fn push_patiently(tapline: &Tapline, document: &Value) {
    let http = tapline::delivery::http_client(None, LIMIT, LIMIT).expect("a client");
    let request = http.post(format!("{}/config", tapline.url())).body(document.to_string());
    let begun = Instant::now();
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    let devices = document["devices"].as_array().map_or(0, Vec::len);
    println!("push: {devices} devices taken up in {:.1} s", begun.elapsed().as_secs_f64());
}

/// The longest time in which no message was committed after the first one, looked at every few
/// milliseconds.
async fn longest_gap(tapline: &Tapline, before: u64, stop: &AtomicBool) -> Duration {
    let (mut last, mut since, mut longest) = (before, Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let now = committed(tapline).await;
        if now != last {
            if last != before {
                longest = longest.max(since.elapsed());
            }
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; cargo xtask bench"]
async fn reload() {
    const RATE: u32 = 5000;
    for idle in [0, 100_000] {
        // Of each half's 13 s, more than ten belong to a hundred replacements.
        let rounds = 220;
        let working = machines(100, (rounds * 100 + 3600) as u64);
        let bench = Bench::with(site).await;
        let resting: Vec<Machine> = (0..idle).map(|n| Machine::new(&format!("i{n}"))).collect();
        let all: Vec<_> = working.iter().chain(&resting).collect();
        push_patiently(&bench.tapline, &document(&all)).await;
        let filters = 2 * all.len() as u64;
        let begun = Instant::now();
        while bench.tapline.health().await["subscriptions"] != filters {
            assert!(begun.elapsed() < LIMIT, "{filters} filters are not subscribed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // One report each, so that each has a state that is kept.
        let port = bench.broker.port();
        let first: Vec<_> =
            resting.iter().map(|machine| (machine.topic(), machine.report(0.0, 100.0))).collect();
        let sent = Load::stream(port, first.into_iter(), RATE).await;
        until_committed(&bench.tapline, sent).await;
        let mut gaps = Vec::new();
        for replaced in [false, true] {
            let stop = AtomicBool::new(false);
            let begin = committed(&bench.tapline).await;
            let replacing = replaced.then(|| Replacing::start(bench.tapline.dir()));
            let offset = if replaced { rounds / 2 } else { 0 };
            let published = courses(working.clone(), offset..offset + rounds / 2);
            let load = tokio::spawn(Load::stream(port, published, RATE));
            let started = Instant::now();
            let (longest, rate) = tokio::join!(longest_gap(&bench.tapline, begin, &stop), async {
                let sent = load.await.expect("the broker takes it");
                until_committed(&bench.tapline, begin + sent).await;
                stop.store(true, Ordering::Relaxed);
                sent as f64 / started.elapsed().as_secs_f64()
            });
            let times = match replacing {
                Some(replacing) => replacing.stop().await,
                None => 0,
            };
            gaps.push((times, longest, rate));
        }
        let applied = bench.tapline.logged("files_applied").len();
        let ((_, usual, rate), (times, with, reached)) = (gaps[0], gaps[1]);
        if applied == 0 {
            println!(
                "reload: {} devices; none of {times} replacements was taken up while messages \
                 came, so no gap was measured",
                all.len()
            );
            continue;
        }
        println!(
            "reload: {} devices; longest gap between commits {usual:?} at {rate:.0} messages/s, \
             {with:?} at {reached:.0} while files were replaced {times} times (taken up {applied} \
             times): {:.1} times as long",
            all.len(),
            with.as_secs_f64() / usual.as_secs_f64(),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; cargo xtask bench"]
async fn replay() {
    // 1440 rounds are the messages of a day, of 1000 devices each ten seconds.
    let rounds = number_of("TAPLINE_REPLAY_ROUNDS", 170);
    let all = machines(1000, rounds * 100 + 3600);
    let tapline = tapline_tests::Setup::new().prepare();
    let (input, devices) = (tapline.dir().join("day.jsonl"), tapline.dir().join("devices.json"));
    let list = document(&all.iter().collect::<Vec<_>>()).to_string();
    std::fs::write(&devices, list).expect("scratch is writable");
    let mut file = BufWriter::new(File::create(&input).expect("scratch is writable"));
    let mut lines = 0u64;
    for round in 0..rounds {
        for (second, power) in COURSE {
            let at = (round * 100) as f64 + second;
            for machine in all.iter() {
                let payload = String::from_utf8(machine.report(at, power)).expect("JSON");
                let line: Value = json!({
                    "topic": machine.topic(), "payload": payload,
                    "received_at": machine.time(at).0, "qos": 1,
                });
                writeln!(file, "{line}").expect("scratch is writable");
                lines += 1;
            }
        }
    }
    file.flush().expect("scratch is writable");
    let begun = Instant::now();
    let arguments = ["replay", "workshop", "--input", "day.jsonl", "--devices", "devices.json"];
    let mut command = tapline.command(&arguments);
    let output = File::create(tapline.dir().join("out.jsonl")).expect("scratch is writable");
    let status = command.stdout(output).status().await.expect("the program can be run");
    assert!(status.success(), "{status}");
    let took = begun.elapsed().as_secs_f64();
    let size = std::fs::metadata(&input).expect("it is there").len();
    println!(
        "replay: {lines} messages of {} devices ({} MB) in {took:.1} s with the start: {:.0} \
         messages/s",
        all.len(),
        size / 1_000_000,
        lines as f64 / took
    );
}
