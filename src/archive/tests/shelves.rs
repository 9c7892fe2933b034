//! What clients keep on the shelf, and several of them at once.

use super::*;

fn note(series: &str, text: &str) -> (String, Vec<u8>) {
    (series.to_owned(), text.as_bytes().to_vec())
}

#[test]
fn notes_last_until_their_series_changes() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    fs::write(dir.path().join("other"), of_series("1.2.3.2", 1)).expect("written");
    scan_trusting(dir.path(), index_in(&home));
    let shelf = index_in(&home).bind(dir.path()).expect("bound");
    // Of a series that was never looked at nothing can be known.
    shelf
        .set_notes(&[note("1.2.3.1", "guess")])
        .expect("writable");
    assert!(shelf.notes().expect("readable").is_empty());
    for series in ["1.2.3.1", "1.2.3.2"] {
        assert!(!shelf.records(series).expect("there").is_empty());
    }
    let notes = [note("1.2.3.1", "one"), note("1.2.3.2", "two")];
    shelf.set_notes(&notes).expect("writable");
    scan_trusting(dir.path(), index_in(&home));
    let again = index_in(&home).bind(dir.path()).expect("bound");
    assert_eq!(again.notes().expect("readable"), notes);
    fs::write(dir.path().join("a/b/new"), image(9)).expect("written");
    scan_trusting(dir.path(), index_in(&home));
    assert_eq!(again.notes().expect("readable"), notes[1..]);
    // The first shelf looked at what is no longer so.
    shelf.set_notes(&notes).expect("writable");
    assert_eq!(shelf.notes().expect("readable"), notes[1..]);
    shelf.records("1.2.3.1").expect("there");
    shelf
        .set_notes(&[note("1.2.3.1", "new")])
        .expect("writable");
    let expected = [note("1.2.3.1", "new"), note("1.2.3.2", "two")];
    assert_eq!(again.notes().expect("readable"), expected);
}

#[test]
fn a_damaged_note_is_none() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    scan_trusting(dir.path(), index_in(&home));
    let shelf = index_in(&home).bind(dir.path()).expect("bound");
    shelf.records("1.2.3.1").expect("there");
    shelf
        .set_notes(&[note("1.2.3.1", "one")])
        .expect("writable");
    let connection = rusqlite::Connection::open(home.path().join("index")).expect("opened");
    let damage = "UPDATE notes SET content = zeroblob(30)";
    connection.execute_batch(damage).expect("done");
    assert!(shelf.notes().expect("readable").is_empty());
}

#[test]
fn notes_are_written_while_a_scan_goes_on() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    let mut settled = |changed: &[String], _: &[String]| {
        for series in changed {
            shelf.records(series).expect("there");
            shelf.set_notes(&[note(series, "seen")]).expect("writable");
        }
    };
    run(dir.path(), &trusting(), &index, &(), &mut settled).expect("scanned");
    assert_eq!(shelf.notes().expect("readable"), [note("1.2.3.1", "seen")]);
}

/// Keeps who tells of files from going on.
struct Stuck {
    reached: std::sync::mpsc::Sender<()>,
    go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Progress for Stuck {
    fn files_done(&self, _total: u64) {
        self.reached.send(()).expect("heard");
        let go_on = self.go_on.lock().expect("unharmed");
        // An error says that nobody keeps anybody any more.
        let _ = go_on.recv_timeout(Duration::from_secs(60));
    }
}

#[test]
fn a_scan_that_waits_for_a_slow_disk_keeps_nobody_from_writing() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    let (reached, is_stuck) = std::sync::mpsc::channel();
    let (go_on, waits) = std::sync::mpsc::channel();
    let stuck = Stuck {
        reached,
        go_on: waits.into(),
    };
    let settings = Settings {
        threads: 1,
        ..trusting()
    };
    std::thread::scope(|scope| {
        let scan = scope.spawn(|| run(dir.path(), &settings, &index, &stuck, &mut |_, _| {}));
        is_stuck.recv().expect("a file was looked at");
        for _ in 0..3 {
            shelf.doubt(Path::new("a")).expect("writable");
            // So that the scan has begun to write, if it was not so far yet.
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(go_on);
        scan.join().expect("no panic").expect("scanned");
    });
}

#[test]
fn a_shelf_says_what_the_last_scan_found() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    symlink("..", dir.path().join("a/up")).expect("linked");
    let shelf = index_in(&home).bind(dir.path()).expect("bound");
    assert_eq!(shelf.counts().expect("readable"), Counts::default());
    let catalog = scan_trusting(dir.path(), index_in(&home));
    assert_eq!(shelf.findings().expect("readable"), catalog.findings);
    assert_eq!(catalog.findings.len(), 2);
    assert_eq!(shelf.counts().expect("readable"), catalog.counts);
    assert_eq!(shelf.records("unknown").expect("readable"), []);
}

#[test]
fn many_read_while_one_scans() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_trusting(dir.path(), index_in(&home));
    let index = index_in(&home);
    let shelf = index.bind(dir.path()).expect("bound");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(shelf.records("1.2.3.1").expect("there"), plain.records);
                }
            });
        }
        for _ in 0..5 {
            // Names of files that are no instances: directories change, series do not.
            let name = dir.path().join("a/note");
            fs::write(&name, b"not an image").expect("written");
            run(dir.path(), &trusting(), &index, &(), &mut |_, _| {}).expect("scanned");
            fs::remove_file(&name).expect("removed");
        }
    });
}

#[test]
fn a_temporary_index_serves_as_any_other() {
    let dir = tree();
    let plain = scan_with(dir.path(), None);
    let index = Index::temporary().expect("made");
    let place = index.path();
    let shelf = index.bind(dir.path()).expect("bound");
    scan(dir.path(), &Options::default(), index, &(), &mut |_, _| {}).expect("scanned");
    assert_eq!(shelf.records("1.2.3.1").expect("there"), plain.records);
    let mode = fs::metadata(&place).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(shelf);
    assert!(!place.parent().expect("a directory").exists());
}
