//! Over a real connection: what arrives, in which order, and what does not vanish.

use super::*;
use crate::stand_in::{Behaviour, Refusal, StandIn, StandInOptions};

struct Site {
    odoo: StandIn,
    store: Store,
    delivery: Delivery,
    _dir: tempfile::TempDir,
}

async fn site(quirks: Quirks, max: usize, change: impl FnOnce(&mut Endpoint)) -> Site {
    let options = StandInOptions {
        key: Some("topsecret".into()),
        database: Some("acme".into()),
        ..StandInOptions::default()
    };
    let odoo = StandIn::start(options).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let delivery = Delivery::new(store.clone(), TestClock::default().options(), surroundings());
    let mut endpoint = endpoint(Some(odoo.url()));
    change(&mut endpoint);
    delivery.apply(vec![plan(endpoint, quirks, max)]);
    Site { odoo, store, delivery, _dir: dir }
}

impl Site {
    /// `count` events of each device, in turns.
    async fn enqueue(&self, devices: &[&str], count: u128) {
        let mut outbox = Vec::new();
        for round in 0..count {
            for (n, device) in devices.iter().enumerate() {
                outbox.push(delivery(sink_id(), device, round * 1000 + n as u128 + 1));
            }
        }
        enqueue(&self.store, outbox).await;
    }

    async fn drained(&self) -> SinkStatus {
        self.delivery.until(|status| status.waiting == 0).await
    }

    /// Everything arrived once, each device in its order.
    fn holds(&self, events: usize) {
        assert_eq!(self.odoo.violations(), [""; 0]);
        assert_eq!(self.odoo.event_count(), events);
    }

    fn dead_codes(&self) -> Vec<(String, u32)> {
        let letters = self.store.dead_letters(&LetterFilter::default(), 1_000, None).unwrap();
        letters.into_iter().map(|dead| (dead.letter.code, dead.letter.attempts)).collect()
    }
}

#[tokio::test]
async fn everything_arrives_once_and_in_order_per_key() {
    for in_order in [false, true] {
        let site = site(Quirks::default(), 7, |endpoint| endpoint.in_order = in_order).await;
        site.enqueue(&["a", "b", "c"], 20).await;
        let status = site.drained().await;
        site.holds(60);
        assert_eq!((status.delivered, status.dead, status.last_error), (60, 0, None));
        // 3 keys of 20: one of each in a request, or seven in whatever mixture.
        assert_eq!(site.odoo.requests(), if in_order { 9 } else { 20 });
        site.delivery.stop(Duration::from_secs(5)).await;
    }
}

/// Deliveries of 1.5 MiB each, of which three are read at a time.
fn large(count: u128) -> Vec<NewDelivery> {
    let data = format!("\"{}\"", "x".repeat(3 << 19));
    let large = |n| {
        let mut large = delivery(sink_id(), ["a", "b", "c", "d", "e"][n as usize % 5], n + 1);
        if let Content::Item(Item::Event(event)) = &mut large.content {
            event.data = data.clone();
        }
        large
    };
    (0..count).map(large).collect()
}

#[tokio::test]
async fn large_deliveries_are_not_all_held_at_once_and_all_arrive_in_order() {
    for in_order in [false, true] {
        let site = site(Quirks::default(), 7, |endpoint| endpoint.in_order = in_order).await;
        enqueue(&site.store, large(10)).await;
        site.drained().await;
        site.holds(10);
        assert_eq!((site.odoo.requests(), site.odoo.duplicates()), (4, 0));
        site.delivery.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn large_deliveries_that_expired_are_all_set_aside() {
    let site = site(Quirks::default(), 7, |endpoint| endpoint.url = None).await;
    let mut outbox = large(5);
    outbox.iter_mut().for_each(|delivery| delivery.expires_at = Some(Timestamp(0)));
    enqueue(&site.store, outbox).await;
    site.drained().await;
    assert_eq!(site.dead_codes(), vec![("expired".to_owned(), 0); 5]);
}

#[tokio::test]
async fn an_outage_delays_everything_and_loses_nothing() {
    let site = site(Quirks::default(), 10, |_| ()).await;
    site.odoo.go_away().await;
    site.enqueue(&["a", "b"], 10).await;
    let status = site.delivery.until(|status| status.retries >= 3).await;
    assert_eq!((status.waiting, status.dead, status.paused), (20, 0, None));
    site.odoo.come_back().await.unwrap();
    site.drained().await;
    site.holds(20);
    assert_eq!(site.odoo.duplicates(), 0);
}

#[tokio::test]
async fn whatever_goes_wrong_for_a_while_everything_arrives() {
    let behaviours = [
        Behaviour::status(503),
        Behaviour::Status { status: 429, name: "x".into(), retry_after: Some(0) },
        Behaviour::status(409),
        Behaviour::Html { status: 502 },
        Behaviour::CutBefore,
        Behaviour::CutAfterCommit,
        Behaviour::Huge((1 << 20) + 1),
        Behaviour::HangAfterHeaders,
        Behaviour::Hang,
    ];
    for behaviour in behaviours {
        let short = |endpoint: &mut Endpoint| endpoint.timeout = Duration::from_millis(100);
        let site = site(Quirks::default(), 4, short).await;
        site.odoo.behave(2, behaviour.clone());
        site.enqueue(&["a", "b", "c"], 4).await;
        let status = site.drained().await;
        site.holds(12);
        assert_eq!((status.dead, site.store.dead_letter_count()), (0, 0), "{behaviour:?}");
    }
}

#[tokio::test]
async fn one_poisoned_event_of_a_hundred_is_found_while_the_others_arrive() {
    let devices: Vec<String> = (0..100).map(|n| format!("d{n}")).collect();
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    let verdict = || Some(Refusal::of_device("d61"));
    let cases = [
        (None, verdict(), "unknown_device", 1),
        (Some("d61".to_owned()), None, "trap", 1),
        (None, verdict().map(Refusal::breaking), "gave-up", 10),
    ];
    for (traps_on, refusal, code, attempts) in cases {
        let site = site(Quirks { traps_on, ..Quirks::default() }, 100, |_| ()).await;
        if let Some(refusal) = refusal {
            site.odoo.refuse(refusal);
        }
        site.enqueue(&devices, 1).await;
        site.drained().await;
        site.holds(99);
        assert_eq!(site.dead_codes(), [(code.to_owned(), attempts)]);
        let dead = site
            .store
            .dead_letters(&LetterFilter::default(), 1, None)
            .unwrap()
            .pop()
            .unwrap()
            .letter;
        assert_eq!(dead.delivery.unwrap().delivery.key, "d61".into());
        assert_eq!(dead.answer.is_some(), code != "trap");
    }
}

#[tokio::test]
async fn a_refused_delivery_frees_its_key() {
    let site = site(Quirks::default(), 10, |_| ()).await;
    site.odoo.refuse(Refusal::of_event(&Uuid::from_u128(1).to_string()));
    site.enqueue(&["a"], 3).await;
    site.drained().await;
    site.holds(2);
    assert_eq!(site.dead_codes(), [("unknown_device".into(), 1)]);
}

#[tokio::test]
async fn a_key_in_trouble_holds_up_no_other() {
    let site = site(Quirks::default(), 10, |_| ()).await;
    // A status without a reason that blames one event: it has ten tries.
    site.odoo.refuse(Refusal::of_device("a").breaking());
    site.enqueue(&["a", "b", "c"], 5).await;
    site.odoo.until(|odoo| odoo.event_count() == 10).await;
    site.odoo.behave_well();
    site.drained().await;
    assert_eq!(site.odoo.violations(), [""; 0]);
    let dead = site.store.dead_letter_count() as usize;
    assert_eq!(site.odoo.event_count() + dead, 15);
}

#[tokio::test]
async fn twenty_refusals_over_several_devices_pause_the_sink_without_a_dead_letter() {
    let devices: Vec<String> = (0..30).map(|n| format!("d{n}")).collect();
    let devices: Vec<&str> = devices.iter().map(String::as_str).collect();
    let site = site(Quirks::default(), 100, |_| ()).await;
    for device in &devices {
        site.odoo.refuse(Refusal::of_device(device));
    }
    site.enqueue(&devices, 2).await;
    let status = site.delivery.until(|status| status.paused.is_some()).await;
    assert!(status.paused.unwrap().reason.contains("twenty refusals"));
    assert_eq!((status.waiting, site.store.dead_letter_count()), (60, 0));
    site.odoo.behave_well();
    assert!(site.delivery.resume(&sink_id()));
    site.drained().await;
    site.holds(60);
}

#[tokio::test]
async fn a_wrong_key_pauses_the_sink_and_a_new_plan_ends_the_pause() {
    let site = site(Quirks::default(), 10, |endpoint| {
        endpoint.key = Some(Secret::new("wrong"));
    })
    .await;
    site.enqueue(&["a", "b"], 2).await;
    let status = site.delivery.until(|status| status.paused.is_some()).await;
    assert_eq!((&*status.paused.unwrap().reason, status.waiting), ("401", 4));
    site.delivery.apply(vec![plan(endpoint(Some(site.odoo.url())), Quirks::default(), 10)]);
    site.drained().await;
    site.holds(4);
    assert_eq!(site.store.dead_letter_count(), 0);
}

#[tokio::test]
async fn without_an_endpoint_the_outbox_keeps() {
    let site = site(Quirks::default(), 10, |endpoint| endpoint.url = None).await;
    site.enqueue(&["a"], 2).await;
    let status = site.delivery.until(|status| status.paused.is_some()).await;
    assert_eq!((&*status.paused.unwrap().reason, status.waiting), ("no endpoint", 2));
}

#[tokio::test]
async fn a_module_that_only_logs_in_is_paused() {
    let quirks = Quirks { always_logs_in: true, ..Quirks::default() };
    let site = site(quirks, 10, |_| ()).await;
    site.enqueue(&["a"], 1).await;
    let status = site.delivery.until(|status| status.paused.is_some()).await;
    assert!(status.paused.unwrap().reason.contains("logins in a row"));
    assert_eq!((site.odoo.requests(), status.waiting), (3, 1));
}

#[tokio::test]
async fn the_floor_holds_against_a_module_that_believes_anything() {
    for behaviour in
        [Behaviour::Html { status: 200 }, Behaviour::Redirect("/".into()), Behaviour::status(403)]
    {
        let quirks = Quirks { believes_anything: true, ..Quirks::default() };
        let site = site(quirks, 10, |_| ()).await;
        site.odoo.behave(2, behaviour);
        site.enqueue(&["a", "b"], 1).await;
        let status = site.drained().await;
        site.holds(2);
        assert_eq!((status.delivered, status.dead), (2, 0));
    }
}

#[tokio::test]
async fn requests_of_one_plan_keep_the_order_when_one_of_them_fails() {
    let quirks = Quirks { chunk: Some(3), ..Quirks::default() };
    let site = site(quirks, 12, |endpoint| endpoint.in_order = true).await;
    site.odoo.behave(1, Behaviour::Normal);
    site.odoo.behave(2, Behaviour::status(500));
    site.enqueue(&["a", "b"], 12).await;
    site.drained().await;
    site.holds(24);
}

#[tokio::test]
async fn a_restart_delivers_what_the_first_run_did_not() {
    let site = site(Quirks::default(), 3, |_| ()).await;
    site.odoo.behave(1, Behaviour::Normal);
    site.odoo.behave(1, Behaviour::Hang);
    site.enqueue(&["a", "b"], 4).await;
    site.odoo.until(|odoo| odoo.requests() == 2).await;
    site.delivery.stop(Duration::ZERO).await;
    assert_eq!(site.store.outbox_count(&sink_id()), 6);
    let again = Delivery::new(site.store.clone(), TestClock::default().options(), surroundings());
    again.apply(vec![plan(endpoint(Some(site.odoo.url())), Quirks::default(), 3)]);
    again.until(|status| status.waiting == 0).await;
    site.holds(8);
}

#[tokio::test]
async fn no_secret_comes_back_in_an_answer() {
    let site = site(Quirks::default(), 1, |_| ()).await;
    let name = "topsecret was the key".to_owned();
    site.odoo.behave(1, Behaviour::Status { status: 422, name, retry_after: None });
    site.enqueue(&["a"], 1).await;
    site.drained().await;
    let dead =
        site.store.dead_letters(&LetterFilter::default(), 1, None).unwrap().pop().unwrap().letter;
    let answer = dead.answer.unwrap();
    assert!(answer.contains("*** was the key") && !answer.contains("topsecret"), "{answer}");
}

#[test]
fn renewed_authorities_open_a_sink_anew_and_unusable_ones_do_not() {
    let with = |authorities: Option<[u8; 32]>| {
        let mut plan = plan(endpoint(None), Quirks::default(), 10);
        if let Way::Http(way) = &mut plan.way {
            way.authorities = authorities;
        }
        plan
    };
    let running = with(Some([1; 32]));
    assert!(with(Some([1; 32])).equals(&running));
    assert!(!with(Some([2; 32])).equals(&running));
    assert!(with(None).equals(&running));
    assert!(!with(Some([1; 32])).equals(&with(None)), "they can be used again");
}
