//! Commits with megabytes of outputs, which come in parts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::message::Publication;

/// A publication of some hundred KiB, told apart by its bytes.
fn large(id: u128, key: &str, kib: usize) -> NewDelivery {
    let payload = (0..kib << 10).map(|n| (n % 251) as u8 ^ id as u8).collect();
    let publication = Publication {
        broker: None,
        topic: "t".into(),
        payload,
        qos: 1,
        retain: false,
        properties: Properties::default(),
    };
    NewDelivery { content: Content::Item(Item::Publication(publication)), ..delivery(id, key) }
}

fn of(pipeline: &str, outbox: Vec<NewDelivery>) -> Commit {
    Commit { pipeline: Some(pipeline.into()), outbox, ..Commit::default() }
}

/// Everything that waits, in commit order.
fn waiting(store: &Store) -> Vec<Waiting> {
    let rows: Vec<_> =
        store.outbox_heads(&sink()).unwrap().into_iter().map(|head| head.row).collect();
    let rows = store.outbox_rows(&sink(), &rows).unwrap();
    assert_eq!(rows.unreadable, []);
    rows.waiting
}

fn parts(store: &Store) -> i64 {
    store
        .read(|connection| {
            Ok(connection.query_row("SELECT COUNT(*) FROM bodies", [], |row| row.get(0))?)
        })
        .unwrap()
}

/// Waits until nothing is left of any body.
fn until_swept(store: &Store) {
    for _ in 0..2_000 {
        if parts(store) == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{} parts are still there", parts(store));
}

/// A store whose writer says when a transaction has begun, and goes on when it may.
fn stepwise(dir: &Path) -> (Store, mpsc::Receiver<()>, mpsc::SyncSender<()>) {
    let (reached, at_gate) = mpsc::sync_channel(1_000);
    let (release, gate) = mpsc::sync_channel::<()>(0);
    let gate = Mutex::new(gate);
    let faults: Faults = Arc::new(move |moment| {
        if moment == Moment::Begun {
            let _ = reached.send(());
            // An error says that nobody holds it back any more.
            let _ = lock(&gate).recv();
        }
        None
    });
    let options = StoreOptions { faults: Some(faults), ..StoreOptions::default() };
    (Store::open(dir, options).unwrap(), at_gate, release)
}

#[test]
fn large_deliveries_come_back_whole_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let sent = vec![large(1, "a", 3_000), delivery(2, "b"), large(3, "c", 300), large(4, "d", 2)];
    assert_eq!(commit(&store, of("workshop", sent.clone())).queued, 4);
    assert_eq!(parts(&store), 14, "each in parts of 256 KiB at most, the small one in its row");
    drop(store);
    let store = open(dir.path());
    let rows = waiting(&store);
    assert_eq!(rows.iter().map(|row| row.delivery.clone()).collect::<Vec<_>>(), sent);
    let fates =
        [Fate::Delivered { at: Timestamp(1) }, Fate::Dead(Box::new(dead_letter("expired")))];
    for (row, fate) in [&rows[0], &rows[2]].into_iter().zip(fates) {
        let settle = vec![Settlement { sink: sink(), row: row.row, fate }];
        commit(&store, Commit { settle, ..Commit::default() });
    }
    until_swept(&store);
    assert_eq!(store.outbox_count(&sink()), 2);
}

#[test]
fn one_that_is_known_already_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, of("workshop", vec![large(1, "a", 300)]));
    let before = parts(&store);
    assert_eq!(commit(&store, of("workshop", vec![large(1, "a", 300)])).known, 1);
    let row = waiting(&store).remove(0);
    assert_eq!(row.delivery, large(1, "a", 300));
    assert_eq!(before, 2);
    let fate = Fate::Delivered { at: Timestamp(1) };
    let settle = vec![Settlement { sink: sink(), row: row.row, fate }];
    commit(&store, Commit { settle, ..Commit::default() });
    until_swept(&store);
}

#[test]
fn others_go_between_the_parts_and_nothing_of_the_same_pipeline_or_of_none_does() {
    let dir = tempfile::tempdir().unwrap();
    let (store, begun, go_on) = stepwise(dir.path());
    let (sender, receiver) = mpsc::sync_channel(10);
    let submit = |name: &'static str, commit: Commit| {
        let sender = sender.clone();
        store.submit(commit, Box::new(move |_| sender.send(name).unwrap())).unwrap();
    };
    submit("large", of("loud", vec![large(1, "a", 1_500)]));
    // The first part is being written.
    begun.recv().unwrap();
    submit("its next", of("loud", vec![delivery(2, "a")]));
    submit("everybody's", Commit::default());
    submit("another's", of("calm", vec![delivery(3, "b")]));
    go_on.send(()).unwrap();
    begun.recv().unwrap();
    go_on.send(()).unwrap();
    assert_eq!(receiver.recv().unwrap(), "another's");
    let seen: Vec<_> = waiting(&store).into_iter().map(|row| row.delivery.id.as_u128()).collect();
    assert_eq!(seen, [3], "nothing of the large one can be seen");
    drop(go_on);
    let rest: Vec<_> = (0..3).map(|_| receiver.recv().unwrap()).collect();
    assert_eq!(rest, ["large", "its next", "everybody's"]);
    let rows = store.outbox_since(&sink(), RowId::START, 10).unwrap();
    let keys: Vec<_> = rows.iter().map(|head| &*head.key).collect();
    assert_eq!(keys, ["b", "a", "a"], "rows are numbered as they became visible");
}

#[test]
fn what_ends_between_the_parts_was_never_there() {
    let dir = tempfile::tempdir().unwrap();
    let count = AtomicUsize::new(0);
    let faults: Faults = Arc::new(move |moment| {
        let third = moment == Moment::Begun && count.fetch_add(1, Ordering::SeqCst) == 2;
        third.then_some(Fault::FsyncFailed)
    });
    let on_fatal: OnFatal = Arc::new(|_| {});
    let options =
        StoreOptions { faults: Some(faults), on_fatal: Some(on_fatal), ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    let (sender, called) = mpsc::sync_channel::<()>(1);
    let done: Done = Box::new(move |_| sender.send(()).unwrap());
    store.submit(of("workshop", vec![large(1, "a", 1_500)]), done).unwrap();
    assert!(called.recv().is_err(), "nobody is told that it is durable");
    assert_eq!(parts(&store), 2);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.outbox_count(&sink()), 0);
    // The first work of all lets the writer look at what is left.
    commit(&store, of("workshop", vec![large(1, "a", 1_500)]));
    let row = waiting(&store).remove(0);
    assert_eq!(row.delivery, large(1, "a", 1_500));
    let fate = Fate::Delivered { at: Timestamp(1) };
    let settle = vec![Settlement { sink: sink(), row: row.row, fate }];
    commit(&store, Commit { settle, ..Commit::default() });
    until_swept(&store);
}

#[test]
fn closing_writes_a_large_commit_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (sender, receiver) = mpsc::sync_channel(1);
    let done: Done = Box::new(move |_| sender.send(()).unwrap());
    store.submit(of("workshop", vec![large(1, "a", 1_500)]), done).unwrap();
    store.close();
    receiver.recv().unwrap();
    assert_eq!(waiting(&open(dir.path())).len(), 1);
}

#[test]
fn a_body_of_which_a_part_is_missing_is_shown_as_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, of("workshop", vec![large(1, "a", 600)]));
    store
        .call(|connection| connection.execute_batch("DELETE FROM bodies WHERE n % 65536 = 1"))
        .unwrap();
    let head = store.outbox_heads(&sink()).unwrap().remove(0);
    let rows = store.outbox_rows(&sink(), &[head.row]).unwrap();
    assert!(rows.waiting.is_empty());
    assert_eq!(rows.unreadable[0].why, "parts of its body are missing");
}

#[test]
fn no_more_rows_are_read_at_a_time_than_there_is_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut sent: Vec<_> = (1..=4).map(|id| large(id, &format!("key-{id}"), 3_000)).collect();
    sent.iter_mut().for_each(|delivery| delivery.expires_at = Some(Timestamp(500)));
    commit(&store, of("workshop", sent));
    let ids = |waiting: &[Waiting]| waiting.iter().map(|row| row.row.0).collect::<Vec<_>>();
    let all: Vec<_> = (1..=4).map(RowId).collect();
    let by_number = store.outbox_rows(&sink(), &all).unwrap();
    let by_time = store.outbox_expired(&sink(), Timestamp(500), 10).unwrap();
    for rows in [by_number, by_time] {
        assert_eq!(ids(&rows.waiting), [1, 2]);
        assert_eq!(rows.unread, [RowId(3), RowId(4)]);
    }
    let rows = store.outbox_rows(&sink(), &all[2..]).unwrap();
    assert_eq!((ids(&rows.waiting), rows.unread), (vec![3, 4], vec![]));
}
