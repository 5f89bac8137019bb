//! The process dies at each step of a message's way to the disk and of a delivery's way out.

use std::time::Instant;

use tapline_tests::{Bench, COURSE, Machine, eventually};

/// Where it dies, in the order of the way, and how often it comes by unharmed first: the first
/// commits are a message's, later ones a delivery's too.
const STEPS: [(&str, &[u32]); 8] = [
    ("batch-computed", &[0, 2]),
    ("transaction-begun", &[0, 1, 4]),
    ("transaction-written", &[0, 1, 4]),
    ("transaction-durable", &[0, 1, 4]),
    ("acknowledged", &[0, 2]),
    ("before-delivery", &[0]),
    ("delivered", &[0, 1]),
    ("delivery-marked", &[0, 1]),
];
/// They come only once there is enough to move, so much more is reported at a time.
const LATER: [&str; 2] = ["before-checkpoint", "after-checkpoint"];
const MUCH: usize = 25;

/// Seconds of a machine's own time from one course to the next.
const APART: f64 = 100.0;
const MOST_ROUNDS: usize = 3_000;

struct Killed {
    bench: Bench,
    machines: [Machine; 2],
    rounds: usize,
}

impl Killed {
    async fn start() -> Self {
        let back = (MOST_ROUNDS as f64 * APART) as u64;
        let machines = ["press", "saw"].map(|name| Machine::new(name).beginning(back));
        let bench = Bench::with(|setup| setup.faulty()).await;
        bench.tapline.take(&machines.each_ref()).await;
        Self { bench, machines, rounds: 0 }
    }

    /// One whole session of each machine.
    async fn report(&mut self) {
        assert!(self.rounds < MOST_ROUNDS, "nothing dies");
        let begin = self.rounds as f64 * APART;
        for (second, power) in COURSE {
            for machine in &self.machines {
                self.bench.devices.report(machine, &[(begin + second, power)]).await;
            }
        }
        self.rounds += 1;
    }

    /// Waits until one of both holds; whether it has died.
    async fn has_died_or_delivered(&mut self) -> bool {
        let Self { bench, machines, rounds } = self;
        let (tapline, odoo) = (&mut bench.tapline, &bench.odoo);
        eventually("it dies or delivers everything", || {
            let died = tapline.has_ended().is_some();
            let delivered = machines.iter().all(|machine| odoo.of(machine).len() == 2 * *rounds);
            std::future::ready(if died || delivered { Ok(died) } else { Err("neither yet") })
        })
        .await
    }

    /// Dies there; `at_a_time`: sessions that are reported before it is looked whether it has.
    async fn dies_at(&mut self, place: &str, passes: u32, at_a_time: usize) {
        let begun = Instant::now();
        let first = self.rounds;
        self.bench.tapline.arm(place, &format!("abort {passes}"));
        loop {
            for _ in 0..at_a_time {
                self.report().await;
            }
            if self.has_died_or_delivered().await {
                break;
            }
        }
        self.bench.tapline.died_at(place).await;
        self.bench.tapline.start_again().await;
        println!("{place}, {passes} before: {} rounds, {:?}", self.rounds - first, begun.elapsed());
    }

    /// Every session came exactly once and says what happened.
    async fn nothing_is_missing_or_double(&self) {
        self.bench.settle(&self.machines.each_ref()).await;
        self.bench.odoo.is_in_order();
        for machine in &self.machines {
            let events = self.bench.odoo.of(machine);
            assert_eq!(events.len(), 2 * self.rounds, "{}: lost or twice", machine.id());
            for (round, pair) in events.chunks(2).enumerate() {
                let begin = round as f64 * APART;
                let [started, stopped] = pair else { unreachable!("an even number") };
                assert_eq!(started.event_type, "session_started", "{started:?}");
                assert_eq!(started.payload["started_at"], machine.time(begin).rfc3339());
                assert_eq!(stopped.event_type, "session_stopped", "{stopped:?}");
                assert_eq!(stopped.payload["ended_at"], machine.time(begin + 40.0).rfc3339());
                assert_eq!(stopped.payload["working_s"], 30.0, "{stopped:?}");
                assert_eq!(stopped.payload["standby_s"], 10.0, "{stopped:?}");
                assert_eq!(started.session_uid, stopped.session_uid);
            }
        }
    }
}

#[tokio::test]
async fn a_death_at_any_step_of_a_commit_loses_nothing_and_doubles_nothing() {
    let mut it = Killed::start().await;
    for (place, passes) in STEPS {
        for passes in passes {
            it.dies_at(place, *passes, 1).await;
        }
    }
    for place in LATER {
        it.dies_at(place, 0, MUCH).await;
    }
    it.nothing_is_missing_or_double().await;
    println!(
        "{} rounds; repeats that Odoo recognised: {}",
        it.rounds,
        it.bench.odoo.0.duplicates()
    );
}
