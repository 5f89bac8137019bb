//! Faults of the network between Tapline and a real broker.

use std::time::Duration;

use tapline::config::site::MqttVersion;
use tapline_tests::{
    COURSE, Ending, Listener, Machine, Mosquitto, Odoo, PATIENCE, Proxy, Publisher, Setup, Tally,
    Tapline, Way, Weather, eventually,
};

/// A broker, and everything else behind a network that can fail.
struct Far {
    broker: Mosquitto,
    proxy: Proxy,
    odoo: Odoo,
    devices: Publisher,
    tapline: Tapline,
}

impl Far {
    /// Devices are near the broker; Tapline is not, and looks after its connection every second.
    async fn start(version: &str) -> Self {
        let (broker, odoo) = (Mosquitto::start().await, Odoo::start().await);
        let proxy = Proxy::start(broker.port()).await;
        let site = format!(
            "format = 1\n[broker.main]\nurl = \"mqtt://127.0.0.1:{}\"\nversion = \"{version}\"\n\
             keepalive = \"1s\"\nconnect_timeout = \"1s\"\n[endpoint.odoo]\nurl = \"{}\"\n",
            proxy.port(),
            odoo.0.url()
        );
        let setup = Setup::new().site("tapline.toml", &site).env("MQTT_CLIENT_ID", "far");
        let tapline = setup.start().await;
        let devices = Publisher::connect(broker.port()).await;
        Self { broker, proxy, odoo, devices, tapline }
    }

    async fn of(version: &str, machine: &Machine) -> Self {
        let far = Self::start(version).await;
        far.tapline.take(&[machine]).await;
        far
    }

    async fn until_cut_off(&self) {
        self.tapline
            .until("Tapline knows that the broker is silent", |health| {
                let main = &health["brokers"]["main"];
                let error = main["last_error"].as_str().unwrap_or_default();
                main["connected"] == false
                    && (error.contains("ping") || error.contains("no answer"))
            })
            .await;
    }

    /// The end of every test: all that was acknowledged arrived, once.
    async fn judge(&self, mut tally: Tally) {
        tally.finish(&self.devices).await;
        tally.arrives(&self.odoo).await;
        self.odoo.is_content();
        let flow = self.tapline.flow("workshop").await;
        // The last word of a machine is a message too, and no event.
        assert_eq!((flow.committed, flow.dead_lettered), (tally.acknowledged() + 1, 0), "{flow:?}");
    }
}

async fn falls_into_a_black_hole(version: &str, weather: Weather) {
    let mut tally = Tally::new("press");
    let far = Far::of(version, tally.machine()).await;
    tally.publish(&far.devices, 4).await;
    eventually("it is taken in", || async {
        let flow = far.tapline.flow("workshop").await;
        if flow.committed == 4 { Ok(()) } else { Err(format!("{flow:?}")) }
    })
    .await;
    far.proxy.weather(weather);
    tally.publish(&far.devices, 4).await;
    far.until_cut_off().await;
    tally.publish(&far.devices, 4).await;
    far.proxy.fair();
    far.judge(tally).await;
    assert!(far.broker.log().contains("as far "), "it was this broker");
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_what_waited_behind_it_comes() {
    tokio::join!(
        falls_into_a_black_hole("5", Weather::black_hole()),
        falls_into_a_black_hole("5", Weather { stalled_down: true, ..Weather::default() }),
        falls_into_a_black_hole("3.1.1", Weather { stalled_up: true, ..Weather::default() }),
    );
}

#[tokio::test]
async fn resets_and_cuts_lose_nothing_and_double_nothing() {
    let mut tally = Tally::new("press");
    let far = Far::of("5", tally.machine()).await;
    tally.publish(&far.devices, 2).await;
    far.proxy.end(Ending::Reset);
    tally.publish(&far.devices, 4).await;
    // Into the third message, and into its acknowledgement.
    far.proxy.cut_after(Way::Down, 600, Ending::Closed);
    tally.publish(&far.devices, 6).await;
    eventually("it is cut", || async {
        if far.proxy.is_to_cut() { Err("not yet") } else { Ok(()) }
    })
    .await;
    far.proxy.cut_after(Way::Up, 3, Ending::Reset);
    tally.publish(&far.devices, 6).await;
    tally.finish(&far.devices).await;
    tally.arrives(&far.odoo).await;
    far.odoo.is_content();
    let flow = far.tapline.flow("workshop").await;
    assert_eq!((flow.committed, flow.dead_lettered), (tally.acknowledged() + 1, 0), "{flow:?}");
}

#[tokio::test]
async fn a_network_that_is_slow_and_cuts_everything_to_bytes_costs_time_alone() {
    let mut tally = Tally::new("press");
    let far = Far::of("5", tally.machine()).await;
    let late = Weather { delay: Duration::from_millis(30), fragments: true, ..Weather::default() };
    far.proxy.weather(late);
    tally.publish(&far.devices, 40).await;
    // 40 messages are some 8 kB.
    far.proxy.weather(Weather { rate: Some(10_000), ..Weather::default() });
    tally.publish(&far.devices, 40).await;
    far.judge(tally).await;
    let page = far.tapline.scrape().await;
    assert_eq!(page.sum("tapline_broker_reconnects_total", &[]), 0);
}

#[tokio::test]
async fn an_outage_with_messages_waiting_at_the_broker_gives_the_sessions_of_none() {
    let press = Machine::new("press").with("heartbeat_interval_s", 5.0);
    let (calm, stormy) = tokio::join!(Far::of("5", &press), Far::of("5", &press));
    for round in 0..4 {
        if round % 2 == 1 {
            stormy.proxy.weather(Weather::black_hole());
            stormy.until_cut_off().await;
        }
        for (at, power) in COURSE {
            let report = [(f64::from(round) * 100.0 + at, power)];
            calm.devices.report(&press, &report).await;
            stormy.devices.report(&press, &report).await;
            // In the middle of a session, and while one stops.
            if at == if round == 1 { 10.0 } else { 40.0 } {
                stormy.proxy.fair();
            }
        }
    }
    for far in [&calm, &stormy] {
        eventually("every session has ended", || async {
            let events = far.odoo.of(&press);
            let ended = events.iter().filter(|event| event.event_type == "session_stopped");
            let ended = ended.count();
            if ended == 4 { Ok(()) } else { Err(format!("{ended} have")) }
        })
        .await;
    }
    // Even the ids are equal.
    assert_eq!(stormy.odoo.account(&press), calm.odoo.account(&press));
    assert!(calm.odoo.account(&press).len() > 16, "there are heartbeats");
    stormy.odoo.is_content();
}

/// Each connection is cut behind another byte, so that each part of each packet has its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_behind_any_byte_is_taken_up_where_it_was() {
    const EACH: usize = 40;
    const MESSAGES: usize = 8;
    let broker = Mosquitto::start().await;
    let devices = Publisher::connect(broker.port()).await;
    let mut cut = Vec::new();
    for n in 0..2 * EACH {
        let proxy = Proxy::start(broker.port()).await;
        let listener = Listener::with(proxy.port(), &["all/#"], |config| {
            config.client_id = format!("cut-{n}");
            // What the broker tells of itself comes on the other connection: it is not to be cut.
            config.sys_topics = false;
            if n % 4 > 1 {
                config.version = MqttVersion::V311;
            }
        });
        cut.push((proxy, listener));
    }
    for (_, listener) in &cut {
        until_drained(listener).await;
    }
    for (n, (proxy, _)) in cut.iter().enumerate() {
        let way = if n % 2 == 0 { Way::Down } else { Way::Up };
        let ending = if n % 3 == 0 { Ending::Reset } else { Ending::Closed };
        // 8 messages of 21 bytes come down, and 8 acknowledgements of 4 bytes go up.
        let byte = if n % 2 == 0 { 1 + n * 2 } else { 1 + n * 30 / (2 * EACH) };
        proxy.cut_after(way, byte, ending);
    }
    let payload = |n: usize| format!("message {n}").into_bytes();
    for n in 0..MESSAGES {
        devices.send("all/of", payload(n)).await;
    }
    for (n, (proxy, listener)) in cut.iter().enumerate() {
        eventually(&format!("connection {n} is cut and taken up"), || async {
            let status = listener.status();
            let last = listener.marks().iter().any(|(what, _)| *what == payload(MESSAGES - 1));
            let done = !proxy.is_to_cut() && status.drained && status.reconnects > 0 && last;
            if done { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
        let marks = listener.marks();
        for n in 0..MESSAGES {
            let same: Vec<_> = marks.iter().filter(|(what, _)| *what == payload(n)).collect();
            let first = same.first().unwrap_or_else(|| panic!("message {n} is lost: {marks:?}"));
            let first = first.1.expect("it was QoS 1");
            for again in &same[1..] {
                let again = again.1.expect("it was QoS 1");
                assert!(again.dup, "message {n} came twice and looks like two: {marks:?}");
                let of =
                    |mark: tapline::broker::PacketMark| (mark.packet_id, mark.epoch, mark.hash);
                assert_eq!(of(again), of(first));
            }
        }
    }
}

async fn until_drained(listener: &Listener) {
    eventually("it is subscribed", || async {
        let status = listener.status();
        if status.drained && status.publishing { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

async fn listener_behind(proxy: &Proxy) -> Listener {
    let listener = Listener::with(proxy.port(), &["all/#"], |config| {
        config.keep_alive = Duration::from_secs(1);
        config.connect_timeout = Duration::from_secs(1);
    });
    until_drained(&listener).await;
    listener
}

async fn until_publishing_is(expected: bool, listener: &Listener) {
    eventually(&format!("it knows that it can publish: {expected}"), || async {
        let status = listener.status();
        if status.publishing == expected { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_takes_nothing_in_the_middle_of_a_publication_is_noticed() {
    let broker = Mosquitto::start().await;
    let proxy = Proxy::start(broker.port()).await;
    let listener = listener_behind(&proxy).await;
    proxy.weather(Weather { stalled_up: true, ..Weather::default() });
    // More than the system buffers, so that even a ping can no longer be written.
    let large = vec![b'x'; 16 << 20];
    let failed = listener.publish("all/large", large, Duration::from_secs(2)).await;
    assert!(failed.is_err_and(|error| error.is_temporary()));
    until_publishing_is(false, &listener).await;
    proxy.fair();
    listener.publish("all/small", b"small".to_vec(), PATIENCE).await.expect("it is there again");
}

#[tokio::test]
async fn publications_that_nobody_answers_do_not_hide_that_the_connection_is_dead() {
    let broker = Mosquitto::start().await;
    let proxy = Proxy::start(broker.port()).await;
    let listener = listener_behind(&proxy).await;
    proxy.weather(Weather { stalled_down: true, ..Weather::default() });
    // Each of them puts the next ping off.
    let limit = Duration::from_millis(300);
    let mut sent = 0;
    while listener.status().publishing {
        let failed = listener.publish("all/of", b"on".to_vec(), limit).await;
        assert!(failed.is_err_and(|error| error.is_temporary()));
        sent += 1;
        assert!(sent < 40, "{:?}", listener.status());
    }
    proxy.fair();
    listener.publish("all/of", b"off".to_vec(), PATIENCE).await.expect("it is there again");
}
