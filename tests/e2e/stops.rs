//! The end of a run by SIGTERM, in time, whatever hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tapline::stand_in::Behaviour;
use tapline_tests::{Bench, Load, Machine, courses};

/// What `docker stop` gives, and a little for a machine that is busy.
const IN_TIME: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_ends_in_time_though_the_broker_and_odoo_hang() {
    let rounds = 60;
    let machines: Arc<[Machine]> =
        (0..10).map(|n| Machine::new(&format!("m{n}")).beginning(rounds as u64 * 100)).collect();
    let all: Vec<_> = machines.iter().collect();
    let mut bench = Bench::of(&all).await;
    bench.odoo.0.behave(u32::MAX, Behaviour::Hang);
    let reports = courses(machines.clone(), 0..rounds);
    let publishing = tokio::spawn(Load::stream(bench.broker.port(), reports, 2000));
    bench
        .tapline
        .until("messages stream in and deliveries hang", |health| {
            let sinks = health["sinks"].as_object();
            let waiting =
                sinks.is_some_and(|all| all.values().any(|s| s["waiting"].as_u64() > Some(0)));
            waiting && health["pipelines"]["workshop"]["committed"].as_u64() > Some(100)
        })
        .await;
    bench.broker.freeze().await;
    let told = Instant::now();
    assert!(bench.tapline.terminate().await.success(), "{}", bench.tapline.stderr());
    let took = told.elapsed();
    println!("ended {took:?} after SIGTERM");
    assert!(took < IN_TIME, "{took:?}");
    assert_eq!(bench.tapline.logged("stopped").len(), 1);
    bench.broker.thaw().await;
    bench.odoo.0.behave_well();
    bench.start_again(all.len()).await;
    publishing.await.expect("the broker takes everything");
    bench.settle(&all).await;
    bench.odoo.is_in_order();
    for machine in &all {
        assert_eq!(bench.odoo.of(machine).len(), 2 * rounds, "{}", machine.id());
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_module_that_burns() {
    let module = std::fs::read(tapline_tests::fixtures().join("hostile.wasm")).expect("built");
    let pipeline = "format = 1\nname = \"hostile\"\n[[source]]\nname = \"orders\"\n\
         broker = \"main\"\ntopics = [\"hostile/{device}\"]\nunknown_devices = \"accept\"\n\
         [[parse]]\nname = \"hostile\"\nmodule = \"hostile\"\ntopics = [\"hostile/#\"]\n";
    let mut bench = Bench::with(|setup| {
        setup
            .site("tapline.toml", "format = 1\nshipped = []\n")
            .site("pipelines/hostile.toml", pipeline)
            .site_bytes("modules/hostile.wasm", module)
    })
    .await;
    bench.tapline.subscribed(1).await;
    for _ in 0..256 {
        bench.devices.send("hostile/lathe", "loop").await;
    }
    bench.devices.send("hostile/lathe", "100").await;
    bench.tapline.until("they have come", |h| h["pipelines"]["hostile"]["received"] == 257).await;
    let told = Instant::now();
    assert!(bench.tapline.terminate().await.success(), "{}", bench.tapline.stderr());
    let took = told.elapsed();
    println!("ended {took:?} after SIGTERM");
    assert!(took < IN_TIME, "{took:?}");
    // The broker has all that was not worked off.
    bench.tapline.start_again().await;
    bench
        .tapline
        .until("it comes again", |h| h["pipelines"]["hostile"]["received"].as_u64() > Some(0))
        .await;
}
