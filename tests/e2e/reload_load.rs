//! Modules and pipeline files that are replaced all the time while messages stream in: what
//! arrives is what would have arrived without.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tapline_tests::{
    Bench, Load, Machine, Setup, copy_of_shipped, courses, document, eventually, shipped_modules,
};
use tokio::task::JoinHandle;

const MACHINES: usize = 20;
/// Courses of each machine.
const ROUNDS: usize = 150;
/// The stream pauses so often until another replacement has been taken up, which takes as long
/// as the machine takes to compile a module.
const PARTS: usize = 3;
const RATE: u32 = 5000;
const EVERY: Duration = Duration::from_millis(100);

/// A site with a pipeline and a module of its own.
pub(super) fn site(setup: Setup) -> Setup {
    let module = std::fs::read(shipped_modules().join("session.wasm")).expect("it was built");
    setup
        .env("MQTT_CLIENT_ID", "reload-load")
        .env("LOG_LEVEL", "info")
        .site("tapline.toml", "format = 1\n")
        .site("pipelines/workshop.toml", &copy_of_shipped("workshop"))
        .site_bytes("modules/session.wasm", module)
}

/// The module with one more custom section: the same code under another hash.
pub(super) fn numbered(module: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = module.to_vec();
    // Section 0: its length, the length of its name, name and content.
    bytes.extend([0, 9, 4]);
    bytes.extend(b"time");
    bytes.extend(number.to_le_bytes());
    bytes
}

/// Beside it and then in its place, as careful editors and deployments do.
fn replace(path: &Path, content: &[u8]) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, content).expect("scratch is writable");
    std::fs::rename(&fresh, path).expect("scratch is writable");
}

/// A task that replaces the site's pipeline and module all the time.
pub(super) struct Replacing {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u32>,
}

impl Replacing {
    pub(super) fn start(dir: &Path) -> Self {
        let (stop, place) = (Arc::new(AtomicBool::new(false)), dir.join("site"));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let module = std::fs::read(shipped_modules().join("session.wasm")).expect("built");
            let pipeline = copy_of_shipped("workshop");
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                replace(&place.join("modules/session.wasm"), &numbered(&module, number));
                // Another text, and every other time a batch that is another by one.
                let text = pipeline.replace("max = 100", &format!("max = {}", 99 + number % 2));
                let text = format!("{text}\n# {number}\n");
                replace(&place.join("pipelines/workshop.toml"), text.as_bytes());
                tokio::time::sleep(EVERY).await;
            }
            number
        });
        Self { stop, task }
    }

    /// How often they were replaced.
    pub(super) async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the files can be written")
    }
}

async fn account(
    bench: &Bench,
    machines: &[Machine],
) -> Vec<Vec<tapline::stand_in::ReceivedEvent>> {
    bench.settle_beside(document(&machines.iter().collect::<Vec<_>>())).await;
    machines.iter().map(|machine| bench.odoo.account(machine)).collect()
}

async fn stream(bench: &Bench, machines: &Arc<[Machine]>, part: usize) -> u64 {
    let rounds = ROUNDS * part / PARTS..ROUNDS * (part + 1) / PARTS;
    Load::stream(bench.broker.port(), courses(machines.clone(), rounds), RATE).await
}

#[tokio::test]
async fn files_that_are_replaced_under_load_lose_nothing_and_change_nothing() {
    let back = (ROUNDS * 100 + 3600) as u64;
    let machines: Arc<[Machine]> =
        (0..MACHINES).map(|n| Machine::new(&format!("machine-{n}")).beginning(back)).collect();
    let all: Vec<_> = machines.iter().collect();

    let undisturbed = Bench::with(site).await;
    undisturbed.tapline.take(&all).await;
    for part in 0..PARTS {
        stream(&undisturbed, &machines, part).await;
    }
    let expected = account(&undisturbed, &machines).await;
    undisturbed.odoo.is_content();

    let bench = Bench::with(site).await;
    bench.tapline.take(&all).await;
    let replacing = Replacing::start(bench.tapline.dir());
    let taken_up = || bench.tapline.logged("files_applied").len();
    let mut sent = 0;
    for part in 0..PARTS {
        let before = taken_up();
        sent += stream(&bench, &machines, part).await;
        eventually("replaced files are taken up", || async {
            if taken_up() > before { Ok(()) } else { Err("none since the last part") }
        })
        .await;
    }
    let replaced = replacing.stop().await;
    let found = account(&bench, &machines).await;

    bench.odoo.is_content();
    for (machine, (found, expected)) in machines.iter().zip(found.iter().zip(&expected)) {
        assert_eq!(expected.len(), 2 * ROUNDS, "{}", machine.id());
        assert_eq!(found, expected, "{}", machine.id());
    }
    let health = bench.tapline.health().await;
    assert_eq!(health["problems"], serde_json::Value::Null, "{health}");
    println!("{sent} messages, files replaced {replaced} times, taken up {} times", taken_up());
}
