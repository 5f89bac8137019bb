//! State that changes hands.

use super::*;
use crate::store::schema::{MIGRATIONS, database_file};

const NOW: Timestamp = Timestamp(1_000_000_000);

fn id(stage: &str) -> StageId {
    StageId::new("workshop", stage)
}

/// Keys of one stage; each has its own name as state.
fn remember(store: &Store, stage: &str, keys: &[&str]) {
    let rows = keys.iter().map(|key| {
        let id = KeyId { pipeline: "workshop".into(), stage: stage.into(), key: (*key).into() };
        let state = Some(format!("{key} of {stage}").into_bytes());
        (id, Some(KeyRow { state, late: 3, ordinal: 7, ..KeyRow::default() }))
    });
    commit(store, Commit { keys: rows.collect(), ..Commit::default() });
}

fn kept(store: &Store) -> Vec<String> {
    let mut kept: Vec<_> = store
        .load_keys("workshop")
        .unwrap()
        .into_iter()
        .map(|(stage, key, row)| {
            assert_eq!((row.late, row.ordinal), (3, 7), "the whole row moves");
            format!("{stage}: {key} = {}", String::from_utf8(row.state.unwrap()).unwrap())
        })
        .collect();
    kept.sort();
    kept
}

#[test]
fn a_renamed_stage_takes_over_what_it_has_not_learnt_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    remember(&store, "old", &["a", "b"]);
    remember(&store, "new", &["b"]);
    let rename = Succession { heirs: vec![(id("old"), id("new"))], ..Succession::default() };
    let done = store.succeed(&rename, NOW).unwrap();
    assert_eq!(done, Succeeded { restored: 0, inherited: 1, parked: 1 });
    assert_eq!(kept(&store), ["new: a = a of old", "new: b = b of new"]);
    // Said again, as the file does at each start, it changes nothing.
    assert_eq!(store.succeed(&rename, NOW).unwrap().inherited, 0);
    assert_eq!(kept(&store), ["new: a = a of old", "new: b = b of new"]);
}

#[test]
fn removed_state_is_found_again_within_seven_days_and_not_later() {
    for (after, expected) in [(PARKED_MS, &["session: a = a of session"][..]), (PARKED_MS + 1, &[])]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        remember(&store, "session", &["a"]);
        let gone = Succession { park: vec![id("session")], ..Succession::default() };
        assert_eq!(store.succeed(&gone, NOW).unwrap().parked, 1);
        assert_eq!(kept(&store), Vec::<String>::new());
        assert_eq!(store.stages_with_state().unwrap(), []);
        let parked = ParkedState { id: id("session"), keys: 1, since: NOW };
        assert_eq!(store.parked_state().unwrap(), [parked]);
        drop(store);

        let store = open(dir.path());
        let back = Succession { owners: vec![id("session")], ..Succession::default() };
        store.succeed(&back, NOW.plus_ms(after)).unwrap();
        assert_eq!(kept(&store), expected);
        assert_eq!(store.parked_state().unwrap(), []);
    }
}

#[test]
fn parked_state_goes_to_an_heir_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    remember(&store, "old", &["a"]);
    store.succeed(&Succession { park: vec![id("old")], ..Succession::default() }, NOW).unwrap();
    let rename = Succession {
        owners: vec![id("new")],
        heirs: vec![(id("old"), id("new"))],
        ..Succession::default()
    };
    assert_eq!(store.succeed(&rename, NOW).unwrap().inherited, 1);
    assert_eq!(kept(&store), ["new: a = a of old"]);
}

#[test]
fn stages_are_listed_with_what_they_keep() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    remember(&store, "session", &["a", "b"]);
    let bare = KeyId { pipeline: "workshop".into(), stage: "session".into(), key: "c".into() };
    commit(&store, Commit { keys: vec![(bare, Some(KeyRow::default()))], ..Commit::default() });
    let listed = store.stages_with_state().unwrap();
    assert_eq!(listed, [StageState { id: id("session"), keys: 2, bare: 1 }]);
}

#[test]
fn a_database_of_format_1_gets_its_journal_from_the_revisions_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let old = schema::open_writer(&database_file(dir.path()), &MIGRATIONS[..1]).unwrap();
    for document in [r#"{"document":{"devices":[{},{}]}}"#, "no JSON"] {
        let insert = "INSERT INTO revisions (at, author, document) VALUES (5, 'me', ?1)";
        old.execute(insert, [document.as_bytes()]).unwrap();
    }
    drop(old);
    let journal = open(dir.path()).journal(10, None).unwrap();
    let seen: Vec<_> = journal.iter().map(|e| (e.rev, e.change.devices)).collect();
    assert_eq!(seen, [(Some(2), 0), (Some(1), 2)]);
}

#[test]
fn a_renamed_pipeline_goes_on_with_what_waits_and_with_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(
        &store,
        Commit { outbox: vec![delivery(1, "a"), delivery(2, "a")], ..Commit::default() },
    );
    assert_eq!(store.pipelines_with_deliveries().unwrap(), ["workshop".to_owned()].into());
    let renamed = vec![("workshop".into(), "hall".into())];
    store.succeed(&Succession { renamed, ..Succession::default() }, NOW).unwrap();
    assert_eq!(store.pipelines_with_deliveries().unwrap(), ["hall".to_owned()].into());
    let hall = SinkId::new("hall", "odoo");
    assert_eq!((store.outbox_count(&sink()), store.outbox_count(&hall)), (0, 2));
    let next = NewDelivery { sink: hall.clone(), ..delivery(3, "a") };
    commit(&store, Commit { outbox: vec![next], ..Commit::default() });
    let rows = store.outbox_rows(&hall, &[RowId(1), RowId(2), RowId(3)]).unwrap().waiting;
    assert_eq!(rows.iter().map(|one| one.seq).collect::<Vec<_>>(), [1, 2, 3]);
    // The old name may be taken again, by another pipeline.
    commit(&store, Commit { outbox: vec![delivery(4, "a")], ..Commit::default() });
    assert_eq!((store.outbox_count(&sink()), store.outbox_count(&hall)), (1, 3));
}
