//! What the index spares and what it notices: directories as they were, changed, moved and gone.

use super::*;

#[test]
fn directories_as_they_were_are_not_looked_into() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let first = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(first.counts.from_index, 0);
    // In place: the directory's times stay.
    fs::write(dir.path().join("a/1.dcm"), b"no longer an image").expect("written");
    let second = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(second.counts.from_index, 6);
    assert_eq!(second.records, first.records);
    assert_eq!(second.findings, first.findings);
    // It is noticed by who reads the file.
    let source = Source::new(dir.path());
    let opened = source.open(&second.records[0]);
    assert!(matches!(opened, Err(Error::Changed { .. })));
    // And by the next scan once something else changes in its directory, not before.
    fs::write(dir.path().join("a/b/3.dcm"), image(3)).expect("written");
    let third = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(paths(&third), ["a/1.dcm", "a/b/3.dcm", "a/b/no extension"]);
    assert_eq!(third.counts.from_index, 6);
    fs::write(dir.path().join("a/2.dcm"), image(2)).expect("written");
    let fourth = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(paths(&fourth), ["a/2.dcm", "a/b/3.dcm", "a/b/no extension"]);
    assert_eq!(fourth.counts.from_index, 6);
    assert_eq!(fourth.counts.not_dicom, 3);
}

#[test]
fn a_file_that_was_found_changed_is_read_by_the_next_scan() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let first = scan_trusting(dir.path(), index_in(&home));
    fs::write(dir.path().join("a/1.dcm"), b"no longer an image").expect("written");
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    let source = Source::doubting(dir.path(), shelf, Default::default());
    for _ in 0..2 {
        let opened = source.open(&first.records[0]);
        assert!(matches!(opened, Err(Error::Changed { .. })));
    }
    let second = scan_trusting(dir.path(), index);
    assert_eq!(paths(&second), ["a/b/no extension"]);
    assert_eq!(second.counts.from_index, 5);
}

#[test]
fn a_directory_that_had_just_changed_is_looked_into_again() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    scan_with(dir.path(), Some(index_in(&home)));
    fs::write(dir.path().join("a/1.dcm"), b"no longer an image").expect("written");
    let second = scan_with(dir.path(), Some(index_in(&home)));
    assert_eq!(paths(&second), ["a/b/no extension"]);
    assert_eq!(second.counts.from_index, 5);
}

#[test]
fn what_is_gone_is_forgotten() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    scan_trusting(dir.path(), index_in(&home));
    fs::remove_dir_all(dir.path().join("a")).expect("removed");
    fs::remove_file(dir.path().join("truncated")).expect("removed");
    let second = scan_trusting(dir.path(), index_in(&home));
    assert_eq!((second.counts.files, second.counts.dicom), (2, 0));
    assert!(second.records.is_empty() && second.findings.is_empty());
    let fresh = scan_with(dir.path(), None);
    let mut expected = second;
    expected.counts.from_index = 0;
    assert_eq!(fresh, expected);
}

#[test]
fn links_are_decided_anew_when_names_come_and_go() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let at = |name: &str| dir.path().join(name);
    let check = |expected: &[&str], twice: u64| {
        let catalog = scan_trusting(dir.path(), index_in(&home));
        assert_eq!(paths(&catalog), expected);
        assert_eq!(catalog.counts.linked_twice, twice);
        assert_eq!(catalog.counts.dicom, expected.len() as u64);
        let again = scan_trusting(dir.path(), index_in(&home));
        assert_eq!(again.records, catalog.records);
        assert_eq!(again.counts.linked_twice, twice);
        let mut fresh = scan_with(dir.path(), None);
        fresh.counts.from_index = catalog.counts.from_index;
        assert_eq!(fresh, catalog);
    };
    check(&["a/1.dcm", "a/b/no extension"], 0);
    // Each other name lies in a directory that the index does not know yet, or that changed:
    // the first one does not.
    fs::create_dir(at("c")).expect("made");
    fs::hard_link(at("a/1.dcm"), at("c/hard")).expect("linked");
    symlink("../a/b/no extension", at("c/soft")).expect("linked");
    check(&["a/1.dcm", "a/b/no extension"], 2);
    fs::create_dir(at("0")).expect("made");
    symlink("../a/b/no extension", at("0/soft")).expect("linked");
    check(&["0/soft", "a/1.dcm"], 3);
    fs::remove_file(at("a/1.dcm")).expect("removed");
    check(&["0/soft", "c/hard"], 2);
    fs::remove_file(at("0/soft")).expect("removed");
    check(&["a/b/no extension", "c/hard"], 1);
    fs::remove_dir_all(at("c")).expect("removed");
    check(&["a/b/no extension"], 0);
}

#[test]
fn what_could_not_be_read_is_tried_again() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    symlink("later", dir.path().join("dangling")).expect("linked");
    let elsewhere = tempfile::tempdir().expect("a directory");
    symlink(elsewhere.path().join("x"), dir.path().join("a/outside")).expect("linked");
    let first = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(first.counts.unreadable, 2);
    assert!(codes(&first).contains(&("a/outside", "unreadable")));
    // Nothing changes in the directory of the link.
    fs::write(elsewhere.path().join("x"), image(8)).expect("written");
    let second = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(second.counts.unreadable, 1);
    assert!(paths(&second).contains(&"a/outside"));
}
