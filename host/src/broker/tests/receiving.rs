//! What comes in, and what is owed for it.

use super::*;

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
        // Whatever the last one did to the connection, the next good message arrives.
        let arrives = tokio::time::timeout(SOON, async {
            while !bench.desk.take().iter().any(|received| &received.message.payload[..] == b"good")
            {
                bench.broker.deliver("t", &Delivery::new("a", "good", 3));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        arrives.await.unwrap();
        drop(link);
    }
}
