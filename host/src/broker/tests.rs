//! A link against the scripted broker. What was acknowledged is read from the broker's log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::fake::{Delivery, Entry, FakeBroker, Packet};
use super::*;
use crate::config::site::{Broker, Ceiling, MqttVersion, Transport};
use crate::message::{Properties, Publication};

const SOON: Duration = Duration::from_secs(10);
const BOTH: [MqttVersion; 2] = [MqttVersion::V5, MqttVersion::V311];

/// Keeps what comes, tickets and all.
struct Desk {
    received: Mutex<Vec<Received>>,
    events: Mutex<Vec<LinkEvent>>,
    changed: watch::Sender<()>,
}

impl Intake for Desk {
    fn message(&self, received: Received) {
        self.received.lock().unwrap().push(received);
        self.changed.send_replace(());
    }

    fn link(&self, event: LinkEvent) {
        self.events.lock().unwrap().push(event);
        self.changed.send_replace(());
    }
}

struct Bench {
    broker: FakeBroker,
    desk: Arc<Desk>,
    memory: Arc<InMemory>,
    config: Broker,
}

impl Bench {
    async fn new(version: MqttVersion) -> Self {
        let broker = FakeBroker::start().await.unwrap();
        let config = Broker {
            name: "main".into(),
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: broker.address().port(),
            version,
            path: "/mqtt".into(),
            client_id: "t".into(),
            username: Some("u".into()),
            password: None,
            keep_alive: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            clean_start: false,
            session_expiry: Duration::from_secs(3600),
            tls: None,
            max_packet: 10_000,
            ceiling: Ceiling { messages: 100, bytes: 1 << 20 },
            status_topic: "tapline/s/status".into(),
            pushed: false,
        };
        let desk = Arc::new(Desk {
            received: Mutex::default(),
            events: Mutex::default(),
            changed: watch::channel(()).0,
        });
        Self { broker, desk, memory: Arc::default(), config }
    }

    fn link(&self, filters: &[&str]) -> Link {
        static NOW: AtomicU64 = AtomicU64::new(1_700_000_000_000);
        let options = LinkOptions {
            broker: Arc::new(self.config.clone()),
            site: "s".into(),
            intake: Arc::clone(&self.desk) as Arc<dyn Intake>,
            memory: Arc::clone(&self.memory) as Arc<dyn Memory>,
            clock: Arc::new(|| crate::message::Timestamp(NOW.fetch_add(1, Ordering::Relaxed))),
        };
        Link::start(options, wanted(filters))
    }

    async fn until(&self, what: impl Fn(&Desk) -> bool) {
        let mut changed = self.desk.changed.subscribe();
        let reached = tokio::time::timeout(SOON, async {
            while !what(&self.desk) {
                changed.changed().await.unwrap();
            }
        });
        assert!(reached.await.is_ok(), "{:?}\n{:#?}", self.desk.events(), self.broker.log());
    }

    async fn drained(&self, times: usize) {
        self.until(|desk| desk.count(|event| matches!(event, LinkEvent::Drained { .. })) >= times)
            .await;
    }

    async fn messages(&self, count: usize) {
        self.until(|desk| desk.received.lock().unwrap().len() >= count).await;
    }

    async fn logged(&self, what: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        self.broker.wait_for(SOON, what).await.unwrap()
    }

    async fn acked(&self, acks: &[(usize, u16)]) {
        let broker = &self.broker;
        broker.wait_for(SOON, |_| broker.acked_by("t").len() >= acks.len()).await.unwrap();
        let ids: Vec<_> = broker.acked_by("t");
        assert_eq!(
            ids.iter().map(|ack| ack.1).collect::<Vec<_>>(),
            acks.iter().map(|ack| ack.1).collect::<Vec<_>>()
        );
    }
}

impl Desk {
    fn count(&self, what: impl Fn(&LinkEvent) -> bool) -> usize {
        self.events.lock().unwrap().iter().filter(|event| what(event)).count()
    }

    fn events(&self) -> Vec<LinkEvent> {
        self.events.lock().unwrap().clone()
    }

    fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

fn wanted(filters: &[&str]) -> BTreeMap<String, Subscription> {
    filters.iter().map(|filter| ((*filter).to_owned(), Subscription::default())).collect()
}

fn subscribes(log: &[Entry]) -> Vec<(usize, Vec<String>)> {
    log.iter()
        .filter_map(|entry| match &entry.packet {
            Packet::Subscribe { filters, .. } => {
                Some((entry.connection, filters.iter().map(|(filter, _)| filter.clone()).collect()))
            }
            _ => None,
        })
        .collect()
}

fn publication(topic: &str, qos: u8) -> Publication {
    Publication {
        broker: None,
        topic: topic.into(),
        payload: b"on".to_vec(),
        qos,
        retain: false,
        properties: Properties::default(),
    }
}

#[tokio::test]
async fn acknowledges_after_the_ticket_is_done_and_in_order_of_receipt() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a/#"]);
        bench.drained(1).await;
        for (packet_id, qos) in [(7, 1), (8, 2), (9, 1)] {
            assert!(bench.broker.deliver("t", &Delivery::new("a/b", "x", packet_id).qos(qos)));
        }
        bench.messages(3).await;
        let [one, two, three] = <[Received; 3]>::try_from(bench.desk.take()).unwrap();
        assert_eq!(one.packet.unwrap().packet_id, 7);
        assert_eq!(one.message.id.epoch, 1);
        assert_ne!(one.message.id.sequence, two.message.id.sequence);
        three.ticket.done();
        two.ticket.done();
        // A round trip through the broker shows that nothing was acknowledged before it.
        link.publish(&publication("x", 1), None, SOON).await.unwrap();
        assert_eq!(bench.broker.acked_by("t"), []);
        one.ticket.done();
        bench.acked(&[(0, 7), (0, 8), (0, 9)]).await;
        bench
            .logged(|log| log.iter().any(|entry| entry.packet == Packet::PubComp { packet_id: 8 }))
            .await;
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_ticket_of_an_earlier_connection_is_never_acknowledged_on_a_later_one() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        bench.broker.deliver("t", &Delivery::new("a", "old", 1));
        bench.messages(1).await;
        bench.broker.cut("t");
        bench.drained(2).await;
        bench.broker.deliver("t", &Delivery::new("a", "new", 1));
        bench.broker.deliver("t", &Delivery::new("a", "newer", 2));
        bench.messages(3).await;
        let [old, new, newer] = <[Received; 3]>::try_from(bench.desk.take()).unwrap();
        old.ticket.done();
        newer.ticket.done();
        link.publish(&publication("x", 1), None, SOON).await.unwrap();
        assert_eq!(bench.broker.acked_by("t"), []);
        new.ticket.done();
        bench.acked(&[(0, 1), (0, 2)]).await;
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_resumed_session_keeps_its_epoch_and_is_not_subscribed_again() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a", "b"]);
        bench.drained(1).await;
        bench.broker.deliver("t", &Delivery::new("a", "x", 5));
        bench.messages(1).await;
        bench.broker.cut("t");
        bench.drained(2).await;
        bench.broker.deliver("t", &Delivery::new("a", "x", 5).again());
        bench.messages(2).await;
        let marks: Vec<_> =
            bench.desk.take().iter().map(|received| received.packet.unwrap()).collect();
        assert_eq!(marks[1], PacketMark { dup: true, ..marks[0] });
        let asked = subscribes(&bench.broker.log());
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(
            bench
                .desk
                .events()
                .iter()
                .any(|event| matches!(event, LinkEvent::Up { resumed: true, .. }))
        );
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn without_a_session_everything_is_subscribed_again_and_the_next_epoch_begins() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a", "b"]);
        bench.drained(1).await;
        bench.broker.script(|script| script.session_present = Some(false));
        bench.broker.cut("t");
        bench.drained(2).await;
        let asked = subscribes(&bench.broker.log());
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0].1, asked[1].1);
        assert_eq!(link.status().epoch, 2);
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn after_a_restart_the_session_is_resumed_and_filters_of_removed_devices_are_given_up() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["kept", "removed"]);
        bench.drained(1).await;
        link.stop(Farewell::KeepSession, SOON).await;
        let link = bench.link(&["kept"]);
        bench.drained(2).await;
        let log = bench
            .logged(|log| {
                log.iter().any(|entry| matches!(entry.packet, Packet::Unsubscribe { .. }))
            })
            .await;
        let given_up: Vec<_> = log
            .iter()
            .filter_map(|entry| match &entry.packet {
                Packet::Unsubscribe { filters, .. } => Some(filters.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(given_up, [["removed"]]);
        assert_eq!(link.status().epoch, 1);
        assert!(link.status().session_present);
        link.stop(Farewell::EndSession, SOON).await;
    }
}

#[tokio::test]
async fn a_refused_subscription_is_shown_with_its_reason_and_holds_up_nothing() {
    for (version, code, reason) in [
        (MqttVersion::V5, 0x87, "this client is not allowed to"),
        (MqttVersion::V311, 0x80, "it gives no reason"),
    ] {
        let bench = Bench::new(version).await;
        bench.broker.script(|script| _ = script.suback.insert("secret/#".into(), code));
        let link = bench.link(&["a", "secret/#", "bad/#/filter"]);
        bench.drained(1).await;
        let shown = link.status().subscriptions;
        assert_eq!(shown["a"], SubscriptionStatus::Granted { qos: 1 });
        assert_eq!(shown["secret/#"], SubscriptionStatus::Refused { code, reason: reason.into() });
        assert!(matches!(shown["bad/#/filter"], SubscriptionStatus::Refused { .. }));
        assert_eq!(shown.len(), 3);
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_changed_set_reaches_the_broker_at_once() {
    let bench = Bench::new(MqttVersion::V5).await;
    let link = bench.link(&["a", "b"]);
    bench.drained(1).await;
    link.subscribe(wanted(&["b", "c"]));
    let log = bench.logged(|log| subscribes(log).len() >= 2).await;
    assert_eq!(subscribes(&log)[1].1, ["c"]);
    bench
        .logged(|log| {
            log.iter().any(|entry| matches!(&entry.packet, Packet::Unsubscribe { filters, .. } if filters == &["a"]))
        })
        .await;
    link.stop(Farewell::KeepSession, SOON).await;
}

#[tokio::test]
async fn is_drained_only_after_the_subacks_and_behind_what_the_broker_had_kept() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        bench.broker.script(|script| script.withhold_suback = true);
        let link = bench.link(&["a"]);
        bench.logged(|log| !subscribes(log).is_empty()).await;
        bench.broker.deliver("t", &Delivery::new("a", "kept", 1));
        bench.messages(1).await;
        assert_eq!(bench.desk.count(|event| matches!(event, LinkEvent::Drained { .. })), 0);
        bench.broker.script(|script| script.withhold_suback = false);
        bench.broker.cut("t");
        bench.drained(1).await;
        assert!(link.status().drained);
        let events = bench.desk.events();
        assert!(matches!(
            events[..],
            [
                LinkEvent::Up { .. },
                LinkEvent::Down { .. },
                LinkEvent::Up { .. },
                LinkEvent::Drained { .. }
            ]
        ));
        // The marker itself is nobody's message.
        assert_eq!(bench.desk.take().len(), 1);
        link.stop(Farewell::KeepSession, Duration::ZERO).await;
    }
}

#[tokio::test]
async fn where_the_marker_is_refused_two_quiet_seconds_count_as_drained() {
    for refuse_filter in [true, false] {
        let bench = Bench::new(MqttVersion::V5).await;
        bench.broker.script(|script| {
            if refuse_filter {
                script.suback.insert("tapline/s/drain/t".into(), 0x87);
            } else {
                script.puback = Some(0x87);
            }
        });
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn at_the_ceiling_acks_are_withheld_and_the_connection_is_dropped_without_a_word() {
    for version in BOTH {
        let mut bench = Bench::new(version).await;
        bench.config.ceiling.messages = 4;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        for packet_id in 1..=6 {
            bench.broker.deliver("t", &Delivery::new("a", "x", packet_id));
        }
        bench.messages(4).await;
        // Half of the keep-alive of 2 s later:
        let log = bench
            .logged(|log| {
                log.iter().any(|entry| entry.client_id == "t" && entry.packet == Packet::Closed)
            })
            .await;
        let said: Vec<_> = log.iter().filter(|entry| entry.client_id == "t").collect();
        assert!(
            !said.iter().any(|entry| matches!(entry.packet, Packet::Disconnect { .. })),
            "{said:#?}"
        );
        assert_eq!(link.status().held_messages, 4);
        assert_eq!(bench.desk.count(|event| matches!(event, LinkEvent::Up { .. })), 1);
        bench.desk.take().into_iter().for_each(|received| received.ticket.done());
        bench.drained(2).await;
        assert_eq!(bench.broker.acked_by("t"), []);
        bench.broker.deliver("t", &Delivery::new("a", "x", 1).again());
        bench.messages(1).await;
        bench.desk.take().into_iter().for_each(|received| received.ticket.done());
        bench.acked(&[(0, 1)]).await;
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_short_jam_at_the_ceiling_costs_no_connection() {
    let mut bench = Bench::new(MqttVersion::V5).await;
    bench.config.ceiling.messages = 1;
    bench.config.keep_alive = Duration::from_secs(20);
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    for packet_id in 1..=50 {
        bench.broker.deliver("t", &Delivery::new("a", "x", packet_id));
    }
    for packet_id in 1..=50 {
        bench.messages(1).await;
        let mut received = bench.desk.take();
        assert_eq!(received.len(), 1);
        let received = received.remove(0);
        assert_eq!(received.packet.unwrap().packet_id, packet_id);
        received.ticket.done();
    }
    let all: Vec<_> = (1..=50).map(|packet_id| (0, packet_id)).collect();
    bench.acked(&all).await;
    assert_eq!(link.status().reconnects, 0);
    link.stop(Farewell::KeepSession, SOON).await;
}

#[tokio::test]
async fn qos_0_is_shed_at_the_ceiling_newest_first_and_counted() {
    let mut bench = Bench::new(MqttVersion::V5).await;
    bench.config.ceiling.messages = 3;
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    for number in 0..5_u8 {
        bench.broker.deliver("t", &Delivery::new("a", [number], 0).qos(0));
    }
    link.publish(&publication("x", 1), None, SOON).await.unwrap();
    bench.until(|_| link.status().shed == 2).await;
    let received = bench.desk.take();
    let kept: Vec<_> = received.iter().map(|received| received.message.payload[0]).collect();
    assert_eq!(kept, [0, 1, 2]);
    assert!(received.iter().all(|received| received.packet.is_none()));
    drop(received);
    bench.broker.deliver("t", &Delivery::new("a", [9], 0).qos(0));
    bench.messages(1).await;
    link.stop(Farewell::KeepSession, Duration::ZERO).await;
}

#[tokio::test]
async fn a_message_over_the_limit_ends_in_no_loop_of_reconnects() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        bench.broker.deliver("t", &Delivery::new("a", vec![b'x'; 200_000], 1));
        bench.drained(2).await;
        // It was not acknowledged, so a broker of 3.1.1 sends it again.
        bench.broker.deliver("t", &Delivery::new("a", vec![b'x'; 200_000], 1).again());
        bench.broker.deliver("t", &Delivery::new("a", "small", 2));
        bench.messages(1).await;
        let received = bench.desk.take().remove(0);
        assert_eq!(&received.message.payload[..], b"small");
        received.ticket.done();
        bench.acked(&[(0, 1), (0, 2)]).await;
        let status = link.status();
        assert_eq!((status.oversize, status.reconnects), (1, 1));
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn says_online_leaves_a_will_and_says_offline_before_it_goes() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        link.stop(Farewell::KeepSession, SOON).await;
        bench
            .logged(|log| log.iter().filter(|entry| entry.packet == Packet::Closed).count() == 2)
            .await;
        let log = bench.broker.log_of("t-pub");
        let Packet::Connect { will, clean, .. } = &log[0].packet else { panic!("{log:?}") };
        assert_eq!(*will, Some(("tapline/s/status".into(), b"offline".to_vec())));
        assert!(clean);
        let said: Vec<_> = log
            .iter()
            .filter_map(|entry| match &entry.packet {
                Packet::Publish { topic, payload, retain: true, qos: 1, .. }
                    if topic == "tapline/s/status" =>
                {
                    Some(String::from_utf8(payload.clone()).unwrap())
                }
                Packet::Disconnect { .. } => Some("disconnect".into()),
                _ => None,
            })
            .collect();
        assert_eq!(said, ["online", "offline", "disconnect"]);
        let receiving = bench.broker.log_of("t");
        assert!(
            receiving
                .iter()
                .any(|entry| entry.packet == Packet::Disconnect { session_expiry: None })
        );
    }
}

#[tokio::test]
async fn ends_the_session_when_told_to() {
    let bench = Bench::new(MqttVersion::V5).await;
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    link.stop(Farewell::EndSession, SOON).await;
    bench
        .logged(|log| {
            log.iter().any(|entry| entry.packet == Packet::Disconnect { session_expiry: Some(0) })
        })
        .await;

    let bench = Bench::new(MqttVersion::V311).await;
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    link.stop(Farewell::EndSession, SOON).await;
    bench
        .logged(|log| {
            let of_link = log.iter().filter(|entry| entry.client_id == "t");
            of_link.last().is_some_and(|entry| entry.packet == Packet::Closed)
                && log.iter().any(|entry| matches!(&entry.packet, Packet::Connect { client_id, clean: true, .. } if client_id == "t"))
        })
        .await;
}

#[tokio::test]
async fn a_farewell_waits_for_the_acknowledgements_that_are_owed() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        bench.broker.deliver("t", &Delivery::new("a", "x", 1));
        bench.messages(1).await;
        let ticket = bench.desk.take().remove(0).ticket;
        let stopping = tokio::spawn(async move { link.stop(Farewell::KeepSession, SOON).await });
        bench.broker.deliver("t", &Delivery::new("a", "too late", 2));
        ticket.done();
        stopping.await.unwrap();
        bench.acked(&[(0, 1)]).await;
        assert_eq!(bench.desk.take().len(), 0);
    }
}

#[tokio::test]
async fn a_session_taken_over_by_another_client_is_recognised_and_not_fought_for() {
    let bench = Bench::new(MqttVersion::V5).await;
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    bench.broker.dismiss("t", 0x8e);
    bench.until(|_| link.status().taken_over).await;
    let status = link.status();
    assert!(status.last_error.unwrap().contains("another client uses the client id `t`"));
    assert!(!status.connected);
    drop(link);
}

#[tokio::test]
async fn a_refused_connection_is_explained() {
    for (version, code, words) in [
        (MqttVersion::V5, 0x86, "user name or password is wrong"),
        (MqttVersion::V311, 5, "this client is not allowed to connect"),
    ] {
        let bench = Bench::new(version).await;
        bench.broker.script(|script| script.refuse_connect = Some(code));
        let link = bench.link(&["a"]);
        let deadline = tokio::time::Instant::now() + SOON;
        while !link.status().last_error.is_some_and(|said| said.contains(words)) {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", link.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.desk.events(), []);
    }
}

#[tokio::test]
async fn publishing_waits_for_the_confirmation() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&[]);
        for qos in 0..=2 {
            link.publish(&publication("out", qos), Some(Duration::from_secs(30)), SOON)
                .await
                .unwrap();
        }
        let expiries: Vec<_> = bench
            .logged(|log| published(log).len() >= 3)
            .await
            .into_iter()
            .filter_map(|entry| match entry.packet {
                Packet::Publish { topic, expiry, .. } if topic == "out" => Some(expiry),
                _ => None,
            })
            .collect();
        assert_eq!(expiries.iter().all(Option::is_some), version == MqttVersion::V5);
        bench.broker.script(|script| script.withhold_puback = true);
        let unsure = link.publish(&publication("out", 1), None, Duration::from_millis(300)).await;
        assert!(matches!(unsure, Err(PublishError::TimedOut(_))), "{unsure:?}");
        assert!(matches!(
            link.publish(&publication("a/+", 1), None, SOON).await,
            Err(PublishError::Topic(_))
        ));
        drop(link);
    }
}

fn published(log: &[Entry]) -> Vec<&Entry> {
    log.iter()
        .filter(|entry| matches!(&entry.packet, Packet::Publish { topic, .. } if topic == "out"))
        .collect()
}

#[tokio::test]
async fn a_refused_publication_and_one_too_large_fail_for_good() {
    let bench = Bench::new(MqttVersion::V5).await;
    bench.broker.script(|script| {
        script.puback = Some(0x87);
        script.max_packet = Some(1000);
    });
    let link = bench.link(&[]);
    let refused = link.publish(&publication("out", 1), None, SOON).await.unwrap_err();
    assert!(matches!(refused, PublishError::Refused { code: 0x87, .. }), "{refused:?}");
    let mut large = publication("out", 1);
    large.payload = vec![0; 2000];
    let large = link.publish(&large, None, SOON).await.unwrap_err();
    assert!(matches!(large, PublishError::TooLarge { limit: 1000, .. }) && !large.is_temporary());
}

#[tokio::test]
async fn properties_of_mqtt_5_come_through() {
    let bench = Bench::new(MqttVersion::V5).await;
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    let mut delivery = Delivery::new("a", "x", 1);
    delivery.properties = [
        &[0x01, 1][..],
        &[0x02, 0, 0, 0, 60],
        b"\x03\x00\x04json",
        b"\x08\x00\x05reply",
        b"\x09\x00\x02\x00\xff",
        b"\x26\x00\x01k\x00\x01v",
    ]
    .concat();
    bench.broker.deliver("t", &delivery);
    bench.messages(1).await;
    let received = bench.desk.take().remove(0);
    assert_eq!(
        *received.message.properties,
        Properties {
            payload_is_text: Some(true),
            message_expiry: Some(60),
            content_type: Some("json".into()),
            response_topic: Some("reply".into()),
            correlation_data: Some(vec![0, 0xff]),
            subscription_identifiers: Vec::new(),
            user: vec![("k".into(), "v".into())],
        }
    );
    received.ticket.done();
    link.stop(Farewell::KeepSession, SOON).await;
}

#[tokio::test]
async fn broken_packets_end_a_connection_and_nothing_else() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        // QoS 3; a topic that is longer than its packet; a topic that is not UTF-8.
        for (round, bytes) in
            [&[0x36, 5, 0, 1, b'a', 0, 1][..], &[0x30, 3, 0xff, 0xff, 0], &[0x30, 4, 0, 1, 0xff, 0]]
                .iter()
                .enumerate()
        {
            bench.broker.send_raw("t", bytes);
            if round < 2 {
                bench.drained(round + 2).await;
            }
        }
        bench.broker.deliver("t", &Delivery::new("a", "good", 3));
        drop(link);
    }
}

#[tokio::test]
async fn a_probe_leaves_a_session_that_the_next_link_resumes() {
    for version in BOTH {
        let old = Bench::new(version).await;
        let new = Bench::new(version).await;
        let filters = wanted(&["a"]);
        let handover = Link::probe(Some(&old.config), Arc::new(new.config.clone()), &filters, SOON)
            .await
            .unwrap();
        assert_eq!(handover, Handover::NewSession);
        let link = new.link(&["a"]);
        new.drained(1).await;
        assert!(link.status().session_present);
        assert!(matches!(new.desk.events()[0], LinkEvent::Up { resumed: true, .. }));
        // The same broker once more: the running link is not thrown out.
        let again =
            Link::probe(Some(&new.config), Arc::new(new.config.clone()), &filters, SOON).await;
        assert_eq!(again.unwrap(), Handover::SameSession);
        assert_eq!(link.status().reconnects, 0);
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_probe_says_what_is_wrong_and_leaves_nothing_behind() {
    let bench = Bench::new(MqttVersion::V5).await;
    bench.broker.script(|script| _ = script.suback.insert("a".into(), 0x87));
    let new = Arc::new(bench.config.clone());
    let refused = Link::probe(None, Arc::clone(&new), &wanted(&["a"]), SOON).await.unwrap_err();
    assert!(matches!(refused, ProbeError::Refused { count: 1, .. }), "{refused}");
    let log = bench.logged(|log| log.iter().any(|entry| entry.packet == Packet::Closed)).await;
    assert!(log.iter().any(|entry| entry.packet == Packet::Disconnect { session_expiry: Some(0) }));
    bench.broker.script(|script| script.ignore_connect = true);
    let silent =
        Link::probe(None, new, &wanted(&["a"]), Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(silent, ProbeError::TimedOut { .. }), "{silent}");
}

#[tokio::test]
async fn a_missing_certificate_file_is_named() {
    let mut bench = Bench::new(MqttVersion::V5).await;
    bench.config.transport = Transport::Tls;
    bench.config.tls =
        Some(crate::config::site::Tls { ca: Some(PathBuf::from("no/such/ca.pem")), client: None });
    let failed =
        Link::probe(None, Arc::new(bench.config), &BTreeMap::new(), SOON).await.unwrap_err();
    assert!(failed.to_string().contains("no/such/ca.pem"), "{failed}");
}

#[tokio::test]
async fn the_embedded_broker_carries_messages_and_can_be_taken_away_and_brought_back() {
    let embedded = EmbeddedBroker::start().await.unwrap();
    let mut bench = Bench::new(MqttVersion::V311).await;
    bench.config.port = embedded.port();
    let link = bench.link(&["x"]);
    bench.drained(1).await;
    link.publish(&publication("x", 1), None, SOON).await.unwrap();
    bench.messages(1).await;
    bench.desk.take().remove(0).ticket.done();
    embedded.cut();
    bench.until(|desk| desk.count(|event| matches!(event, LinkEvent::Down { .. })) == 1).await;
    let away = link.publish(&publication("x", 1), None, Duration::from_millis(100)).await;
    assert!(away.is_err_and(|error| error.is_temporary()));
    embedded.restore();
    bench.drained(2).await;
    link.publish(&publication("x", 1), None, SOON).await.unwrap();
    bench.messages(1).await;
    link.stop(Farewell::EndSession, Duration::ZERO).await;
}
