//! Sessions, subscriptions and being drained.

use super::*;

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
async fn what_was_refused_is_asked_for_again_and_shown_until_it_is_granted() {
    for version in BOTH {
        let mut bench = Bench::new(version).await;
        bench.config.keep_alive = Duration::ZERO; // no ping that a minute at once would miss
        bench.broker.script(|script| _ = script.suback.insert("secret/#".into(), 0x80));
        let link = bench.link(&["a", "secret/#"]);
        bench.drained(1).await;
        let refused = |link: &Link| {
            matches!(link.status().subscriptions["secret/#"], SubscriptionStatus::Refused { .. })
        };
        let asked_after = |times: usize| {
            let bench = &bench;
            async move {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(61)).await;
                tokio::time::resume();
                let log = bench.logged(|log| subscribes(log).len() > times).await;
                assert_eq!(subscribes(&log)[times].1, ["secret/#"]);
            }
        };
        for times in 1..=2 {
            assert!(refused(&link));
            asked_after(times).await;
            assert!(refused(&link), "nobody has granted it");
        }
        bench.broker.script(|script| script.suback.clear());
        asked_after(3).await;
        let granted = async {
            while refused(&link) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, granted).await.unwrap();
        let granted = SubscriptionStatus::Granted { qos: 1 };
        assert!(link.status().subscriptions.values().all(|status| *status == granted));
        assert_eq!(link.status().reconnects, 0);
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
