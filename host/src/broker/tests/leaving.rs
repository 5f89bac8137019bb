//! How connections are made, tried and ended.

use std::path::PathBuf;

use super::*;

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
            let mut of_link = log.iter().filter(|entry| entry.client_id == "t");
            of_link.next_back().is_some_and(|entry| entry.packet == Packet::Closed)
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
