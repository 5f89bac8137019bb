//! Power cuts at random, again and again: what arrives is what would have arrived without.

use std::sync::Arc;
use std::time::Duration;

use tapline_tests::{Bench, COURSE, Machine, Publisher, document, eventually, number_of};
use tokio::sync::Semaphore;

const MACHINES: usize = 4;
/// Kills, unless `TAPLINE_KILLS` says how many.
const KILLS: u64 = 100;
/// Courses of each machine for each kill.
const ROUNDS: usize = 3;
/// Seconds of a machine's own time from one course to the next.
const APART: usize = 100;
/// Between the machines' reports, so that they come all through Tapline's life.
const PACE: Duration = Duration::from_millis(15);

/// What each machine reports: a whole session a round, by times of its own.
async fn report(devices: &Publisher, machines: &[Machine], round: usize, pace: Duration) {
    for (second, power) in COURSE {
        for machine in machines {
            devices.report(machine, &[((round * APART) as f64 + second, power)]).await;
        }
        tokio::time::sleep(pace).await;
    }
    if round.is_multiple_of(10) {
        devices.send(&machines[0].topic(), "{broken").await;
    }
}

async fn bench(machines: &[Machine]) -> Bench {
    // One name, so that the ids of events are the same.
    let bench = Bench::with(|setup| setup.env("MQTT_CLIENT_ID", "kill-rounds")).await;
    bench.tapline.take(&machines.iter().collect::<Vec<_>>()).await;
    bench
}

/// What waits for Odoo.
fn waiting(health: &serde_json::Value) -> u64 {
    health["sinks"]["workshop/odoo"]["waiting"].as_u64().unwrap_or_default()
}

async fn settled(bench: &Bench, machines: &[Machine], rounds: usize) {
    // After very many kills that takes long; all that counts is that it goes on.
    let mut left = waiting(&bench.tapline.health().await);
    while left > 0 {
        left = waiting(&bench.tapline.until("deliveries go out", |h| waiting(h) < left).await);
    }
    bench.settle_beside(document(&machines.iter().collect::<Vec<_>>())).await;
    let dead = rounds.div_ceil(10);
    bench.tapline.until("each broken message is set aside", |h| h["dead_letters"] == dead).await;
}

#[tokio::test]
async fn power_cuts_at_random_lose_nothing_double_nothing_and_change_no_session() {
    let kills = number_of("TAPLINE_KILLS", KILLS) as usize;
    let seed = number_of("TAPLINE_SEED", fastrand::u64(..));
    let mut chance = fastrand::Rng::with_seed(seed);
    println!("{kills} kills; the same again with TAPLINE_SEED={seed}");
    // Their times lie within the days that a device's clock is believed.
    let rounds = kills * ROUNDS;
    let back = (rounds * APART + 3600) as u64;
    let names = ["press", "saw", "drill", "lathe"];
    let machines: Arc<[Machine]> =
        names.iter().take(MACHINES).map(|name| Machine::new(name).beginning(back)).collect();

    let undisturbed = bench(&machines).await;
    for round in 0..rounds {
        report(&undisturbed.devices, &machines, round, Duration::ZERO).await;
    }
    settled(&undisturbed, &machines, rounds).await;
    undisturbed.odoo.is_content();

    let mut killed = bench(&machines).await;
    let devices = Publisher::connect(killed.broker.port()).await;
    // So many rounds go out with each life of Tapline, whenever that ends.
    let lives = Arc::new(Semaphore::new(0));
    let publishing = tokio::spawn({
        let (machines, lives) = (machines.clone(), lives.clone());
        async move {
            for round in 0..rounds {
                lives.acquire().await.expect("never closed").forget();
                report(&devices, &machines, round, PACE).await;
            }
        }
    });
    for _ in 0..kills {
        lives.add_permits(ROUNDS);
        // Every fourth dies while it starts.
        let longest = if chance.u8(..4) == 0 { 300 } else { 1500 };
        tokio::time::sleep(Duration::from_millis(chance.u64(..longest))).await;
        killed.tapline.kill().await;
        killed.tapline.spawn();
    }
    publishing.await.expect("everything was acknowledged by the broker");
    eventually("Tapline is back", || async {
        let answer = killed.tapline.call("GET", "/health", None).send().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body.to_string()) }
    })
    .await;
    settled(&killed, &machines, rounds).await;

    killed.odoo.is_in_order();
    for machine in machines.iter() {
        let (with, without) = (killed.odoo.account(machine), undisturbed.odoo.account(machine));
        assert_eq!(without.len(), 2 * rounds, "{}", machine.id());
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with, without);
        }
        assert_eq!(with.len(), without.len(), "{}: lost or twice", machine.id());
    }
    println!(
        "{} messages, {} events: lost 0, twice 0; repeats that Odoo recognised: {}",
        rounds * MACHINES * COURSE.len(),
        2 * rounds * MACHINES,
        killed.odoo.0.duplicates()
    );
}
