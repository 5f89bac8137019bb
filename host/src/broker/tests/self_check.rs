//! What is said of a broker that can lose messages.

use super::fake::Limits;
use super::*;
use crate::broker::drops::TOPIC;

fn kinds(link: &Link) -> Vec<&'static str> {
    link.status().risks.iter().map(Risk::kind).collect()
}

/// Waits until these are the risks that are told.
async fn told(link: &Link, expected: &[&str]) {
    let reached = tokio::time::timeout(SOON, async {
        while kinds(link) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "{expected:?} is not {:?}", link.status().risks);
}

async fn told_to_publisher(bench: &Bench, count: &str) {
    let asked = |entry: &Entry| matches!(&entry.packet, Packet::Subscribe { filters, .. } if filters[0].0 == TOPIC);
    let asks = |log: &[Entry]| log.iter().filter(|entry| asked(entry)).count();
    let ups = |log: &[Entry]| {
        let connects = log.iter().filter(|entry| matches!(entry.packet, Packet::Connect { .. }));
        connects.filter(|entry| entry.client_id == "t-pub").count()
    };
    bench.logged(|log| asks(log) == ups(log)).await;
    assert!(bench.broker.deliver("t-pub", &Delivery::new(TOPIC, count, 0).qos(0)));
}

#[tokio::test]
async fn what_the_broker_does_not_do_is_told_and_not_asked_for() {
    let bench = Bench::new(MqttVersion::V5).await;
    bench.broker.script(|script| {
        script.limits = Limits {
            session_expiry: Some(60),
            most_qos: Some(0),
            retains: Some(false),
            max_packet: Some(5000),
            wildcards: Some(false),
            shared: Some(false),
        };
    });
    let link = bench.link(&["a", "b/#", "c/+/d", "$share/g/e"]);
    bench.drained(1).await;
    let all = [
        "short-session",
        "low-qos",
        "nothing-retained",
        "small-packets",
        "no-wildcards",
        "no-shared",
    ];
    told(&link, &all).await;
    let said: Vec<_> = link.status().risks.iter().map(ToString::to_string).collect();
    assert!(said[0].contains("for 1m instead of the 1h of `session_expiry`"), "{said:#?}");
    assert!(said[4].contains("`b/#` and 1 more are not subscribed"), "{said:#?}");
    let asked: Vec<_> =
        subscribes(&bench.broker.log()).into_iter().flat_map(|(_, filters)| filters).collect();
    assert_eq!(asked, ["a", "tapline/s/drain/t"]);
    let shown = link.status().subscriptions;
    assert!(matches!(shown["b/#"], SubscriptionStatus::Refused { code: 0xa2, .. }));
    assert!(matches!(shown["$share/g/e"], SubscriptionStatus::Refused { code: 0x9e, .. }));
    // The broker's administrator widens them.
    bench.broker.script(|script| script.limits = Limits::default());
    bench.broker.cut("t");
    told(&link, &[]).await;
    bench.drained(2).await;
    assert!(
        link.status().subscriptions.values().all(|s| *s == SubscriptionStatus::Granted { qos: 1 })
    );
    link.stop(Farewell::KeepSession, SOON).await;
}

#[tokio::test]
async fn a_broker_that_does_all_that_is_asked_puts_nothing_at_risk() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        bench.broker.script(|script| {
            script.limits = Limits {
                session_expiry: Some(3600),
                most_qos: Some(1),
                retains: Some(true),
                max_packet: Some(10_000),
                wildcards: Some(true),
                shared: Some(true),
            };
        });
        let link = bench.link(&["a/#"]);
        bench.drained(1).await;
        assert_eq!(link.status().risks, []);
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_lower_qos_than_was_asked_for_is_told_whatever_connack_says() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        bench.broker.script(|script| _ = script.suback.insert("a/#".into(), 0));
        let link = bench.link(&["a/#", "b"]);
        bench.drained(1).await;
        told(&link, &["low-qos"]).await;
        let lower = Risk::LowQos { filter: "a/#".into(), asked: 1, most: 0 };
        assert_eq!(link.status().risks, [lower]);
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_session_that_the_broker_forgot_is_told_with_how_long_it_was_alone() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let link = bench.link(&["a"]);
        bench.drained(1).await;
        bench.broker.cut("t");
        bench.drained(2).await;
        assert_eq!(link.status().risks, [], "it was there, and a first one cannot be forgotten");
        bench.broker.script(|script| script.session_present = Some(false));
        bench.broker.cut("t");
        bench.drained(3).await;
        told(&link, &["forgotten"]).await;
        link.stop(Farewell::KeepSession, SOON).await;
        // Over a restart of ours too; and not, where we ended it ourselves.
        let link = bench.link(&["a"]);
        bench.drained(4).await;
        let [Risk::Forgotten { away: Some(away), asked, .. }] = link.status().risks[..] else {
            panic!("{:?}", link.status().risks);
        };
        assert!(away < Duration::from_secs(60), "{away:?}");
        assert_eq!(asked.is_some(), version == MqttVersion::V5);
        link.stop(Farewell::EndSession, SOON).await;
        let link = bench.link(&["a"]);
        bench.drained(5).await;
        assert_eq!(link.status().risks, []);
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn who_asks_for_a_clean_start_misses_no_session() {
    let mut bench = Bench::new(MqttVersion::V5).await;
    bench.config.clean_start = true;
    bench.broker.script(|script| script.limits.session_expiry = Some(0));
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    bench.broker.cut("t");
    bench.drained(2).await;
    assert_eq!(link.status().risks, []);
    link.stop(Farewell::KeepSession, SOON).await;
}

#[tokio::test]
async fn what_the_broker_says_that_it_dropped_is_told_also_if_it_was_while_we_were_away() {
    for version in BOTH {
        let bench = Bench::new(version).await;
        let dropped = |link: &Link| match link.status().risks[..] {
            [Risk::Dropped { count, .. }] => (count, link.status().dropped),
            _ => panic!("{:?}", link.status().risks),
        };
        let link = bench.link(&["#"]);
        bench.drained(1).await;
        // What it dropped before we came is not ours.
        told_to_publisher(&bench, "5").await;
        let kept = async {
            let words = r#""count":5,"#;
            while !String::from_utf8(bench.memory.recall().unwrap().unwrap())
                .unwrap()
                .contains(words)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, kept).await.unwrap();
        told_to_publisher(&bench, "no number").await;
        told_to_publisher(&bench, "12").await;
        told(&link, &["dropped"]).await;
        assert_eq!(dropped(&link), (7, 7));
        link.stop(Farewell::KeepSession, SOON).await;
        let link = bench.link(&["#"]);
        bench.drained(2).await;
        assert_eq!(link.status().risks, []);
        told_to_publisher(&bench, "20").await;
        told(&link, &["dropped"]).await;
        assert_eq!(dropped(&link), (8, 8));
        // The broker started anew and counts from the beginning.
        told_to_publisher(&bench, "3").await;
        let grown = async {
            while dropped(&link).0 != 11 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, grown).await.unwrap();
        let came = bench.desk.take();
        let counts =
            came.iter().filter(|received| received.message.topic.as_ref() == TOPIC).count();
        assert_eq!(counts, 0, "it is no message of a pipeline's");
        link.stop(Farewell::KeepSession, SOON).await;
    }
}

#[tokio::test]
async fn a_broker_that_does_not_tell_what_it_drops_is_left_alone() {
    let bench = Bench::new(MqttVersion::V5).await;
    bench.broker.script(|script| _ = script.suback.insert(TOPIC.into(), 0x87));
    let link = bench.link(&["a"]);
    bench.drained(1).await;
    link.publish(&publication("out", 1), None, SOON).await.unwrap();
    let asked = |log: &[Entry]| {
        let of_publisher = log.iter().filter(|entry| entry.client_id == "t-pub");
        of_publisher.filter(|entry| matches!(entry.packet, Packet::Subscribe { .. })).count()
    };
    bench.logged(|log| asked(log) == 1).await;
    assert_eq!(link.status().risks, []);
    assert!(!link.status().subscriptions.contains_key(TOPIC));
    // One that closes the connection over it is asked twice and never again.
    bench.broker.script(|script| script.close_on_subscribe = Some(TOPIC.to_owned()));
    bench.broker.cut("t-pub");
    let connects = |log: &[Entry]| {
        let of_publisher = log.iter().filter(|entry| entry.client_id == "t-pub");
        of_publisher.filter(|entry| matches!(entry.packet, Packet::Connect { .. })).count()
    };
    bench.logged(|log| connects(log) == 4).await;
    link.publish(&publication("out", 1), None, SOON).await.unwrap();
    let log = bench.broker.log();
    assert_eq!((asked(&log), connects(&log)), (3, 4));
    link.stop(Farewell::KeepSession, SOON).await;
}
