//! What brokers do to Tapline: restart, die, refuse, hand over to another client, hold much,
//! send too much, too large, or nonsense.

use std::time::{Duration, Instant};

use tapline::broker::SubscriptionStatus;
use tapline::broker::fake::{Delivery, FakeBroker};
use tapline::config::site::MqttVersion;
use tapline_tests::{
    Bench, COURSE, Listener, Load, Machine, Mosquitto, Odoo, Publisher, Setup, Slow, Tally,
    Tapline, document, eventually, number_of,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENT: &str = "iot_bridge";
const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

fn site(port: u16, odoo: &Odoo, more: &str) -> String {
    format!(
        "format = 1\n[broker.main]\nurl = \"mqtt://127.0.0.1:{port}\"\nclient_id = \"{CLIENT}\"\n\
         {more}\n[endpoint.odoo]\nurl = \"{}\"\n",
        odoo.0.url()
    )
}

/// Publishes without a pause while `disturb` goes on; gives back how it stands.
async fn published_during(
    mut tally: Tally,
    port: u16,
    disturb: impl Future<Output = ()>,
) -> (Tally, Publisher) {
    let devices = Publisher::connect(port).await;
    let stop = tokio::sync::watch::channel(false).0;
    let mut stopped = stop.subscribe();
    let publishing = tokio::spawn(async move {
        while !*stopped.borrow_and_update() {
            tally.publish(&devices, 1).await;
            // As many as machines send, not as many as a broker takes.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (tally, devices)
    });
    disturb.await;
    stop.send_replace(true);
    publishing.await.expect("everything was acknowledged by the broker")
}

#[tokio::test]
async fn a_broker_that_restarts_again_and_again_under_load_loses_and_doubles_nothing() {
    let tally = Tally::new("press");
    let mut bench = Bench::of(&[tally.machine()]).await;
    let port = bench.broker.port();
    let (tapline, broker) = (&bench.tapline, &mut bench.broker);
    let (mut tally, devices) = published_during(tally, port, async {
        for round in 1..=3 {
            let before = tapline.flow("workshop").await.committed;
            until_committed(tapline, before + 20).await;
            broker.stop().await;
            broker.start_again().await;
            tapline.until("it is connected again", |_| tapline.connects() > round).await;
        }
    })
    .await;
    tally.finish(&devices).await;
    tally.arrives(&bench.odoo).await;
    bench.odoo.is_content();
    let flow = bench.tapline.flow("workshop").await;
    let once = tally.acknowledged() + 1;
    assert!((once..=once + tally.again()).contains(&flow.committed), "{once}: {flow:?}");
    assert_eq!((flow.filtered, flow.dead_lettered), (0, 0));
    println!("{} messages, {} published again: {flow:?}", once, tally.again());
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_costs_what_it_had_not_written_and_nothing_else() {
    let tally = Tally::new("press");
    let mut late = Tally::new("saw");
    let mut bench = Bench::of(&[tally.machine(), late.machine()]).await;
    let port = bench.broker.port();
    let (tapline, broker) = (&bench.tapline, &mut bench.broker);
    let (mut tally, devices) = published_during(tally, port, async {
        for round in 1..=2 {
            // It is in the middle of it each time.
            let before = tapline.flow("workshop").await.committed;
            until_committed(tapline, before + 20).await;
            broker.kill().await;
            broker.start_again().await;
            tapline.until("it is connected again", |_| tapline.connects() > round).await;
        }
    })
    .await;
    // The session went with the broker, and is there again.
    bench.tapline.subscribed(4).await;
    late.publish(&devices, 10).await;
    late.finish(&devices).await;
    late.arrives(&bench.odoo).await;
    tally.finish(&devices).await;
    bench.settle(&[tally.machine(), late.machine()]).await;
    bench.odoo.is_content();
    let arrived = tally.arrived(&bench.odoo);
    assert!(arrived.len() >= 40 && arrived.is_sorted(), "{arrived:?}");
    assert!(arrived.windows(2).all(|two| two[0] < two[1]), "{arrived:?}");
    println!("{} of {} messages outlived the broker", arrived.len(), tally.acknowledged());
}

#[tokio::test]
async fn a_second_client_with_its_client_id_is_named_and_not_fought() {
    let press = Machine::new("press");
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let setup = Setup::new().site("tapline.toml", &site(broker.port(), &odoo, "pushed = true"));
    let tapline = setup.start().await;
    tapline.take(&[&press]).await;
    let other = tokio::spawn(comes_back_at_once(broker.port()));
    let health = tapline
        .until("the other client is named", |health| {
            let problems = health["problems"].to_string();
            problems.contains("another client may use the client id `iot_bridge`")
        })
        .await;
    assert_eq!(health["status"], "degraded");
    let told = tapline.logged("mqtt_connection_failed");
    let told = told.iter().find(|line| line["error"].to_string().contains("another client"));
    let wait = told.expect("the log names it")["retry_in_ms"].as_u64();
    assert!(wait >= Some(60_000), "{wait:?}");
    other.abort();
}

/// A client that never lets go of Tapline's client id.
async fn comes_back_at_once(port: u16) {
    let id = CLIENT.as_bytes();
    // CONNECT: protocol name and level 4, a session that is kept, no keep-alive, client id.
    let mut connect = vec![0x10, 12 + id.len() as u8, 0, 4];
    connect.extend_from_slice(b"MQTT\x04\x00\0\0\0");
    connect.push(id.len() as u8);
    connect.extend_from_slice(id);
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        stream.write_all(&connect).await.expect("it takes a connection");
        let mut until_it_is_closed = Vec::new();
        let _closed_or_reset = stream.read_to_end(&mut until_it_is_closed).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_subscription_that_the_broker_refuses_is_shown_and_holds_up_nothing() {
    let press = Machine::new("press");
    let (broker, odoo) = (FakeBroker::start().await.expect("a port is free"), Odoo::start().await);
    let refused = "hall/press/online";
    let port = broker.address().port();
    let setup = Setup::new().port(port).odoo(&odoo.0).env("MQTT_CLIENT_ID", CLIENT);
    let tapline = setup.start().await;
    tapline.take(&[&press]).await;
    // The access list changes, and the broker forgets the session.
    broker.script(|script| {
        script.suback.insert(refused.to_owned(), 0x87);
        script.session_present = Some(false);
    });
    broker.cut(CLIENT);
    let health = tapline
        .until("the refusal is shown", |health| {
            health["brokers"]["main"]["refused"][refused] == "this client is not allowed to"
        })
        .await;
    assert_eq!((&health["status"], &health["subscriptions"]), (&"degraded".into(), &1.into()));
    assert!(health["problems"].to_string().contains("refuses `hall/press/online`"), "{health}");
    for (packet_id, (second, power_w)) in (1..).zip(COURSE) {
        let report = press.report(second, power_w);
        assert!(broker.deliver(CLIENT, &Delivery::new(&press.topic(), report, packet_id)));
    }
    odoo.kinds(&press, &WHOLE).await;
    // Somebody corrects the access list.
    broker.script(|script| script.suback.clear());
    broker.cut(CLIENT);
    tapline.subscribed(2).await;
    tapline.until("all is well", |health| health["status"] == "ok").await;
}

#[tokio::test]
async fn topics_and_payloads_that_make_no_sense_cost_themselves_alone() {
    let press = Machine::new("press");
    let (broker, odoo) = (FakeBroker::start().await.expect("a port is free"), Odoo::start().await);
    let setup = Setup::new().port(broker.address().port()).odoo(&odoo.0);
    let tapline = setup.env("MQTT_CLIENT_ID", CLIENT).start().await;
    tapline.take(&[&press]).await;
    let levels = "/".repeat(10_000);
    let long = "x".repeat(60_000);
    let odd = ["$SYS/broker", "\u{feff}hall", "/", "hall//rpc", &levels, &long];
    for (packet_id, topic) in (1..).zip(odd) {
        assert!(broker.deliver(CLIENT, &Delivery::new(topic, press.report(0.0, 100.0), packet_id)));
    }
    let topic = press.topic();
    let nested = "[".repeat(50_000);
    let payloads = [&b""[..], b"\0", b"\xff\xfe", b"{", b"null", b"1e999", nested.as_bytes()];
    for (packet_id, payload) in (101..).zip(payloads) {
        assert!(broker.deliver(CLIENT, &Delivery::new(&topic, payload, packet_id)));
    }
    for (packet_id, (second, power_w)) in (201..).zip(COURSE) {
        let report = press.report(second, power_w);
        assert!(broker.deliver(CLIENT, &Delivery::new(&topic, report, packet_id)));
    }
    odoo.kinds(&press, &WHOLE).await;
    odoo.is_content();
    assert_eq!(tapline.connects(), 1);
    tapline.flow("workshop").await;
}

/// Bytes that are no packet, or one that a broker must not send.
fn broken_packets() -> Vec<Vec<u8>> {
    let mut packets = vec![
        vec![0x00, 0x00],
        vec![0xf0, 0x00],
        // A length that never ends; a publication of QoS 3; a topic longer than its packet.
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x36, 5, 0, 1, b'a', 0, 1],
        vec![0x30, 3, 0xff, 0xff, 0],
        // Packet id 0; answers to nothing; a second CONNACK; a client's packets.
        vec![0x32, 6, 0, 1, b'a', 0, 0, 0],
        vec![0x40, 2, 0x12, 0x34],
        vec![0x62, 2, 0x12, 0x34],
        vec![0x90, 4, 0x12, 0x34, 0, 0],
        vec![0xb0, 2, 0x12, 0x34],
        vec![0x20, 3, 0, 0, 0],
        vec![0x10, 0],
        vec![0xc0, 0],
        vec![0xd0, 1, 0],
        // Topics with wildcards, with a zero, and of no text.
        vec![0x30, 5, 0, 3, b'a', b'/', b'+'],
        vec![0x30, 3, 0, 1, b'#'],
        vec![0x30, 3, 0, 1, 0],
        vec![0x30, 4, 0, 2, 0xff, 0xfe],
        // An alias that was never set; properties longer than the packet.
        vec![0x30, 6, 0, 0, 3, 0x23, 0, 9],
        vec![0x30, 4, 0, 1, b'a', 0x7f],
        // A huge packet of which nothing follows.
        vec![0x30, 0xff, 0xff, 0xff, 0x7f],
    ];
    let mut chance = fastrand::Rng::with_seed(7);
    for _ in 0..19 {
        let length = chance.usize(1..40);
        packets.push((0..length).map(|_| chance.u8(..)).collect());
    }
    packets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_packet_costs_at_most_its_connection() {
    let broker = FakeBroker::start().await.expect("a port is free");
    let packets = broken_packets();
    let mut listeners = Vec::new();
    for (n, _) in packets.iter().enumerate() {
        listeners.push(Listener::with(broker.address().port(), &["all/#"], |config| {
            config.client_id = format!("l{n}");
            // What waits for the rest of a packet learns by its ping that none comes.
            config.keep_alive = Duration::from_secs(1);
            if n % 2 == 1 {
                config.version = MqttVersion::V311;
            }
        }));
    }
    for (n, (listener, packet)) in listeners.iter().zip(&packets).enumerate() {
        eventually("it is drained", || async {
            let status = listener.status();
            if status.drained { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        assert!(broker.send_raw(&format!("l{n}"), packet));
    }
    for (n, (listener, packet)) in listeners.iter().zip(&packets).enumerate() {
        eventually(&format!("a good message comes after {packet:02x?}"), || async {
            // What is sent into a broken packet may be swallowed with it.
            broker.deliver(&format!("l{n}"), &Delivery::new("all/of", "good", 1).qos(0));
            let heard = listener.heard().iter().any(|(_, payload)| payload == b"good");
            if heard { Ok(()) } else { Err(format!("{:?}", listener.status())) }
        })
        .await;
        let granted = |s: &SubscriptionStatus| matches!(s, SubscriptionStatus::Granted { .. });
        eventually("it is subscribed", || async {
            let status = listener.status();
            let all = status.subscriptions.values().all(granted);
            if all { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }
}

async fn is_not_disturbed_by_a_large_message(version: &str) {
    let press = Machine::new("press");
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let more = format!("pushed = true\nversion = \"{version}\"\nmax_packet = \"16 KiB\"");
    let setup = Setup::new().site("tapline.toml", &site(broker.port(), &odoo, &more));
    let tapline = setup.start().await;
    tapline.take(&[&press]).await;
    let devices = Publisher::connect(broker.port()).await;
    devices.report(&press, &COURSE[..2]).await;
    odoo.kinds(&press, &WHOLE[..1]).await;
    for size in [17 << 10, 1 << 20, 40 << 10] {
        devices.send(&press.topic(), vec![b'x'; size]).await;
    }
    devices.report(&press, &COURSE[2..]).await;
    odoo.kinds(&press, &WHOLE).await;
    odoo.is_content();
    let page = tapline.scrape().await;
    let (reconnects, oversize) = (
        page.sum("tapline_broker_reconnects_total", &[]),
        page.sum("tapline_broker_oversize_total", &[]),
    );
    // A broker of MQTT 5 keeps to our limit. One of 3.1.1 does not know it: the largest costs
    // one connection, and then all are acknowledged unread.
    let expected = if version == "5" { (0, 0) } else { (1, 3) };
    assert!(reconnects <= expected.0 && oversize >= expected.1, "{reconnects}, {oversize}");
}

#[tokio::test]
async fn messages_over_the_limit_end_in_no_loop_of_reconnects() {
    tokio::join!(
        is_not_disturbed_by_a_large_message("5"),
        is_not_disturbed_by_a_large_message("3.1.1"),
    );
}

fn megabytes(bytes: Option<u64>) -> u64 {
    bytes.unwrap_or_default() / 1_000_000
}

/// Everything in the site's attic comes to the pipeline, whoever sends it.
fn with_the_attic() -> String {
    let shipped = tapline_tests::copy_of_shipped("workshop");
    let whole = shipped.replace("topics   = []", "topics   = [\"attic/{name}/events/rpc\"]");
    assert_ne!(shipped, whole, "the shipped pipeline names its topics otherwise");
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_retained_messages_at_once_are_worked_off_and_hold_up_nothing() {
    let count = number_of("TAPLINE_RETAINED", 100_000);
    let press = Machine::new("press");
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let port = broker.port();
    let stored = (0..count).map(|n| {
        let machine = Machine::new(&format!("old-{n}"));
        (machine.topic().replace("hall/", "attic/"), machine.report(0.0, 100.0))
    });
    let stored: Vec<_> = stored.collect();
    let stored = tokio::task::spawn_blocking(move || {
        Load::connect(port)?.retaining().publish(stored.into_iter(), 1_000_000)
    });
    assert_eq!(stored.await.expect("it ends").expect("the broker keeps them"), count);
    let setup = Setup::new().site("tapline.toml", &site(port, &odoo, "pushed = true"));
    let tapline = setup.site("pipelines/workshop.toml", &with_the_attic()).start().await;
    tapline.push(&document(&[&press])).await;
    let begun = Instant::now();
    let devices = Publisher::connect(port).await;
    devices.report(&press, &COURSE).await;
    odoo.kinds(&press, &WHOLE).await;
    let mut flow = tapline.flow("workshop").await;
    while flow.filtered < count {
        assert!(begun.elapsed() < Duration::from_secs(600), "{flow:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        flow = tapline.flow("workshop").await;
    }
    assert_eq!((flow.filtered, flow.committed, flow.dead_lettered), (count, 6, 0));
    odoo.is_content();
    assert_eq!(tapline.connects(), 1);
    let peak = megabytes(tapline.memory_peak());
    println!("{count} retained messages in {:?}, {peak} MB at most", begun.elapsed());
}

async fn until_committed(tapline: &Tapline, count: u64) {
    let begun = Instant::now();
    loop {
        let committed = tapline.flow("workshop").await.committed;
        if committed >= count {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(1200), "{committed} of {count}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_what_it_can_bear_is_worked_off_in_bounded_memory() {
    const MACHINES: usize = 50;
    /// Enough to see how fast it is on this machine.
    const WARM_UP: u64 = 60;
    let seconds = number_of("TAPLINE_OVERLOAD_SECONDS", 2);
    let mut machines: Vec<_> = (0..MACHINES).map(|n| Tally::new(&format!("m{n}"))).collect();
    let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
    let setup = Setup::s3(&broker, &odoo.0).env("LOG_LEVEL", "warn");
    let mut tapline = setup.start().await;
    tapline.take(&machines.iter().map(Tally::machine).collect::<Vec<_>>()).await;
    let port = broker.port();
    let mut round = |count: u64| -> Vec<_> {
        let mut each: Vec<_> = machines.iter_mut().map(|m| m.take(count)).collect();
        (0..count)
            .flat_map(|_| each.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>())
            .collect()
    };
    // Ten times of what it can bear at full speed no broker would bring it on this machine.
    let slow = Slow::down(tapline.process().expect("it runs"));
    let begun = Instant::now();
    let warm_up = WARM_UP * MACHINES as u64;
    Load::stream(port, round(WARM_UP).into_iter(), 1_000_000).await;
    until_committed(&tapline, warm_up).await;
    let sustainable = (warm_up as f64 / begun.elapsed().as_secs_f64()).max(50.0) as u64;
    let before = tapline.memory_peak();
    let each = (10 * sustainable * seconds).div_ceil(MACHINES as u64).next_multiple_of(2);
    let flood = round(each);
    let (sent, begun) = (flood.len(), Instant::now());
    let rate = u32::try_from(10 * sustainable).unwrap_or(u32::MAX);
    Load::stream(port, flood.into_iter(), rate).await;
    let published = begun.elapsed();
    let behind = warm_up + sent as u64 - tapline.flow("workshop").await.committed;
    assert_ne!(behind, 0, "it was never too much");
    drop(slow);
    until_committed(&tapline, warm_up + sent as u64).await;
    let peak = tapline.memory_peak();
    println!(
        "{sustainable} messages/s are sustainable; {sent} in {published:?}, of which {behind} wait \
         at their end, are worked off in {:?}: {} MB at most, {} MB before",
        begun.elapsed(),
        megabytes(peak),
        megabytes(before),
    );
    // 10,000 messages or 64 MiB may be held, whatever waits at the broker.
    assert!(megabytes(peak) < megabytes(before) + 200, "{peak:?} after {before:?}");
    let devices = Publisher::connect(port).await;
    for tally in &mut machines {
        tally.finish(&devices).await;
    }
    for tally in &machines {
        tally.arrives(&odoo).await;
    }
    odoo.is_content();
    let flow = tapline.flow("workshop").await;
    assert_eq!((flow.filtered, flow.dead_lettered, flow.duplicates), (0, 0, 0), "{flow:?}");
    assert_eq!(tapline.scrape().await.sum("tapline_broker_shed_total", &[]), 0);
    assert!(tapline.terminate().await.success());
}

#[tokio::test]
async fn a_broker_that_comes_late_is_used_as_if_it_had_been_there() {
    let mut tally = Tally::new("press");
    let odoo = Odoo::start().await;
    let mut broker = Mosquitto::start().await;
    let mut tapline = Setup::s3(&broker, &odoo.0).start().await;
    tapline.take(&[tally.machine()]).await;
    tapline.terminate().await;
    let devices = Publisher::connect(broker.port()).await;
    tally.publish(&devices, 5).await;
    broker.stop().await;
    // It has the session, with what waits in it, and is down when Tapline starts.
    tapline.start_again().await;
    tapline
        .until("the broker is missed", |health| health["problems"].to_string().contains("main"))
        .await;
    broker.start_again().await;
    tally.finish(&devices).await;
    tally.arrives(&odoo).await;
    odoo.is_content();
}
