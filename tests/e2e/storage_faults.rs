//! The disk is full, fails, or holds something else than it should.

use std::process::Output;

use rusqlite::Connection;
use tapline_tests::{Scripted, Setup, SmallDisk, Tapline};

const WHOLE: [&str; 2] = ["session_started", "session_stopped"];

#[tokio::test]
async fn a_full_disk_stops_acknowledgements_and_loses_nothing() {
    let mut it = Scripted::prepare(Setup::faulty).await;
    let disk = SmallDisk::below(&mut it.tapline, 16);
    match &disk {
        Ok(_) => println!("on a disk of 16 MiB"),
        Err(why) => println!("no small disk can be mounted here ({why}): the fault is injected"),
    }
    it.start().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.until_acked(&[1]).await;
    match &disk {
        Ok(disk) => disk.fill(),
        Err(_) => it.tapline.arm("transaction-written", "disk-full"),
    }

    // What still fits into the last block is taken; at some message nothing fits any more.
    let mut sent = vec![1];
    let full = |health: &serde_json::Value| {
        health["problems"].to_string().contains("the store cannot write: disk full")
    };
    while !full(&it.tapline.health().await) {
        let packet_id = sent.len() as u16 + 1;
        assert!(packet_id < 1000, "the disk does not fill");
        it.deliver(&it.message(packet_id, f64::from(packet_id), 100.0));
        sent.push(packet_id);
        let taken = |health: &serde_json::Value| {
            full(health) || health["pipelines"]["workshop"]["committed"] == packet_id
        };
        it.tapline.until("it is committed or the disk is full", taken).await;
    }
    let at_trouble = it.acked();
    assert!(at_trouble.len() < sent.len(), "{at_trouble:?} of {sent:?}");
    for _ in 0..5 {
        let packet_id = sent.len() as u16 + 1;
        it.deliver(&it.message(packet_id, f64::from(packet_id), 100.0));
        sent.push(packet_id);
    }
    let health = it.tapline.until("they were received", |health| {
        health["pipelines"]["workshop"]["in_flight"].as_u64() >= Some(6)
    });
    let health = health.await;
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(it.acked(), at_trouble, "acknowledged without a place on the disk");

    match &disk {
        Ok(disk) => disk.clear(),
        Err(_) => it.tapline.disarm("transaction-written"),
    }
    it.until_acked(&sent).await;
    it.tapline.until("all is well again", |health| !full(health)).await;
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
    let last = sent.len() as u16;
    it.tapline.kill().await;
    it.tapline.start_again().await;
    it.tapline.subscribed(2).await;
    let end = f64::from(last) + 10.0;
    it.deliver(&it.message(last + 1, end, 0.0));
    it.deliver(&it.message(last + 2, end + 20.0, 0.0));
    let events = it.odoo.kinds(&it.press, &WHOLE).await;
    assert_eq!(events[1].payload["working_s"], end, "{events:?}");
    it.odoo.is_in_order();
}

#[tokio::test]
async fn a_flush_that_fails_ends_the_process_and_acknowledges_nothing() {
    let mut it = Scripted::prepare(Setup::faulty).await;
    it.start().await;
    it.deliver(&it.message(1, 0.0, 100.0));
    it.until_acked(&[1]).await;
    it.tapline.arm("transaction-written", "fsync-failed");
    it.deliver(&it.message(2, 10.0, 100.0));
    let status = it.tapline.ended().await;
    assert_eq!(status.code(), Some(74), "{status}");
    let log = it.tapline.log();
    let said = log.lines().find(|line| line.contains("store_failed")).unwrap_or_default();
    assert!(said.contains("what is not on the disk is not acknowledged"), "{log}");
    assert_eq!(it.acked(), [1]);
    it.tapline.disarm("transaction-written");
    it.tapline.start_again().await;
    it.tapline.subscribed(2).await;
    assert!(it.odoo.of(&it.press).is_empty());
    it.deliver(&it.message(2, 10.0, 100.0).again());
    it.until_acked(&[1, 2]).await;
    it.odoo.kinds(&it.press, &WHOLE[..1]).await;
    it.odoo.is_content();
}

/// It must end by itself, with words and a code that a supervisor sees.
fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Has run once and has a database.
async fn stopped() -> Tapline {
    let mut tapline = Setup::new().start().await;
    assert!(tapline.terminate().await.success());
    tapline
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_words_and_left_alone() {
    let tapline = stopped().await;
    let file = tapline.data().join("tapline.db");
    let mut bytes = std::fs::read(&file).expect("the database is there");
    bytes[4096..].fill(0x5a);
    std::fs::write(&file, &bytes).expect("scratch is writable");
    let said = refusal(&tapline.output(&["run"]).await);
    assert!(said.contains("tapline.db` is damaged"), "{said}");
    assert!(said.contains("put a backup in its place"), "{said}");
    assert_eq!(std::fs::read(&file).expect("it is there"), bytes, "the file was changed");
}

#[tokio::test]
async fn a_database_that_another_program_locks_is_refused_with_words() {
    let mut tapline = stopped().await;
    let file = tapline.data().join("tapline.db");
    let other = Connection::open(&file).expect("the database is there");
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").expect("it is free");
    let said = refusal(&tapline.output(&["run"]).await);
    assert!(said.contains("tapline.db` is locked by another program"), "{said}");
    drop(other);
    tapline.start_again().await;
}

#[tokio::test]
async fn a_start_on_a_full_disk_is_refused_with_words_and_succeeds_once_there_is_room() {
    let mut tapline = Setup::new().prepare();
    let disk = match SmallDisk::below(&mut tapline, 8) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: no small disk can be mounted here: {why}"),
    };
    tapline.start_again().await;
    assert!(tapline.terminate().await.success());
    disk.fill();
    let said = refusal(&tapline.output(&["run"]).await);
    assert!(said.contains("tapline.db` is full: make room"), "{said}");
    disk.clear();
    tapline.start_again().await;
}
