//! Indexes that are damaged, taken by others or cut short: never wrong records.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::*;

/// Removes what SQLite keeps beside a database, as a crash of the disk would.
fn replace(home: &TempDir, bytes: &[u8]) {
    fs::write(home.path().join("index"), bytes).expect("written");
    let _ = fs::remove_file(home.path().join("index-wal"));
    let _ = fs::remove_file(home.path().join("index-shm"));
}

#[test]
fn an_index_that_was_found_damaged_is_made_anew_when_it_is_opened_next() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_trusting(dir.path(), index_in(&home));
    let path = home.path().join("index");
    let inode = |path: &Path| fs::metadata(path).expect("there").ino();
    let before = inode(&path);
    scan_trusting(dir.path(), index_in(&home));
    assert_eq!(inode(&path), before, "whole");
    fs::write(home.path().join("index-damaged"), "").expect("written");
    let again = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(again.records, plain.records);
    assert_eq!(again.counts.from_index, 0, "nothing of it is believed");
    assert!(!home.path().join("index-damaged").exists());
}

#[test]
fn a_damaged_index_is_never_believed() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_with(dir.path(), None);
    scan_trusting(dir.path(), index_in(&home));
    let path = home.path().join("index");
    let whole = fs::read(&path).expect("readable");
    for at in (100..whole.len()).step_by(197) {
        // A flipped bit, and a stretch of noise.
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let mut noisy = whole.clone();
        noisy[at..(at + 40).min(whole.len())].fill(0xA5);
        for damaged in [flipped, noisy] {
            replace(&home, &damaged);
            let read = || {
                let index = Index::open(&path).ok();
                read_all_with(dir.path(), &trusting(), index, &())
            };
            // Where only the reading of records meets the damage, that fails; the next time all is well.
            let catalog = read().or_else(|_| read()).expect("scanned");
            assert_eq!(catalog.records, plain.records, "damaged at {at}");
        }
    }
}

/// Changes the database behind the index's back.
fn meddle(home: &TempDir, sql: &str) {
    let connection = rusqlite::Connection::open(home.path().join("index")).expect("opened");
    connection.execute_batch(sql).expect("done");
}

#[test]
fn damaged_rows_are_read_again_and_found_by_the_next_scan() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_trusting(dir.path(), index_in(&home));
    let damages = [
        "UPDATE blobs SET contents = zeroblob(99)",
        "UPDATE blobs SET files = x'00'",
        "DELETE FROM blobs",
        "UPDATE groups SET series = '1.2.3.9' WHERE series = '1.2.3.1'",
        "UPDATE groups SET files = files + 1",
        "UPDATE groups SET dir = x'61' WHERE dir = x'612f62'",
        "DELETE FROM groups WHERE kind = 0 AND dir = x'612f62'",
        "UPDATE dirs SET content = zeroblob(30)",
        "DELETE FROM dirs WHERE path = x'61'",
    ];
    for damage in damages {
        meddle(&home, damage);
        let catalog = scan_trusting(dir.path(), index_in(&home));
        assert_eq!(catalog.records, plain.records, "{damage}");
        // What was damaged is whole again, and no file had to be read for that.
        scan_trusting(dir.path(), index_in(&home));
        let third = scan_trusting(dir.path(), index_in(&home));
        assert_eq!(third.records, plain.records, "{damage}");
        assert_eq!(third.findings, plain.findings, "{damage}");
        assert_eq!(third.counts.from_index, 6, "{damage}");
    }
}

#[test]
fn an_index_that_fails_is_replaced_under_the_shelf() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_with(dir.path(), None);
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    meddle(&home, "DROP TABLE blobs");
    let mut told = Vec::new();
    let mut settled = |changed: &[String], _: &[String]| told.extend_from_slice(changed);
    let scanned = run(dir.path(), &trusting(), &index, &(), &mut settled).expect("scanned");
    assert!(scanned.findings.iter().any(|f| f.code == "index_unusable"));
    assert_eq!(told, ["1.2.3.1"]);
    assert_eq!(shelf.records("1.2.3.1").expect("there"), plain.records);
    let place = index.path();
    assert!(place.is_file() && place != home.path().join("index"));
    drop((index, shelf));
    assert!(!place.exists(), "a temporary index goes with the process");
}

#[test]
fn an_index_that_became_anothers_gives_nothing() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    scan_trusting(dir.path(), index_in(&home));
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    assert_eq!(shelf.records("1.2.3.1").expect("there").len(), 2);
    let other = tempfile::tempdir().expect("a directory");
    fs::write(other.path().join("1.dcm"), image(1)).expect("written");
    scan_trusting(other.path(), index_in(&home));
    assert!(matches!(shelf.records("1.2.3.1"), Err(Error::Index { .. })));
    assert!(matches!(shelf.series(), Err(Error::Index { .. })));
    assert!(shelf.set_notes(&[("1.2.3.1".to_owned(), vec![1])]).is_err());
    // A scan that finds it taken goes on with a temporary one.
    let scanned = run(dir.path(), &trusting(), &index, &(), &mut |_, _| {}).expect("scanned");
    assert_eq!(scanned.counts.dicom, 2);
    assert_eq!(shelf.records("1.2.3.1").expect("there").len(), 2);
}

#[test]
fn a_scan_that_was_cut_short_leaves_nothing_behind() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_trusting(dir.path(), index_in(&home));
    let orphans = "INSERT INTO blobs (files, contents) VALUES (x'00', x'00');
                   INSERT INTO meta VALUES ('unfinished', x'');";
    meddle(&home, orphans);
    let mut second = scan_trusting(dir.path(), index_in(&home));
    second.counts.from_index = 0;
    assert_eq!(second, plain);
    let connection = rusqlite::Connection::open(home.path().join("index")).expect("opened");
    let count = |sql: &str| -> i64 {
        connection
            .query_row(sql, [], |row| row.get(0))
            .expect("one")
    };
    let (blobs, groups) = ("SELECT count(*) FROM blobs", "SELECT count(*) FROM groups");
    assert_eq!(count(blobs), count(groups));
    assert_eq!(
        count("SELECT count(*) FROM meta WHERE key = 'unfinished'"),
        0
    );
}

#[test]
fn an_index_of_another_version_is_emptied() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_trusting(dir.path(), index_in(&home));
    meddle(
        &home,
        "UPDATE meta SET value = x'33' WHERE key = 'binding'; CREATE TABLE files (x);",
    );
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    assert!(shelf.series().expect("readable").is_empty());
    assert_eq!(scan_trusting(dir.path(), index), plain);
}

#[test]
fn a_group_with_damaged_contents_is_read_again_when_it_changes() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    fs::write(dir.path().join("a/2.dcm"), image(2)).expect("written");
    scan_trusting(dir.path(), index_in(&home));
    meddle(&home, "UPDATE blobs SET contents = zeroblob(99)");
    fs::remove_file(dir.path().join("a/1.dcm")).expect("removed");
    let index = index_in(&home);
    run(dir.path(), &trusting(), &index, &(), &mut |_, _| {}).expect("scanned");
    let shelf = index.bind(dir.path()).expect("bound");
    let records: Vec<Arc<Record>> = shelf.records("1.2.3.1").expect("there");
    let fresh = scan_with(dir.path(), None);
    assert_eq!(records, fresh.records);
}
