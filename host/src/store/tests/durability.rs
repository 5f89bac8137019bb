//! When a callback runs, and what happens when the disk does not take it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use super::*;

/// Faults of a list, one for each time that `at` is reached, then none.
fn faults(at: Moment, list: Vec<Fault>) -> Faults {
    let next = AtomicUsize::new(0);
    Arc::new(move |moment| {
        (moment == at).then(|| list.get(next.fetch_add(1, Ordering::SeqCst)).copied()).flatten()
    })
}

#[test]
fn callbacks_come_in_the_order_of_submission() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (sender, receiver) = mpsc::sync_channel(300);
    for number in 0..300_u32 {
        let sender = sender.clone();
        let meta = vec![("last".to_owned(), number.to_be_bytes().to_vec())];
        let done: Done = Box::new(move |_| sender.send(number).unwrap());
        store.submit(Commit { meta, ..Commit::default() }, done).unwrap();
    }
    for number in 0..300 {
        assert_eq!(receiver.recv().unwrap(), number);
    }
    assert_eq!(store.meta_get("last").unwrap(), Some(299_u32.to_be_bytes().to_vec()));
}

#[test]
fn a_callback_runs_only_when_another_connection_sees_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (sender, receiver) = mpsc::sync_channel(1);
    let reader = store.clone();
    let done: Done = Box::new(move |_| sender.send(reader.meta_get("a").unwrap()).unwrap());
    store.submit(Commit { meta: vec![("a".into(), vec![1])], ..Commit::default() }, done).unwrap();
    assert_eq!(receiver.recv().unwrap(), Some(vec![1]));
}

#[test]
fn a_full_disk_shows_as_trouble_and_the_same_group_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::sync_channel(8);
    let list = [Some(Fault::DiskFull), Some(Fault::Busy), Some(Fault::DiskFull), None];
    let attempts = AtomicUsize::new(0);
    let faults: Faults = Arc::new(move |moment| {
        if moment != Moment::Written {
            return None;
        }
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        sender.send(attempt).unwrap();
        list.get(attempt).copied().flatten()
    });
    let store = Store::open(
        dir.path(),
        StoreOptions { faults: Some(faults), on_fatal: None, ..StoreOptions::default() },
    )
    .unwrap();
    let (done, written) = mpsc::sync_channel(1);
    let group = Commit {
        outbox: vec![delivery(1, "a"), delivery(2, "a")],
        dead: vec![dead_letter("not-json")],
        ..Commit::default()
    };
    store.submit(group, Box::new(move |committed| done.send(committed).unwrap())).unwrap();
    assert_eq!(receiver.recv().unwrap(), 0);
    assert_eq!(receiver.recv().unwrap(), 1);
    let trouble = store.trouble().unwrap();
    assert!(["disk full", "database busy"].contains(&trouble.what), "{trouble:?}");
    assert!(written.try_recv().is_err(), "nothing is acknowledged while it is not written");
    assert_eq!(store.outbox_count(&sink()), 0);
    assert_eq!(written.recv().unwrap(), Committed { queued: 2, known: 0, dead: 1 });
    assert_eq!(store.trouble(), None);
    let row = store.outbox_heads(&sink()).unwrap()[0].row;
    assert_eq!(store.outbox_rows(&sink(), &[row]).unwrap().waiting[0].seq, 1, "counted once");
    assert_eq!((store.outbox_count(&sink()), store.dead_letter_count()), (2, 1));
}

#[test]
fn a_failed_fsync_ends_the_store_and_acknowledges_nothing() {
    for moment in [Moment::Written, Moment::Begun] {
        let dir = tempfile::tempdir().unwrap();
        let (sender, receiver) = mpsc::sync_channel(1);
        let options = StoreOptions {
            faults: Some(faults(moment, vec![Fault::FsyncFailed])),
            on_fatal: Some(Arc::new(move |error| sender.send(error.to_string()).unwrap())),
            ..StoreOptions::default()
        };
        let store = Store::open(dir.path(), options).unwrap();
        let (done, called) = mpsc::sync_channel(1);
        let meta = vec![("a".to_owned(), vec![1])];
        let done: Done = Box::new(move |_| done.send(()).unwrap());
        store.submit(Commit { meta, ..Commit::default() }, done).unwrap();
        receiver.recv().unwrap();
        assert!(called.recv().is_err(), "dropped uncalled");
        store.close();
        assert!(!store.is_alive());
        let again = store.submit(Commit::default(), Box::new(|_| {}));
        assert!(matches!(again, Err(StoreError::Closed)));
        drop(store);
        assert_eq!(open(dir.path()).meta_get("a").unwrap(), None);
    }
}

#[test]
fn what_dies_after_the_commit_is_there_although_nobody_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        faults: Some(faults(Moment::Durable, vec![Fault::FsyncFailed])),
        on_fatal: Some(Arc::new(|_| {})),
        ..StoreOptions::default()
    };
    let store = Store::open(dir.path(), options).unwrap();
    let (done, called) = mpsc::sync_channel::<()>(1);
    let done: Done = Box::new(move |_| done.send(()).unwrap());
    store.submit(Commit { outbox: vec![delivery(1, "a")], ..Commit::default() }, done).unwrap();
    assert!(called.recv().is_err());
    drop(store);
    let store = open(dir.path());
    // The message comes again: the same id has no second effect.
    let again = commit(&store, Commit { outbox: vec![delivery(1, "a")], ..Commit::default() });
    assert_eq!((again.known, store.outbox_count(&sink())), (1, 1));
}

#[test]
fn a_fifth_group_ahead_of_the_disk_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (release, gate) = mpsc::sync_channel::<()>(0);
    let (reached, at_gate) = mpsc::sync_channel(64);
    let gate = Mutex::new(gate);
    let faults: Faults = Arc::new(move |moment| {
        if moment == Moment::Begun {
            reached.send(()).unwrap();
            let _ = lock(&gate).recv();
        }
        None
    });
    let store = Store::open(
        dir.path(),
        StoreOptions { faults: Some(faults), on_fatal: None, ..StoreOptions::default() },
    )
    .unwrap();
    store.submit(Commit::default(), Box::new(|_| {})).unwrap();
    at_gate.recv().unwrap();
    for _ in 0..AHEAD {
        store.submit(Commit::default(), Box::new(|_| {})).unwrap();
    }
    let mut context = Context::from_waker(Waker::noop());
    let mut fifth = pin!(store.submit_async(Commit::default()));
    assert!(fifth.as_mut().poll(&mut context).is_pending());
    assert_eq!(store.inner.work.capacity(), 0);
    drop(release);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(fifth).unwrap(), Committed::default());
}

#[test]
fn closing_does_not_wait_for_a_disk_that_stays_full() {
    let dir = tempfile::tempdir().unwrap();
    let faults: Faults = Arc::new(|moment| (moment == Moment::Written).then_some(Fault::DiskFull));
    let store = Store::open(
        dir.path(),
        StoreOptions { faults: Some(faults), on_fatal: None, ..StoreOptions::default() },
    )
    .unwrap();
    let (done, called) = mpsc::sync_channel::<()>(1);
    let done: Done = Box::new(move |_| done.send(()).unwrap());
    store.submit(Commit { outbox: vec![delivery(1, "a")], ..Commit::default() }, done).unwrap();
    store.close();
    assert!(called.recv().is_err());
    drop(store);
    assert_eq!(open(dir.path()).outbox_count(&sink()), 0);
}

#[test]
fn the_log_is_checkpointed_while_the_store_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for round in 0..60 {
        let meta = vec![("blob".to_owned(), vec![round; 1 << 20])];
        commit(&store, Commit { meta, ..Commit::default() });
    }
    let log = std::fs::metadata(dir.path().join("tapline.db-wal")).unwrap().len();
    assert!(log < 16 << 20, "the log has grown to {log} bytes");
}

#[test]
fn a_database_that_may_not_grow_is_a_full_disk_and_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, Commit { outbox: vec![delivery(1, "a")], ..Commit::default() });
    // SQLite's own limit answers as a full disk does, in the middle of the transaction.
    store
        .call(|connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            connection.query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(()))
        })
        .unwrap();
    let (done, called) = mpsc::sync_channel::<()>(1);
    let outbox = (2..200).map(|id| delivery(id, "a")).collect();
    let done: Done = Box::new(move |_| done.send(()).unwrap());
    store.submit(Commit { outbox, ..Commit::default() }, done).unwrap();
    while store.trouble().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(store.trouble().unwrap().what, "disk full");
    assert_eq!(store.outbox_heads(&sink()).unwrap().len(), 1, "readers go on");
    store.close();
    assert!(called.recv().is_err());
    drop(store);
    assert_eq!(open(dir.path()).outbox_count(&sink()), 1);
}
