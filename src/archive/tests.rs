//! Scans of small trees, with and without an index.

mod changes;
mod damage;
mod follow;
mod inside;
mod parts;
mod shelves;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::scan::{Settings, read_all_with, run};
use super::*;
use crate::dicom::header::Encoding;
use crate::dicom::syntax::EXPLICIT_VR_LITTLE_ENDIAN;
use crate::dicom::testing::{ct, data_dir, file};

fn image(number: u16) -> Vec<u8> {
    of_series("1.2.3.1", number)
}

/// An image of a series, whose UID has to be as long as that of all others here.
fn of_series(series: &str, number: u16) -> Vec<u8> {
    let dataset = ct(Encoding::EXPLICIT_LITTLE).text(0x0028_4000, "LT", &number.to_string());
    let dataset = dataset.raw(0x7FE0_0010, "OW", &[0; 12]);
    let mut bytes = file(EXPLICIT_VR_LITTLE_ENDIAN, &dataset.bytes);
    let uid = b"1.2.3.1\0";
    let at = bytes.windows(8).rposition(|window| window == uid);
    assert_eq!(series.len(), 7);
    bytes[at.expect("there")..][..7].copy_from_slice(series.as_bytes());
    bytes
}

/// A tree with one of everything.
fn tree() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let write =
        |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).expect("written");
    fs::create_dir_all(dir.path().join("a/b")).expect("made");
    write("a/1.dcm", &image(1));
    write("a/b/no extension", &image(2));
    write("a/b/notes.txt", b"not an image");
    write("empty", b"");
    write("truncated", &image(3)[..150]);
    let mut directory = image(4);
    let class = b"1.2.840.10008.5.1.4.1.1.2\0";
    let at = directory
        .windows(class.len())
        .position(|window| window == class)
        .expect("there");
    directory[at..at + class.len()].copy_from_slice(b"1.2.840.10008.1.3.10\0\0\0\0\0\0");
    write("DICOMDIR", &directory);
    dir
}

fn scan_with(root: &Path, index: Option<Index>) -> Catalog {
    read_all(root, &Options { threads: 3 }, index, &()).expect("scanned")
}

/// As [`scan_with`], but directories are trusted however young they are: their clock has to have
/// moved on since they changed, which [`clock_moves`] waits for.
fn trusting() -> Settings {
    Settings {
        threads: 3,
        margin_ns: 0,
        settled_every: Duration::ZERO,
    }
}

fn scan_trusting(root: &Path, index: Index) -> Catalog {
    clock_moves();
    read_all_with(root, &trusting(), Some(index), &()).expect("scanned")
}

/// Waits until the clock of the file system tells a later time than it does now.
fn clock_moves() {
    let dir = tempfile::tempdir().expect("a directory");
    let touched = |name: &str| {
        fs::write(dir.path().join(name), b"").expect("written");
        let metadata = fs::metadata(dir.path()).expect("there");
        SourceIdentity::of(&metadata).mtime_ns
    };
    let before = touched("0");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut names = (1..).map(|n: u64| n.to_string());
    while touched(&names.next().expect("endless")) <= before + 1_000_000 {
        assert!(std::time::Instant::now() < deadline, "the clock stands");
    }
}

fn paths(catalog: &Catalog) -> Vec<&str> {
    let paths = catalog.records.iter().map(|record| record.path.as_path());
    paths.map(|path| path.to_str().expect("ASCII")).collect()
}

fn codes(catalog: &Catalog) -> Vec<(&str, &str)> {
    let findings = catalog.findings.iter();
    findings
        .map(|finding| (finding.path.to_str().expect("ASCII"), finding.code.as_str()))
        .collect()
}

#[test]
fn finds_all_and_counts_the_rest() {
    let dir = tree();
    let catalog = scan_with(dir.path(), None);
    assert_eq!(paths(&catalog), ["a/1.dcm", "a/b/no extension"]);
    assert_eq!(codes(&catalog), [("truncated", "truncated")]);
    let expected = Counts {
        files: 6,
        dicom: 2,
        unusable: 1,
        not_dicom: 2,
        dicomdir: 1,
        ..Counts::default()
    };
    assert_eq!(catalog.counts, expected);
    assert_eq!(catalog.records[0].instance.series_instance_uid, "1.2.3.1");
}

#[test]
fn follows_links_once() {
    let dir = tree();
    let link = |to: &str, name: &str| symlink(to, dir.path().join(name)).expect("linked");
    link("..", "a/up");
    link("b", "a/z again");
    link("a/1.dcm", "z link to file");
    link("nowhere", "dangling");
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("5.dcm"), image(5)).expect("written");
    symlink(outside.path(), dir.path().join("outside")).expect("linked");
    // A pipe nobody writes to must not be waited for.
    let pipe = std::process::Command::new("mkfifo")
        .arg(dir.path().join("pipe"))
        .status();
    assert!(pipe.expect("mkfifo").success());
    let catalog = scan_with(dir.path(), None);
    assert_eq!(catalog.counts.dicom, 3, "{:?}", paths(&catalog));
    assert!(paths(&catalog).contains(&"outside/5.dcm"));
    assert!(codes(&catalog).contains(&("a/up", "link_loop")));
    assert!(codes(&catalog).contains(&("dangling", "unreadable")));
    assert!(catalog.counts.linked_twice > 0);
}

#[test]
fn a_root_that_is_none_is_an_error() {
    let dir = tree();
    let scan = |path: &str| read_all(&dir.path().join(path), &Options::default(), None, &());
    assert!(matches!(scan("absent"), Err(Error::Absent { .. })));
    assert!(matches!(scan("empty"), Err(Error::NotDirectory { .. })));
}

fn index_in(dir: &TempDir) -> Index {
    Index::open(&dir.path().join("index")).expect("opened")
}

#[test]
fn the_index_spares_reading_and_notices_change() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_with(dir.path(), None);
    let first = scan_with(dir.path(), Some(index_in(&home)));
    assert_eq!(first, plain);
    let mut second = scan_with(dir.path(), Some(index_in(&home)));
    assert_eq!(second.counts.from_index, 6);
    second.counts.from_index = 0;
    assert_eq!(second, plain);

    let changed = dir.path().join("a/1.dcm");
    fs::write(&changed, b"no longer an image").expect("written");
    fs::remove_file(dir.path().join("empty")).expect("removed");
    fs::write(dir.path().join("new"), image(9)).expect("written");
    let third = scan_with(dir.path(), Some(index_in(&home)));
    assert_eq!(paths(&third), ["a/b/no extension", "new"]);
    assert_eq!(third.counts.from_index, 4);
    // Same size, other time.
    let later = SystemTime::now() + Duration::from_secs(9);
    let touched = fs::File::options()
        .append(true)
        .open(dir.path().join("new"))
        .expect("opened");
    touched.set_modified(later).expect("touched");
    let fourth = scan_with(dir.path(), Some(index_in(&home)));
    assert_eq!(fourth.counts.from_index, 5);
    assert_eq!(fourth.records.len(), 2);
    // Another archive does not take the rows of this one.
    let other = tree();
    assert_eq!(
        scan_with(other.path(), Some(index_in(&home)))
            .counts
            .from_index,
        0
    );
}

#[test]
fn a_file_that_is_no_index_is_left_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("thesis");
    fs::write(&path, b"years of work").expect("written");
    assert!(matches!(Index::open(&path), Err(Error::Index { .. })));
    let database = home.path().join("other");
    let other = rusqlite::Connection::open(&database).expect("made");
    other.execute_batch("CREATE TABLE t (x)").expect("made");
    drop(other);
    assert!(matches!(Index::open(&database), Err(Error::Index { .. })));
    assert_eq!(fs::read(&path).expect("there"), b"years of work");
    let below_a_file = path.join("index");
    assert!(Index::open(&below_a_file).is_err());
}

#[test]
fn two_scans_share_an_index() {
    let (dir, home) = (tree(), tempfile::tempdir().expect("a directory"));
    let plain = scan_with(dir.path(), None);
    std::thread::scope(|scope| {
        let scans: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| scan_with(dir.path(), Some(index_in(&home)))))
            .collect();
        for scan in scans {
            assert_eq!(scan.join().expect("no panic").records, plain.records);
        }
    });
    assert_eq!(
        scan_with(dir.path(), Some(index_in(&home)))
            .counts
            .from_index,
        6
    );
}

#[test]
fn a_source_that_changed_is_refused() {
    let dir = tree();
    let catalog = scan_with(dir.path(), None);
    let source = Source::new(dir.path());
    let record = &catalog.records[0];
    let file = source.open(record).expect("the same");
    source.verify(&file, record).expect("the same");
    fs::write(source.path(record), b"other").expect("written");
    assert!(matches!(source.open(record), Err(Error::Changed { .. })));
    assert!(matches!(
        source.verify(&file, record),
        Err(Error::Changed { .. })
    ));
    fs::remove_file(source.path(record)).expect("removed");
    assert!(matches!(source.open(record), Err(Error::Absent { .. })));
}

#[test]
fn unreadable_directories_are_findings() {
    let dir = tree();
    let closed = dir.path().join("a/b");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("closed");
    let denied = fs::read_dir(&closed).is_err();
    let catalog = scan_with(dir.path(), None);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("opened");
    if !denied {
        println!("left out: running as root, who can read all");
        return;
    }
    assert!(codes(&catalog).contains(&("a/b", "unreadable")));
    assert_eq!(catalog.counts.dicom, 1);
}

#[test]
fn the_real_files_survive_the_index() {
    let Some(dir) = data_dir() else { return };
    let home = tempfile::tempdir().expect("a directory");
    let first = scan_with(&dir, Some(index_in(&home)));
    let mut second = scan_with(&dir, Some(index_in(&home)));
    assert!(first.counts.dicom > 600, "{:?}", first.counts);
    assert_eq!(second.counts.from_index, first.counts.files);
    second.counts.from_index = 0;
    assert_eq!(second, first);
}

#[test]
fn the_index_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache/dicomfs/index.sqlite");
    drop(Index::open(&path).unwrap());
    for (path, mode) in [(path.parent().unwrap(), 0o700), (&path, 0o600)] {
        let found = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{}", path.display());
    }
}

#[test]
fn digests_are_of_the_pixels_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, number: u16, pixel: u8| {
        let dataset = ct(Encoding::EXPLICIT_LITTLE).text(0x0028_4000, "LT", &number.to_string());
        let dataset = dataset.raw(0x7FE0_0010, "OW", &[pixel; 12]);
        let bytes = file(EXPLICIT_VR_LITTLE_ENDIAN, &dataset.bytes);
        fs::write(dir.path().join(name), bytes).expect("written");
    };
    write("1", 1, 0);
    write("2", 22, 0);
    write("3", 1, 9);
    let catalog = scan_with(dir.path(), None);
    let source = Source::new(dir.path());
    let digest = |bytes_max| pixel_digests(&source, &catalog.records, bytes_max);
    let (digests, skipped) = digest(36);
    assert_eq!((digests.len(), skipped), (3, 0));
    assert_eq!(digests[Path::new("1")], digests[Path::new("2")]);
    assert_ne!(digests[Path::new("1")], digests[Path::new("3")]);
    let (digests, skipped) = digest(30);
    assert_eq!((digests.len(), skipped), (2, 1));
    fs::write(dir.path().join("2"), b"changed").expect("written");
    assert_eq!(digest(36).0.len(), 2);
}
