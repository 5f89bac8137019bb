//! The power goes at any write: what was acknowledged is there, and the database opens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender};

use super::disk::{Disk, Step};
use super::*;

const COMMITS: u64 = 60;
/// Power cuts at random places, beside those at places that matter.
const CUTS: usize = 60;
/// A disk writes these as a whole or not at all.
const SECTOR: usize = 512;

/// A small generator, so that a failure can be had again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// A store that was written to on a watched disk.
struct Written {
    disk: Arc<Disk>,
    /// For each commit, how much had happened to the disk when it was acknowledged.
    acknowledged: Vec<usize>,
}

impl Written {
    /// Commits of many sizes, enough to be moved from the log into the database several times.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::below(dir.path());
        let store = open(dir.path());
        let (sender, receiver): (SyncSender<usize>, Receiver<usize>) = mpsc::sync_channel(64);
        let mut acknowledged = Vec::new();
        for number in 1..=COMMITS {
            let size = [100, 5_000, 300_000][usize::try_from(number % 3).unwrap()];
            let (sender, disk) = (sender.clone(), disk.clone());
            let mut delivery = delivery(number.into(), &format!("key {number}"));
            if let Content::Item(Item::Event(event)) = &mut delivery.content
                && number % 10 == 7
            {
                // Comes in parts.
                event.data = format!("{{\"text\":\"{}\"}}", "x".repeat(600_000));
            }
            let commit = Commit {
                pipeline: Some("workshop".into()),
                outbox: vec![delivery],
                meta: vec![
                    ("last".into(), number.to_be_bytes().to_vec()),
                    (format!("blob {}", number % 4), vec![number.to_be_bytes()[7]; size]),
                ],
                ..Commit::default()
            };
            let done: Done = Box::new(move |_| sender.send(disk.steps()).unwrap());
            store.submit(commit, done).unwrap();
            // Now and then several share a transaction.
            if number % 5 == 0 {
                acknowledged.extend((0..5).map(|_| receiver.recv().unwrap()));
            }
        }
        store.close();
        drop(store);
        Self { disk, acknowledged }
    }

    /// The files as they are found after the power went before step `cut`. What was flushed is
    /// there; of what was not, any part may be. `lies`: the disk reports flushes that it did
    /// not make.
    fn after_power_cut(&self, cut: usize, lies: bool, chance: &mut Chance, dir: &Path) {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut pending: Vec<Step> = Vec::new();
        let mut known: BTreeSet<String> = BTreeSet::new();
        for step in &self.disk.log()[..cut] {
            match step {
                Step::Sync(_) if lies => {}
                Step::Sync(name) => {
                    // With the first flush of a new log its folder is flushed too, and what
                    // was deleted there is gone for good.
                    let folder = known.insert(name.clone()) && name != "tapline.db";
                    let (flushed, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|step| {
                        is_of(step, name) || folder && matches!(step, Step::Delete(_))
                    });
                    pending = rest;
                    flushed.iter().for_each(|step| apply(&mut files, step));
                }
                Step::Delete(name) => {
                    known.remove(name);
                    pending.push(step.clone());
                }
                step => pending.push(step.clone()),
            }
        }
        for mut step in pending {
            let kept = match &mut step {
                Step::Write(_, _, bytes) => match chance.below(3) {
                    0 => false,
                    1 => true,
                    _ => {
                        bytes.truncate(chance.below(bytes.len() / SECTOR + 1) * SECTOR);
                        true
                    }
                },
                _ => chance.below(2) == 0,
            };
            if kept {
                apply(&mut files, &step);
            }
        }
        for (name, bytes) in files {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }

    /// The number of the last commit that is there, after all before it.
    fn survived(&self, cut: usize, lies: bool, chance: &mut Chance) -> Result<u64, OpenError> {
        let dir = tempfile::tempdir().unwrap();
        self.after_power_cut(cut, lies, chance, dir.path());
        let store = Store::open(dir.path(), StoreOptions::default())?;
        let last = store.meta_get("last").unwrap().map(|bytes| bytes.try_into().unwrap());
        let last = u64::from_be_bytes(last.unwrap_or_default());
        let keys: Vec<_> = heads(&store).into_iter().map(|(_, key)| key).collect();
        let expected: Vec<_> = (1..=last).map(|number| format!("key {number}")).collect();
        assert_eq!(keys, expected, "cut before step {cut}");
        // Whoever opens it can go on.
        commit(&store, Commit { outbox: vec![delivery(9_999, "next")], ..Commit::default() });
        Ok(last)
    }

    fn promised(&self, cut: usize) -> u64 {
        self.acknowledged.iter().filter(|&&at| at <= cut).count() as u64
    }
}

fn is_of(step: &Step, file: &str) -> bool {
    match step {
        Step::Write(name, ..) | Step::Truncate(name, _) | Step::Sync(name) | Step::Delete(name) => {
            name == file
        }
    }
}

fn apply(files: &mut BTreeMap<String, Vec<u8>>, step: &Step) {
    match step {
        Step::Write(name, at, bytes) => {
            let file = files.entry(name.clone()).or_default();
            let at = usize::try_from(*at).unwrap();
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Step::Truncate(name, size) => {
            files.entry(name.clone()).or_default().resize(usize::try_from(*size).unwrap(), 0);
        }
        Step::Delete(name) => drop(files.remove(name)),
        Step::Sync(_) => {}
    }
}

#[test]
fn a_power_cut_at_any_write_leaves_all_that_was_acknowledged() {
    let written = Written::new();
    let steps = written.disk.steps();
    let moved = written
        .disk
        .log()
        .iter()
        .filter(|step| matches!(step, Step::Sync(name) if name == "tapline.db"))
        .count();
    assert!(moved >= 2, "the log was never moved into the database");
    let mut chance = Chance(0x7a91_1e5e_ed00_0001);
    // Wherever somebody was told something, the write before, and anywhere else.
    let told = written.acknowledged.iter().flat_map(|&at| [at - 1, at]);
    let cuts: Vec<_> = told.chain((0..CUTS).map(|_| chance.below(steps + 1))).collect();
    for cut in cuts {
        let promised = written.promised(cut);
        let survived = written.survived(cut, false, &mut chance);
        let survived = survived.unwrap_or_else(|e| panic!("cut before {cut} of {steps}: {e:?}"));
        assert!(survived >= promised, "cut before {cut} of {steps}: {survived} of {promised}");
    }
}

#[test]
fn a_disk_that_only_says_that_it_has_flushed_is_noticed_by_these_tests() {
    let written = Written::new();
    let mut chance = Chance(0x7a91_1e5e_ed00_0002);
    let lost = written.acknowledged.iter().filter(|&&cut| {
        let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            written.survived(cut, true, &mut chance)
        }));
        !matches!(survived, Ok(Ok(survived)) if survived >= written.promised(cut))
    });
    assert!(lost.count() > 0, "nothing depends on flushing");
}

#[test]
fn a_flush_that_fails_below_sqlite_ends_the_store_and_acknowledges_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::below(dir.path());
    let (sender, receiver) = mpsc::sync_channel(1);
    let on_fatal: OnFatal = Arc::new(move |error| sender.send(error.to_string()).unwrap());
    let options = StoreOptions { on_fatal: Some(on_fatal), ..StoreOptions::default() };
    let store = Store::open(dir.path(), options).unwrap();
    commit(&store, Commit { outbox: vec![delivery(1, "a")], ..Commit::default() });
    disk.fail_flushes();
    let (done, called) = mpsc::sync_channel::<()>(1);
    let done: Done = Box::new(move |_| done.send(()).unwrap());
    store.submit(Commit { outbox: vec![delivery(2, "b")], ..Commit::default() }, done).unwrap();
    receiver.recv().unwrap();
    assert!(called.recv().is_err(), "dropped uncalled");
    store.close();
    assert!(!store.is_alive());
}

#[test]
fn a_disk_that_fills_at_any_write_holds_the_group_until_there_is_room() {
    for writes in [0, 1, 2, 3, 5, 8, 13, 21] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::below(dir.path());
        let store = open(dir.path());
        commit(&store, Commit { outbox: vec![delivery(1, "a")], ..Commit::default() });
        disk.leave_room(Some(writes));
        let (done, called) = mpsc::sync_channel(1);
        let done: Done = Box::new(move |committed| done.send(committed).unwrap());
        let outbox = (2..300).map(|id| delivery(id, &format!("key {id}"))).collect();
        store.submit(Commit { outbox, ..Commit::default() }, done).unwrap();
        while store.trouble().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(store.trouble().unwrap().what, "disk full", "after {writes} writes");
        assert!(called.try_recv().is_err(), "acknowledged after {writes} writes");
        assert_eq!(heads(&store).len(), 1, "readers see the whole of it or nothing");
        disk.leave_room(None);
        assert_eq!(called.recv().unwrap(), Committed { queued: 298, known: 0, dead: 0 });
        assert_eq!(store.trouble(), None);
        store.close();
        drop(store);
        assert_eq!(open(dir.path()).outbox_count(&sink()), 299);
    }
}
