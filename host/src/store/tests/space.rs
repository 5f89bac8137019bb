//! Room: what goes when there is too little of it, and what does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::store::{FileSystem, Level, Limit, Limits};

const MIB: u64 = 1 << 20;

fn history_of(keep: Duration, max_size: u64) -> Option<HistoryLimits> {
    Some(HistoryLimits { keep, max_size })
}

/// Looks, and waits until that is done: commits are worked off in order.
fn look(store: &Store) -> Level {
    store.look();
    commit(store, Commit::default());
    // The first may have been answered just before the look.
    commit(store, Commit::default());
    store.space().level
}

fn blocks(at: u64, payload: &[u8], count: usize) -> Vec<Block> {
    let message = message();
    let record = Record {
        direction: Direction::Received,
        at: Timestamp(at),
        broker: "main",
        pipeline: "workshop",
        subscription: Some("shop/#"),
        topic: "shop/mill",
        device: Some(&DeviceId::from("mill")),
        payload,
        qos: 1,
        retain: false,
        properties: &Properties::default(),
        message: Some(&message.id),
        delivery: None,
        fate: "committed",
    };
    Block::pack(&vec![record; count])
}

fn remember(store: &Store, at: u64, payload: &[u8], count: usize) {
    commit(store, Commit { history: blocks(at, payload, count), ..Commit::default() });
}

#[test]
fn history_goes_first_and_what_must_not_be_lost_stays_until_the_store_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let limits = Limits {
        max_size: Some(2 * MIB),
        history: history_of(Duration::from_secs(u64::MAX / 4), 64 * MIB),
        ..Limits::default()
    };
    store.set_limits(limits);
    let now = crate::telemetry::clock::now().0;
    for _ in 0..30 {
        remember(&store, now, &[7; 50_000], 1);
    }
    assert_eq!(look(&store), Level::Plenty, "{:?}", store.space());
    let kept = store.space().history;
    assert!(kept > MIB, "{kept}");
    // What waits for a sink takes the room of the history, and then there is none.
    let mut id = 0;
    while !store.is_full() {
        let outbox = (0..100).map(|_| {
            id += 1;
            delivery(id, "mill")
        });
        commit(&store, Commit { outbox: outbox.collect(), ..Commit::default() });
        look(&store);
        assert!(id < 100_000, "the limit is never reached: {:?}", store.space());
    }
    let space = store.space();
    assert_eq!((space.level, space.history), (Level::Full, 0));
    assert_eq!(space.limit, Some((Limit::MaxSize, 2 * MIB)));
    assert_eq!(store.outbox_count(&sink()), id as u64, "nothing of the outbox went");
    // A full store still takes what it is handed, and deliveries make room.
    let heads = store.outbox_since(&sink(), RowId::START, 100_000).unwrap();
    let settle = heads.into_iter().map(|head| Settlement {
        sink: sink(),
        row: head.row,
        fate: Fate::Delivered { at: Timestamp(now) },
    });
    commit(&store, Commit { settle: settle.collect(), ..Commit::default() });
    assert!(look(&store) < Level::Full, "{:?}", store.space());
    assert!(!store.is_full());
}

#[test]
fn a_disk_that_others_fill_is_warned_of_and_withheld_from_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1_000 * MIB));
    let told = free.clone();
    let gauge = Arc::new(move || {
        Some(FileSystem { free: told.load(Ordering::Relaxed), total: 16_000 * MIB })
    });
    let options = StoreOptions { gauge: Some(gauge), ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let mut levels = Vec::new();
    for mib in [1_000, 300, 255, 257, 300, 1_000] {
        free.store(mib * MIB, Ordering::Relaxed);
        levels.push(look(&store));
    }
    use Level::{Full, Low, Plenty};
    // Just above the limit is not enough to begin again.
    assert_eq!(levels, [Plenty, Low, Full, Full, Low, Plenty]);
    // 256 MiB is what is left where nobody said.
    assert_eq!(store.space().limit, Some((Limit::MinFree, 256 * MIB)));
}

#[test]
fn history_is_limited_in_age_and_size_and_is_found_by_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let day = 24 * 3600 * 1000;
    let now = crate::telemetry::clock::now().0;
    store.set_limits(Limits {
        history: history_of(Duration::from_secs(24 * 3600), MIB),
        ..Limits::default()
    });
    remember(&store, now - 3 * day, b"old", 3);
    remember(&store, now, b"{\"power\": 3}", 5);
    look(&store);
    look(&store);
    let all = store.history(&HistoryFilter::default(), 100, None).unwrap();
    assert_eq!(all.entries.len(), 5, "what is too old is gone");
    let entry = &all.entries[0];
    assert_eq!((&*entry.topic, &*entry.fate, entry.qos), ("shop/mill", "committed", 1));
    assert_eq!(entry.subscription.as_deref(), Some("shop/#"));
    assert_eq!(entry.message, Some(message().id));
    // Page by page, the newest first, none twice.
    let (mut numbers, mut next) = (Vec::new(), None);
    loop {
        let page = store.history(&HistoryFilter::default(), 2, next).unwrap();
        numbers.extend(page.entries.iter().map(|entry| entry.number));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(numbers.len(), 5);
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
    let found = |filter: HistoryFilter| store.history(&filter, 100, None).unwrap().entries.len();
    let topic = |text: &str| HistoryFilter {
        topic: Some(crate::config::topic::Pattern::parse(text).unwrap()),
        ..HistoryFilter::default()
    };
    assert_eq!((found(topic("shop/+")), found(topic("other/#"))), (5, 0));
    let device = HistoryFilter { device: Some("lathe".into()), ..HistoryFilter::default() };
    assert_eq!(found(device), 0);
    let later = HistoryFilter { from: Some(Timestamp(now + 1)), ..HistoryFilter::default() };
    assert_eq!(found(later), 0);
    for _ in 0..40 {
        remember(&store, now, &[1; 50_000], 1);
        look(&store);
    }
    assert!(store.space().history <= MIB, "{:?}", store.space());
}

#[test]
fn what_was_published_stands_in_the_history_with_what_it_follows_from() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.set_limits(Limits {
        history: history_of(Duration::from_secs(3600), MIB),
        ..Limits::default()
    });
    let mut sent = delivery(1, "mill");
    sent.sink = SinkId::publish("workshop", "main");
    sent.content = Content::Item(Item::Publication(crate::message::Publication {
        broker: None,
        topic: "shop/mill/set".into(),
        payload: b"on".to_vec(),
        qos: 1,
        retain: true,
        properties: Properties::default(),
    }));
    let sink = sent.sink.clone();
    commit(&store, Commit { outbox: vec![sent.clone()], ..Commit::default() });
    let at = crate::telemetry::clock::now();
    let row = store.outbox_heads(&sink).unwrap()[0].row;
    let settle = vec![Settlement { sink, row, fate: Fate::Delivered { at } }];
    commit(&store, Commit { settle, ..Commit::default() });
    let page = store.history(&HistoryFilter::default(), 10, None).unwrap();
    let [entry] = page.entries.as_slice() else { panic!("{page:?}") };
    assert_eq!((entry.direction, &*entry.topic), (Direction::Sent, "shop/mill/set"));
    assert_eq!((entry.delivery, &entry.message), (Some(sent.id), &sent.message));
    assert_eq!((&*entry.payload, entry.retain, entry.at), (&b"on"[..], true, at));
}

/// The promise for the smallest box: a card of 16 GB on which the system and its updates have
/// 8 GB, Odoo unreachable for two weeks, a hundred machines.
///
/// Assumed of each machine: 16 hours in sessions a day, 20 sessions a day (a start and a stop
/// each), a heartbeat every 5 minutes of a session. Without `[store] history` nothing is kept
/// of single messages, whatever their rate.
#[test]
fn defaults_hold_two_weeks_without_odoo_for_a_hundred_machines_on_a_card_of_16_gb() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let data = concat!(
        r#"{"average_w":1234.567,"ended_at":"2026-02-12T19:40:18.123Z","energy_source":"counter","#,
        r#""energy_wh":12345.678,"peak_w":2345.678,"reason":"power","session_id":"#,
        r#""67e55044-10b1-426f-9247-bb680e5fe0c8","standby_s":1234.567,"#,
        r#""started_at":"2026-02-12T18:40:18.123Z","state":"idle","working_s":2345.678}"#
    );
    const ROWS: u64 = 5_000;
    look(&store);
    let before = store.space().used;
    for thousand in 0..ROWS / 1_000 {
        let outbox = (0..1_000).map(|n| {
            let number = u128::from(thousand * 1_000 + n);
            // Ids are hashes in truth, so their index is filled all over.
            let id = number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            let mut one = delivery(id, &format!("machine-{}", number % 100));
            if let Content::Item(Item::Event(event)) = &mut one.content {
                event.data = data.to_owned();
            }
            one
        });
        commit(&store, Commit { outbox: outbox.collect(), ..Commit::default() });
    }
    look(&store);
    let event = (store.space().used - before).div_ceil(ROWS);
    let (machines, days) = (100, 14);
    let events_a_day = 20 * 2 + 16 * 12;
    let outbox = machines * days * events_a_day * event;
    // Beside it: the longest log, a million remembered ids, compiled modules and log files.
    let beside = 64 * MIB + 80 * MIB + 200 * MIB;
    let free = 16_000_000_000 - 8_000_000_000 - 256 * MIB;
    println!("{event} bytes an event, {} MB in all", outbox / 1_000_000);
    assert!(event < 2_000, "{event} bytes an event");
    assert!(outbox + beside < free / 2, "{outbox} bytes wait, {free} are free");
}
