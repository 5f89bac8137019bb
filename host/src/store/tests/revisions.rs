//! Documents by revision, and the journal.

use super::*;

fn change(at: u64) -> Change {
    Change {
        at: Timestamp(at),
        author: "10.0.0.1".to_owned(),
        devices: 2,
        what: "2 devices added".to_owned(),
    }
}

#[test]
fn every_change_is_in_the_journal_and_documents_are_found_by_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.latest_revision().unwrap(), None);
    assert_eq!(store.kept_revisions().unwrap(), None);
    for rev in 1..=3 {
        assert_eq!(store.add_revision(&change(rev), &[rev as u8]).unwrap(), rev);
        store.add_change(&change(rev + 10)).unwrap();
    }
    assert_eq!(store.latest_revision().unwrap().unwrap().document, [3]);
    assert_eq!(store.revision(2).unwrap().unwrap().at, Timestamp(2));
    assert_eq!(store.revision(9).unwrap(), None);
    assert_eq!(store.kept_revisions().unwrap(), Some((1, 3)));
    let journal = store.journal(3, None).unwrap();
    let seen: Vec<_> = journal.iter().map(|e| (e.number, e.rev, e.change.at.0)).collect();
    assert_eq!(seen, [(6, None, 13), (5, Some(3), 3), (4, None, 12)]);
    let before = store.journal(10, Some(4)).unwrap();
    assert_eq!(before.iter().map(|entry| entry.number).collect::<Vec<_>>(), [3, 2, 1]);
}

#[test]
fn the_oldest_documents_go_and_numbers_never_come_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for rev in 1..=205 {
        assert_eq!(store.add_revision(&change(rev), b"{}").unwrap(), rev);
    }
    assert_eq!(store.kept_revisions().unwrap(), Some((6, 205)));
    assert_eq!(store.revision(5).unwrap(), None);
    assert_eq!(store.journal(1_000, None).unwrap().len(), 205, "the journal keeps more");
    drop(store);
    assert_eq!(open(dir.path()).add_revision(&change(1), b"{}").unwrap(), 206);
}
