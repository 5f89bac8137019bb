//! What is written is read back, as it was written.

use rusqlite::{Connection, StatementStatus};

use super::super::outbox::{OLDEST, SINCE};
use super::*;
use crate::message::{Measurement, Publication, Quantity, Reading};

#[test]
fn everything_in_a_commit_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let id = KeyId { pipeline: "workshop".into(), stage: "session".into(), key: "mill".into() };
    let row = KeyRow {
        device: Some(DeviceId::from("mill")),
        state: Some(vec![1, 2, 3]),
        state_version: 4,
        at: Some(Timestamp(u64::MAX)),
        ordinal: 5,
        late: 6,
        lag_ms: 7,
        wake_at: Some(Timestamp(8)),
        settings: [9; 16],
        undated_or_qos0: true,
    };
    let mark = Mark {
        broker: "main".into(),
        pipeline: "workshop".into(),
        packet_id: u16::MAX,
        epoch: 3,
        hash: u64::MAX - 1,
        sequence: 41,
    };
    let store = open(dir.path());
    commit(
        &store,
        Commit {
            keys: vec![(id, Some(row.clone()))],
            outbox: vec![delivery(1, "mill")],
            dead: vec![dead_letter("not-json")],
            marks: vec![Mark { hash: 1, ..mark.clone() }, mark.clone()],
            meta: vec![("epoch.main".into(), vec![3])],
            ..Commit::default()
        },
    );
    store.close();
    drop(store);

    let store = open(dir.path());
    let keys = store.load_keys("workshop").unwrap();
    assert_eq!(keys, [("session".into(), "mill".into(), row)]);
    assert_eq!(store.load_keys("other").unwrap(), []);
    assert_eq!(store.load_marks("main").unwrap(), [mark]);
    assert_eq!(store.meta_get("epoch.main").unwrap(), Some(vec![3]));
    assert_eq!(store.outbox_count(&sink()), 1);
    let [head] = &store.outbox_heads(&sink()).unwrap()[..] else { panic!("one head") };
    let [waiting] = &store.outbox_rows(&sink(), &[head.row]).unwrap().waiting[..] else {
        panic!("one")
    };
    assert_eq!(waiting.delivery, delivery(1, "mill"));
    assert_eq!((waiting.seq, waiting.tries), (1, 0));
    let letters = store.dead_letters(&LetterFilter::default(), 10, None).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].letter, dead_letter("not-json"));
    assert_eq!(store.dead_letter_count(), 1);
}

#[test]
fn a_row_after_a_restart_lies_behind_those_that_a_reader_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let outbox = vec![delivery(1, "a"), delivery(2, "b")];
    commit(&store, Commit { outbox, ..Commit::default() });
    store.close();
    drop(store);

    let store = open(dir.path());
    let seen = store.outbox_last().unwrap();
    let at = Timestamp(3_000);
    let settle = heads(&store)
        .iter()
        .map(|(row, _)| Settlement { sink: sink(), row: RowId(*row), fate: Fate::Delivered { at } })
        .collect();
    commit(&store, Commit { settle, ..Commit::default() });
    commit(&store, Commit { outbox: vec![delivery(3, "a")], ..Commit::default() });
    assert_eq!(store.outbox_since(&sink(), seen, 10).unwrap().len(), 1);
    assert_eq!(store.outbox_queued(&sink()).unwrap(), 3);
}

#[test]
fn looking_for_new_rows_or_the_oldest_reads_nothing_else_however_many_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let other = SinkId::new("workshop", "other");
    let mut outbox: Vec<_> = (1..=1_000).map(|n| delivery(n, "a")).collect();
    // What waits for others must not be in the way either.
    outbox.extend((1..=1_000).map(|n| NewDelivery { sink: other.clone(), ..delivery(n, "a") }));
    commit(&store, Commit { outbox, ..Commit::default() });
    let seen = store.outbox_last().unwrap();
    commit(&store, Commit { outbox: vec![delivery(2_000, "b")], ..Commit::default() });
    assert_eq!(store.outbox_since(&sink(), seen, 10).unwrap().len(), 1);
    assert_eq!(store.outbox_oldest(&sink()).unwrap(), Some(delivery(1, "a").at));
    for select in [SINCE, OLDEST] {
        let steps = |connection: &Connection| {
            Ok(connection.prepare_cached(select)?.reset_status(StatementStatus::VmStep))
        };
        let steps = store.read(steps).unwrap();
        assert!((1..100).contains(&steps), "{steps} steps: {select}");
    }
}

#[test]
fn what_was_queued_is_delivered_dead_or_waiting_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let outbox = vec![delivery(1, "a"), delivery(2, "b"), delivery(3, "c"), delivery(1, "a")];
    commit(&store, Commit { outbox, ..Commit::default() });
    let settlement = |row: i64, fate: Fate| Settlement { sink: sink(), row: RowId(row), fate };
    let dead = || Fate::Dead(Box::new(dead_letter("refused")));
    let delivered = || Fate::Delivered { at: Timestamp(3_000) };
    // Settled twice, it counts once.
    let settle = vec![settlement(1, delivered()), settlement(2, dead()), settlement(1, dead())];
    commit(&store, Commit { settle, ..Commit::default() });
    let flow = store.outbox_flow(&sink());
    assert_eq!(flow, OutboxFlow { queued: 3, delivered: 1, dead: 1, waiting: 1 });
    store.close();
    drop(store);
    let flow = open(dir.path()).outbox_flow(&sink());
    assert_eq!(flow, OutboxFlow { queued: 1, delivered: 0, dead: 0, waiting: 1 });
}

#[test]
fn every_kind_of_content_is_read_back_as_it_was() {
    let publication = Publication {
        broker: Some("main".into()),
        topic: "cmnd/siren/POWER".into(),
        payload: vec![0, 255],
        qos: 2,
        retain: true,
        properties: (*message().properties).clone(),
    };
    let reading = Reading {
        device: Some(DeviceId::from("mill")),
        channel: String::new(),
        at: None,
        measurements: vec![Measurement { quantity: Quantity(40_000), value: -0.1 }],
    };
    let contents = [
        Content::Item(Item::Reading(reading)),
        Content::Item(Item::Publication(publication)),
        Content::Message(message()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (id, content) in contents.into_iter().enumerate() {
        let mut delivery = delivery(id as u128, &id.to_string());
        delivery.content = content;
        delivery.expires_at = Some(Timestamp(9));
        delivery.replayed = true;
        commit(&store, Commit { outbox: vec![delivery.clone()], ..Commit::default() });
        let head = store.outbox_heads(&sink()).unwrap().pop().unwrap();
        let rows = store.outbox_rows(&sink(), &[head.row]).unwrap().waiting;
        assert_eq!(rows[0].delivery, delivery);
    }
}

#[test]
fn numbers_count_up_per_key_and_a_known_id_is_not_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let outbox = vec![delivery(1, "a"), delivery(2, "b"), delivery(3, "a"), delivery(1, "a")];
    let committed = commit(&store, Commit { outbox, ..Commit::default() });
    assert_eq!((committed.queued, committed.known), (3, 1));
    assert_eq!(heads(&store), [(1, "a".into()), (2, "b".into())]);
    let head = Head { row: RowId(1), key: "a".into() };
    assert_eq!(store.outbox_next(&sink(), &[head]).unwrap(), [Some(RowId(3))]);
    let rows = store.outbox_rows(&sink(), &[RowId(3), RowId(77)]).unwrap().waiting;
    assert_eq!((rows.len(), rows[0].seq), (1, 2));

    let at = Timestamp(10_000);
    let settle = |row| Settlement { sink: sink(), row, fate: Fate::Delivered { at } };
    commit(
        &store,
        Commit { settle: vec![settle(RowId(1)), settle(RowId(3))], ..Commit::default() },
    );
    let outbox = vec![delivery(1, "a"), delivery(3, "a"), delivery(4, "a")];
    let committed = commit(&store, Commit { outbox, ..Commit::default() });
    assert_eq!((committed.queued, committed.known), (1, 2), "delivered ids are remembered");
    assert_eq!(heads(&store), [(2, "b".into()), (4, "a".into())]);
    assert_eq!(store.outbox_rows(&sink(), &[RowId(4)]).unwrap().waiting[0].seq, 3);
}

#[test]
fn delivered_ids_are_forgotten_after_seven_days() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let week = 7 * 24 * 3600 * 1000;
    for (id, at) in [(1, 0), (2, week), (3, week + 1)] {
        commit(&store, Commit { outbox: vec![delivery(id, "a")], ..Commit::default() });
        let row = store.outbox_heads(&sink()).unwrap()[0].row;
        let fate = Fate::Delivered { at: Timestamp(at) };
        let settle = vec![Settlement { sink: sink(), row, fate }];
        commit(&store, Commit { settle, ..Commit::default() });
    }
    let again = vec![delivery(1, "a"), delivery(2, "a"), delivery(3, "a")];
    let committed = commit(&store, Commit { outbox: again, ..Commit::default() });
    assert_eq!((committed.queued, committed.known), (1, 2));
}

#[test]
fn a_refused_delivery_moves_to_the_dead_letters_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, Commit { outbox: vec![delivery(1, "a")], ..Commit::default() });
    let mut letter = dead_letter("rejected");
    letter.delivery = Some(DeadDelivery { delivery: delivery(1, "a"), seq: 1 });
    let tried =
        Settlement { sink: sink(), row: RowId(1), fate: Fate::Tried { error: "500".into() } };
    let dead =
        Settlement { sink: sink(), row: RowId(1), fate: Fate::Dead(Box::new(letter.clone())) };
    commit(&store, Commit { settle: vec![tried], ..Commit::default() });
    let waiting = store.outbox_rows(&sink(), &[RowId(1)]).unwrap().waiting.pop().unwrap();
    assert_eq!((waiting.tries, waiting.last_error.as_deref()), (1, Some("500")));
    for expected in [1, 0] {
        let settle = vec![dead.clone()];
        assert_eq!(commit(&store, Commit { settle, ..Commit::default() }).dead, expected);
    }
    assert_eq!(store.outbox_count(&sink()), 0);
    assert_eq!(store.dead_letters(&LetterFilter::default(), 10, None).unwrap()[0].letter, letter);

    // A replay: the letter goes and the delivery comes back, in one commit.
    let mut replay = delivery(1, "a");
    replay.replayed = true;
    let commit_ = Commit { outbox: vec![replay], dead_removed: vec![1], ..Commit::default() };
    assert_eq!(commit(&store, commit_).queued, 1);
    assert_eq!((store.dead_letter_count(), store.outbox_count(&sink())), (0, 1));
}

#[test]
fn a_replay_that_fails_again_keeps_its_letter_and_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let dead = vec![dead_letter("trap"), dead_letter("trap")];
    commit(&store, Commit { dead, ..Commit::default() });
    let mut again = dead_letter("settings");
    (again.stage, again.key, again.attempts) = ("session".into(), None, 3);
    // A letter that is gone meanwhile does not come back.
    let dead_again = vec![(2, again.clone()), (77, again.clone())];
    commit(&store, Commit { dead_again, ..Commit::default() });
    let listed = store.dead_letters(&LetterFilter::default(), 10, None).unwrap();
    let listed: Vec<_> = listed.into_iter().map(|one| (one.number, one.letter)).collect();
    assert_eq!(listed, [(2, again), (1, dead_letter("trap"))]);
    assert_eq!(store.dead_letter_count(), 2);
}

#[test]
fn letters_are_found_by_what_people_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut dead = vec![dead_letter("trap"), dead_letter("not-json"), dead_letter("trap")];
    dead[1].stage = "session".into();
    (dead[2].device, dead[2].at) = (None, Timestamp(9_000));
    commit(&store, Commit { dead, ..Commit::default() });
    let text = |text: &str| Some(text.to_owned());
    let all = LetterFilter::default();
    let cases: [(LetterFilter, &[u64]); 6] = [
        (all.clone(), &[1, 2, 3]),
        (LetterFilter { code: text("trap"), ..all.clone() }, &[1, 3]),
        (LetterFilter { stage: text("session"), ..all.clone() }, &[2]),
        (LetterFilter { device: text("mill"), ..all.clone() }, &[1, 2]),
        (LetterFilter { since: Some(Timestamp(5_001)), ..all.clone() }, &[3]),
        (LetterFilter { pipeline: text("other"), ..all.clone() }, &[]),
    ];
    for (filter, expected) in cases {
        let found = store.dead_letter_numbers(&filter, (0, 99), 10).unwrap();
        assert_eq!(found, expected, "{filter:?}");
        let (count, newest) = store.dead_letters_matching(&filter).unwrap();
        assert_eq!((count, newest), (found.len() as u64, found.last().copied().unwrap_or(0)));
        let listed = store.dead_letters(&filter, 10, None).unwrap();
        let listed: Vec<_> = listed.iter().rev().map(|one| one.number).collect();
        assert_eq!(listed, expected, "{filter:?}");
    }
    assert_eq!(store.dead_letter_numbers(&all, (1, 2), 10).unwrap(), [2]);
    assert_eq!(store.dead_letters(&all, 1, Some(3)).unwrap()[0].number, 2);
}

#[test]
fn rows_that_cannot_be_decoded_are_shown_with_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (outbox, dead) = (vec![delivery(1, "a"), delivery(2, "a")], vec![dead_letter("trap")]);
    commit(&store, Commit { outbox, dead, ..Commit::default() });
    store
        .call(|connection| {
            connection.execute_batch(
                "UPDATE outbox SET body = x'63ff' WHERE row = 1; UPDATE dead_letters SET body = x''",
            )
        })
        .unwrap();
    let rows = store.outbox_rows(&sink(), &[RowId(1), RowId(2)]).unwrap();
    assert_eq!(rows.waiting.len(), 1);
    let [unreadable] = &rows.unreadable[..] else { panic!("one: {rows:?}") };
    assert_eq!(
        (unreadable.row, &*unreadable.key, &*unreadable.raw),
        (RowId(1), "a", &b"\x63\xff"[..])
    );
    assert!(unreadable.why.contains("encoding 99"), "{}", unreadable.why);
    let letter = store.dead_letter(1).unwrap().unwrap();
    assert_eq!((letter.letter.code.as_str(), letter.letter.message), ("trap", None));
    assert_eq!(letter.unreadable.as_deref(), Some("the row is empty"));
}

#[test]
fn what_was_done_on_a_persons_word_is_kept_for_a_year() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let year = 365 * 24 * 3600 * 1000;
    for at in [0, 1, year + 1] {
        let audit = Audit {
            at: Timestamp(at),
            author: "socket (user 0)".into(),
            action: "dead-letter.discarded",
            what: at.to_string(),
        };
        commit(&store, Commit { audit: vec![audit], ..Commit::default() });
    }
    let kept = store.audit(10, None).unwrap();
    assert_eq!(kept.iter().map(|entry| entry.at.0).collect::<Vec<_>>(), [year + 1, 1]);
    assert_eq!(store.audit(10, Some(kept[0].number)).unwrap(), kept[1..]);
}

#[test]
fn a_row_number_is_never_used_twice_while_the_store_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let failing = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = failing.clone();
    let faults: Faults = Arc::new(move |moment| {
        let fails =
            moment == Moment::Written && flag.swap(false, std::sync::atomic::Ordering::SeqCst);
        fails.then_some(Fault::DiskFull)
    });
    let store = Store::open(
        dir.path(),
        StoreOptions { faults: Some(faults), on_fatal: None, ..StoreOptions::default() },
    )
    .unwrap();
    let mut last = 0;
    for id in 1..=5 {
        failing.store(id == 3, std::sync::atomic::Ordering::SeqCst);
        commit(&store, Commit { outbox: vec![delivery(id, "a")], ..Commit::default() });
        let row = store.outbox_heads(&sink()).unwrap()[0].row;
        assert!(row.0 > last);
        last = row.0;
        let settle =
            vec![Settlement { sink: sink(), row, fate: Fate::Delivered { at: Timestamp(1) } }];
        commit(&store, Commit { settle, ..Commit::default() });
    }
}

#[test]
fn rows_that_expire_are_found_whatever_stands_before_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut outbox = vec![delivery(1, "a"), delivery(2, "a"), delivery(3, "b")];
    outbox[1].expires_at = Some(Timestamp(500));
    outbox[2].expires_at = Some(Timestamp(400));
    commit(&store, Commit { outbox, ..Commit::default() });
    assert_eq!(store.outbox_next_expiry(&sink()).unwrap(), Some(Timestamp(400)));
    let expired = |now| {
        let rows = store.outbox_expired(&sink(), Timestamp(now), 10).unwrap().waiting;
        rows.iter().map(|waiting| waiting.row.0).collect::<Vec<_>>()
    };
    assert_eq!((expired(399), expired(400), expired(500)), (vec![], vec![3], vec![3, 2]));
}
