//! What goes out.

use tokio::net::{TcpListener, TcpStream};

use super::*;

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

#[tokio::test]
async fn a_refused_publication_and_one_too_large_fail_for_good() {
    let bench = Bench::new(MqttVersion::V5).await;
    bench.broker.script(|script| {
        script.puback = Some(0x87);
        script.limits.max_packet = Some(1000);
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

#[tokio::test]
async fn a_broker_that_is_not_asked_for_its_own_topics_keeps_the_connections() {
    let embedded = EmbeddedBroker::start().await.unwrap();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = Bench::new(MqttVersion::V311).await;
    bench.config.sys_topics = false;
    bench.config.port = door.local_addr().unwrap().port();
    let came = Arc::new(AtomicU64::new(0));
    let (count, inside) = (Arc::clone(&came), embedded.port());
    let pass = tokio::spawn(async move {
        let mut passing = tokio::task::JoinSet::new();
        while let Ok((mut outside, _)) = door.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            passing.spawn(async move {
                let mut inside = TcpStream::connect(("127.0.0.1", inside)).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    let link = bench.link(&["x"]);
    bench.drained(1).await;
    for _ in 0..3 {
        link.publish(&publication("x", 1), None, SOON).await.unwrap();
    }
    bench.messages(3).await;
    assert_eq!(came.load(Ordering::Relaxed), 2, "one to receive and one to publish");
    link.stop(Farewell::EndSession, Duration::ZERO).await;
    pass.abort();
}

#[tokio::test]
async fn a_broker_that_closes_on_publications_that_it_does_not_allow_is_still_served() {
    let bench = Bench::new(MqttVersion::V311).await;
    bench.broker.script(|script| script.close_on_publish = Some("tapline/".into()));
    let link = bench.link(&["a"]);
    let patience = 3 * SOON;
    let ready = tokio::time::timeout(patience, async {
        bench.drained(1).await;
        link.publish(&publication("x", 1), None, patience).await
    });
    ready.await.unwrap().unwrap();
    let status = link.status();
    assert!(status.connected && status.publishing && status.drained, "{status:?}");
    link.stop(Farewell::KeepSession, SOON).await;
}
