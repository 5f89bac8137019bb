//! Acknowledgements, judged by the log of a broker that we script, never by Tapline's own word.

use tapline::broker::fake::{Delivery, Packet};
use tapline_tests::{Scripted, eventually};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

async fn scripted() -> Scripted {
    let mut it = Scripted::prepare(|setup| setup).await;
    it.start().await;
    it
}

#[tokio::test]
async fn acknowledges_in_order_once_everything_is_on_disk() {
    let it = scripted().await;
    for (packet_id, second) in [(7, 0.0), (3, 10.0), (9, 20.0)] {
        it.deliver(&it.message(packet_id, second, 100.0));
    }
    it.until_acked(&[7, 3, 9]).await;
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
}

#[tokio::test]
async fn acknowledges_nothing_while_the_commit_waits() {
    let it = scripted().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.until_acked(&[1]).await;
    let occupied = it.occupy();
    it.deliver(&it.message(2, 10.0, 100.0));
    it.until_the_store_waits().await;
    assert_eq!(it.acked(), [1]);
    assert_eq!(it.odoo.0.event_count(), 0);
    occupied.execute_batch("ROLLBACK").expect("the lock goes");
    it.until_acked(&[1, 2]).await;
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
}

#[tokio::test]
async fn what_was_not_committed_before_a_power_cut_counts_when_it_comes_again() {
    let mut it = scripted().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.until_acked(&[1]).await;
    let occupied = it.occupy();
    it.deliver(&it.message(2, 10.0, 100.0));
    it.until_the_store_waits().await;
    it.tapline.kill().await;
    occupied.execute_batch("ROLLBACK").expect("the lock goes");
    drop(occupied);
    assert_eq!(it.acked(), [1]);
    it.comes_back().await;
    assert!(it.odoo.of(&it.press).is_empty());
    it.deliver(&it.message(2, 10.0, 100.0).again());
    it.until_acked(&[1, 2]).await;
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
    it.odoo.is_content();
}

#[tokio::test]
async fn what_was_committed_before_a_power_cut_has_no_second_effect() {
    let mut it = scripted().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.deliver(&it.message(2, 10.0, 100.0));
    it.deliver(&it.message(3, 20.0, 0.0));
    it.until_acked(&[1, 2, 3]).await;
    it.tapline.kill().await;
    it.comes_back().await;
    // The broker did not get the last two acknowledgements and sends both again.
    it.deliver(&it.message(2, 10.0, 100.0).again());
    it.deliver(&it.message(3, 20.0, 0.0).again());
    it.until_acked(&[1, 2, 3, 2, 3]).await;
    it.until_taken(2).await;
    let health = it.tapline.health().await;
    assert_eq!(health["pipelines"]["workshop"]["duplicates"], 2, "{health}");
    it.deliver(&it.message(4, 60.0, 0.0));
    let events = it.odoo.kinds(&it.press, &WHOLE).await;
    assert_eq!(events[1].payload["ended_at"], it.press.time(20.0).rfc3339());
    it.odoo.is_in_order();
}

#[tokio::test]
async fn what_comes_again_on_a_new_connection_before_its_commit_counts_once() {
    let it = scripted().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.until_acked(&[1]).await;
    let occupied = it.occupy();
    it.deliver(&it.message(2, 10.0, 100.0));
    it.until_the_store_waits().await;
    let first = it.reconnected().await;
    it.deliver(&it.message(2, 10.0, 100.0).again());
    occupied.execute_batch("ROLLBACK").expect("the lock goes");
    it.until_acked(&[1, 2]).await;
    assert!(
        it.broker.acked_by(Scripted::CLIENT)[1].0 > first,
        "the new connection's message is answered"
    );
    it.until_taken(3).await;
    let health = it.tapline.health().await;
    let counts = &health["pipelines"]["workshop"];
    assert_eq!((&counts["committed"], &counts["duplicates"]), (&2.into(), &1.into()), "{health}");
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
    it.odoo.is_content();
}

#[tokio::test]
async fn equal_messages_that_are_no_redelivery_count_each() {
    let it = scripted().await;
    let message = it.message(1, 0.0, 100.0);
    it.deliver(&message);
    it.until_acked(&[1]).await;
    it.deliver(&message);
    it.until_acked(&[1, 1]).await;
    it.until_taken(2).await;
    let health = it.tapline.health().await;
    assert_eq!(health["pipelines"]["workshop"]["committed"], 2, "{health}");
}

#[tokio::test]
async fn a_poisoned_message_is_acknowledged_once_it_is_set_aside() {
    let it = scripted().await;
    it.deliver(&Delivery::new(&it.press.topic(), "{\"params\":", 1));
    it.deliver(&it.message(2, 0.0, 100.0));
    it.until_acked(&[1, 2]).await;
    let health = it.tapline.health().await;
    assert_eq!(health["dead_letters"], 1, "{health}");
}

#[tokio::test]
async fn a_session_that_the_broker_lost_is_subscribed_anew() {
    let it = scripted().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.until_acked(&[1]).await;
    it.broker.script(|script| script.session_present = Some(false));
    let cut = it.reconnected().await;
    let what = "all is subscribed on a later connection";
    eventually(what, || async {
        let log = it.broker.log_of(Scripted::CLIENT);
        let asked = log.iter().any(|entry| {
            let filters = match &entry.packet {
                Packet::Subscribe { filters, .. } => filters.as_slice(),
                _ => &[],
            };
            entry.connection > cut && filters.iter().any(|(filter, _)| *filter == it.press.topic())
        });
        if asked { Ok(()) } else { Err(format!("{log:#?}")) }
    })
    .await;
    it.tapline.subscribed(2).await;
    it.deliver(&it.message(2, 10.0, 100.0));
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
}
