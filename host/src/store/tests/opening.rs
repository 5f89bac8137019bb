//! Whom a data directory is opened for, and how an old one becomes a new one.

use super::*;
use crate::store::schema::{MIGRATIONS, backup_file, database_file, open_reader};

fn next_format() -> Vec<&'static str> {
    let mut migrations = MIGRATIONS.to_vec();
    migrations.push("CREATE TABLE later (x INTEGER); UPDATE meta SET value = x'6e6577';");
    migrations
}

/// The format of this program.
fn now() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap()
}

fn open_error(dir: &Path, migrations: &[&str]) -> OpenError {
    match Store::open_with(dir, StoreOptions::default(), migrations) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn a_second_instance_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let text = open_error(dir.path(), MIGRATIONS).to_string();
    assert!(text.contains("another Tapline") && text.contains(&std::process::id().to_string()));
    first.close();
    drop(first);
    open(dir.path());
}

#[test]
fn a_newer_program_migrates_and_leaves_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.meta_put("who", b"old").unwrap();
    drop(store);

    let store = Store::open_with(dir.path(), StoreOptions::default(), &next_format()).unwrap();
    assert_eq!(store.meta_get("who").unwrap(), Some(b"new".to_vec()));
    let backup = backup_file(&database_file(dir.path()), now());
    let old = open_reader(&backup).unwrap();
    let who: Vec<u8> =
        old.query_row("SELECT value FROM meta WHERE name = 'who'", [], |row| row.get(0)).unwrap();
    assert_eq!(who, b"old");
}

#[test]
fn an_older_program_refuses_and_names_both_formats() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open_with(dir.path(), StoreOptions::default(), &next_format()).unwrap());
    let error = open_error(dir.path(), MIGRATIONS);
    let OpenError::TooNew { found, supported, .. } = &error else { panic!("{error}") };
    assert_eq!((*found, *supported), (now() + 1, now()));
    for format in [found, supported] {
        assert!(error.to_string().contains(&format!("format {format}")), "{error}");
    }
}

#[test]
fn a_migration_that_fails_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.meta_put("who", b"old").unwrap();
    drop(store);
    let mut broken = next_format();
    broken.push("CREATE TABLE later (y INTEGER)");
    let error = open_error(dir.path(), &broken);
    let OpenError::Migrate { from, to, .. } = &error else { panic!("{error}") };
    assert_eq!((*from, *to), (now(), now() + 2));
    assert_eq!(open(dir.path()).meta_get("who").unwrap(), Some(b"old".to_vec()));
}

#[test]
fn a_damaged_database_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let outbox = (0..200).map(|id| delivery(id, "a")).collect();
    commit(&store, Commit { outbox, ..Commit::default() });
    drop(store);
    let file = database_file(dir.path());
    let whole = std::fs::read(&file).unwrap();

    let mut torn = whole.clone();
    torn[4096..].fill(0x5a);
    for damaged in [b"this is no database, however long it may be".repeat(100), torn] {
        std::fs::write(&file, &damaged).unwrap();
        let error = open_error(dir.path(), MIGRATIONS);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("tapline.db"), "{error}");
        assert!(std::fs::read(&file).unwrap() == damaged, "the file was changed");
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(open(dir.path()).outbox_count(&sink()), 200);
}

#[cfg(unix)]
#[test]
fn database_and_secrets_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.meta_put("a", b"b").unwrap();
    let secrets = SecretsFile::new(dir.path());
    assert!(secrets.read().unwrap().is_empty());
    for password in ["first", "second"] {
        let all = [("mqtt.password".to_owned(), password.to_owned())].into();
        secrets.write(&all).unwrap();
        assert_eq!(secrets.read().unwrap(), all);
    }
    for name in ["tapline.db", "tapline.db-wal", "secrets.json"] {
        let meta = std::fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5, "nothing is left behind");
}
